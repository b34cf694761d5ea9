"""Run the services of ``docker-compose.yml`` without an engine: their very commands, as local processes.

Their environments are those of the file, too. What differs from a container is only what has to: addresses
(``kafka:9092`` becomes the address that is given), the folder of the definitions, and the programs ``python``
and ``kairos``, which are those of this environment.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ruamel.yaml import YAML

from services.embedded.process import Process
from services.embedded.supervisor import Supervisor
from support.ports import LOOPBACK, free_port

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"

# The image's /usr/local/bin/kairos does the same.
_KAIROS = (sys.executable, "-c", "import sys; from services.cli import main; sys.exit(main())")
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
    sources = {Path(mount.split(":")[0]).parent for mount in service["volumes"] if ":/etc/kairos/" in mount}
    if len(sources) != 1:
        raise ValueError(f"the definitions are mounted from {sources}, expected one folder")
    return (ROOT / sources.pop()).resolve()


def local_command(command: Sequence[str]) -> tuple[str, ...]:
    """Return the command with the programs of this environment."""
    programs = {"python": (sys.executable,), "kairos": _KAIROS}
    if command[0] not in programs:
        raise ValueError(f"no program {command[0]!r} in the image")
    return (*programs[command[0]], *command[1:])


class ComposeLocal:
    """The services of the compose file that are built here, as processes.

    Parameters
    ----------
    addresses
        The servers to use.
    log_dir
        Folder for one log per service.
    variables
        Values for ``${...}`` in the file.

    Examples
    --------
    >>> with ComposeLocal(addresses, tmp_path) as compose:  # doctest: +SKIP
    ...     compose.run("topics")
    ...     compose.start("decide", "learn", "deliver", "dashboard")
    ...     wait_until(lambda: compose.healthy("decide"), "decide", 60)
    """

    def __init__(self, addresses: Addresses, log_dir: Path, variables: Mapping[str, str] | None = None) -> None:
        services = load_compose(variables=variables)["services"]
        self._services: dict[str, Any] = {name: service for name, service in services.items() if "build" in service}
        self._addresses = addresses
        self._log_dir = log_dir
        self.supervisor = Supervisor()

    @classmethod
    def names(cls) -> list[str]:
        """Names of the services that are built here, in the order of the file."""
        return [name for name, service in load_compose()["services"].items() if "build" in service]

    def process(self, name: str) -> Process:
        """Describe the local process of a service."""
        service = self._services[name]
        return Process(
            name=name,
            argv=local_command(service["command"]),
            env=self._environment(name),
            log_path=self._log_dir / f"{name}.log",
            restart=service["restart"] != "no",
            cwd=ROOT,
        )

    def run(self, name: str, timeout_s: float = 60.0) -> None:
        """Run a service that ends by itself, like ``topics``; its failure is an error with its output."""
        self._execute(local_command(self._services[name]["command"]), name, timeout_s, check=True)

    def start(self, *names: str) -> None:
        """Start services that keep running."""
        self.supervisor.start(*(self.process(name) for name in names))

    def healthy(self, name: str) -> bool:
        """Run the service's health check once, as the engine does."""
        check = self._services[name]["healthcheck"]
        kind, *command = check["test"]
        if kind != "CMD":
            raise ValueError(f"the health check of {name} is not a CMD")
        timeout_s = float(str(check["timeout"]).removesuffix("s"))
        try:
            return self._execute(local_command(command), name, timeout_s, check=False) == 0
        except subprocess.TimeoutExpired:
            return False

    def stop(self) -> None:
        """End all of them."""
        self.supervisor.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _environment(self, name: str) -> dict[str, str]:
        return local_environment(self._services[name], self._addresses)

    def _execute(self, argv: tuple[str, ...], name: str, timeout_s: float, *, check: bool) -> int:
        environment = {**os.environ, **self._environment(name)}
        done = subprocess.run(argv, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s)
        if check and done.returncode:
            raise RuntimeError(f"{name} ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.returncode


def free_addresses(bootstrap: str, redis_url: str, smtp_port: int) -> Addresses:
    """Return addresses with a free port for the page."""
    return Addresses(bootstrap, redis_url, smtp_port, free_port())
