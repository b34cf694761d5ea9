"""One lane without Kafka and Faust: events in, outputs out, by the very code that decide runs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec

from config.definitions import Definitions
from config.loader import load_definitions
from config.settings import PACKAGE_CONFIG_DIR
from config.topics import INPUT_NAMES
from models.brain import Brain
from models.campaigns.conditions import condition_fault
from models.chunk import Batch, merge, read_chunk
from models.profile.codec import decode_profile
from models.profile.state import Profile
from models.wire import Input, Record, decode
from services.state.step import Done, Output, Position, begin, decode_entry, open_lane, read_position, work
from services.state.store import LaneStore, MemoryLaneStore

BROKER_MS = 1_700_000_000_000  # the broker's clock: event time is another matter
FUTURE_LIMIT_MS = 300_000
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000


class GapError(Exception):
    """The chunk begins behind the fence."""


@cache
def shipped() -> Definitions:
    """The definitions that Kairos comes with."""
    return load_definitions(PACKAGE_CONFIG_DIR, condition_fault)


def definitions(**parts: Any) -> Definitions:
    """Definitions written as in YAML."""
    return Definitions.model_validate(parts)


def ms(text: str) -> int:
    """`ms("2010-03-01 10:00")` = epoch ms of that time, UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def track(event: str, user: str, at: int, mid: str | None = None, **properties: Any) -> bytes:
    """A track call."""
    return msgspec.json.encode(
        {
            "type": "track",
            "event": event,
            "userId": user,
            "messageId": mid or f"{event}-{user}-{at}",
            "timestamp": at,
            "properties": properties,
        }
    )


def identify(user: str, at: int, mid: str | None = None, **traits: Any) -> bytes:
    """An identify call."""
    made = {"type": "identify", "userId": user, "messageId": mid or f"identify-{user}-{at}", "timestamp": at}
    return msgspec.json.encode(made | {"traits": traits})


def tick(at: int) -> bytes:
    """Time, for one input."""
    return b'{"type":"tick","timestamp":%d}' % at


def order(user: str, at: int, revenue: float = 20.0, mid: str | None = None, **properties: Any) -> bytes:
    """An `Order Completed` with one product."""
    products = [{"product_id": "p1", "name": "Lantern", "price": revenue, "quantity": 1}]
    return track("Order Completed", user, at, mid, **({"revenue": revenue, "products": products} | properties))


def event_of(value: bytes, broker_ms: int = BROKER_MS) -> Input:
    """Decoded event, as handlers get it."""
    found = decode(Record(0, broker_ms, b"u", value), "clickstream", 0)
    assert isinstance(found, Input)
    return found


@dataclass(slots=True)
class Published:
    """What one transaction published, effects as dictionaries."""

    outputs: list[Output] = field(default_factory=list)

    def on(self, topic: str) -> list[dict[str, Any]]:
        """Values of the outputs on `topic`, in order."""
        return [msgspec.json.decode(output.value) for output in self.outputs if output.topic == topic]


