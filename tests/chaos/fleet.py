"""The workers: they come, go, die and are started again."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from services.embedded.supervisor import Process, RestartPolicy, Supervisor
from support.ports import wait_until

ROOT = Path(__file__).resolve().parents[2]
ROLES = ("decide", "learn", "deliver")
# Killed on purpose, again and again: only somebody who never gets to work is broken.
POLICY = RestartPolicy(backoff_s=0.1, backoff_max_s=1.0, quick_deaths_max=60)


class Fleet:
    """Worker processes, each with a supervisor that starts it again when it dies.

    Parameters
    ----------
    env : settings of Kairos. logs : folder for their logs.
    """

    def __init__(self, env: Mapping[str, str], logs: Path) -> None:
        path = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
        self._env = {**env, "PYTHONUNBUFFERED": "1", "PYTHONPATH": path}
        self._logs = logs
        self._running: dict[str, Supervisor] = {}
        self._started = 0
        self._lock = threading.Lock()
        self.deaths: dict[str, int] = dict.fromkeys(ROLES, 0)

    def start(self, role: str, *, following: bool = False) -> str:
        """One more worker; `following`: of the next version."""
        with self._lock:
            self._started += 1
            name = f"{role}-{self._started}"
            supervisor = Supervisor(POLICY, grace_s=30.0)
        env = self._env | ({"CHAOS_NEXT": "1"} if following else {})
        supervisor.start(
            Process(name, (sys.executable, "-m", "chaos.worker", role), self._logs / f"{name}.log", env, cwd=ROOT)
        )
        with self._lock:
            self._running[name] = supervisor
        return name

    def wait_for_lanes(self, name: str, timeout_s: float = 60.0) -> None:
        """Return when a worker of decide was given its lanes."""
        path = self._logs / f"{name}.log"
        wait_until(lambda: path.exists() and b'"lanes"' in path.read_bytes(), f"{name} has lanes", timeout_s, 0.1)

    def stop(self, name: str, *, kill: bool = False) -> None:
        """Take a worker away: SIGTERM, or kill -9."""
        if kill:
            self.signal(name, signal.SIGKILL)
        with self._lock:
            supervisor = self._running.pop(name)
            self.deaths[name.partition("-")[0]] += sum(supervisor.restarts().values())
        supervisor.stop()

    def signal(self, name: str, number: signal.Signals) -> int:
        """Send a signal to a worker; returns its process id (0: it was dead at that moment)."""
        pid = self._running[name].pids().get(name, 0)
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return pid

    def names(self, role: str) -> list[str]:
        """Workers of a role, oldest first."""
        with self._lock:
            return [name for name in self._running if name.startswith(f"{role}-")]

    def restarts(self) -> int:
        """How often any worker was started again."""
        with self._lock:
            now = sum(sum(one.restarts().values()) for one in self._running.values())
        return now + sum(self.deaths.values())

    def check(self) -> None:
        """Raise if a worker cannot be started any more."""
        for supervisor in list(self._running.values()):
            supervisor.check()

    def close(self) -> None:
        """End all of them, together."""
        names = list(self._running)
        enders = [threading.Thread(target=self.stop, args=(name,)) for name in names]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()
