"""Read a chunk: raw records of one partition become inputs, refused records and the time they carry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from models.decisions import DeadLetter
from models.errors import InvalidEventError
from models.lane import LaneState
from models.wire import Input, Record, decode, header

CARRIED_BYTES = 256 * 1024  # a larger refused record is cut in dead-letters; it still lies where it was
CARRIED_HEADERS, CARRIED_HEADER_BYTES = 32, 1000


@dataclass(frozen=True, slots=True)
class Part:
    """What a batch takes of one input.

    Parameters
    ----------
    source : input topic; `source_index` its index in `config.topics.INPUT_NAMES`.
    start, end : consumer position before the fetch, last offset + 1.
    watermark : newest event time in it that the broker's clock confirms, ms (0: none).
    """

    source: str
    source_index: int
    start: int
    end: int
    watermark: int


@dataclass(slots=True)
class Batch:
    """What one transaction of a lane applies: a chunk, chunks of several inputs merged by event time, or only timers.

    Parameters
    ----------
    lane, lanes : partition number and how many there are.
    parts : what is taken of each input; none for a batch of timers only.
    inputs : events in the order in which they are applied. rejected : refused records. ticks : how many ticks.
    broker_ms : newest broker time in it.
    received : records in it.
    times : event time of each record in log order, 0 for a refused one (of a batch that was read, not merged).
    failed : the core could not apply it (see :func:`fail`).
    parked : users whose due timers the core could not fire; they are put aside instead. fault : what it raised.
    """

    lane: int
    lanes: int
    parts: tuple[Part, ...] = ()
    inputs: list[Input] = field(default_factory=list)
    rejected: list[DeadLetter] = field(default_factory=list)
    ticks: int = 0
    broker_ms: int = 0
    received: int = 0
    times: list[int] = field(default_factory=list)
    failed: bool = False
    parked: tuple[str, ...] = ()
    fault: str = ""

    @property
    def first_ms(self) -> int:
        """Event time of the first event, by which lanes choose between inputs; of a batch without one, its ticks'."""
        return self.inputs[0].at if self.inputs else max((part.watermark for part in self.parts), default=0)


def merge(batches: Sequence[Batch]) -> Batch:
    """One batch of several inputs of a lane, events in the order of their time; equal times keep the order given."""
    if len(batches) == 1:
        return batches[0]
    return Batch(
        batches[0].lane,
        batches[0].lanes,
        tuple(part for batch in batches for part in batch.parts),
        sorted((event for batch in batches for event in batch.inputs), key=attrgetter("at")),
        [letter for batch in batches for letter in batch.rejected],
        sum(batch.ticks for batch in batches),
        max(batch.broker_ms for batch in batches),
        sum(batch.received for batch in batches),
    )


def dead_letter(topic: str, partition: int, record: Record, reason: str, detail: str) -> DeadLetter:
    """A refused record as it is told to `dead-letters`."""
    value = record.value or b""
    headers = [(name[:200], (content or b"")) for name, content in record.headers[:CARRIED_HEADERS]]
    cut = len(value) > CARRIED_BYTES or len(record.headers) > len(headers)
    cut = cut or any(len(content) > CARRIED_HEADER_BYTES for _, content in headers)
    return DeadLetter(
        topic=topic,
        partition=partition,
        offset=record.offset,
        reason=reason,
        detail=detail[:500],
        broker_ms=record.broker_ms,
        key=None if record.key is None else record.key[:1000].decode("utf-8", "replace"),
        value=value[:CARRIED_BYTES],
        truncated=cut,
        headers=[(name, content[:CARRIED_HEADER_BYTES].decode("utf-8", "replace")) for name, content in headers],
    )


def fail(batch: Batch, detail: str) -> None:
    """Refuse what could be read, because the core cannot apply it."""
    for event in batch.inputs:
        batch.rejected.append(dead_letter(event.source, batch.lane, event.record, "failed", detail))
    batch.inputs.clear()
    batch.failed = True


def read_chunk(  # noqa: PLR0913 - all but the records by name
    records: Sequence[Record],
    *,
    topic: str,
    topic_index: int,
    lane: int,
    lanes: int,
    start: int,
    end: int,
    future_limit_ms: int,
    watermark_delay_ms: int = 0,
) -> Batch:
    """Decode `records` (log order) of one partition of one input.

    A record that can never be applied becomes a dead letter; the others go on. An event further in the future than
    `future_limit_ms` after the broker's time is refused and does not move the watermark.
    """
    batch = Batch(lane, lanes, received=len(records))
    inputs, times = batch.inputs, batch.times
    for record in records:
        broker_ms = record.broker_ms
        try:
            found = decode(record, topic, lane)
            at = found.at if isinstance(found, Input) else found
            if at > broker_ms:
                if at > broker_ms + future_limit_ms:
                    raise InvalidEventError("far_future", f"{at - broker_ms} ms ahead of the broker's clock")
                at = broker_ms  # a sender's fast clock must not end everybody's waiting time early
        except InvalidEventError as error:
            batch.rejected.append(dead_letter(topic, lane, record, error.reason, error.detail))
            times.append(0)
            continue
        times.append(at)
        if isinstance(found, Input):
            inputs.append(found)
        else:
            batch.ticks += 1
    batch.parts = (Part(topic, topic_index, start, end, max(0, max(times, default=0) - watermark_delay_ms)),)
    batch.broker_ms = max([record.broker_ms for record in records], default=0)
    return batch


def origin_of(record: Record) -> tuple[str, tuple[int, int, int]] | None:
    """Which lane forwarded this record, and the position of that decision; None for a record that came directly."""
    if not record.headers or header(record.headers, "kairos-origin") is None:
        return None
    lane = header(record.headers, "kairos-lane")
    try:
        position = tuple(int(header(record.headers, f"kairos-{part}") or "") for part in ("epoch", "seq", "n"))
    except ValueError:
        return None
    return str(lane), (position[0], position[1], position[2])


def forwarded_again(batch: Batch, lane: LaneState) -> frozenset[Input]:
    """Forwarded records that were taken before; notes the positions of the others.

    In the order of the log: the batch is in the order of event time, in which an older position may come later.
    """
    forwarded = [event for event in batch.inputs if event.record.headers and origin_of(event.record) is not None]
    again = set()
    for event in sorted(forwarded, key=_by_offset):
        origin = origin_of(event.record)
        assert origin is not None
        source = f"{event.source} {origin[0]}"
        if lane.origins.get(source, (-1, -1, -1)) >= origin[1]:
            again.add(event)
        else:
            lane.origins[source] = origin[1]
    return frozenset(again)


def _by_offset(event: Input) -> int:
    return event.record.offset
