"""One process of the embedded stack: what to run, and the life of what runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from models.errors import KairosError

_CHILD = Path(__file__).with_name("child.py")
_TAIL_LINES = 20
_TAIL_BYTES = 8_192


class ProcessFailedError(KairosError):
    """A process of the stack ended and will not be started again, or did not become ready.

    Parameters
    ----------
    name : which one.
    why : what happened to it, for a person.
    log_path : its log; the last lines are in the message.
    """

    def __init__(self, name: str, why: str, log_path: Path) -> None:
        tail = log_tail(log_path)
        said = f"Its last words ({log_path}):\n{tail}" if tail else f"It wrote nothing into {log_path}."
        super().__init__(f"{name} {why}. {said}")
        self.name, self.why, self.log_path = name, why, log_path


@dataclass(frozen=True, slots=True)
class Process:
    """What to run.

    Parameters
    ----------
    name : short name, unique in its supervisor.
    argv : program and arguments.
    log_path : file that its standard output and error are appended to.
    env : changes to the environment that this process was started with; None takes a variable away.
    restart : start it again when it dies. If False, its death is the failure of the whole stack.
    cwd : working directory; None = the same as ours.
    ready : answers whether it does its work now; asked until it says yes. None = ready when started.
    ready_timeout_s : it has this long to become ready.
    """

    name: str
    argv: tuple[str, ...]
    log_path: Path
    env: Mapping[str, str | None] = field(default_factory=lambda: MappingProxyType({}))
    restart: bool = True
    cwd: Path | None = None
    ready: Callable[[], bool] | None = None
    ready_timeout_s: float = 30.0

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it in a session of its own (Ctrl-C in a terminal reaches the supervisor alone).

        Notes
        -----
        On Linux it dies with the *thread* that calls this: call it from one that lives as long as the stack.
        """
        merged: dict[str, str | None] = {**os.environ, **self.env}
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                # -I and -S: the launcher needs neither site-packages nor PYTHONPATH; the program gets its
                # own.
                (sys.executable, "-I", "-S", str(_CHILD), str(os.getpid()), *self.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={name: value for name, value in merged.items() if value is not None},
                cwd=self.cwd,
                start_new_session=True,
            )

    def note(self, text: str) -> None:
        """Append a line of the supervisor to the log of the process."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("a", encoding="utf-8") as log:
            log.write(f"[kairos] {text}\n")


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a dead process is started again.

    Parameters
    ----------
    backoff_s : pause before the first new start; doubled for each quick death that follows another.
    backoff_max_s : longest pause.
    quick_s : a death within this time of the start is a quick one.
    quick_deaths_max : that many quick deaths in a row are a failure: it cannot run.
    """

    backoff_s: float = 0.2
    backoff_max_s: float = 5.0
    quick_s: float = 10.0
    quick_deaths_max: int = 5

    def pause_s(self, quick_deaths: int) -> float:
        """Pause before the next start after `quick_deaths` quick deaths in a row."""
        return min(self.backoff_max_s, self.backoff_s * 2.0 ** max(0, quick_deaths - 1))


class Child:
    """The life of one process: start, deaths, new starts. Time is an argument; no thread of its own."""

    def __init__(self, process: Process, policy: RestartPolicy) -> None:
        self.process = process
        self.restarts = 0
        self.failure: ProcessFailedError | None = None
        self._policy = policy
        self._running: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._start_at_s = 0.0
        self._quick_deaths = 0

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._running.pid if self._running is not None and self._running.returncode is None else None

    def start(self, now_s: float) -> None:
        """Start it."""
        try:
            self._running = self.process.spawn()
        except OSError as error:
            self._running = None
            self.failure = ProcessFailedError(
                self.process.name, f"could not be started: {error}", self.process.log_path
            )
            return
        self._started_s = now_s

    def tick(self, now_s: float) -> None:
        """Notice a death, and start it again when its pause is over."""
        if self.failure is not None:
            return
        if self._running is not None:
            code = self._running.poll()
            if code is not None:
                self._running = None
                self._died(code, now_s)
        elif now_s >= self._start_at_s:
            self.restarts += 1
            self.start(now_s)

    def _died(self, code: int, now_s: float) -> None:
        why = f"was ended by signal {-code} ({_signal_name(-code)})" if code < 0 else f"ended with exit code {code}"
        lived_s = now_s - self._started_s
        self.process.note(f"{self.process.name} {why} after {lived_s:.1f} s")
        self._quick_deaths = self._quick_deaths + 1 if lived_s < self._policy.quick_s else 0
        if not self.process.restart:
            self.failure = ProcessFailedError(self.process.name, why, self.process.log_path)
        elif self._quick_deaths >= self._policy.quick_deaths_max:
            quick = f"the {self._quick_deaths}th time in a row within {self._policy.quick_s:g} s of its start"
            self.failure = ProcessFailedError(self.process.name, f"{why}, {quick}", self.process.log_path)
        self._start_at_s = now_s + self._policy.pause_s(self._quick_deaths)

    def ask_to_end(self) -> None:
        """Send SIGTERM, if it runs."""
        if self._running is not None and self._running.poll() is None:
            self._running.terminate()

    def end(self, timeout_s: float) -> None:
        """Wait for its end; after `timeout_s` kill it and everything it started."""
        if self._running is None:
            return
        try:
            self._running.wait(max(0.0, timeout_s))
        except subprocess.TimeoutExpired:
            self.process.note(f"{self.process.name} did not end in time and is killed")
            # It leads its own session (start_new_session), so its group is named by its process id.
            os.killpg(self._running.pid, signal.SIGKILL)
            self._running.wait()
        self._running = None


def log_tail(path: Path, lines: int = _TAIL_LINES) -> str:
    """Last lines of a log file, or nothing if there is none."""
    try:
        with path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - _TAIL_BYTES))
            text = log.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
