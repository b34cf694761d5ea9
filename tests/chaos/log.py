"""The log of Kafka as it lies there: read to the end that the broker names, every offset there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kafka import KafkaConsumer, TopicPartition


@dataclass(frozen=True, slots=True)
class Found:
    """One record."""

    offset: int
    broker_ms: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]


def partitions(bootstrap: str, topic: str) -> list[int]:
    """Numbers of the topic's partitions."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    try:
        return sorted(consumer.partitions_for_topic(topic))
    finally:
        consumer.close(autocommit=False)


def read(bootstrap: str, topic: str, partition: int) -> Sequence[Found]:
    """Every record of a partition; the one at index i has offset i.

    Raises
    ------
    AssertionError
        An offset is missing, or there twice. (Kairos uses neither compaction nor transactions.)
    """
    return list(_records(bootstrap, topic, partition))


def _records(bootstrap: str, topic: str, partition: int) -> Iterator[Found]:
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_records=5_000,
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    try:
        place = TopicPartition(topic, partition)
        end = consumer.end_offsets([place])[place]
        consumer.assign([place])
        consumer.seek(place, 0)
        following = 0
        while following < end:
            for record in consumer.poll(timeout_ms=1_000).get(place, ()):
                assert record.offset == following, f"{topic}-{partition}: {record.offset} after {following - 1}"
                following += 1
                yield Found(record.offset, record.timestamp, record.key, record.value, dict(record.headers or ()))
    finally:
        consumer.close(autocommit=False)
