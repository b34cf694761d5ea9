"""The servers of the chaos suite misbehave as they say: a proxy that breaks nothing proves nothing."""

import os
import smtplib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from chaos.control import LOOPBACK, tell
from chaos.sink import read_mails

from services.state.redis_lane import connect
from support.ports import accepts, free_port
from support.process import ChildProcess
from support.redis import RedisServer, redis_binary

TESTS = Path(__file__).resolve().parents[1]


@contextmanager
def running(name: str, folder: Path, *words: object) -> Iterator[int]:
    """One of the two; gives its control port."""
    process, control = ChildProcess(name, folder / f"{name}.log"), free_port()
    port, *rest = words
    argv = [sys.executable, "-m", f"chaos.{name}", str(port), str(control), *map(str, rest)]
    process.start(argv, lambda: accepts(control), 20.0, {**os.environ, "PYTHONPATH": str(TESTS)})
    try:
        yield control
    finally:
        process.stop()


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer(redis_binary()) as found:
        yield found


def test_the_proxy_loses_answers_cuts_and_delays(server: RedisServer, tmp_path: Path) -> None:
    port = free_port()
    with running("proxy", tmp_path, port, server.port) as control, RedisServer(redis_binary()) as other:
        client, direct = connect(f"redis://{LOOPBACK}:{port}/0"), connect(server.url)

        def add() -> None:
            pipe = client.pipeline(transaction=True)
            pipe.incr("n")
            pipe.execute()

        add()
        tell(control, "swallow 1")
        with pytest.raises((redis.RedisError, OSError)):
            add()
        assert (direct.get("n"), tell(control, "swallowed")) == (b"2", "1"), "carried out, and nobody was told"
        add()
        watching: Any = client.pipeline()
        watching.watch("n")
        assert tell(control, "cut") != "0"
        with pytest.raises((redis.RedisError, OSError)):
            watching.get("n")
        watching.reset()
        assert direct.get("n") == b"3"
        tell(control, "delay 150")
        began = time.monotonic()
        add()
        assert time.monotonic() - began >= 0.15
        tell(control, "delay 0")
        tell(control, f"target {other.port}")
        elsewhere = connect(f"redis://{LOOPBACK}:{port}/0")
        assert elsewhere.get("n") is None, "the other server"
        for one in (client, direct, elsewhere):
            one.close()


def test_the_sink_takes_a_mail_and_hangs_up(tmp_path: Path) -> None:
    port, mails = free_port(), tmp_path / "mails.txt"
    with running("sink", tmp_path, port, mails) as control:

        def send(ident: str) -> None:
            with smtplib.SMTP(LOOPBACK, port, timeout=5) as smtp:
                smtp.sendmail("a@x.test", ["b@x.test"], f"Subject: Hello\r\nX-Kairos-Message-Id: {ident}\r\n\r\nHello")

        send("one")
        tell(control, "drop 60")
        with pytest.raises((smtplib.SMTPException, OSError)):
            send("two")
        tell(control, "drop 0")
        tell(control, "busy 60")
        with pytest.raises(smtplib.SMTPDataError):
            send("three")
        assert read_mails(mails) == [("one", "answered"), ("two", "dropped")]
        assert tell(control, "count") == "2"
