"""Bad input against the real role decide: each record has its answer, nothing stops, the audit finds no difference."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from kafka import KafkaProducer

from config.settings import Settings
from models.events import REASONS
from models.profile.codec import decode_profile
from models.wire import lane_of
from services.bus import create_topics
from services.bus.reader import read_topic
from services.embedded.stack import EmbeddedStack
from services.jobs.audit import run_audit
from services.state import keys
from services.state.lanes import read_lanes
from services.state.redis_lane import connect
from support.any_redis import any_redis
from support.kafka import KafkaServer
from support.lane import track
from support.ports import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
LANES = 3


@dataclass(slots=True)
class Shop:
    """A running decide, and a producer that may write anything anywhere."""

    stack: EmbeddedStack
    kill_redis: Callable[[], None]
    producer: Any
    expected: dict[tuple[str, int, int], str] = field(default_factory=dict)
    written: int = 0
    forwarded: int = 0

    @property
    def settings(self) -> Settings:
        return Settings()

    def write(
        self,
        value: bytes | None,
        *,
        user: str = "anna",
        topic: str = "clickstream",
        partition: int | None = None,
        headers: Any = (),
        reason: str | None = None,
    ) -> None:
        """Write one record; with a `reason`, it is expected in dead-letters."""
        place = lane_of(user, LANES) if partition is None else partition
        if any(content is None for _, content in headers):
            sent = asyncio.run(self._without_values(topic, value, user, place, headers))
        else:
            sent = self.producer.send(topic, value, user.encode(), partition=place, headers=list(headers)).get(30)
        self.written += 1
        if reason is not None:
            self.expected[sent.topic, sent.partition, sent.offset] = reason

    async def _without_values(self, topic: str, value: bytes | None, user: str, place: int, headers: Any) -> Any:
        """Headers that have none, as other clients write them; kafka-python does not."""
        producer = AIOKafkaProducer(bootstrap_servers=self.stack.bootstrap, acks="all")
        await producer.start()
        try:
            return await producer.send_and_wait(topic, value, user.encode(), partition=place, headers=list(headers))
        finally:
            await producer.stop()

    def settle(self, timeout_s: float = 90.0) -> None:
        """Wait until every record has its fate, those that were forwarded too."""

        def done() -> bool:
            self.stack.check()
            try:
                lanes = read_lanes(self.redis, LANES).values()
            except Exception:  # noqa: BLE001 - Redis is coming back
                return False
            return sum(lane.received for lane in lanes) >= self.written + self.forwarded

        self.redis = connect(self.stack.env()["KAIROS_REDIS__URL"])
        with closing(self.redis):
            wait_until(done, f"{self.written} + {self.forwarded} records", timeout_s, 0.1)

    redis: Any = None

    def dead_letters(self) -> dict[tuple[str, int, int], dict[str, Any]]:
        """What lies in dead-letters, by position; waits until it is all there."""
        found: dict[tuple[str, int, int], dict[str, Any]] = {}
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for record in read_topic(self.stack.bootstrap, "dead-letters"):
                letter = json.loads(record.value or b"{}")
                found[letter["topic"], letter["partition"], letter["offset"]] = letter
            if len(found) >= len(self.expected):
                break
            time.sleep(0.2)
        return found

    def events_of(self, user: str) -> int:
        """Events that the user's profile has counted."""
        with closing(connect(self.stack.env()["KAIROS_REDIS__URL"])) as client:
            packed: Any = client.get(keys.profile(lane_of(user, LANES), user))
        return 0 if packed is None else decode_profile(packed).events


def producer_for(bootstrap: str) -> Any:
    return KafkaProducer(
        bootstrap_servers=bootstrap, acks="all", linger_ms=0, max_request_size=3_000_000, enable_idempotence=False
    )


