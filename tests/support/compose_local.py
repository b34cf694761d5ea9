"""Run the services of ``docker-compose.yml`` without an engine: their very commands, as local processes.

They run in a folder that holds what the Dockerfile copies and nothing else, with the variables of its ``ENV`` and of
the compose file. What differs from a container is only what has to: addresses (``kafka:9092`` becomes the address that
is given), the folder of the definitions, and the programs ``python`` and ``kairos``, which are those of this
environment.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ruamel.yaml import YAML

from support.ports import LOOPBACK, free_port

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"

# The image's /usr/local/bin/kairos does the same.
_KAIROS = (sys.executable, "-c", "import sys; from services.cli import main; sys.exit(main())")
# A test run that is killed must not leave workers behind.
_DIES_WITH_US = (sys.executable, "-I", "-S", str(ROOT / "services" / "embedded" / "child.py"), str(os.getpid()))
_VARIABLE = re.compile(r"\$\{(\w+)(?::?-([^}]*))?\}")


def load_compose(path: Path = COMPOSE_FILE, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the compose file with anchors and ``${NAME:-default}`` resolved, as the engine would see it.

    Parameters
    ----------
    path
        The file.
    variables
        Values for the names in ``${...}``; a name without value and default is an error.
    """
    given = variables or {}

    def resolve(match: re.Match[str]) -> str:
        value = given.get(match[1]) or match[2]
        if value is None:
            raise ValueError(f"{path.name}: ${{{match[1]}}} has neither a value nor a default")
        return value

    loaded = YAML(typ="safe").load(_VARIABLE.sub(resolve, path.read_text()))
    assert isinstance(loaded, dict)
    return loaded


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where ``kafka``, ``redis`` and ``mailpit`` of the compose file are, and where the page shall be."""

    bootstrap: str
    redis_url: str
    smtp_port: int
    http_port: int
    smtp_host: str = LOOPBACK


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: its exit code (below 0: by a signal), and the seconds from SIGTERM to the end."""

    code: int
    seconds: float


def local_environment(service: Mapping[str, Any], addresses: Addresses) -> dict[str, str]:
    """Return the service's environment with the addresses of this machine.

    Raises
    ------
    ValueError
        An address of the compose network is left that nothing here stands for.
    """
    values = {name: str(value) for name, value in (service.get("environment") or {}).items()}
    changed = {
        "KAIROS_KAFKA__BOOTSTRAP": ("kafka:9092", addresses.bootstrap),
        "KAIROS_REDIS__URL": ("redis://redis:6379/0", addresses.redis_url),
        "KAIROS_SMTP__HOST": ("mailpit", addresses.smtp_host),
        "KAIROS_SMTP__PORT": ("1025", str(addresses.smtp_port)),
        "KAIROS_HTTP__HOST": ("0.0.0.0", LOOPBACK),
        "KAIROS_HTTP__PORT": ("8080", str(addresses.http_port)),
        "KAIROS_HTTP__PUBLIC_URL": ("http://127.0.0.1:8080", f"http://{LOOPBACK}:{addresses.http_port}"),
        "KAIROS_CONFIG_DIR": ("/etc/kairos", str(_mounted_config(service))),
    }
    for name, (expected, local) in changed.items():
        if values.get(name) != expected:
            raise ValueError(f"{name} is {values.get(name)!r} in the compose file, expected {expected!r}")
        values[name] = local
    return values


def _mounted_config(service: Mapping[str, Any]) -> Path:
    sources = [mount.split(":")[0] for mount in service["volumes"] if mount.split(":")[1] == "/etc/kairos"]
    if len(sources) != 1:
        raise ValueError(f"the definitions are mounted from {sources}, expected one folder")
    return (ROOT / str(sources[0])).resolve()


def local_command(command: Sequence[str]) -> tuple[str, ...]:
    """Return the command with the programs of this environment."""
    programs = {"python": (sys.executable,), "kairos": _KAIROS}
    if command[0] not in programs:
        raise ValueError(f"no program {command[0]!r} in the image")
    return (*programs[command[0]], *command[1:])


def copied_into_image() -> list[str]:
    """What the Dockerfile's last stage copies of this tree into its working directory."""
    last = DOCKERFILE.read_text().rpartition("\nFROM ")[2]
    return re.findall(r"^COPY (?!--)(\S+) \./\1$", last, re.MULTILINE)


def image_variables() -> dict[str, str]:
    """The ``ENV`` of the Dockerfile's last stage."""
    last = DOCKERFILE.read_text().rpartition("\nFROM ")[2]
    block = re.search(r"^ENV ((?:.*\\\n)*.*)$", last, re.MULTILINE)
    assert block is not None
    return dict(word.split("=", 1) for word in block[1].replace("\\\n", " ").split())


