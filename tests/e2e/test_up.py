"""`kairos up` and `kairos demo` end in order when they are asked to: SIGTERM, as a service manager sends it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.embedded.runfile import find_running
from services.state.live import worker_seen_ms
from services.state.redis_lane import connect
from support.ports import free_port, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
KAIROS = (sys.executable, "-c", "import sys; from services.cli import main; sys.exit(main())")


@contextmanager
def kairos(folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command with its output in `said.txt`; killed at the end if it still runs."""
    command = (*KAIROS, *words, "--data-dir", str(folder / "data"), "--port", str(free_port()), "--lanes", "2")
    with (folder / "said.txt").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def said(folder: Path) -> str:
    logs = [folder / "said.txt", *sorted((folder / "data" / "logs").glob("*.log"))]
    return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in logs)


def children(pid: int) -> list[int]:
    """Process ids that `pid` started and that live."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return sorted(int(child) for path in tasks for child in path.read_text().split())


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def works(folder: Path, *roles: str) -> bool:
    """Whether workers of these roles have told about themselves."""
    running = find_running(folder / "data")
    if running is None:
        return False
    client = connect(running.env["KAIROS_REDIS__URL"])
    try:
        return all(worker_seen_ms(client, role) is not None for role in roles)
    finally:
        client.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("words", "code"),
    [(("up",), 0), (("demo", "--once", "--days", "60"), 130)],
    ids=["up", "demo"],
)
def test_sigterm_ends_everything_in_order(tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    with kairos(tmp_path, *words) as process:
        wait_until(
            lambda: process.poll() is not None or works(tmp_path, "decide", "learn", "deliver", "judge"),
            "all roles",
            90,
            interval_s=0.2,
        )
        assert process.poll() is None, said(tmp_path)
        started = children(process.pid)
        assert len(started) == 8, "broker, Redis, mail sink, four roles and the page"

        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == code, said(tmp_path)

    assert not [pid for pid in started if lives(pid)]
    assert (tmp_path / "said.txt").read_text().rstrip().endswith("Stopped.")
    assert find_running(tmp_path / "data") is None
    logs = {path.stem: path.read_text(errors="replace") for path in (tmp_path / "data" / "logs").glob("*.log")}
    assert {"decide", "learn", "deliver", "dashboard", "redis", "broker", "mailsink"} <= logs.keys()
    # What the supervisor notes in a log: deaths, and what it had to kill.
    assert not [name for name, log in logs.items() if "[kairos]" in log], said(tmp_path)
    for role in ("decide", "learn", "deliver"):
        assert "Signal received: 15" in logs[role]
        assert "Closing event loop" in logs[role], "faust's last word when it ends in order"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_sigterm_while_it_starts_leaves_nothing_behind(tmp_path: Path) -> None:
    with kairos(tmp_path, "up") as process:
        wait_until(lambda: bool(children(process.pid)), "the first server", 60)
        started = children(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0, said(tmp_path)
    wait_until(lambda: not [pid for pid in started if lives(pid)], "the end of the servers", 5)
    assert "Traceback" not in (tmp_path / "said.txt").read_text()