@pytest.fixture(params=["embedded", "apache"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Decide over the embedded servers, and over Apache Kafka and the system's Redis."""
    if request.param == "embedded":
        with EmbeddedStack(tmp_path, create_topics, roles=("decide",), lanes=LANES, ticker=False) as stack:
            pid = stack.supervisor.pids()["redis"]
            yield from running(stack, lambda: os.kill(pid, signal.SIGKILL), monkeypatch)
        return
    with KafkaServer(request.getfixturevalue("jars")) as kafka, any_redis() as redis:

        def kill() -> None:
            redis.kill()
            time.sleep(1.0)
            redis.start()

        with EmbeddedStack(
            tmp_path,
            create_topics,
            roles=("decide",),
            lanes=LANES,
            ticker=False,
            kafka=kafka.bootstrap,
            redis_url=redis.url,
        ) as stack:
            yield from running(stack, kill, monkeypatch)


def running(stack: EmbeddedStack, kill: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    for name, value in stack.env().items():
        monkeypatch.setenv(name, value)
    producer = producer_for(stack.bootstrap)
    try:
        yield Shop(stack, kill, producer)
    finally:
        producer.close(timeout=1.0)


def now_ms() -> int:
    return int(time.time() * 1000)


def test_everything_bad_has_its_answer(shop: Shop) -> None:
    at = now_ms() - 60_000

    def event(name: str = "Product Viewed", user: str = "anna", **more: Any) -> bytes:
        shop_event = json.loads(track(name, user, at, f"m{shop.written}", product_id="p1", price=2.5))
        return json.dumps(shop_event | more).encode()

    shop.write(event())
    shop.write(b"not json", reason="unreadable")
    shop.write(b"", reason="unreadable")
    shop.write(None, reason="unreadable")
    shop.write(b'{"type":"track","event":"X","userId":"\xff\xfe"}', reason="unreadable")
    shop.write(b"[" * 5_000, reason="unreadable")
    shop.write(event(properties={"price": "cheap"}), reason="wrong_type")
    shop.write(event(properties={"price": 1e300}), reason="wrong_type")
    shop.write(event(event=None), reason="wrong_type")
    shop.write(event(type="purchase"), reason="unknown_type")
    shop.write(event(userId=None), reason="missing_user")
    shop.write(event(timestamp="yesterday"), reason="bad_timestamp")
    shop.write(b'{"type":"tick","timestamp":"nan"}', reason="bad_timestamp")
    shop.write(event(timestamp=now_ms() + 3_600_000), reason="far_future")
    shop.write(b'{"type":"tick","timestamp":%d}' % (now_ms() + 3_600_000), reason="far_future")
    shop.write(event(context={"text": "x" * 1_000_000}), reason="too_large")
    shop.write(b"\xff" * 300_000, topic="feedback", reason="too_large")
    # None of these is bad enough.
    shop.write(event("Llama Fed"))
    shop.write(event(timestamp=now_ms() + 60_000))
    shop.write(event(timestamp=0))
    shop.write(event(), headers=[("content-type", None), ("kairos-origin", None), ("x", b"\xff")])
    # Twice the same id, from a client that retries.
    twice = event("Order Completed")
    shop.write(twice, topic="purchases")
    shop.write(twice, topic="purchases")
    # In another user's partition: forwarded. Said to have been forwarded already: refused.
    elsewhere = (lane_of("anna", LANES) + 1) % LANES
    stranger = next(f"u{i}" for i in range(99) if lane_of(f"u{i}", LANES) != elsewhere)
    shop.write(event(user=stranger), user=stranger, partition=elsewhere, headers=[("empty", None)])
    shop.forwarded += 1
    claimed = [(f"kairos-{part}", b"1") for part in ("origin", "lane", "epoch", "seq", "n")]
    shop.write(event(user=stranger), user=stranger, partition=elsewhere, headers=claimed, reason="misrouted")
    # Redis goes away in the middle, and comes back with what it had acknowledged.
    shop.settle()
    shop.kill_redis()
    shop.write(b"still not json", reason="unreadable")
    for _ in range(20):
        shop.write(event())
    shop.settle()

    letters = shop.dead_letters()
    assert {place: letter["reason"] for place, letter in letters.items()} == shop.expected
    assert set(shop.expected.values()) == set(REASONS) - {"failed", "timer_failed", "webhook_failed"}
    big = [letter for letter in letters.values() if letter["reason"] == "too_large"]
    assert all(letter["truncated"] for letter in big)
    assert shop.events_of("anna") == 1 + 4 + 1 + 20
    assert shop.events_of(stranger) == 1

    report = run_audit(shop.settings)
    assert report.differences == []
    assert report.ok
    assert {name: report.total(name) for name in ("received", "duplicate", "rejected", "forwarded")} == {
        "received": shop.written + shop.forwarded,
        "duplicate": 1,
        "rejected": len(shop.expected),
        "forwarded": 1,
    }
    assert sum(lane.in_flight for lane in report.lanes) == 0
