"""Workers under load: they say how they are, end in time when asked, and end by themselves when they hang."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from services.bus import Publisher, create_topics
from services.embedded.stack import ROOT, EmbeddedStack
from services.jobs.audit import run_audit
from streams.vitals import STUCK
from support.any_redis import AnyRedis, any_redis
from support.chaos import Shop
from support.hanging_decide import MARKED
from support.kafka import KafkaServer
from support.ports import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ROLES = ("decide", "learn", "deliver")
LANES = 4


@pytest.fixture(scope="module")
def redis() -> Iterator[AnyRedis]:
    with any_redis() as server:
        yield server


@pytest.fixture(scope="module")
def stack(jars: Path, redis: AnyRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """All roles on Apache Kafka and the system's Redis, each with its health on a free port."""
    folder = tmp_path_factory.mktemp("vitals")
    with (
        KafkaServer(jars) as kafka,
        EmbeddedStack(
            folder,
            create_topics,
            roles=ROLES,
            lanes=LANES,
            kafka=kafka.bootstrap,
            redis_url=redis.url,
            settings={"KAIROS_HEALTH_PORT": "0", "KAIROS_REDIS__TIMEOUT_MS": "2000"},
        ) as made,
    ):
        yield made


def health(stack: EmbeddedStack, role: str, path: str = "/readyz") -> tuple[int, dict[str, Any]]:
    """Status and answer of the newest process of a role; 0 while there is none."""
    ports = re.findall(r'"port": (\d+), "event": "health"', (stack.log_dir / f"{role}.log").read_text())
    if not ports:
        return 0, {}
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{ports[-1]}{path}", timeout=2) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
    except OSError:
        return 0, {}


def ready(stack: EmbeddedStack, role: str) -> None:
    wait_until(lambda: health(stack, role)[0] == 200, f"{role} is ready", 60, 0.1)


@contextmanager
def load(bootstrap: str, rate: int = 1_500) -> Iterator[None]:
    """Events and ticks all the time."""
    ending, shop = threading.Event(), Shop(3)

    def publish() -> None:
        with Publisher(bootstrap) as bus:
            began, sent = time.monotonic(), 0
            while not ending.is_set():
                for topic, user, value in shop.take(100):
                    bus.publish(topic, value, user)
                sent += 100
                ending.wait(max(0.0, began + sent / rate - time.monotonic()))

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_every_role_says_that_it_is_alive_and_ready(stack: EmbeddedStack) -> None:
    for role in ROLES:
        ready(stack, role)
        status, told = health(stack, role, "/livez")
        assert (status, told["role"], told["why"]) == (200, role, [])
        assert health(stack, role, "/nothing")[0] == 404
    told = health(stack, "decide")[1]
    assert told["lanes"] == list(range(LANES))
    assert told["policy"]


def test_without_redis_decide_is_alive_and_not_ready(stack: EmbeddedStack, redis: AnyRedis) -> None:
    ready(stack, "decide")
    with load(stack.bootstrap):
        redis.kill()
        wait_until(lambda: health(stack, "decide")[0] == 503, "not ready", 20, 0.1)
        status, told = health(stack, "decide")
        assert (status, told["status"]) == (503, "not ready")
        assert any("lane" in why and "Redis" in why for why in told["why"]), told
        assert health(stack, "decide", "/livez")[0] == 200
        redis.start()
        ready(stack, "decide")


@pytest.mark.parametrize("role", ROLES)
def test_under_load_a_worker_ends_within_ten_seconds(stack: EmbeddedStack, role: str) -> None:
    ready(stack, role)
    with load(stack.bootstrap):
        time.sleep(3.0)
        pid = stack.supervisor.pids()[role]
        began = time.monotonic()
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: gone(pid), f"{role} ends", 15, 0.01)
        took_s = time.monotonic() - began
    print(f"{role}: {took_s:.2f} s from SIGTERM to the end, at 1,500 events/s")
    assert took_s < 10.0
    assert "worker_hangs" not in (stack.log_dir / f"{role}.log").read_text()
    ready(stack, role)  # and its successor goes on


def test_a_worker_whose_loop_hangs_ends_and_says_where(stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in stack.env().items():
        monkeypatch.setenv(name, value)
    for role in ROLES:
        ready(stack, role)
    stack.supervisor.stop()
    env = {**os.environ, "KAIROS_WATCHDOG_S": "4", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    worker = subprocess.Popen(
        [sys.executable, "-m", "support.hanging_decide"], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True
    )
    try:
        with Publisher(stack.bootstrap) as bus:
            properties = {"order_id": MARKED, "revenue": 5.0}
            bus.publish_event({"type": "track", "event": "Order Completed", "userId": "u", "properties": properties})
        _, said = worker.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            worker.kill()
    assert worker.returncode == STUCK
    assert "the event loop of decide has not turned for 4 s" in said
    assert "_hang_if_marked" in said  # where it hung
    report = run_audit(Settings())
    assert report.ok, report.sentences()
