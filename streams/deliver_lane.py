"""Deliver one partition of `messages`: what happens to a chunk, step by step (invariant I3), without Faust.

::

    chunk -> drop what was seen (header position) -> claim -> commit Kafka's offset -> a task for each message
          -> its end is in the ledger -> told to `feedback`, acknowledged -> all of the chunk: fence moves

Chunks overlap: a message that waits for a dead mail server does not hold up the pushes behind it. The fence
moves over finished chunks in order. At most `window` messages are open at a time; then no further chunk is
taken, and the log waits where it is cheap to wait.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import structlog

from models import delivery
from models.chunk import dead_letter
from models.decisions import DeadLetter, MessageCommand
from models.delivery import Dedupe, DeliverFence, Do, Entry, Position, State
from models.errors import FenceError
from models.wire import Record
from services.channels.courier import ClosingError, Courier, Run
from services.state.ledger import Ledger

_log = structlog.get_logger(__name__)
_decode = msgspec.json.Decoder(MessageCommand).decode


class RawRecord(Protocol):
    """A record as the transport hands it over."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class RawChunk(Protocol):
    """The part of ``streams.transport.Chunk`` that is read here."""

    @property
    def topic(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def records(self) -> Sequence[RawRecord]: ...
    @property
    def fetched_at(self) -> float: ...
    @property
    def sought(self) -> int: ...


class Outlet(Protocol):
    """Where a lane tells what happened; each call returns when Kafka has acknowledged."""

    async def tell(self, user: str, event: dict[str, Any]) -> None:
        """Publish an event on `feedback`."""
        ...

    async def refuse(self, letter: DeadLetter) -> None:
        """Publish a record that cannot be read on `dead-letters`."""
        ...

    async def commit(self, partition: int, offset: int) -> None:
        """Commit Kafka's offset of `messages`; raises when the broker did not take it."""
        ...


@dataclass(slots=True)
class Stats:
    """Figures of a process, for the page; ``latency_ms`` is fetch to outcome."""

    events: int = 0
    batches: int = 0
    duplicates: int = 0
    dead: int = 0
    states: Counter[str] = field(default_factory=Counter)
    latency_ms: deque[float] = field(default_factory=lambda: deque(maxlen=2_000))
    tail: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=50))


@dataclass(frozen=True, slots=True)
class Start:
    """Where a lane starts: what Redis and Kafka said after an assignment or a rewind."""

    raw: bytes
    fence: DeliverFence
    committed: int

    @classmethod
    async def read(cls, ledger: Ledger, partition: int, committed: Callable[[], Awaitable[int | None]]) -> Start:
        """Ask Redis and Kafka, work out what is in doubt, and write that down.

        Parameters
        ----------
        committed : asks Kafka for the committed offset.

        Raises
        ------
        FenceError
            Somebody else did the same at the same time: ask again.
        """
        # The run is asked for first: if Redis changes in between, the fence does not move and all starts
        # again.
        run_id = await ledger.run_id()
        raw, fence = await ledger.fence(partition)
        # Kafka last: known from before the run of Redis, it might lack what another worker began and Redis forgot.
        offset = await committed()
        start = delivery.resume(fence, offset, run_id)
        if start != fence:
            # Written before anything is begun, so that a crash in this run is not taken for one that forgot.
            raw = await ledger.advance(partition, raw, start)
        return cls(raw, start, offset or 0)


@dataclass(frozen=True, slots=True)
class _Batch:
    end: int
    highest: dict[int, Position]
    tasks: list[asyncio.Task[None]]


