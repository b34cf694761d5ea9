"""A child process that writes to a log file and is ended by its id."""

import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from support.ports import wait_until


class ChildProcess:
    """One server process: started, stopped, killed, paused and resumed.

    Parameters
    ----------
    name
        What error messages call it.
    log_path
        File that takes its output; the tail of it is part of every error.
    """

    def __init__(self, name: str, log_path: Path) -> None:
        self._name = name
        self._log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id.

        Raises
        ------
        RuntimeError
            When it does not run.
        """
        if self._process is None:
            raise RuntimeError(f"{self._name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(
        self,
        command: Sequence[str],
        ready: Callable[[], bool],
        timeout_s: float,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start the command and wait until `ready` says yes; on failure nothing is left running."""
        if self.running:
            raise RuntimeError(f"{self._name} is already running")
        with self._log_path.open("ab") as log:
            # A session of its own: Ctrl-C reaches the tests alone, which then stop the server in order.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=env,
            )
        try:
            wait_until(lambda: self._ended() or ready(), self._name, timeout_s)
            if self._ended():
                raise RuntimeError(f"{self._name} ended with status {self._process.returncode}")
        except BaseException as error:
            error.add_note(self.log_tail())
            self.kill()
            raise

    def stop(self, timeout_s: float = 30.0) -> None:
        """Ask it to end (SIGTERM) and wait; kill it when it does not."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self.resume()
            self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End it at once (SIGKILL), as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause` (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def log_tail(self, lines: int = 30) -> str:
        """Return the last lines that it wrote."""
        if not self._log_path.exists():
            return "(no log)"
        return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-lines:])

    def _ended(self) -> bool:
        return not self.running

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