def make_image_folder(folder: Path) -> Path:
    """Make the image's ``/app``: what the Dockerfile copies, and nothing else."""
    for name in copied_into_image():
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    return folder


class ComposeLocal:
    """The services of the compose file that are built here, as processes. Nothing that dies is started again.

    Parameters
    ----------
    addresses
        The servers to use.
    folder
        For one log per service, and the stand-ins of the image's ``/app`` and ``/tmp``.
    variables
        Values for ``${...}`` in the file.

    Examples
    --------
    >>> with ComposeLocal(addresses, tmp_path) as compose:  # doctest: +SKIP
    ...     compose.run("topics")
    ...     compose.start("decide", "learn", "deliver", "dashboard")
    ...     wait_until(lambda: compose.healthy("decide"), "decide", 60)
    """

    def __init__(self, addresses: Addresses, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        services = load_compose(variables=variables)["services"]
        self._services: dict[str, Any] = {name: service for name, service in services.items() if "build" in service}
        self.addresses = addresses
        self._folder = folder
        self.app = folder / "app"
        self._home = folder / "tmp"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._health_ports: dict[str, int] = {}

    @classmethod
    def names(cls) -> list[str]:
        """Names of the services that are built here, in the order of the file."""
        return [name for name, service in load_compose()["services"].items() if "build" in service]

    def environment(self, name: str) -> dict[str, str]:
        """What a service finds in its environment, beside what is ours anyway."""
        inside = {"/app": str(self.app), "/tmp": str(self._home)}
        image = {key: inside.get(value, value) for key, value in image_variables().items() if key != "PATH"}
        return {**image, "TMPDIR": inside["/tmp"], **local_environment(self._services[name], self.addresses)}

    def run(self, name: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a service that ends by itself, like ``topics``, and wait for its end."""
        return self.execute(name, self._services[name]["command"], timeout_s)

    def start(self, *names: str) -> None:
        """Start services that keep running."""
        for name in names:
            if name in self._running:
                raise ValueError(f"{name} runs already")
            with self.log_path(name).open("ab") as log:
                self._running[name] = subprocess.Popen(
                    (*_DIES_WITH_US, *local_command(self._services[name]["command"])),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._merged(name),
                    cwd=self.app,
                    start_new_session=True,
                )

    def check(self) -> None:
        """Raise if a service that was started has ended, with the end of its log."""
        for name, process in self._running.items():
            if process.poll() is not None:
                tail = self.log_path(name).read_text(errors="replace")[-4000:]
                raise RuntimeError(f"{name} ended with exit code {process.returncode}:\n{tail}")

    def healthy(self, name: str) -> bool:
        """Run the service's health check once, as the engine does."""
        self.check()
        check = self._services[name]["healthcheck"]
        kind, *command = check["test"]
        if kind != "CMD":
            raise ValueError(f"the health check of {name} is not a CMD")
        try:
            return self.execute(name, command, float(str(check["timeout"]).removesuffix("s"))).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def execute(self, name: str, command: Sequence[str], timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command where a service runs, as ``docker compose exec`` does."""
        argv, env = local_command(command), self._merged(name)
        return subprocess.run(argv, env=env, cwd=self.app, capture_output=True, text=True, timeout=timeout_s)

    def log_path(self, name: str) -> Path:
        """The file that takes what a service says."""
        return self._folder / f"{name}.log"

    def stop(self, grace_s: float = 30.0) -> dict[str, Ended]:
        """Send SIGTERM to all that were started, as the engine does, and wait; kill what is left after `grace_s`."""
        asked_at = time.monotonic()
        for process in self._running.values():
            if process.poll() is None:
                process.terminate()
        ended: dict[str, Ended] = {}
        while len(ended) < len(self._running):
            seconds = time.monotonic() - asked_at
            for name, process in self._running.items():
                if name not in ended and process.poll() is None and seconds > grace_s:
                    process.kill()
                    process.wait()
                if name not in ended and process.poll() is not None:
                    ended[name] = Ended(process.returncode, seconds)
            time.sleep(0.02)
        self._running.clear()
        return ended

    def __enter__(self) -> Self:
        self._home.mkdir()
        make_image_folder(self.app)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _merged(self, name: str) -> dict[str, str]:
        ours = {key: value for key, value in os.environ.items() if not key.startswith("KAIROS_")}
        # In containers each worker has port 8081 for itself.
        health = str(self._health_ports.setdefault(name, free_port()))
        return {**ours, **self.environment(name), "KAIROS_HEALTH_PORT": health}


def free_addresses(bootstrap: str, redis_url: str, smtp_port: int) -> Addresses:
    """Return addresses with a free port for the page."""
    return Addresses(bootstrap, redis_url, smtp_port, free_port())
