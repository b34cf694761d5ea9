"""One transaction of a lane, in three parts: begin (read), work (the pure core), and what has to be written.

decide runs it against Redis, the audit and the tests against memory: the same code, so that a replay is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType

import msgspec

from config.topics import INPUT_NAMES, TRAINING_PARTITION
from models.brain import Brain
from models.chunk import Batch
from models.decide import decide
from models.decisions import EXAMPLES, DeadLetter, Effect, JournalEntry
from models.lane import Fence, LaneState, decode_fence, decode_state, encode, refuse_other_layout
from models.outcome import Outcome
from models.profile.moved import encode_moved
from models.profile.opened import Opened
from services.state.store import Change, LaneStore, Loaded

TIMERS_AT_ONCE = 1000
Question = tuple[int | None, int, Callable[[list[str]], list[str]]]  # what LaneStore.load is called with
NOTHING: Question = (None, 0, lambda due: due)  # fence and state only
OPEN, BATCH, SPLIT, SKIP = "open", "batch", "split", "skip"
_json = msgspec.json.Encoder().encode


class Output(msgspec.Struct, array_like=True, frozen=True):
    """One record to publish. The producer adds the position headers (lane, epoch, seq, n)."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]


class OutboxEntry(msgspec.Struct, array_like=True, frozen=True):
    """Everything that one transaction decided, packed as one value."""

    lane: int
    epoch: int
    seq: int
    outputs: list[Output]


_entry_decoder = msgspec.msgpack.Decoder(OutboxEntry)


def decode_entry(packed: bytes) -> OutboxEntry:
    """Outbox entry from Redis."""
    return _entry_decoder.decode(packed)


@dataclass(slots=True)
class Position:
    """What a worker believes of its lane between two transactions: the last committed fence and state.

    `next_due` is the earliest due time in the timer index, ms; None: nothing waits.
    """

    fence: Fence
    state: LaneState
    next_due: int | None = None
    broker_ms: int = 0

    def watermark_after(self, batch: Batch) -> int:
        """The lane's watermark once `batch` is applied."""
        return min(self.state.marks_after(batch))


@dataclass(slots=True)
class Done:
    """A step that was worked out: what to write, and what it means. `entry` is what `change.outbox` holds packed."""

    change: Change
    entry: OutboxEntry
    outcome: Outcome
    fence: Fence
    state: LaneState


def read_position(store: LaneStore) -> Position:
    """Where the lane stands in its store."""
    return position_of(store.load(*NOTHING))


def position_of(loaded: Loaded) -> Position:
    """Where a lane stands. Timers are looked at with the first batch."""
    inputs = len(INPUT_NAMES)
    return Position(decode_fence(loaded.fence, inputs), decode_state(loaded.state, inputs), next_due=0)


def begin(store: LaneStore, position: Position, batch: Batch) -> tuple[Loaded, list[str]]:
    """Read all that `batch` needs; returns it with the users in the order of the profiles."""
    question, order = ask(position, batch)
    return store.load(*question), order


def ask(position: Position, batch: Batch) -> tuple[Question, list[str]]:
    """What to load for `batch`, and the list that will hold the users in the order of the profiles."""
    order: list[str] = []

    def users(due: list[str]) -> list[str]:
        order.extend(dict.fromkeys([event.user for event in batch.inputs] + due))
        return order

    until = position.watermark_after(batch)
    due_until = until if position.next_due is not None and position.next_due <= until else None
    return (due_until, TIMERS_AT_ONCE, users), order


def work(loaded: Loaded, users: Sequence[str], batch: Batch, brain: Brain, published: Sequence[int]) -> Done:
    """Run the core over what was read and lay out the transaction."""
    inputs = len(INPUT_NAMES)
    fence, state = decode_fence(loaded.fence, inputs), decode_state(loaded.state, inputs)
    profiles = Opened(zip(users, loaded.profiles, strict=True))
    outcome = decide(profiles, loaded.due, batch, state, brain)
    after = fence.step({part.source_index: part.end for part in batch.parts})
    entry = JournalEntry(
        lane=batch.lane,
        seq=after.seq,
        epoch=state.epoch,
        kind=BATCH,
        sources=[(part.source, fence.offsets[part.source_index], part.end) for part in batch.parts],
        watermark=state.watermark,
        broker_ms=batch.broker_ms,
        fired=loaded.due,
        versions=brain.versions,
        policy=brain.policy_version,
        failed=batch.failed,
        parked=list(batch.parked),
    )
    decided = OutboxEntry(batch.lane, state.epoch, after.seq, outputs(outcome, batch, entry))
    change = Change(
        fence=encode(after),
        state=encode(state),
        seq=after.seq,
        profiles=outcome.packed | {user: encode_moved(redirect) for user, redirect in outcome.moved.items()},
        offers={user: None if decision is None else _json(decision) for user, decision in outcome.offers.items()},
        counters=outcome.counters,
        due=outcome.due,
        outbox=msgspec.msgpack.encode(decided),
        published=published,
    )
    return Done(change, decided, outcome, after, state)


