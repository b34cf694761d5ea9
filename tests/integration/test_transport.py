"""The micro-batch transport against real brokers: worker processes with lanes over an SQLite store.

The store's primary key makes a record that is applied twice an error; counting finds one that is lost.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiokafka
import pytest
from faust.types import TP
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from services.embedded.binaries import EmbeddedUnavailableError
from services.embedded.broker import broker_answers, broker_process
from support.chunk_worker import FenceStore, WorkerPlan
from support.chunk_worker_process import WorkerProcess
from support.kafka import KafkaServer
from support.ports import LOOPBACK, free_port, wait_until
from support.services import MissingServiceError, skip_or_fail

PARTITIONS = 4
_numbers = itertools.count()


class Log:
    """Topics of one test on a broker: makes them, fills them, knows how much is in them."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.bootstrap = bootstrap
        self.folder = folder
        self.group = f"t{next(_numbers)}"
        self.sent: dict[TP, int] = {}
        self._workers: list[WorkerProcess] = []
        self.connect()

    def connect(self) -> None:
        self._producer = KafkaProducer(
            bootstrap_servers=self.bootstrap, acks="all", linger_ms=5, max_request_size=2_000_000
        )

    def disconnect(self) -> None:
        self._producer.close()

    def topic(self, name: str, partitions: int = PARTITIONS, **config: str) -> str:
        """Create a topic that only this test uses."""
        full = f"{self.group}-{name}"
        settings = {key.replace("_", "."): value for key, value in config.items()}
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        admin.create_topics([NewTopic(full, partitions, 1, topic_configs=settings)])
        admin.close()
        return full

    def send(self, topic: str, count: int, partition: int | None = None, size: int = 20) -> None:
        """Write `count` records into each partition, or into one."""
        partitions = range(PARTITIONS) if partition is None else [partition]
        for number in range(count):
            for target in partitions:
                self._producer.send(topic, key=b"u%d" % number, value=b"v" * size, partition=target)
        self._producer.flush()
        for target in partitions:
            tp = TP(topic, target)
            self.sent[tp] = self.sent.get(tp, 0) + count

    @property
    def total(self) -> int:
        return sum(self.sent.values())

    def store(self) -> FenceStore:
        return FenceStore(str(self.folder / "state.db"))

    def plan(self, *topics: str, **changes: object) -> WorkerPlan:
        store = str(self.folder / "state.db")
        return WorkerPlan(self.bootstrap, self.group, store, list(topics), **changes)  # type: ignore[arg-type]

    def worker(self, plan: WorkerPlan) -> WorkerProcess:
        """Start a worker; it is ended with the test."""
        worker = WorkerProcess(plan, self.folder)
        self._workers.append(worker)
        return worker

    def committed(self) -> dict[TP, int]:
        """Offsets that the group has committed to Kafka."""
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        group = f"kairos-{self.group}-v1"
        found = admin.list_group_offsets({group: None})[group]
        admin.close()
        return {TP(tp.topic, tp.partition): offset.offset for tp, offset in found.items()}

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
        self.disconnect()


