"""The reader under stress: it reads while others write, while the broker dies, past markers and compacted holes.

What it must hold: everything that was confirmed before the read began is returned, once, in order, without holes that
the log does not have.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaError

from models.errors import TransientError
from services.bus.reader import Record, end_offsets, read_topic
from support.kafka import KafkaServer
from support.ports import wait_until

pytestmark = [
    pytest.mark.slow,
    # kafka-python leaves sockets open to a broker that was killed.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
PARTITIONS = 5  # nothing is ever written into the last one


@pytest.fixture(scope="module")
def server(jars: Path) -> Iterator[KafkaServer]:
    """A broker that is killed now and then."""
    with KafkaServer(jars, properties={"log.cleaner.backoff.ms": "200"}) as found:
        yield found


class Writer:
    """Numbers the records of each partition and knows how many of them the broker has confirmed."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._producer: Any = KafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            enable_idempotence=True,
            linger_ms=2,
            delivery_timeout_ms=60_000,
            request_timeout_ms=5_000,
            reconnect_backoff_max_ms=200,
        )
        self._topic = topic
        self.sent = [0] * PARTITIONS
        self.confirmed = [0] * PARTITIONS
        self.errors: list[BaseException] = []

    def write(self, count: int) -> None:
        """Send a few records to each partition that gets any."""
        futures = []
        for _ in range(count):
            for partition in range(PARTITIONS - 1):
                number = self.sent[partition]
                value = str(number).encode() + b" " * (number % 700)
                futures.append((partition, self._producer.send(self._topic, value, partition=partition)))
                self.sent[partition] += 1
        for partition, future in futures:
            future.get(timeout=60)
            self.confirmed[partition] += 1

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write all the time."""
        ending = threading.Event()

        def run() -> None:
            try:
                while not ending.is_set():
                    self.write(5)
                    ending.wait(0.02)
            except BaseException as error:  # noqa: BLE001 - raised again below
                self.errors.append(error)

        thread = threading.Thread(target=run, name="writer")
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()
        if self.errors:
            raise self.errors[0]

    def close(self) -> None:
        self._producer.close(timeout=5)


def numbers(records: Iterator[Record]) -> list[list[int]]:
    """What was read of each partition."""
    found: list[list[int]] = [[] for _ in range(PARTITIONS)]
    for record in records:
        assert record.offset == len(found[record.partition])
        found[record.partition].append(int(record.value or b""))
    return found


def check(bootstrap: str, topic: str, writer: Writer) -> None:
    """One read, with all that was confirmed before."""
    confirmed = list(writer.confirmed)
    found = numbers(read_topic(bootstrap, topic))
    for partition, values in enumerate(found):
        assert values == list(range(len(values)))
        assert len(values) >= confirmed[partition], f"partition {partition}"
    ends = end_offsets(bootstrap, topic)
    assert all(ends[partition] >= len(values) for partition, values in enumerate(found))


def test_reading_while_others_write(server: KafkaServer) -> None:
    server.create_topic("while-writing", PARTITIONS)
    writer = Writer(server.bootstrap, "while-writing")
    with writer.writing():
        ending = time.monotonic() + 4
        while time.monotonic() < ending:
            check(server.bootstrap, "while-writing", writer)
    check(server.bootstrap, "while-writing", writer)
    writer.close()


def test_reading_while_the_broker_dies_and_comes_back(server: KafkaServer) -> None:
    server.create_topic("dying", PARTITIONS)
    writer = Writer(server.bootstrap, "dying")
    reads = refused = 0

    def again() -> None:
        server.kill()
        server.start()

    with writer.writing():
        for _ in range(2):
            wait_until(lambda: writer.confirmed[0] > 0, "something written", 30.0)
            restart = threading.Timer(0.3, again)
            restart.start()
            while restart.is_alive():
                # It may say that the broker is away; it may not return a part and call it the whole.
                with suppress(TransientError, KafkaError):
                    check(server.bootstrap, "dying", writer)
                    reads += 1
                    continue
                refused += 1
            restart.join()
            for _ in range(5):  # just after the start
                check(server.bootstrap, "dying", writer)
    check(server.bootstrap, "dying", writer)
    assert reads > 0, refused
    writer.close()


def test_markers_of_transactions_and_aborted_ones_are_no_holes_that_stop_it(server: KafkaServer) -> None:
    server.create_topic("marked", 2)
    producer = KafkaProducer(bootstrap_servers=server.bootstrap, transactional_id="t", enable_idempotence=True)
    producer.init_transactions()
    for number in range(30):
        producer.begin_transaction()
        for partition in (0, 1):
            producer.send("marked", str(number).encode(), partition=partition)
        producer.flush()
        if number % 3:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
    began = time.monotonic()
    found = list(read_topic(server.bootstrap, "marked", stall_s=60.0))  # the last thing in the log is a marker
    producer.close(timeout=5)
    assert time.monotonic() - began < 40.0
    # Kairos itself uses no transactions: the reader shows every record, with offsets that leave the markers out.
    assert {int(record.value or b"") for record in found} == set(range(30))
    assert len({(record.partition, record.offset) for record in found}) == len(found) == 60


def test_a_compacted_topic_has_holes_and_an_end(server: KafkaServer) -> None:
    server.create_topic(
        "compacted",
        1,
        cleanup_policy="compact",
        segment_bytes="1048576",
        min_cleanable_dirty_ratio="0.01",
        max_compaction_lag_ms="500",
        segment_ms="500",
    )
    producer = KafkaProducer(bootstrap_servers=server.bootstrap)
    count = 0

    def compacted() -> bool:
        nonlocal count
        for _ in range(200):
            producer.send("compacted", str(count).encode(), key=b"the same", partition=0)
            count += 1
        producer.flush()
        return len(list(read_topic(server.bootstrap, "compacted"))) < count // 2

    wait_until(compacted, "compaction", 60.0, 0.6)
    found = list(read_topic(server.bootstrap, "compacted"))
    producer.close(timeout=5)
    assert int(found[-1].value or b"") == count - 1, "the newest record is never compacted away"
    assert end_offsets(server.bootstrap, "compacted") == {0: count}
