"""All of Kairos on one machine with nothing to install: ``kairos demo`` and ``kairos up``."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from models.errors import KairosError
from services.embedded.broker import broker_process
from services.embedded.mailsink import mailsink_process
from services.embedded.ports import LOOPBACK, answers, free_ports
from services.embedded.process import Process
from services.embedded.redis import redis_process
from services.embedded.runfile import RunInfo, find_running, remove_run_file, write_run_file
from services.embedded.supervisor import RestartPolicy, Supervisor

ROOT = Path(__file__).resolve().parents[2]
ROLES: tuple[str, ...] = ("decide", "learn", "deliver", "judge", "dashboard")

# Joining a group takes half the session timeout on the embedded broker; a worker on this machine is never 6 s
# away.
_SESSION_TIMEOUT_MS = 6_000


class AlreadyRunningError(KairosError):
    """A stack runs with this data folder already."""


class EmbeddedStack:
    """Broker, Redis, mail sink and the roles of Kairos as processes of this machine.

    Parameters
    ----------
    data_dir : folder for Redis's file, mails, logs and ``run.json``; made if missing.
    create_topics : called with the broker's address and the number of lanes before the roles start; it
        creates the topics (``services.bus.admin.create_topics``). None: somebody else does.
    roles : what to start, of :data:`ROLES`.
    lanes : partitions of every topic that is keyed by user.
    kafka : address of a Kafka that runs already; None starts the embedded broker.
    redis_url : address of a Redis that runs already; None starts the embedded one.
    http_port : port of the page; None takes a free one.
    config_dir : folder with campaigns, offers, experiments and templates; None = that of Kairos.
    ticker : write a tick into every input partition each second; off while a replay makes the time pass.
    fetch_max_wait_ms : how long the workers let the broker wait for records. On the embedded broker about a
        quarter of it is added to the latency at the median and half at most, and it must exceed 0.7 us times
        the number of batches in a partition (see ``docs/adr/0003-embedded-stack.md``).
    settings : further ``KAIROS_*`` variables for the roles; they win over those made here.
    policy : when a dead process is started again.

    Notes
    -----
    The embedded broker keeps its log in memory. A Redis that remembers positions of a log that is gone cannot
    be used with a new one, so the state of an earlier run of the embedded broker is moved to ``previous/`` at
    the start.

    Examples
    --------
    >>> from services.bus.admin import create_topics                        # doctest: +SKIP
    >>> with EmbeddedStack(Path(".kairos"), create_topics) as stack:        # doctest: +SKIP
    ...     print(stack.url)
    ...     stack.wait()
    """

    def __init__(  # noqa: PLR0913 (all but two by name)
        self,
        data_dir: Path,
        create_topics: Callable[[str, int], object] | None = None,
        *,
        roles: Sequence[str] = ROLES,
        lanes: int = 4,
        kafka: str | None = None,
        redis_url: str | None = None,
        http_port: int | None = None,
        config_dir: Path | None = None,
        ticker: bool = True,
        fetch_max_wait_ms: int = 20,
        settings: Mapping[str, str] = MappingProxyType({}),
        policy: RestartPolicy | None = None,
    ) -> None:
        unknown = set(roles) - set(ROLES)
        if unknown:
            raise ValueError(f"no such roles: {', '.join(sorted(unknown))}; there are {', '.join(ROLES)}")
        self.data_dir = data_dir.resolve()
        self.supervisor = Supervisor(policy)
        self._create_topics = create_topics
        self._roles = tuple(roles)
        self._lanes = lanes
        self._external_kafka, self._external_redis = kafka, redis_url
        self._http_port = http_port
        self._config_dir = config_dir
        self._ticker = ticker
        self._fetch_max_wait_ms = fetch_max_wait_ms
        self._settings = dict(settings)
        self._env: dict[str, str] = {}

    @property
    def mail_dir(self) -> Path:
        """Folder of the mail sink."""
        return self.data_dir / "mails"

    @property
    def log_dir(self) -> Path:
        """Folder of the logs, one file per process."""
        return self.data_dir / "logs"

    @property
    def url(self) -> str:
        """Address of the page."""
        return self._started_env()["KAIROS_HTTP__PUBLIC_URL"]

    @property
    def bootstrap(self) -> str:
        """Address of the broker."""
        return self._started_env()["KAIROS_KAFKA__BOOTSTRAP"]

    def env(self) -> dict[str, str]:
        """``KAIROS_*`` variables that lead a process of Kairos to this stack."""
        return dict(self._started_env())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and return when the servers answer and the roles have been started.

        Raises
        ------
        AlreadyRunningError
            Another stack uses this data folder.
        EmbeddedUnavailableError
            The extra ``kairos[embedded]`` is not installed or not made for this platform.
        ProcessFailedError
            A process did not start; the end of its log is in the message.
        """
        running = find_running(self.data_dir)
        if running is not None:
            raise AlreadyRunningError(
                f"Kairos runs already in {self.data_dir} (process {running.pid}, page {running.url}). "
                "Stop it first, or choose another folder."
            )
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._set_earlier_run_aside()
        broker_port, redis_port, mail_port, http_port = free_ports(4)
        self._env = self._make_env(broker_port, redis_port, mail_port, self._http_port or http_port)
        try:
            self.supervisor.start(*self._servers(broker_port, redis_port, mail_port))
            if self._create_topics is not None:
                self._create_topics(self._env["KAIROS_KAFKA__BOOTSTRAP"], self._lanes)
            # Written before the roles start: whoever sees a role can find the stack.
            write_run_file(self.data_dir, self._run_info())
            self.supervisor.start(*(self.role(name) for name in self._roles))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything, the roles first."""
        self.supervisor.stop()
        if self._env:
            remove_run_file(self.data_dir)

    def check(self) -> None:
        """Raise ``ProcessFailedError`` if a process has died for good."""
        self.supervisor.check()

    def wait(self, timeout_s: float | None = None) -> None:
        """Return after `timeout_s` (None = never); raise ``ProcessFailedError`` if a process dies."""
        self.supervisor.wait(timeout_s)

    def role(self, name: str) -> Process:
        """Describe the process of one role."""
        page = name == "dashboard"
        module = ("services.dashboard",) if page else ("streams", name)
        port = int(self._started_env()["KAIROS_HTTP__PORT"])
        return Process(
            name=name,
            argv=(sys.executable, "-m", *module),
            env={**self._started_env(), "PYTHONUNBUFFERED": "1"},
            log_path=self.log_dir / f"{name}.log",
            # `-m` looks for the packages of Kairos in the working directory, wherever the caller stands.
            cwd=ROOT,
            ready=(lambda: answers(LOOPBACK, port)) if page else None,
        )

    def _servers(self, broker_port: int, redis_port: int, mail_port: int) -> list[Process]:
        servers = [mailsink_process(mail_port, self.mail_dir, self.log_dir / "mailsink.log")]
        if self._external_redis is None:
            servers.insert(0, redis_process(redis_port, self.data_dir / "redis", self.log_dir / "redis.log"))
        if self._external_kafka is None:
            servers.insert(0, broker_process(broker_port, self.data_dir, self.log_dir / "broker.log"))
        return servers

    def _make_env(self, broker_port: int, redis_port: int, mail_port: int, http_port: int) -> dict[str, str]:
        made = {
            "KAIROS_KAFKA__BOOTSTRAP": self._external_kafka or f"{LOOPBACK}:{broker_port}",
            "KAIROS_REDIS__URL": self._external_redis or f"redis://{LOOPBACK}:{redis_port}/0",
            "KAIROS_SMTP__HOST": LOOPBACK,
            "KAIROS_SMTP__PORT": str(mail_port),
            "KAIROS_HTTP__HOST": LOOPBACK,
            "KAIROS_HTTP__PORT": str(http_port),
            "KAIROS_HTTP__PUBLIC_URL": f"http://{LOOPBACK}:{http_port}",
            "KAIROS_LANES": str(self._lanes),
            "KAIROS_TICKER": str(self._ticker).lower(),
            "KAIROS_FETCH_MAX_WAIT_MS": str(self._fetch_max_wait_ms),
        }
        if self._external_kafka is None:
            made["KAIROS_KAFKA__SESSION_TIMEOUT_MS"] = str(_SESSION_TIMEOUT_MS)
        if self._config_dir is not None:
            made["KAIROS_CONFIG_DIR"] = str(self._config_dir.resolve())
        return made | self._settings

    def _started_env(self) -> dict[str, str]:
        if not self._env:
            raise RuntimeError("the stack has not been started: its ports are not known yet")
        return self._env

    def _run_info(self) -> RunInfo:
        return RunInfo(
            pid=os.getpid(),
            started_at=int(time.time() * 1000),
            env=self._env,
            mail_dir=str(self.mail_dir),
            log_dir=str(self.log_dir),
            url=self.url,
        )

    def _set_earlier_run_aside(self) -> None:
        kept = [self.log_dir, self.mail_dir]
        if self._external_kafka is None and self._external_redis is None:
            kept.append(self.data_dir / "redis")
        previous = self.data_dir / "previous"
        if any(folder.exists() for folder in kept):
            shutil.rmtree(previous, ignore_errors=True)
            previous.mkdir()
        for folder in kept:
            if folder.exists():
                folder.rename(previous / folder.name)
