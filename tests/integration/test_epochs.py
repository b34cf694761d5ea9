"""A new owner's epoch lies above every published one, also where Redis and the clock say otherwise."""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaProducer

from config.settings import KafkaSettings
from config.topics import JOURNAL
from services.bus import create_topics
from services.bus.reader import read_topic
from services.embedded.stack import EmbeddedStack
from services.state.lanes import read_lanes
from services.state.redis_lane import connect
from streams.epochs import LOOK_BACK, last_epochs
from support.kafka import KafkaServer
from support.ports import wait_until
from support.redis import RedisServer, redis_binary

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
DAY_MS = 86_400_000


def write(bootstrap: str) -> Callable[[int, int], None]:
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")

    def journal(lane: int, epoch: int) -> None:
        headers = [
            ("kairos-lane", b"%d" % lane),
            ("kairos-epoch", b"%d" % epoch),
            ("kairos-seq", b"1"),
            ("kairos-n", b"0"),
        ]
        producer.send(JOURNAL.name, b"{}", partition=lane, headers=headers).get(30)

    journal.close = producer.close  # type: ignore[attr-defined]
    return journal


async def test_the_highest_of_the_last_ones_counts(jars: Path) -> None:
    with KafkaServer(jars) as kafka:
        create_topics(kafka.bootstrap, 3)
        journal = write(kafka.bootstrap)
        for number in range(LOOK_BACK + 10):
            journal(0, 100 + number)
        journal(0, 7)  # a zombie's
        journal(2, 5)
        assert await last_epochs(KafkaSettings(bootstrap=kafka.bootstrap), [0, 1, 2]) == {0: 100 + LOOK_BACK + 9, 2: 5}
        journal.close()  # type: ignore[attr-defined]


async def test_without_kafka_nothing_is_known_and_nobody_waits_long() -> None:
    began = time.monotonic()
    assert await last_epochs(KafkaSettings(bootstrap="127.0.0.1:1"), [0]) == {}
    assert time.monotonic() - began < 60


def test_a_worker_goes_on_above_an_owner_whose_clock_was_ahead(jars: Path, tmp_path: Path) -> None:
    """Redis knows nothing of that owner: without the journal its successor's output would be dropped for a day."""
    tomorrow = int(time.time() * 1000) + DAY_MS
    with KafkaServer(jars) as kafka, RedisServer(redis_binary()) as redis:
        create_topics(kafka.bootstrap, 1)
        journal = write(kafka.bootstrap)
        journal(0, tomorrow)
        journal.close()  # type: ignore[attr-defined]
        with (
            EmbeddedStack(
                tmp_path, create_topics, roles=("decide",), lanes=1, kafka=kafka.bootstrap, redis_url=redis.url
            ),
            closing(connect(redis.url)) as client,
        ):
            wait_until(lambda: read_lanes(client, 1)[0].epoch > 0, "the lane is open", 60, 0.1)
            assert read_lanes(client, 1)[0].epoch == tomorrow + 1
            wait_until(lambda: len(list(read_topic(kafka.bootstrap, JOURNAL.name, 0))) > 1, "it is published", 30, 0.2)
            opened = list(read_topic(kafka.bootstrap, JOURNAL.name, 0))[1]
            assert msgspec.json.decode(opened.value or b"")["epoch"] == tomorrow + 1