class DeliverLane:
    """One run over one partition, from an assignment (or rewind) to the next.

    Parameters
    ----------
    partition : of `messages`.
    start : from :meth:`Start.read`.
    owner : token of this run; never used again.
    courier, outlet, stats : shared by the lanes of the process.
    window : messages open at a time.
    on_broken : called once when the run cannot go on; it is over then, and a new one starts from the fence.
    """

    def __init__(
        self,
        partition: int,
        start: Start,
        *,
        owner: str,
        courier: Courier,
        outlet: Outlet,
        stats: Stats,
        window: int,
        on_broken: Callable[[DeliverLane, BaseException], None],
    ) -> None:
        self.partition = partition
        self.fence = start.fence
        self._raw = start.raw
        self._committed = start.committed
        self._next = start.fence.offset
        self._dedupe = Dedupe(start.fence.highest)
        self._run = Run(owner, partition)
        self._courier, self._outlet, self._stats, self._window = courier, outlet, stats, window
        self._on_broken = on_broken
        self._queue: asyncio.Queue[tuple[RawChunk, Callable[[], Any]]] = asyncio.Queue()
        self._batches: asyncio.Queue[_Batch] = asyncio.Queue()
        self._open: dict[str, asyncio.Task[None]] = {}
        self._room = asyncio.Event()
        self._over = False
        self._loops = [asyncio.create_task(self._guard(step)) for step in (self._take_all, self._advance_all)]

    # -- from outside

    def put(self, chunk: RawChunk, ack: Callable[[], Any]) -> None:
        """Queue a chunk; the transport hands out only so many that are not acknowledged."""
        self._queue.put_nowait((chunk, ack))

    @property
    def is_idle(self) -> bool:
        """Whether everything that was put is settled."""
        return not self._open and self._queue.empty() and self._batches.empty()

    async def close(self, grace_s: float) -> None:
        """End the run: nothing new is handed over; calls under way get `grace_s` to end and be recorded."""
        self._over = self._run.closing = True
        for loop in self._loops:
            loop.cancel()
        tasks = [task for task in self._open.values() if not task.done()]
        for task in tasks:
            if task not in self._run.busy:
                task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_s)
            for task in late:
                task.cancel()
        await asyncio.gather(*self._loops, *tasks, return_exceptions=True)

    # -- a chunk

    async def _take_all(self) -> None:
        while True:
            await self._take(*await self._queue.get())

    async def _take(self, chunk: RawChunk, ack: Callable[[], Any]) -> None:
        expected = chunk.sought if self._next is None else self._next
        if chunk.start > expected:
            raise FenceError(f"gap in messages-{self.partition}: {expected} expected, {chunk.start} came")
        commands = await self._read(chunk)
        self._next = chunk.end
        highest = dict(self._dedupe.highest)
        await self._wait_for_room(len(commands))
        found = await self._claim([command for _, command in commands])
        # Asked after claiming: as long as it is the same run, the ledger had forgotten nothing when it said
        # "free".
        await self._courier.require_run(self.fence.run_id)
        # Before the first hand-over: after a failover of Redis this offset says what may have been handed
        # over. It never goes back, whatever is read again.
        self._committed = max(self._committed, chunk.end)
        await self._outlet.commit(self.partition, self._committed)
        ack()
        tasks = [self._begin(offset, command, found, chunk.fetched_at) for offset, command in commands]
        self._stats.events += len(chunk.records)
        self._stats.batches += 1
        self._batches.put_nowait(_Batch(chunk.end, highest, tasks))

    async def _read(self, chunk: RawChunk) -> list[tuple[int, MessageCommand]]:
        commands: list[tuple[int, MessageCommand]] = []
        for record in chunk.records:
            if self._next is not None and record.offset < self._next:
                continue
            place = _place(record.headers)
            if place is not None and not self._dedupe.is_new(*place):
                self._stats.duplicates += 1
                continue
            try:
                commands.append((record.offset, _decode(record.value or b"")))
            except msgspec.DecodeError as error:
                reason = "wrong_type" if isinstance(error, msgspec.ValidationError) else "unreadable"
                raw = Record(record.offset, record.timestamp, record.key, record.value, record.headers)
                await self._outlet.refuse(dead_letter(chunk.topic, self.partition, raw, reason, str(error)))
                self._stats.dead += 1
        return commands

    async def _claim(self, commands: list[MessageCommand]) -> dict[str, Entry | None]:
        unique = {c.id: c for c in commands if c.suppressed is None and c.id not in self._open}
        entries = await self._courier.claim_many(list(unique.values()), self._run)
        return dict(zip(unique, entries, strict=True))

    async def _wait_for_room(self, wanted: int) -> None:
        while self._open and len(self._open) + wanted > self._window:
            self._room.clear()
            await self._room.wait()

    # -- a message

    def _begin(
        self, offset: int, command: MessageCommand, found: dict[str, Entry | None], fetched_at: float
    ) -> asyncio.Task[None]:
        under_way = self._open.get(command.id)
        if under_way is not None:  # published twice, and the first is not settled yet
            self._stats.duplicates += 1
            return under_way
        task = asyncio.create_task(self._settle(offset, command, found.get(command.id), fetched_at))
        self._open[command.id] = task
        task.add_done_callback(lambda done: self._ended(command.id, done))
        return task

    def _ended(self, message: str, task: asyncio.Task[None]) -> None:
        self._open.pop(message, None)
        self._run.busy.discard(task)
        self._room.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._break(error)

    async def _settle(self, offset: int, command: MessageCommand, entry: Entry | None, fetched_at: float) -> None:
        courier = self._courier
        plan = delivery.plan(
            command,
            entry,
            now_ms=courier.clock_ms(),
            idempotent=courier.is_idempotent(command.channel),
            doubtful=offset < self.fence.doubt_until,
        )
        if plan.do in {Do.SEND, Do.RETAKE}:
            state, reason = await courier.carry(command, self._run, retake=plan.do is Do.RETAKE)
        elif plan.do is Do.RECORD:
            state, reason = await courier.record(command, plan.state, plan.reason, self._run, plan.token)
        else:
            state, reason = plan.state, plan.reason
        event = delivery.feedback(command, state, reason)
        if event is not None:
            await self._outlet.tell(command.user, event)
        self._count(command, state, reason, fetched_at, again=plan.do is Do.REPEAT)

    def _count(self, command: MessageCommand, state: State, reason: str, fetched_at: float, *, again: bool) -> None:
        stats = self._stats
        if again:
            stats.duplicates += 1
            return
        stats.states[state.value] += 1
        stats.latency_ms.append((time.monotonic() - fetched_at) * 1000)
        stats.tail.append(
            {
                "text": f"{command.campaign}: {state.value}" + (f" ({reason})" if reason else ""),
                "detail": command.reason,
                "tag": state.value,
                "user": command.user,
                "ts": command.decided_at,
                "at": self._courier.clock_ms(),
                "message": command.id,
            }
        )

    # -- the position

    async def _advance_all(self) -> None:
        while True:
            batch = await self._batches.get()
            if batch.tasks:
                # Not gather: cancelled while it waits, it would cancel them too, in the middle of a call.
                await asyncio.wait(batch.tasks)
                if any(task.cancelled() or task.exception() is not None for task in batch.tasks):
                    return  # the run is over; what is not settled is read again
            fence = delivery.advance(self.fence, batch.end, batch.highest)
            self._raw = await self._courier.advance(self.partition, self._raw, fence)
            self.fence = fence

    # -- the end of the run

    async def _guard(self, loop: Callable[[], Awaitable[None]]) -> None:
        try:
            await loop()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  handed to whoever watches the lanes
            self._break(error)

    def _break(self, error: BaseException) -> None:
        if self._over or isinstance(error, ClosingError):
            return
        self._over = self._run.closing = True
        self._on_broken(self, error)


def _place(headers: Sequence[tuple[str, bytes]]) -> tuple[int, Position] | None:
    """(lane, (epoch, seq, n)) from the headers; None for a record that Kairos' outbox did not write."""
    found = {name: value for name, value in headers if name.startswith("kairos-")}
    try:
        lane, epoch, seq, n = (int(found[f"kairos-{name}"]) for name in ("lane", "epoch", "seq", "n"))
    except (KeyError, ValueError):
        return None
    return lane, (epoch, seq, n)
