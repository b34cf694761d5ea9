"""Replay one lane from the log: the journal says which records were applied when, with which versions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from config.settings import Settings
from config.topics import INPUT_NAMES
from models.brain import Brain
from models.chunk import Batch, fail, merge, read_chunk
from models.decisions import JournalEntry, MessageCommand
from models.wire import Record
from services.bus.reader import Record as LogRecord
from services.state.split import sibling_of, split_store
from services.state.step import OPEN, SKIP, SPLIT, OutboxEntry, begin, open_lane, read_position, work
from services.state.store import MemoryLaneStore

_decode = msgspec.json.Decoder(JournalEntry).decode


class LostHistoryError(Exception):
    """The log or the journal does not reach back to the beginning of the state."""


@dataclass(slots=True)
class Replayed:
    """A lane in memory as the log says it must be; `siblings`: what lanes that were divided off it began with."""

    store: MemoryLaneStore
    batches: int = 0
    siblings: dict[int, MemoryLaneStore] = field(default_factory=dict)
    commands: set[str] = field(default_factory=set)
    differences: list[str] = field(default_factory=list)


class Timeline:
    """Which batches of a lane count.

    When Redis goes back in time (a lost tail of its file, a failover), the next owner opens the lane with a higher
    epoch at the sequence number where Redis stands, and numbers are used a second time. What was published under such
    a number before, or is later by a worker that slept, belongs to a stretch that was lost and decided anew.

    Parameters
    ----------
    positions : (epoch, seq) of all batches that were ever published or wait in the outbox.
    until : sequence number at which Redis stands.

    Examples
    --------
    >>> timeline = Timeline([(7, 1), (7, 2), (7, 3), (9, 3), (9, 4)], 4)
    >>> [timeline.holds(*position) for position in ((7, 2), (7, 3), (9, 3), (9, 5))]
    [True, False, True, False]
    """

    def __init__(self, positions: Iterable[tuple[int, int]], until: int) -> None:
        self._until = until
        first: dict[int, int] = {}
        for epoch, seq in positions:
            first[epoch] = min(seq, first.get(epoch, seq))
        self._opened = sorted(first.items(), reverse=True)

    def holds(self, epoch: int, seq: int) -> bool:
        """Whether Redis still holds what this batch wrote."""
        if seq > self._until:
            return False
        for later, opened in self._opened:
            if later <= epoch:
                break
            if opened <= seq:
                return False
        return True


def position_of(record: LogRecord) -> tuple[int, int]:
    """(epoch, seq) of the batch that published a record."""
    headers = dict(record.headers)
    return int(headers["kairos-epoch"]), int(headers["kairos-seq"])


def journal_entries(
    records: Iterable[LogRecord], pending: list[OutboxEntry], timeline: Timeline
) -> Iterator[JournalEntry]:
    """Entries of a lane that count, each once, then those that still wait in the outbox."""
    last = (-1, -1)
    for record in records:
        position = position_of(record)
        # Not above the last one: published again after a crash.
        if position > last and timeline.holds(*position):
            last = position
            yield _decode(record.value or b"")
    for waiting in pending:
        if waiting.seq > last[1] and timeline.holds(waiting.epoch, waiting.seq):
            for output in waiting.outputs:
                if output.topic == "journal":
                    yield _decode(output.value)


class Inputs:
    """Records of the four inputs of one lane, read in step with the journal."""

    def __init__(self, open_reader: Callable[[str], Iterator[LogRecord]]) -> None:
        self._readers = {name: open_reader(name) for name in INPUT_NAMES}
        self._ahead: dict[str, LogRecord | None] = {}

    def take(self, topic: str, start: int, end: int) -> list[Record]:
        """Records of `topic` with start <= offset < end."""
        found: list[Record] = []
        while True:
            record = self._ahead.pop(topic, None) or next(self._readers[topic], None)
            if record is None:
                break
            if record.offset >= end:
                self._ahead[topic] = record
                break
            if record.offset >= start:
                found.append(Record(record.offset, record.timestamp_ms, record.key, record.value, list(record.headers)))
        if not found:
            raise LostHistoryError(f"{topic}: records {start} to {end} are not in the log any more")
        return found


def replay_lane(
    lane: int,
    entries: Iterator[JournalEntry],
    inputs: Inputs,
    brain_of: Callable[[str, Mapping[str, int]], Brain],
    settings: Settings,
    advance: Callable[[int], None],
    inherited: MemoryLaneStore | None = None,
) -> Replayed:
    """Apply every batch of the journal to a lane in memory, with the very code that decide runs.

    Parameters
    ----------
    inherited : what the lane began with, where it was divided off another one.
    """
    store = MemoryLaneStore()
    done = Replayed(store)
    position = read_position(store)
    for entry in entries:
        if entry.seq != position.fence.seq + 1:
            done.differences.append(f"lane {lane}: the journal jumps from batch {position.fence.seq} to {entry.seq}")
            break
        if entry.kind == SPLIT and lane < entry.lanes // 2:
            done.siblings[sibling_of(lane, entry.lanes)] = split_store(store, lane, entry.lanes, entry.epoch)
        elif entry.kind == SPLIT:
            if inherited is None:
                raise LostHistoryError(f"it was divided off lane {lane - entry.lanes // 2}, which is not recomputed")
            done.store = store = inherited
        elif entry.kind == SKIP:
            said = ", ".join(f"{topic} {start} to {end}" for topic, start, end in entry.sources)
            raise LostHistoryError(f"an operator gave up records that the log had lost: {said}")
        elif entry.kind == OPEN:
            brain = brain_of(entry.policy, entry.versions)
            store.commit(open_lane(store, lane, entry.epoch, brain, entry.lanes).change)
        else:
            brain = brain_of(entry.policy, entry.versions)
            batch = _batch(entry, inputs, settings, position.state.lanes or settings.lanes)
            if entry.failed:
                fail(batch, "")
            batch.parked = tuple(entry.parked)
            position.next_due = 0  # always look at the timers: the index says which are due
            loaded, users = begin(store, position, batch)
            if loaded.due != entry.fired:
                done.differences.append(f"lane {lane}: batch {entry.seq} fired timers of other users than the replay")
            try:
                worked = work(loaded, users, batch, brain, ())
            except Exception as error:  # noqa: BLE001 - what decide could not apply either is marked in the journal
                done.differences.append(f"lane {lane}: batch {entry.seq} was applied, but the replay fails: {error!r}")
                break
            store.commit(worked.change)
            advance(batch.received)
            for effect in worked.outcome.effects:
                if isinstance(effect, MessageCommand):
                    done.commands.add(effect.id)
        store.outbox.clear()
        done.batches += 1
        position = read_position(store)
    return done


def _batch(entry: JournalEntry, inputs: Inputs, settings: Settings, lanes: int) -> Batch:
    if not entry.sources:
        return Batch(entry.lane, lanes, broker_ms=entry.broker_ms)
    return merge(
        [
            read_chunk(
                inputs.take(topic, start, end),
                topic=topic,
                topic_index=INPUT_NAMES.index(topic),
                lane=entry.lane,
                lanes=lanes,
                start=start,
                end=end,
                future_limit_ms=settings.future_limit_ms,
                watermark_delay_ms=settings.watermark_delay_ms,
            )
            for topic, start, end in entry.sources
        ]
    )
