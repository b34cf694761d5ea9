"""A lane of the role decide at work between a log and a store in memory, both of which fail when told to."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiokafka.errors import KafkaError

from config.settings import Settings
from config.topics import INPUT_NAMES
from models.brain import Brain
from models.errors import TransientError
from models.wire import Record
from services.state.step import OutboxEntry
from services.state.store import Change, MemoryLaneStore
from streams.lane import Lane, LaneContext
from streams.metrics import DecideMeter
from streams.outbox import LaneOutbox
from streams.transport import Chunk
from support.lane import BROKER_MS, shipped
from support.lane_store import AwaitedLaneStore

BRAIN = Brain(shipped())


class Store(MemoryLaneStore):
    """In memory; breaks when told to, before or after it has written."""

    def __init__(self) -> None:
        super().__init__()
        self.breaks: list[str] = []

    def commit(self, change: Change) -> int | None:
        fault = self.breaks.pop(0) if self.breaks else ""
        if fault == "before":
            raise TransientError("the connection broke before EXEC")
        due = super().commit(change)
        if fault == "after":
            raise TransientError("the reply was cut off after EXEC")
        return due


class Outlet:
    """Takes entries in the place of Kafka, or fails as it does."""

    def __init__(self) -> None:
        self.entries: list[OutboxEntry] = []
        self.faults: list[KafkaError] = []

    async def publish(self, entry: OutboxEntry) -> None:
        await asyncio.sleep(0)
        if self.faults:
            raise self.faults.pop(0)
        self.entries.append(entry)


class Acks:
    """A Faust event, as far as a lane uses it."""

    def __init__(self) -> None:
        self.acked = 0

    def ack(self) -> None:
        self.acked += 1


class Rig:
    """A lane between a log and a store; a rewind hands the log out again from the fence, as the transport does."""

    def __init__(self, settings: Settings | None = None, store: Store | None = None) -> None:
        self.store, self.outlet = store or Store(), Outlet()
        self.logs: dict[str, list[Record]] = {name: [] for name in INPUT_NAMES}
        self.rewinds = 0
        self.crashes: list[BaseException | None] = []
        self.generation = 0
        self.meter = DecideMeter()
        self.brain = BRAIN
        context = LaneContext(
            settings=settings or Settings(lanes=1),
            brain=lambda: self.brain,
            meter=self.meter,
            is_current=lambda chunk: chunk.generation == self.generation,
            rewind=self._rewind,
            refresh=self._refresh,
            crash=self.crashes.append,
        )
        self.outbox = LaneOutbox(0, self.outlet)  # type: ignore[arg-type]
        self.lane = Lane(0, AwaitedLaneStore(self.store), self.outbox, context)  # type: ignore[arg-type]

    async def _rewind(self, number: int) -> None:
        self.rewinds += 1
        self.generation += 1
        fence = self.fence
        for index, name in enumerate(INPUT_NAMES):
            start = max(0, fence[index])
            if start < len(self.logs[name]):
                self.offer(name, start, len(self.logs[name]), sought=start)

    async def _refresh(self) -> None:
        """No newer models."""

    def write(self, topic: str, *values: bytes | None) -> tuple[int, int]:
        log = self.logs[topic]
        start = len(log)
        for value in values:
            log.append(Record(len(log), BROKER_MS + len(log), b"k", value))
        return start, len(log)

    def offer(self, topic: str, start: int, end: int, sought: int = 0) -> Acks:
        acks = Acks()
        records: list[Any] = [_Fetched(record) for record in self.logs[topic][start:end]]
        made = Chunk(topic, 0, start, end, records, len(self.logs[topic]), time.monotonic(), self.generation, sought)
        self.lane.offer(made, acks)
        return acks

    def feed(self, topic: str, *values: bytes | None) -> Acks:
        return self.offer(topic, *self.write(topic, *values))

    @property
    def fence(self) -> tuple[int, ...]:
        position = self.lane.position
        if position is not None:
            return position.fence.offsets
        packed = self.store.fence
        return (-1,) * 4 if packed is None else tuple(msgspec.msgpack.decode(packed)[1])

    @property
    def state(self) -> Any:
        assert self.lane.position is not None
        return self.lane.position.state

    def on(self, topic: str) -> list[dict[str, Any]]:
        """What was published on a topic."""
        return [
            msgspec.json.decode(output.value)
            for entry in self.outlet.entries
            for output in entry.outputs
            if output.topic == topic
        ]


class _Fetched:
    """A record as aiokafka hands it over."""

    def __init__(self, record: Record) -> None:
        self.offset, self.timestamp = record.offset, record.broker_ms
        self.key, self.value, self.headers = record.key, record.value, record.headers


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[Rig]:
    rig.lane.start()
    try:
        yield rig
    finally:
        await rig.lane.close()


async def until(true: Callable[[], bool], what: str = "it") -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, f"{what} did not come"
        await asyncio.sleep(0.002)