def open_lane(store: LaneStore, lane: int, epoch: int, brain: Brain, lanes: int = 0) -> Done:
    """Load, and lay out the opening (see :func:`opening`)."""
    return opening(store.load(*NOTHING), lane, epoch, brain, lanes)


def opening(loaded: Loaded, lane: int, epoch: int, brain: Brain, lanes: int = 0) -> Done:
    """A worker takes the lane over: the epoch grows, and whoever still believes to own it fails at its next commit.

    Parameters
    ----------
    loaded : what the store answered to `NOTHING`.
    epoch : a number above any published one; the lane's own plus one is taken when that is larger.
    lanes : among how many lanes this worker deals out users; 0: as the lane says.

    Raises
    ------
    ConfigurationError
        The lane's users are dealt out among another number of lanes.
    """
    inputs = len(INPUT_NAMES)
    fence, state = decode_fence(loaded.fence, inputs), decode_state(loaded.state, inputs)
    if lanes:
        refuse_other_layout(state, lane, lanes)
        state.lanes = lanes
    state.epoch = max(state.epoch + 1, epoch)
    after = fence.step({})
    change, decided = marking(
        lane, OPEN, state, after, versions=brain.versions, policy=brain.policy_version, lanes=lanes
    )
    return Done(change, decided, Outcome(), after, state)


def marking(
    lane: int,
    kind: str,
    state: LaneState,
    after: Fence,
    *,
    sources: Sequence[tuple[str, int, int]] = (),
    versions: Mapping[str, int] = MappingProxyType({}),
    policy: str = "",
    lanes: int = 0,
) -> tuple[Change, OutboxEntry]:
    """Lay out a transaction that applies nothing and only says something in the journal.

    Parameters
    ----------
    kind : see :class:`models.decisions.JournalEntry`, and there for the rest. state, after : what the lane has then.
    """
    entry = JournalEntry(
        lane=lane,
        seq=after.seq,
        epoch=state.epoch,
        kind=kind,
        sources=list(sources),
        watermark=state.watermark,
        broker_ms=0,
        fired=[],
        versions=dict(versions),
        policy=policy,
        lanes=lanes,
    )
    decided = OutboxEntry(lane, state.epoch, after.seq, [_journal(entry)])
    packed = msgspec.msgpack.encode(decided)
    return Change(fence=encode(after), state=encode(state), seq=after.seq, outbox=packed), decided


def outputs(outcome: Outcome, batch: Batch, entry: JournalEntry) -> list[Output]:
    """Records that an outcome publishes, in order; the journal entry comes last."""
    found = [_effect(effect, batch.lane) for effect in outcome.effects]
    found += [_dead_letter(letter, batch.lane) for letter in outcome.dead]
    found += [Output(one.topic, one.owner, one.user.encode(), one.value, one.headers) for one in outcome.forwards]
    found.append(_journal(entry))
    return found


def _effect(effect: Effect, lane: int) -> Output:
    learner = EXAMPLES.get(type(effect))
    partition = lane if learner is None else TRAINING_PARTITION[learner]
    return Output(effect.topic, partition, effect.user.encode(), _json(effect), _ce(effect.id, effect.type, effect.at))


def _dead_letter(letter: DeadLetter, lane: int) -> Output:
    return Output("dead-letters", lane, None, _json(letter), _ce(letter.id, "DeadLetter", letter.broker_ms))


def _journal(entry: JournalEntry) -> Output:
    return Output("journal", entry.lane, None, _json(entry), [])


@lru_cache(maxsize=4096)
def _second(at_s: int) -> str:
    """A second as ISO 8601 has it. Effects of a batch lie close together: most share theirs with others."""
    return datetime.fromtimestamp(at_s, UTC).isoformat()[:19]


def _ce(ident: str, kind: str, at: int) -> list[tuple[str, bytes]]:
    """CloudEvents headers of an effect."""
    second, ms = divmod(at, 1000)
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", ident.encode()),
        ("ce_type", kind.encode()),
        ("ce_source", b"kairos/decide"),
        ("ce_time", f"{_second(second)}.{ms:03}+00:00".encode()),
    ]
