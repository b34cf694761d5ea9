"""What the stack tells its processes and other commands; the integration tests start the processes."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings import load_settings
from services.embedded.broker import broker_answers
from services.embedded.ports import answers, free_port, free_ports, is_free
from services.embedded.redis import redis_answers
from services.embedded.runfile import RunInfo, find_running, remove_run_file, write_run_file
from services.embedded.stack import ROLES, EmbeddedStack


def info(pid: int) -> RunInfo:
    return RunInfo(pid, 1, {"KAIROS_LANES": "4"}, "/mails", "/logs", "http://127.0.0.1:1")


def test_the_run_file_is_found_while_its_process_lives(tmp_path: Path) -> None:
    assert find_running(tmp_path) is None
    path = write_run_file(tmp_path, info(os.getpid()))
    assert find_running(tmp_path) == info(os.getpid())
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    remove_run_file(tmp_path)
    remove_run_file(tmp_path)
    assert find_running(tmp_path) is None


def test_the_run_file_of_a_dead_process_does_not_count(tmp_path: Path) -> None:
    done = subprocess.Popen(["true"])
    done.wait()
    write_run_file(tmp_path, info(done.pid))
    assert find_running(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", '{"pid": "x"}', "[]"])
def test_a_broken_run_file_does_not_count(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    assert find_running(tmp_path) is None


def test_unknown_roles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no such roles: decode; there are decide"):
        EmbeddedStack(tmp_path, roles=("decode",))


def test_ports_are_known_after_the_start_only(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="not been started"):
        EmbeddedStack(tmp_path).env()


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_of_a_role_is_a_setting(tmp_path: Path, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = EmbeddedStack(tmp_path, lanes=3, ticker=False, config_dir=tmp_path, settings={"KAIROS_LOG_LEVEL": "DEBUG"})
    stack._env = stack._make_env(1001, 1002, 1003, 1004)
    for name, value in stack.role(role).env.items():
        monkeypatch.setenv(name, str(value))
    found = load_settings()
    assert (found.kafka.bootstrap, found.smtp.port, found.http.port) == (
        "127.0.0.1:1001",
        1003,
        1004,
    )
    assert found.redis.url.get_secret_value() == "redis://127.0.0.1:1002/0"
    assert (found.lanes, found.ticker, found.config_dir) == (3, False, tmp_path.resolve())
    assert (found.log_level, found.kafka.session_timeout_ms) == ("DEBUG", 6000)
    assert found.http.public_url == "http://127.0.0.1:1004"


def test_own_servers_are_named_and_not_started(tmp_path: Path) -> None:
    stack = EmbeddedStack(tmp_path, kafka="kafka.test:9092", redis_url="redis://redis.test:6379/3")
    env = stack._make_env(1, 2, 3, 4)
    assert (env["KAIROS_KAFKA__BOOTSTRAP"], env["KAIROS_REDIS__URL"]) == (
        "kafka.test:9092",
        "redis://redis.test:6379/3",
    )
    # A Kafka on the network may need longer than one on this machine.
    assert "KAIROS_KAFKA__SESSION_TIMEOUT_MS" not in env
    assert [process.name for process in stack._servers(1, 2, 3)] == ["mailsink"]


@settings(deadline=None, max_examples=20)
@given(count=st.integers(1, 50))
def test_free_ports_differ_and_are_free(count: int) -> None:
    ports = free_ports(count)
    assert len(set(ports)) == count
    assert all(20_000 <= port < 32_000 for port in ports)


def test_nothing_answers_on_a_free_port() -> None:
    port = free_port()
    assert is_free(port)
    assert not answers("127.0.0.1", port)
    assert not redis_answers("127.0.0.1", port)
    assert not broker_answers("127.0.0.1", port)