@pytest.fixture(scope="module")
def tansu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running Tansu, the broker of `kairos demo`."""
    folder, port = tmp_path_factory.mktemp("tansu"), free_port()
    try:
        process = broker_process(port, folder, folder / "broker.log").spawn()
    except EmbeddedUnavailableError as error:
        skip_or_fail(MissingServiceError(str(error)))
    try:
        wait_until(lambda: broker_answers(LOOPBACK, port), "Tansu", 20.0)
        yield f"{LOOPBACK}:{port}"
    finally:
        process.terminate()
        process.wait(10.0)


@pytest.fixture
def kafka_log(kafka_server: KafkaServer, tmp_path: Path) -> Iterator[Log]:
    """Topics on Apache Kafka."""
    log = Log(kafka_server.bootstrap, tmp_path)
    yield log
    log.close()


@pytest.fixture(params=["kafka", "tansu"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    """Topics on either broker."""
    bootstrap = (
        request.getfixturevalue("kafka_server").bootstrap
        if request.param == "kafka"
        else request.getfixturevalue("tansu")
    )
    found = Log(bootstrap, tmp_path)
    yield found
    found.close()


def everything_applied(log: Log, store: FenceStore) -> Callable[[], bool]:
    return lambda: store.count() == log.total


def assert_each_once_in_order(log: Log, store: FenceStore) -> None:
    applied = store.applied()
    assert {tp: len(offsets) for tp, offsets in applied.items()} == log.sent
    for tp, offsets in applied.items():
        assert offsets == list(range(log.sent[tp])), tp


def test_every_record_arrives_once_and_in_order(log: Log) -> None:
    topics = log.topic("a"), log.topic("b")
    for topic in topics:
        log.send(topic, 1000)
    store = log.store()
    worker = log.worker(log.plan(*topics))
    worker.wait_until(everything_applied(log, store), "all records")

    log.send(topics[0], 25)  # a quiet log that wakes up
    worker.wait_until(everything_applied(log, store), "the late ones")

    assert_each_once_in_order(log, store)
    assert max(told["records"] for told in worker.story("applied")) == 100
    assert not worker.story("gap", "old", "failed")
    assert worker.stop() == 0
    assert len(worker.story("revoked")) == 1, "lanes are closed when the worker stops"
    assert log.committed() == log.sent, "Kafka's offsets show no lag once everything is applied"


def test_failed_transactions_and_lost_chunks_are_made_up_for(log: Log) -> None:
    topics = log.topic("a"), log.topic("b")
    for topic in topics:
        log.send(topic, 1500)
    store = log.store()
    # A chunk that is lost at the very end would show with the next record only.
    worker = log.worker(log.plan(*topics, fail_ratio=0.08, lose_ratio=0.05, calm_from=1400, chunk_max=50, seed=7))
    worker.wait_until(everything_applied(log, store), "all records")
    assert len(worker.story("failed")) >= 3
    assert len(worker.story("gap")) >= 3
    assert_each_once_in_order(log, store)


def test_a_fence_that_went_back_loses_and_doubles_nothing(log: Log) -> None:
    topic = log.topic("a")
    log.send(topic, 1000)
    store = log.store()
    first = log.worker(log.plan(topic))
    first.wait_until(everything_applied(log, store), "all records")
    assert first.stop() == 0
    assert log.committed()[TP(topic, 1)] == 1000, "else this test proves nothing"

    store.set_fence(TP(topic, 1), 333)
    assert store.count() == log.total - 667
    second = log.worker(log.plan(topic))
    second.wait_until(everything_applied(log, store), "what the store forgot")
    assert_each_once_in_order(log, store)
    assert [told["start"] for told in second.story("applied")][:1] == [333]


def test_an_emptied_store_is_filled_from_the_start_of_the_log(log: Log) -> None:
    topic = log.topic("a")
    log.send(topic, 200)
    store = log.store()
    first = log.worker(log.plan(topic))
    first.wait_until(everything_applied(log, store), "all records")
    assert first.stop() == 0

    second = log.worker(log.plan(topic, name="second"))
    for partition in range(PARTITIONS):
        store.set_fence(TP(topic, partition), 0)
    second.wait_until(everything_applied(log, store), "all records again")


def test_a_slow_partition_holds_up_no_other(log: Log) -> None:
    topic = log.topic("a")
    log.send(topic, 1000)
    store = log.store()
    worker = log.worker(log.plan(topic, chunk_max=50, delays_s={f"{topic}-0": 0.5}))
    others = 3 * 1000

    worker.wait_until(lambda: store.count() >= others, "the other partitions", 30.0)
    told = worker.story("applied")
    slow = [line for line in told if line["partition"] == 0]
    fast = [line for line in told if line["partition"] != 0]
    assert len(slow) <= 10, "partition 0 takes ten seconds"
    assert sum(line["records"] for line in fast) == others
    assert fast[-1]["at"] - told[0]["at"] < 4.0

    # And a partition that was quiet is read at once although another has no credit.
    log.send(topic, 1, partition=2)
    sent_at = time.monotonic()
    worker.wait_until(lambda: len(store.applied()[TP(topic, 2)]) == 1001, "the new record", 10.0)
    assert worker.story("applied")[-1]["at"] - sent_at < 2.0


@pytest.mark.slow
def test_workers_join_and_leave_without_a_lost_record(log: Log) -> None:
    topics = log.topic("a"), log.topic("b")
    for topic in topics:
        log.send(topic, 300)
    store = log.store()
    stop = threading.Event()

    def publish() -> None:
        while not stop.is_set():
            for topic in topics:
                log.send(topic, 5)
            time.sleep(0.02)

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        first = log.worker(log.plan(*topics, name="first", delays_s={f"{topics[0]}-1": 0.01}))
        first.wait_for("applied")
        others = [log.worker(log.plan(*topics, name=name)) for name in ("second", "third")]
        for worker in others:
            worker.wait_for("applied")
        time.sleep(1.0)
        assert others[0].stop() == 0
        time.sleep(1.0)
    finally:
        stop.set()
        publisher.join()
    first.wait_until(everything_applied(log, store), "all records")
    assert_each_once_in_order(log, store)
    for worker in (first, *others):
        for told in worker.story("assigned"):
            lanes = [{tp.rsplit("-", 1)[1] for tp in told["tps"] if tp.startswith(topic)} for topic in topics]
            assert lanes[0] == lanes[1], "a lane has the same partition of every topic"


@pytest.mark.chaos
def test_a_killed_worker_loses_nothing(log: Log) -> None:
    topics = log.topic("a"), log.topic("b")
    for topic in topics:
        log.send(topic, 3000)
    store = log.store()
    delays = {f"{topic}-{partition}": 0.02 for topic in topics for partition in range(PARTITIONS)}
    first = log.worker(log.plan(*topics, name="first", delays_s=delays))
    first.wait_until(lambda: store.count() > 1500, "some records")
    first.kill()
    assert store.count() < log.total
    second = log.worker(log.plan(*topics, name="second"))
    second.wait_until(everything_applied(log, store), "the rest")
    assert_each_once_in_order(log, store)


def test_records_larger_than_a_fetch_arrive(log: Log) -> None:
    topic = log.topic("a", max_message_bytes="2000000")
    for _ in range(4):
        log.send(topic, 3)
        log.send(topic, 2, size=990_000)
    store = log.store()
    worker = log.worker(log.plan(topic, max_partition_fetch_bytes=64 * 1024))
    worker.wait_until(everything_applied(log, store), "all records")
    assert_each_once_in_order(log, store)


@pytest.mark.parametrize("reason", ["fail_hook", "raise_ratio"])
def test_what_breaks_an_agent_or_a_hook_ends_the_worker(kafka_log: Log, reason: str) -> None:
    topic = kafka_log.topic("a")
    kafka_log.send(topic, 10)
    worker = kafka_log.worker(kafka_log.plan(topic, **{reason: 1}))
    assert worker.ended() != 0
    assert "the lanes cannot open" in worker.log() or "the agent broke" in worker.log()


def test_a_position_before_the_log_starts_ends_the_worker(kafka_log: Log) -> None:
    topic = kafka_log.topic("a")
    kafka_log.send(topic, 100)
    kafka_log.store().set_fence(TP(topic, 2), 40)
    admin = KafkaAdminClient(bootstrap_servers=kafka_log.bootstrap)
    admin.delete_records({TopicPartition(topic, 2): 60})
    admin.close()
    worker = kafka_log.worker(kafka_log.plan(topic))
    assert worker.ended() != 0
    assert f"cannot read {topic}-2 from offset 40" in worker.log()
    assert "the log starts at 60: 20 records were deleted" in worker.log()


def test_records_deleted_under_a_running_worker_end_it(kafka_log: Log) -> None:
    topic = kafka_log.topic("a")
    # More than the transport holds in flight and the client fetches ahead.
    kafka_log.send(topic, 400, partition=1, size=10_000)
    worker = kafka_log.worker(
        kafka_log.plan(topic, delays_s={f"{topic}-1": 0.2}, chunk_max=5, max_partition_fetch_bytes=60_000)
    )
    worker.wait_for("applied")
    admin = KafkaAdminClient(bootstrap_servers=kafka_log.bootstrap)
    admin.delete_records({TopicPartition(topic, 1): 399})
    admin.close()
    assert worker.ended() != 0
    assert f"cannot read {topic}-1 from offset" in worker.log()
    assert "the log starts at 399" in worker.log()


def test_a_position_behind_the_end_of_the_log_ends_the_worker(log: Log) -> None:
    topic = log.topic("a")
    log.send(topic, 10)
    log.store().set_fence(TP(topic, 3), 5000)
    worker = log.worker(log.plan(topic))
    assert worker.ended() != 0
    assert f"cannot read {topic}-3 from offset 5000: the log ends before it" in worker.log()


async def test_offsets_without_records_are_no_gap(kafka_log: Log) -> None:
    # Each transaction ends with a marker that takes an offset, as a compacted record leaves one.
    topic = kafka_log.topic("a", partitions=1)
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=kafka_log.bootstrap, transactional_id=topic)
    await producer.start()
    for number in range(40):
        async with producer.transaction():
            for _ in range(3):
                await producer.send_and_wait(topic, b"%d" % number, partition=0)
    await producer.stop()
    store = kafka_log.store()
    worker = kafka_log.worker(kafka_log.plan(topic, chunk_max=7))
    await asyncio.to_thread(worker.wait_until, lambda: store.count() == 120, "all records")
    assert not worker.story("gap", "old")
    offsets = store.applied()[TP(topic, 0)]
    assert offsets == [4 * number + place for number in range(40) for place in range(3)]


@pytest.mark.slow
@pytest.mark.chaos
def test_a_broker_that_was_killed_comes_back(jars: Path, tmp_path: Path) -> None:
    with KafkaServer(jars) as server:
        log = Log(server.bootstrap, tmp_path)
        topic = log.topic("a")
        log.send(topic, 500)
        store = log.store()
        worker = log.worker(log.plan(topic))
        worker.wait_until(everything_applied(log, store), "all records")
        log.disconnect()  # kafka-python leaks a socket per attempt to reach a dead broker
        server.kill()
        time.sleep(2.0)
        server.start()
        log.connect()
        log.send(topic, 500)
        worker.wait_until(everything_applied(log, store), "what came after the crash")
        assert_each_once_in_order(log, store)
        log.close()
