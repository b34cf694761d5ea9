"""The supervisor with real processes: waves, restarts, failures, and no orphans."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.embedded.process import Child, Process, ProcessFailedError, RestartPolicy, log_tail
from services.embedded.supervisor import Supervisor
from support.ports import wait_until

_IMPATIENT = RestartPolicy(backoff_s=0.01, backoff_max_s=0.05, quick_s=10.0, quick_deaths_max=5)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    made = Supervisor(_IMPATIENT, grace_s=1.0)
    yield made
    made.stop()


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., Process]:
    def make(name: str, code: str, **options: object) -> Process:
        argv = (sys.executable, "-c", textwrap.dedent(code))
        return Process(name, argv, tmp_path / f"{name}.log", **options)  # type: ignore[arg-type]

    return make


SLEEP = "import time; time.sleep(60)"


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # Ended, but not yet asked for by its parent: the state is the first word after the name.
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_killed_process_is_started_again(supervisor: Supervisor, python: Callable[..., Process]) -> None:
    supervisor.start(python("worker", SLEEP))
    first = supervisor.pids()["worker"]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: supervisor.restarts()["worker"] == 1 and "worker" in supervisor.pids(), "restart", 5)
    assert supervisor.pids()["worker"] != first
    supervisor.check()
    assert "ended by signal 9 (SIGKILL)" in log_tail(python("worker", SLEEP).log_path)


def test_a_process_that_must_not_restart_fails_the_stack(
    supervisor: Supervisor, python: Callable[..., Process]
) -> None:
    supervisor.start(python("broker", SLEEP, restart=False))
    os.kill(supervisor.pids()["broker"], signal.SIGKILL)
    with pytest.raises(ProcessFailedError, match="broker was ended by signal 9"):
        supervisor.wait(5)
    assert supervisor.restarts() == {"broker": 0}


def test_five_quick_deaths_are_a_failure_that_shows_the_log(
    supervisor: Supervisor, python: Callable[..., Process], tmp_path: Path
) -> None:
    supervisor.start(python("role", "import sys; print('no such module: banana', flush=True); sys.exit(3)"))
    with pytest.raises(ProcessFailedError) as raised:
        supervisor.wait(10)
    said = str(raised.value)
    assert "role ended with exit code 3, the 5th time in a row" in said
    assert "no such module: banana" in said
    assert str(tmp_path / "role.log") in said
    assert supervisor.restarts() == {"role": 4}
    assert supervisor.pids() == {}


def test_start_waits_until_ready(supervisor: Supervisor, python: Callable[..., Process], tmp_path: Path) -> None:
    flag = tmp_path / "ready"
    code = f"import time, pathlib; time.sleep(0.3); pathlib.Path({str(flag)!r}).touch(); time.sleep(60)"
    supervisor.start(python("slow", code, ready=flag.exists))
    assert flag.exists()


def test_not_ready_in_time_is_an_error(supervisor: Supervisor, python: Callable[..., Process]) -> None:
    with pytest.raises(ProcessFailedError, match=r"deaf was not ready after 0\.2 s"):
        supervisor.start(python("deaf", SLEEP, ready=lambda: False, ready_timeout_s=0.2))


def test_a_program_that_does_not_exist(supervisor: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(ProcessFailedError, match="no-such-program"):
        supervisor.start(Process("x", ("no-such-program",), tmp_path / "x.log", restart=False, ready=lambda: False))


def test_a_missing_working_directory(supervisor: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(ProcessFailedError, match="could not be started"):
        supervisor.start(Process("x", ("true",), tmp_path / "x.log", cwd=tmp_path / "nowhere", ready=lambda: False))


def test_two_processes_cannot_share_a_name(supervisor: Supervisor, python: Callable[..., Process]) -> None:
    supervisor.start(python("a", SLEEP))
    with pytest.raises(ValueError, match="named a"):
        supervisor.start(python("a", SLEEP))


def test_waves_end_in_reverse_order(supervisor: Supervisor, python: Callable[..., Process], tmp_path: Path) -> None:
    story = tmp_path / "story"
    code = f"""
        import signal, sys, time
        def end(*_):
            with open({str(story)!r}, "a") as story: story.write("NAME ")
            sys.exit(0)
        signal.signal(signal.SIGTERM, end)
        open({str(tmp_path)!r} + "/NAME.up", "w").close()
        time.sleep(60)
    """
    for name in ("server", "role"):
        supervisor.start(python(name, code.replace("NAME", name), ready=(tmp_path / f"{name}.up").exists))
    supervisor.stop()
    assert story.read_text().split() == ["role", "server"]


def test_what_ignores_sigterm_is_killed_with_its_children(
    supervisor: Supervisor, python: Callable[..., Process], tmp_path: Path
) -> None:
    pid_file = tmp_path / "grandchild"
    code = f"""
        import pathlib, signal, subprocess, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "60"])
        pathlib.Path({str(pid_file)!r}).write_text(str(child.pid) + "\\n")
        time.sleep(60)
    """
    supervisor.start(python("stubborn", code, ready=lambda: pid_file.exists() and pid_file.read_text().endswith("\n")))
    began = time.monotonic()
    supervisor.stop()
    assert 0.9 < time.monotonic() - began < 30
    wait_until(lambda: gone(int(pid_file.read_text())), "the grandchild to end", 20)


def test_environment_is_changed_and_inherited(
    supervisor: Supervisor, python: Callable[..., Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEPT", "kept")
    monkeypatch.setenv("TAKEN", "taken")
    out = tmp_path / "env"
    code = f"""
        import os, pathlib, time
        text = " ".join(os.environ.get(name, "-") for name in ("KEPT", "TAKEN", "NEW"))
        pathlib.Path({str(out)!r}).write_text(text + "\\n")
        time.sleep(60)
    """
    process = python(
        "env", code, env={"NEW": "new", "TAKEN": None}, ready=lambda: out.exists() and out.read_text() != ""
    )
    supervisor.start(process)
    assert out.read_text() == "kept - new\n"


def test_stop_twice_and_start_after_stop(supervisor: Supervisor, python: Callable[..., Process]) -> None:
    for _ in range(2):
        supervisor.start(python("again", SLEEP))
        assert list(supervisor.pids()) == ["again"]
        supervisor.stop()
        supervisor.stop()
        assert supervisor.pids() == {}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills children with their parent")
@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM])
def test_no_orphans_when_the_supervising_process_dies(tmp_path: Path, death: signal.Signals) -> None:
    code = f"""
        import sys, time, pathlib, threading
        from services.embedded.supervisor import Process, Supervisor
        supervisor = Supervisor()
        process = Process("child", ("sleep", "60"), pathlib.Path({str(tmp_path / "log")!r}))
        # From a thread that ends: the children must live on until the process dies.
        starter = threading.Thread(target=supervisor.start, args=(process,))
        starter.start(); starter.join()
        print(supervisor.pids()["child"], flush=True)
        time.sleep(60)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.5)
        assert not gone(child)
        parent.send_signal(death)
        parent.wait(5)
    wait_until(lambda: gone(child), "the child to die with its parent", 5)


def test_a_long_life_forgets_earlier_quick_deaths(python: Callable[..., Process]) -> None:
    """Time is an argument of a child's life: eight deaths, never five quick ones in a row."""
    child = Child(python("role", "pass"), RestartPolicy(backoff_s=1, quick_s=10, quick_deaths_max=5))
    now_s = 0.0
    child.start(now_s)
    for lives_s in (1, 1, 1, 1, 11, 1, 1, 1):
        assert child.failure is None
        wait_until(lambda: child.pid is not None and gone(child.pid), "its end", 5)
        now_s += lives_s
        child.tick(now_s)
        now_s += 100
        child.tick(now_s)
    child.end(1)
    assert child.restarts == 8


@pytest.mark.parametrize(("deaths", "pause_s"), [(0, 0.2), (1, 0.2), (2, 0.4), (3, 0.8), (20, 5.0)])
def test_pauses_double_up_to_a_limit(deaths: int, pause_s: float) -> None:
    assert RestartPolicy().pause_s(deaths) == pytest.approx(pause_s)


def test_log_tail(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert log_tail(log) == ""
    log.write_text("".join(f"line {n}\n" for n in range(10_000)))
    assert log_tail(log, 2) == "line 9998\nline 9999"
