"""Starting `support.chunk_worker` as a process of its own and following its story."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.chunk_worker import WorkerPlan

ROOT = Path(__file__).resolve().parents[2]


class WorkerProcess:
    """One worker process; its output goes to a file."""

    def __init__(self, plan: WorkerPlan, folder: Path) -> None:
        self.plan = plan
        self._log = folder / f"{plan.name}-{time.monotonic_ns()}.log"
        paths = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "support.chunk_worker", plan.to_json()],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": paths},
                start_new_session=True,
            )

    def story(self, *events: str) -> list[dict[str, Any]]:
        """What it reported, all of it or the events named."""
        lines = (line for line in self.log().splitlines() if line.startswith('{"event"') and line.endswith("}"))
        told: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [line for line in told if not events or line["event"] in events]

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for(self, event: str, timeout_s: float = 40.0) -> dict[str, Any]:
        """Wait until it reports `event`; answers the first such report."""
        self.wait_until(lambda: bool(self.story(event)), event, timeout_s)
        return self.story(event)[0]

    def wait_until(self, done: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
        """Wait for `done` while the worker lives."""
        deadline = time.monotonic() + timeout_s
        while not done():
            if self._process.poll() is not None:
                raise AssertionError(f"worker ended with {self._process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: not within {timeout_s:g} s:\n{self.tail()}")
            time.sleep(0.05)

    def ended(self, timeout_s: float = 60.0) -> int:
        """Wait for its end; answers the exit status."""
        return self._process.wait(timeout_s)

    def stop(self, timeout_s: float = 10.0) -> int:
        """SIGTERM; answers the exit status, fails when it takes longer than `timeout_s`."""
        self._process.terminate()
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running {timeout_s:g} s after SIGTERM:\n{self.tail()}") from None

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    def tail(self, size: int = 4000) -> str:
        return self.log()[-size:]
