"""Start processes, keep them running, and end them all."""

from __future__ import annotations

import atexit
import queue
import threading
import time
from collections.abc import Sequence

from services.embedded.process import Child, Process, ProcessFailedError, RestartPolicy

__all__ = ["Process", "ProcessFailedError", "RestartPolicy", "Supervisor"]

_POLL_S = 0.05


class Supervisor:
    """Runs processes in waves and starts those again that die.

    One thread of its own starts, watches and ends all of them, and lives as long as they do: on Linux a
    process is killed when the thread that started it ends (see :mod:`services.embedded.child`), so a thread
    of the caller's will not do.

    Parameters
    ----------
    policy : when a dead process is started again, and when that has no sense any more.
    grace_s : time between SIGTERM and SIGKILL when a wave is ended.

    Examples
    --------
    >>> import sys, tempfile, pathlib
    >>> log = pathlib.Path(tempfile.mkdtemp()) / "sleeper.log"
    >>> supervisor = Supervisor()
    >>> supervisor.start(Process("sleeper", (sys.executable, "-c", "import time; time.sleep(60)"), log))
    >>> list(supervisor.pids())
    ['sleeper']
    >>> supervisor.stop()
    >>> supervisor.pids()
    {}
    """

    def __init__(self, policy: RestartPolicy | None = None, grace_s: float = 10.0) -> None:
        self._policy = policy or RestartPolicy()
        self._grace_s = grace_s
        self._waves: list[list[Child]] = []
        self._new: queue.SimpleQueue[list[Child]] = queue.SimpleQueue()
        self._keeper: threading.Thread | None = None
        self._ending = threading.Event()
        self._failed = threading.Event()

    def start(self, *processes: Process) -> None:
        """Start one wave of processes and return when all of them are ready.

        Raises
        ------
        ProcessFailedError
            One of them died for good, or was not ready in time. What was started goes on until :meth:`stop`.
        """
        taken = {child.process.name for child in self._children()}
        for process in processes:
            if process.name in taken:
                raise ValueError(f"there is a process named {process.name} already")
            taken.add(process.name)
        if self._keeper is None:
            self._ending.clear()
            self._failed.clear()
            self._keeper = threading.Thread(target=self._keep, name="kairos-supervisor", daemon=True)
            self._keeper.start()
            atexit.register(self.stop)
        wave = [Child(process, self._policy) for process in processes]
        self._new.put(wave)
        for child in wave:
            self._wait_until_ready(child)

    def stop(self) -> None:
        """End all processes, the last wave first: SIGTERM, and SIGKILL for what is left after `grace_s`."""
        if self._keeper is None:
            return
        self._ending.set()
        self._keeper.join()
        self._keeper = None
        atexit.unregister(self.stop)

    def pids(self) -> dict[str, int]:
        """Process ids of what runs now, by name, in the order of the start."""
        return {child.process.name: child.pid for child in self._children() if child.pid is not None}

    def restarts(self) -> dict[str, int]:
        """How often each process was started again, by name."""
        return {child.process.name: child.restarts for child in self._children()}

    @property
    def failure(self) -> ProcessFailedError | None:
        """Why the stack no longer works, if so."""
        return next((child.failure for child in self._children() if child.failure is not None), None)

    def check(self) -> None:
        """Raise :class:`ProcessFailedError` if one of the processes has died for good."""
        failure = self.failure
        if failure is not None:
            raise failure

    def wait(self, timeout_s: float | None = None) -> None:
        """Return after `timeout_s`; None = never.

        Raises
        ------
        ProcessFailedError
            As soon as one of the processes has died for good.
        """
        self._failed.wait(timeout_s)
        self.check()

    def _children(self) -> Sequence[Child]:
        return [child for wave in tuple(self._waves) for child in wave]

    def _wait_until_ready(self, child: Child) -> None:
        process = child.process
        deadline_s = time.monotonic() + process.ready_timeout_s
        while not (child.pid is not None and (process.ready is None or process.ready())):
            self.check()
            if time.monotonic() > deadline_s:
                raise ProcessFailedError(
                    process.name, f"was not ready after {process.ready_timeout_s:g} s", process.log_path
                )
            time.sleep(_POLL_S)

    def _keep(self) -> None:
        while not self._ending.wait(_POLL_S):
            now_s = time.monotonic()
            while not self._new.empty():
                wave = self._new.get()
                self._waves.append(wave)
                for child in wave:
                    child.start(now_s)
            for child in self._children():
                child.tick(now_s)
            if self.failure is not None:
                self._failed.set()
        self._end_all()

    def _end_all(self) -> None:
        while self._waves:
            wave = self._waves.pop()
            for child in wave:
                child.ask_to_end()
            deadline_s = time.monotonic() + self._grace_s
            for child in wave:
                child.end(deadline_s - time.monotonic())
