"""The learn role as a process on Kafka and Redis: killed in the middle, every example is learned once."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis
from kafka import KafkaProducer

from models.decisions import BasketExample, ChurnExample
from models.learners.envelope import pack_state
from models.learners.linear import LinearModel
from models.learners.session import LearnSession
from models.offers.recs import Recs
from services.state.learn_store import LearnStore
from services.state.redis_lane import connect
from services.state.snapshots import SnapshotReader
from support.any_redis import AnyRedis
from support.kafka import KafkaServer
from support.ports import wait_until
from support.process import ChildProcess

COUNT = 3000


def headers(number: int) -> list[tuple[str, bytes]]:
    parts = (("lane", 0), ("epoch", 0), ("seq", number), ("n", 0))
    return [(f"kairos-{name}", str(value).encode()) for name, value in parts]


def churn_value(number: int) -> bytes:
    x = [number % 90, 1 + number % 7, 100 + number, number % 90 + 30, 150]
    at = number * 60_000
    example = ChurnExample(id=str(number), user="u", at=at, due=at, known_at=at, label=int(number % 90 > 50), x=x)
    return msgspec.json.encode(example)


def basket_value(number: int) -> bytes:
    items = [(f"i{(number * k) % 40}", f"Item {k}", 100 + k, 1) for k in (1, 3, 7)]
    return msgspec.json.encode(
        BasketExample(id=str(number), user="u", at=number * 60_000, order_id="o", items=items, history=["i1"])
    )


class Written:
    """What lies in a partition of `training`, as a session reads it."""

    def __init__(self, offset: int, value: bytes, number: int) -> None:
        self.offset, self.value, self.headers = offset, value, headers(number)


@pytest.fixture
def own_kafka(jars: Path) -> Iterator[KafkaServer]:
    """A broker of its own: the role reads the topic by its real name."""
    server = KafkaServer(jars)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.mark.slow
@pytest.mark.chaos
def test_killed_learner_skips_nothing_and_repeats_nothing(
    own_kafka: KafkaServer, redis_server: AnyRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_kafka.create_topic("training", 3)
    number = 1 + int(uuid.uuid4().int % 14)
    url = redis_server.url.removesuffix("/0") + f"/{number}"
    settings = {
        "KAIROS_KAFKA__BOOTSTRAP": own_kafka.bootstrap,
        "KAIROS_KAFKA__SESSION_TIMEOUT_MS": "6000",
        "KAIROS_REDIS__URL": url,
        "KAIROS_CHUNK_MAX": "50",
        "OPENBLAS_NUM_THREADS": "1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    learner = ChildProcess("learn", tmp_path / "learn.log")
    producer = KafkaProducer(bootstrap_servers=own_kafka.bootstrap)
    with connect(url) as client:
        client.flushdb()
        store, reader = LearnStore(client), SnapshotReader(client)
        try:
            learner.start([sys.executable, "-m", "streams", "learn"], lambda: True, 5)
            # Some outputs are published twice, as after a crash between publishing and clearing the outbox.
            for start in range(0, COUNT, 500):
                for index in [*range(start, start + 500), *range(start + 400, start + 500)]:
                    producer.send("training", churn_value(index), partition=0, headers=headers(index))
                    producer.send("training", basket_value(index), partition=1, headers=headers(index))
                producer.flush()
                before = store.load("churn").offset or 0
                wait_until(lambda: (store.load("churn").offset or 0) > before, "a checkpoint", 60)  # noqa: B023
                if start in {500, 1500}:
                    learner.kill()
                    learner.start([sys.executable, "-m", "streams", "learn"], lambda: True, 5)
            end = COUNT // 500 * 600
            for model in ("churn", "recs"):
                wait_until(lambda: store.load(model).offset == end, f"all of {model}", 60)  # noqa: B023
            wait_until(lambda: _published(reader, client) == (COUNT, COUNT), "the newest snapshots", 10)
        except BaseException as error:
            error.add_note((tmp_path / "learn.log").read_text()[-4000:])
            raise
        finally:
            learner.stop()
            producer.close()
        for model, encode in (("churn", churn_value), ("recs", basket_value)):
            expected = LearnSession(model)
            order = [
                index
                for start in range(0, COUNT, 500)
                for index in [*range(start, start + 500), *range(start + 400, start + 500)]
            ]
            expected.apply([Written(o, encode(i), i) for o, i in enumerate(order)], 0, end)
            found = LearnSession(model)
            found.restore(store.load(model).data or b"")
            assert found.learned_total == COUNT
            assert found.duplicates_total == end - COUNT
            assert pack_state(found.model.snapshot()) == pack_state(expected.model.snapshot())
        latest = reader.latest(["churn", "recs"])
        assert LinearModel.from_envelope(reader.load("churn", latest["churn"])).learned
        assert Recs.from_envelope(reader.load("recs", latest["recs"])).ids
        assert "learn_stopped" in (tmp_path / "learn.log").read_text(), "SIGTERM ends it in order"
        client.flushdb()


def _published(reader: SnapshotReader, client: redis.Redis) -> tuple[int, int]:
    latest = reader.latest(["churn", "recs"])
    if len(latest) < 2:
        return 0, 0
    return (
        reader.load("churn", latest["churn"]).meta["examples"],
        reader.load("recs", latest["recs"]).meta["baskets"],
    )