class LaneRig:
    """A lane and its inputs' logs. Every input keeps its own offsets.

    Parameters
    ----------
    brain : policies, or definitions to make it of.
    store : where the state is.
    """

    def __init__(
        self, brain: Brain | Definitions, store: LaneStore | None = None, *, lane: int = 0, lanes: int = 1
    ) -> None:
        self.brain = Brain(brain) if isinstance(brain, Definitions) else brain
        self.store: LaneStore = store if store is not None else MemoryLaneStore()
        self.lane, self.lanes = lane, lanes
        self.logs: dict[str, list[Record]] = {name: [] for name in INPUT_NAMES}
        self.broker_ms = BROKER_MS
        self.published = Published()
        self.done: list[Done] = []
        self.store.commit(open_lane(self.store, lane, 1, self.brain).change)
        self.position: Position = read_position(self.store)

    # -- writing to the log

    def write(self, topic: str, *values: bytes | Record | None, key: bytes | None = None) -> tuple[int, int]:
        """Append to an input; returns (first offset, offset after the last)."""
        log = self.logs[topic]
        start = len(log)
        for value in values:
            self.broker_ms += 1
            offset = len(log)
            if isinstance(value, Record):
                log.append(Record(offset, value.broker_ms or self.broker_ms, value.key, value.value, value.headers))
            else:
                log.append(Record(offset, self.broker_ms, key, value))
        return start, len(log)

    # -- applying

    def apply(self, topic: str, start: int, end: int) -> Done | None:
        """Apply a chunk by the from/to rule; None if it was applied before."""
        fence = self.position.fence.offsets[INPUT_NAMES.index(topic)]
        fence = start if fence < 0 else fence
        if fence >= end:
            return None
        if fence < start:
            raise GapError(f"{topic}: fence {fence}, chunk begins at {start}")
        return self._commit(self._read(topic, fence, end))

    def _read(self, topic: str, start: int, end: int) -> Batch:
        return read_chunk(
            self.logs[topic][start:end],
            topic=topic,
            topic_index=INPUT_NAMES.index(topic),
            lane=self.lane,
            lanes=self.lanes,
            start=start,
            end=end,
            future_limit_ms=FUTURE_LIMIT_MS,
        )

    def _commit(self, batch: Batch) -> Done:
        loaded, users = begin(self.store, self.position, batch)
        done = work(loaded, users, batch, self.brain, ())
        next_due = self.store.commit(done.change)
        broker_ms = max(self.position.broker_ms, batch.broker_ms)
        self.position = Position(done.fence, done.state, next_due, broker_ms)
        assert done.change.outbox is not None
        self.published.outputs.extend(decode_entry(done.change.outbox).outputs)
        self.done.append(done)
        return done

    def settle(self) -> None:
        """Everything that is due at the watermark."""
        for _ in range(1_000):
            due = self.position.next_due
            if due is None or not 0 < due <= self.position.state.watermark:
                return
            self._commit(Batch(self.lane, self.lanes, broker_ms=self.position.broker_ms))
        raise AssertionError("timers fire for ever")

    def feed(self, topic: str, *values: bytes | Record | None, key: bytes | None = None) -> Published:
        """Write to an input, apply it as one chunk, and all that falls due; returns what that published."""
        before = len(self.published.outputs)
        self.apply(topic, *self.write(topic, *values, key=key))
        self.settle()
        return Published(self.published.outputs[before:])

    def merged(self, chunks: Iterable[tuple[str, int, int]]) -> Done:
        """Apply the next chunks of several inputs as one batch."""
        return self._commit(merge([self._read(*chunk) for chunk in chunks]))

    def together(self, chunks: Iterable[tuple[str, Sequence[bytes]]]) -> Published:
        """Write to several inputs and apply that as one merged batch."""
        before = len(self.published.outputs)
        self.merged([(topic, *self.write(topic, *values)) for topic, values in chunks])
        self.settle()
        return Published(self.published.outputs[before:])

    def until(self, at: int) -> Published:
        """Let time pass: a tick into every input."""
        before = len(self.published.outputs)
        for topic in INPUT_NAMES:
            self.apply(topic, *self.write(topic, tick(at)))
        self.settle()
        return Published(self.published.outputs[before:])

    # -- looking

    def profile(self, user: str) -> Profile:
        """A user's profile as stored."""
        packed = self.memory.profiles[user]
        return decode_profile(packed)

    @property
    def memory(self) -> MemoryLaneStore:
        """The store, where it is the one in memory."""
        assert isinstance(self.store, MemoryLaneStore)
        return self.store

    @property
    def state(self) -> Any:
        """Counts and watermarks."""
        return self.position.state

    def counters(self, key: str) -> dict[str, int]:
        """Running counters of one experiment or campaign."""
        return self.memory.counters.get(key, {})
