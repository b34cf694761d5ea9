"""Read a topic from a place to a place: for the audit, a user's story, dead letters, the demo's summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from models.errors import TransientError
from services.bus.connect import connected

_POLL_MS = 1_000
_CONNECT_MS = 10_000


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the log."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


def read_topic(
    bootstrap: str,
    topic: str,
    partition: int | None = None,
    start: Mapping[int, int] | int | None = None,
    end: Mapping[int, int] | int | None = None,
    stall_s: float = 30.0,
) -> Iterator[Record]:
    """Read the records of a topic, in order within each partition.

    Parameters
    ----------
    bootstrap : ``host:port`` of the brokers, comma separated.
    topic : its name.
    partition : only this one; None: all.
    start : first offset, by partition or one for all; None: the beginning.
    end : offset to stop before, by partition or one for all; None: what was there when reading reached it.
    stall_s : time limit without any progress.

    Raises
    ------
    TransientError
        The brokers cannot be reached, the topic does not exist, or nothing came for `stall_s`.

    Notes
    -----
    The end is the high-water mark that fetch responses carry, never the answer to ListOffsets, which is
    behind on some brokers after batched produce. No consumer group: nobody else is disturbed, and nothing is
    committed.
    """
    try:
        with _consumer(bootstrap) as consumer:
            yield from _read(consumer, topic, partition, start, end, stall_s)
    except KafkaError as error:
        raise TransientError(f"reading {topic} at {bootstrap}: {error!r}") from error


def end_offsets(bootstrap: str, topic: str, stall_s: float = 30.0) -> dict[int, int]:
    """Offset after the last record of each partition, from fetch responses (right on every broker).

    Raises
    ------
    TransientError
        The brokers cannot be reached or the topic does not exist.
    """
    return {number: end for number, (_, end) in offset_ranges(bootstrap, topic, stall_s).items()}


def offset_ranges(bootstrap: str, topic: str, stall_s: float = 30.0) -> dict[int, tuple[int, int]]:
    """Offsets of the first record that is still there and after the last one, of each partition.

    Raises
    ------
    TransientError
        The brokers cannot be reached or the topic does not exist.
    """
    try:
        with _consumer(bootstrap) as consumer:
            places = _assigned(consumer, topic, None)
            waiting = monotonic()
            while True:
                consumer.poll(timeout_ms=_POLL_MS, max_records=1)
                marks = {place: consumer.highwater(place) for place in places}
                if all(mark is not None for mark in marks.values()):
                    firsts = consumer.beginning_offsets(places)
                    return {place.partition: (int(firsts[place]), int(mark)) for place, mark in marks.items()}
                if monotonic() - waiting > stall_s:
                    raise TransientError(f"no answer for the end of {topic} at {bootstrap} within {stall_s:.0f} s")
    except KafkaError as error:
        raise TransientError(f"reading {topic} at {bootstrap}: {error!r}") from error


def newest_timestamps(bootstrap: str, topic: str, stall_s: float = 8.0) -> dict[int, int]:
    """Timestamp of the last record of each partition, ms; empty partitions are left out.

    Raises
    ------
    TransientError
        The brokers cannot be reached or the topic does not exist.
    """
    ends = end_offsets(bootstrap, topic, stall_s)
    found: dict[int, int] = {}
    for partition, end in ends.items():
        if end > 0:
            for record in read_topic(bootstrap, topic, partition, end - 1, end, stall_s):
                found[partition] = record.timestamp_ms
    return found


class Follower:
    """Read what comes, from the beginning of some topics on, without a group and without blocking.

    Parameters
    ----------
    bootstrap : ``host:port`` of the brokers, comma separated.
    topics : their names; they must exist.
    """

    def __init__(self, bootstrap: str, topics: Sequence[str]) -> None:
        self._bootstrap = bootstrap
        self._topics = tuple(topics)
        self._consumer: Any = None

    def poll(self, timeout_s: float = 0.0) -> list[Record]:
        """Return what came since the last call; waits at most `timeout_s` for the first.

        Raises
        ------
        TransientError
            The brokers cannot be reached or a topic does not exist.
        """
        try:
            if self._consumer is None:
                self._consumer = _consumer(self._bootstrap).consumer
                places = [place for topic in self._topics for place in _places(self._consumer, topic, None)]
                self._consumer.assign(places)
                self._consumer.seek_to_beginning(*places)
            fetched = self._consumer.poll(timeout_ms=int(timeout_s * 1000))
        except KafkaError as error:
            raise TransientError(f"reading {self._topics} at {self._bootstrap}: {error!r}") from error
        return [_record(record) for records in fetched.values() for record in records]

    def close(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            self._consumer.close(autocommit=False)
            self._consumer = None


class _Closing:
    """A consumer that is closed without waiting for anything."""

    def __init__(self, consumer: Any) -> None:
        self.consumer = consumer

    def __enter__(self) -> Any:
        return self.consumer

    def __exit__(self, *_: object) -> None:
        self.consumer.close(autocommit=False)


def _consumer(bootstrap: str) -> _Closing:
    return _Closing(
        connected(
            KafkaConsumer,
            bootstrap,
            bootstrap_timeout_ms=_CONNECT_MS,
            client_id="kairos-reader",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # One embedded broker answers a fetch with nothing at all when listing the partition's batches
            # takes longer than the wait: a long one costs only where there is nothing to read.
            fetch_max_wait_ms=500,
            max_poll_records=5_000,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
    )


def _places(consumer: Any, topic: str, partition: int | None) -> list[Any]:
    known = consumer.partitions_for_topic(topic)
    if not known:
        raise TransientError(f"there is no topic {topic}")
    if partition is not None and partition not in known:
        raise TransientError(f"topic {topic} has no partition {partition}")
    return [TopicPartition(topic, number) for number in sorted(known) if partition in (None, number)]


def _assigned(consumer: Any, topic: str, partition: int | None) -> list[Any]:
    places = _places(consumer, topic, partition)
    consumer.assign(places)
    consumer.seek_to_beginning(*places)
    return places


def _record(found: Any) -> Record:
    headers = tuple(found.headers or ())
    return Record(found.topic, found.partition, found.offset, found.timestamp, found.key, found.value, headers)


def _at(given: Mapping[int, int] | int | None, partition: int) -> int | None:
    return given.get(partition) if isinstance(given, Mapping) else given


def _read(
    consumer: Any,
    topic: str,
    partition: int | None,
    start: Mapping[int, int] | int | None,
    end: Mapping[int, int] | int | None,
    stall_s: float,
) -> Iterator[Record]:
    places = _assigned(consumer, topic, partition)
    for place in places:
        first = _at(start, place.partition)
        if first is not None:
            consumer.seek(place, first)
    limits = {place: _at(end, place.partition) for place in places}
    left = set(places)
    # Waited for the broker: whoever reads from here may take minutes over what it got.
    waited_s = 0.0
    while left:
        asked = monotonic()
        fetched = consumer.poll(timeout_ms=_POLL_MS)
        waited_s = 0.0 if fetched else waited_s + monotonic() - asked
        for place, records in fetched.items():
            limit = limits[place]
            for record in records:
                if limit is not None and record.offset >= limit:
                    break
                yield _record(record)
        done = {place for place in left if _finished(consumer, place, limits[place])}
        if done:
            left -= done
            consumer.pause(*done)
        elif waited_s > stall_s:
            raise TransientError(f"nothing came from {topic} for {stall_s:.0f} s; unread: {sorted(left)}")


def _finished(consumer: Any, place: Any, limit: int | None) -> bool:
    position = consumer.position(place)
    if limit is not None and position >= limit:
        return True
    mark = consumer.highwater(place)
    return limit is None and mark is not None and position >= mark
