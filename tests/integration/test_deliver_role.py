"""The deliver role as a process on Kafka, Redis and SMTP: killed, doubled, and never a mail twice."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis
from kafka import KafkaProducer

from models.delivery import DeliverFence
from models.wire import lane_of
from services.bus.reader import read_topic
from services.state.ledger import fence_key
from services.state.ledger_index import ledger_states
from services.state.redis_lane import connect
from support.any_redis import any_redis
from support.kafka import KafkaServer
from support.mail import MailSink
from support.messages import message
from support.ports import wait_until
from support.process import ChildProcess

LANES, COUNT = 4, 800
DELIVER = [sys.executable, "-m", "streams", "deliver"]


@pytest.fixture
def own_kafka(jars: Path) -> Iterator[KafkaServer]:
    """A broker of its own: the role reads and writes topics by their real names."""
    server = KafkaServer(jars)
    try:
        server.start()
        for topic in ("messages", "feedback", "dead-letters"):
            server.create_topic(topic, LANES)
        yield server
    finally:
        server.close()


def publish(producer: KafkaProducer, numbers: range, epoch: int) -> Counter[int]:
    """Publish commands of 50 users as the outbox does, every tenth twice; answers records per partition."""
    written: Counter[int] = Counter()
    for number in numbers:
        user = f"u{number % 50}"
        lane = lane_of(user, LANES)
        command = message(id=number, user=user, to=f"busy+{number}@example.com")
        place = (("lane", lane), ("epoch", epoch), ("seq", number), ("n", 0))
        headers = [(f"kairos-{name}", str(value).encode()) for name, value in place]
        for _ in range(2 if number % 10 == 0 else 1):
            producer.send("messages", msgspec.json.encode(command), user.encode(), partition=lane, headers=headers)
            written[lane] += 1
    producer.flush()
    return written


def offset_of(client: redis.Redis, lane: int) -> int:
    """Deliver's position in a partition."""
    raw = client.get(fence_key(lane))
    return (msgspec.msgpack.decode(raw, type=DeliverFence).offset or 0) if isinstance(raw, bytes) else 0


def state_of(client: redis.Redis, message_id: str) -> str:
    """State of a message in the ledger."""
    return ledger_states(client).get(message_id, "")


@pytest.mark.slow
@pytest.mark.chaos
def test_killed_and_doubled_deliver_sends_no_mail_twice(
    own_kafka: KafkaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MailSink() as sink, any_redis() as server:
        settings = {
            "KAIROS_KAFKA__BOOTSTRAP": own_kafka.bootstrap,
            "KAIROS_KAFKA__SESSION_TIMEOUT_MS": "6000",
            "KAIROS_REDIS__URL": server.url,
            "KAIROS_SMTP__PORT": str(sink.port),
            "KAIROS_CHUNK_MAX": "20",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        workers = [ChildProcess(f"deliver-{n}", tmp_path / f"deliver-{n}.log") for n in range(2)]
        client = connect(server.url)
        producer = KafkaProducer(bootstrap_servers=own_kafka.bootstrap)
        try:
            written = publish(producer, range(COUNT // 2), 1)
            producer.send("messages", b"not a command", partition=0)
            written[0] += 1
            workers[0].start(DELIVER, lambda: True, 5)
            for stop_at in (40, 140):  # dies twice in the middle of its work
                wait_until(lambda: len(sink.mails) >= stop_at, f"{stop_at} mails", 60)  # noqa: B023
                workers[0].kill()
                workers[0].start(DELIVER, lambda: True, 5)
            wait_until(lambda: len(sink.mails) >= 200, "200 mails", 60)
            workers[1].start(DELIVER, lambda: True, 5)  # a second one joins: partitions move in order
            written += publish(producer, range(COUNT // 2, COUNT), 1)
            # decide went back in time and published it all again under a new epoch.
            written += publish(producer, range(0, COUNT, 7), 2)

            def done() -> bool:
                return all(offset_of(client, lane) == written[lane] for lane in range(LANES))

            wait_until(done, "all of messages", 120)
            live = [json.loads(client.get(key) or b"{}") for key in client.scan_iter("live:worker:deliver:*")]
            assert live
            assert all(one["role"] == "deliver" for one in live)
            ended = [f"-{worker.pid}" for worker in workers]
            for worker in workers:
                worker.stop()
            # Whoever ends in order takes itself off the page; who was killed is seen until the key's time is over.
            left = [str(key, "ascii") for key in client.scan_iter("live:worker:deliver:*") if isinstance(key, bytes)]
            assert not [key for key in left if key.endswith(tuple(ended))]
        except BaseException as error:
            for n in range(2):
                log = tmp_path / f"deliver-{n}.log"
                error.add_note(log.read_text()[-5000:] if log.exists() else "no log")
            raise
        finally:
            for worker in workers:
                worker.kill() if worker.running else None
            producer.close()

        assert set(sink.ids().values()) == {1}
        ids = [message(id=number).id for number in range(COUNT)]
        states = {one: state_of(client, one) for one in ids}
        assert set(states.values()) <= {"delivered", "unknown"}
        unknown = {one for one, state in states.items() if state == "unknown"}
        assert len(unknown) <= 2 * 4  # two deaths with four connections each
        assert sink.ids().keys() >= states.keys() - unknown
        told = [json.loads(record.value or b"") for record in read_topic(own_kafka.bootstrap, "feedback")]
        assert {event["properties"]["message_id"] for event in told} == set(ids)
        assert len({event["messageId"] for event in told}) == COUNT  # told again is told under the same id
        letters = [json.loads(record.value or b"") for record in read_topic(own_kafka.bootstrap, "dead-letters")]
        # At least once: read again after a death, it is told again, from the same place.
        places = {(letter["topic"], letter["partition"], letter["offset"], letter["reason"]) for letter in letters}
        assert len(places) == 1
        assert next(iter(places))[::3] == ("messages", "unreadable")
