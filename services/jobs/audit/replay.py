"""Replay one lane from the log: the journal says which records were applied when, with which versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from config.settings import Settings
from config.topics import INPUT_NAMES
from models.brain import Brain
from models.chunk import Batch, dead_letter, merge, read_chunk
from models.decisions import JournalEntry, MessageCommand
from models.wire import Record
from services.bus.reader import Record as LogRecord
from services.state.step import OPEN, OutboxEntry, begin, open_lane, read_position, work
from services.state.store import MemoryLaneStore

_decode = msgspec.json.Decoder(JournalEntry).decode


class LostHistoryError(Exception):
    """The log or the journal does not reach back to the beginning of the state."""


@dataclass(slots=True)
class Replayed:
    """A lane in memory as the log says it must be."""

    store: MemoryLaneStore
    batches: int = 0
    commands: set[str] = field(default_factory=set)
    differences: list[str] = field(default_factory=list)


def journal_entries(records: Iterator[LogRecord], pending: list[OutboxEntry], until: int) -> Iterator[JournalEntry]:
    """Entries of a lane up to sequence `until`, each once, then those that still wait in the outbox."""
    last = (-1, -1, -1)
    seq = 0
    for record in records:
        headers = dict(record.headers)
        position = tuple(int(headers[f"kairos-{part}"]) for part in ("epoch", "seq", "n"))
        if position <= last:
            continue  # published again after a crash
        last = (position[0], position[1], position[2])
        entry = _decode(record.value or b"")
        if entry.seq > until:
            return
        seq = entry.seq
        yield entry
    for waiting in pending:
        if seq < waiting.seq <= until:
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
) -> Replayed:
    """Apply every batch of the journal to a lane in memory, with the very code that decide runs."""
    store = MemoryLaneStore()
    done = Replayed(store)
    position = read_position(store)
    for entry in entries:
        if entry.seq != position.fence.seq + 1:
            done.differences.append(f"lane {lane}: the journal jumps from batch {position.fence.seq} to {entry.seq}")
            break
        brain = brain_of(entry.policy, entry.versions)
        if entry.kind == OPEN:
            store.commit(open_lane(store, lane, entry.epoch, brain).change)
        else:
            batch = _batch(entry, inputs, settings)
            position.next_due = 0  # always look at the timers: the index says which are due
            loaded, users = begin(store, position, batch)
            if loaded.due != entry.fired:
                done.differences.append(f"lane {lane}: batch {entry.seq} fired timers of other users than the replay")
            try:
                worked = work(loaded, users, batch, brain, ())
            except Exception as error:  # noqa: BLE001 - decide's guard refused this very record, so does the replay
                for event in batch.inputs:
                    batch.rejected.append(dead_letter(event.source, lane, event.record, "failed", repr(error)))
                batch.inputs.clear()
                loaded, users = begin(store, position, batch)
                worked = work(loaded, users, batch, brain, ())
            store.commit(worked.change)
            advance(batch.received)
            for effect in worked.outcome.effects:
                if isinstance(effect, MessageCommand):
                    done.commands.add(effect.id)
        store.outbox.clear()
        done.batches += 1
        position = read_position(store)
    return done


def _batch(entry: JournalEntry, inputs: Inputs, settings: Settings) -> Batch:
    if not entry.sources:
        return Batch(entry.lane, settings.lanes, broker_ms=entry.broker_ms)
    return merge(
        [
            read_chunk(
                inputs.take(topic, start, end),
                topic=topic,
                topic_index=INPUT_NAMES.index(topic),
                lane=entry.lane,
                lanes=settings.lanes,
                start=start,
                end=end,
                future_limit_ms=settings.future_limit_ms,
                watermark_delay_ms=settings.watermark_delay_ms,
            )
            for topic, start, end in entry.sources
        ]
    )
