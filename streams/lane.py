"""A lane: everything of one partition number, applied one chunk after the other.

The fence in Redis is the position. Whatever goes wrong (a zombie wrote, a chunk got lost, Redis went back in time, the
reply was cut off) ends the same way: empty the lane, read the fence again, seek to it.
"""

from __future__ import annotations

import asyncio
import random
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from config.settings import Settings
from config.topics import INPUT_NAMES
from models.brain import Brain
from models.chunk import Batch, merge, read_chunk
from models.errors import FenceError, KairosError, TransientError
from models.wire import Record
from services.state.mend import mend
from services.state.redis_lane import RedisLaneStore
from services.state.step import NOTHING, Done, Position, ask, opening, work
from services.state.store import Loaded
from streams.metrics import DecideMeter
from streams.outbox import LaneOutbox
from streams.transport import Chunk

log = structlog.get_logger()
OUTBOX_LIMIT = 8
BACKOFF_S = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0)


class GapError(FenceError):
    """A chunk begins behind the fence: something that was fetched was never applied."""


@dataclass(slots=True)
class Waiting:
    """A chunk in the lane's hands: `records` are those not applied yet, decoded when it comes to the front.

    `parts` : the chunks as they were handed over, with Faust's events; several where some were joined.
    """

    chunk: Chunk
    parts: list[tuple[Chunk, Any]]
    records: Sequence[Any]
    batch: Batch | None = None

    def join(self, behind: Waiting) -> None:
        """Take the chunk behind this one in: both are applied in one transaction."""
        records = [*self.chunk.records, *behind.chunk.records]
        self.chunk = replace(self.chunk, end=behind.chunk.end, records=records, highwater=behind.chunk.highwater)
        self.parts += behind.parts
        self.records = [*self.records, *behind.records]


@dataclass(frozen=True, slots=True)
class LaneContext:
    """What all lanes of a worker share."""

    settings: Settings
    brain: Callable[[], Brain]
    meter: DecideMeter
    is_current: Callable[[Chunk], bool]
    rewind: Callable[[int], Any]
    refresh: Callable[[], Any]
    crash: Callable[[BaseException | None], None]


class Lane:
    """One partition number of the four inputs.

    Parameters
    ----------
    number : partition. store : its state. outbox : its publisher. context : shared things of the worker.
    epoch : the newest one that its journal has seen.
    """

    def __init__(
        self, number: int, store: RedisLaneStore, outbox: LaneOutbox, context: LaneContext, epoch: int = 0
    ) -> None:
        self.number = number
        self._store = store
        self._outbox = outbox
        self._context = context
        self._queues: tuple[deque[Waiting], ...] = tuple(deque() for _ in INPUT_NAMES)
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._epoch = epoch
        self.position: Position | None = None
        self.trouble = ""  # why it is not open, for people

    def offer(self, chunk: Chunk, event: Any) -> None:
        """Take a chunk; it is acknowledged after its transaction. The transport bounds how many come."""
        self._queues[INPUT_NAMES.index(chunk.topic)].append(Waiting(chunk, [(chunk, event)], chunk.records))
        self._arrived.set()

    def start(self) -> None:
        """Begin to work."""
        self._closing = False
        self._task = asyncio.create_task(self._run(), name=f"lane-{self.number}")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._context.crash(task.exception())

    async def close(self) -> None:
        """Finish the transaction in hand, then stop."""
        self._closing = True
        self._arrived.set()
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait([task], timeout=8.0)
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        self._store.close()
        await self._outbox.stop()

    async def _run(self) -> None:
        failures = 0
        while not self._closing:
            try:
                if self.position is None:
                    if failures:
                        await self._context.rewind(self.number)
                    await self._open()
                if await self._turn():
                    failures = 0
            except (TransientError, OSError) as error:
                failures += 1
                log.warning("lane_reload", lane=self.number, failures=failures, error=str(error))
                self.position, self.trouble = None, str(error)
                self._clear()
                delay = BACKOFF_S[min(failures, len(BACKOFF_S)) - 1]
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))

    async def _open(self) -> None:
        """Take the lane over: publish what was left, and make every other owner's next transaction fail."""
        await self._outbox.stop()
        await self._context.refresh()
        brain = self._context.brain()
        # Above any published one, also where Redis forgot the last one and the clock was set back.
        epoch = max(int(time.time() * 1000), self._epoch + 1)
        done = opening(await self._store.load(*NOTHING), self.number, epoch, brain, self._context.settings.lanes)
        await self._store.commit(done.change)
        self._epoch = done.state.epoch
        self._outbox.start(await self._store.pending(), self._ended)
        # As it was written, not as it is read again: if another worker opened the lane meanwhile, that is not ours, and
        # the first transaction has to find out.
        self.position = Position(done.fence, done.state, next_due=0)
        log.info("lane_open", lane=self.number, seq=self.position.fence.seq, offsets=self.position.fence.offsets)

    def _clear(self) -> None:
        for queue in self._queues:
            queue.clear()

    async def _turn(self) -> bool:
        """One transaction, if there is anything to do; True if one was committed."""
        position = self.position
        assert position is not None
        if len(self._outbox) > OUTBOX_LIMIT:
            await asyncio.sleep(0.005)
            return False
        due = position.next_due
        if due is not None and 0 < due <= position.state.watermark:
            await self._commit(Batch(self.number, self._context.settings.lanes, broker_ms=position.broker_ms), ())
            return True
        taken = self._take(self._heads(position), position)
        if not taken:
            self._arrived.clear()
            if not self._closing:
                await self._arrived.wait()
            return False
        try:
            await self._commit(
                merge([batch for _, batch in taken]), [chunk for waiting, _ in taken for chunk, _ in waiting.parts]
            )
        except KairosError:
            raise
        except Exception:  # noqa: BLE001 - told with its traceback when it is met again
            sources = [(part.source, part.start, part.end) for _, batch in taken for part in batch.parts]
            log.warning("batch_failed", lane=self.number, sources=sources, next="record by record")
            for waiting, batch in taken:
                await self._one_by_one(waiting, batch.received)
        for waiting, batch in taken:
            self._applied(waiting, batch.received)
        return True

    def _heads(self, position: Position) -> list[Waiting]:
        """The first chunk of each input that still holds something to apply, decoded, earliest event first."""
        heads: list[Waiting] = []
        for index, queue in enumerate(self._queues):
            while queue:
                waiting = queue[0]
                chunk = waiting.chunk
                if not self._context.is_current(chunk):
                    queue.popleft()
                    continue
                fence = position.fence.offsets[index]
                if fence < 0:
                    fence = chunk.sought
                if fence >= chunk.end:
                    queue.popleft()
                    _acknowledge(waiting)
                    continue
                if fence < chunk.start:
                    raise GapError(
                        f"{chunk.topic}-{chunk.partition}: fence {fence}, next chunk begins at {chunk.start}"
                    )
                if waiting.records[0].offset < fence:  # the front of it was applied before
                    waiting.records = [r for r in waiting.records if r.offset >= fence]
                    waiting.batch = None
                if waiting.batch is None:
                    self._join_behind(queue)
                    waiting.batch = self._decode(waiting.records, chunk)
                heads.append(waiting)
                break
        return sorted(heads, key=_first_ms)

    def _join_behind(self, queue: deque[Waiting]) -> None:
        """Join the chunks that wait behind the first one into it.

        A backlog of small chunks costs a third less then, one of full chunks an eighth: more events of a user share the
        reading and writing of the profile.
        """
        first = queue[0]
        while len(queue) > 1:
            behind = queue[1]
            fits = len(first.records) + len(behind.records) <= self._context.settings.batch_max
            follows = behind.chunk.start == first.chunk.end and behind.chunk.generation == first.chunk.generation
            if not fits or not follows:
                return
            first.join(behind)
            del queue[1]

    def _take(self, heads: list[Waiting], position: Position) -> list[tuple[Waiting, Batch]]:
        """What to apply now: all that is in hand; in strict order only as far as every input is known."""
        whole = [(waiting, waiting.batch) for waiting in heads if waiting.batch is not None]
        if not self._context.settings.strict_order or not whole:
            return whole
        known = list(position.state.watermarks)
        for _, batch in whole:
            index = batch.parts[0].source_index
            known[index] = max(known[index], *batch.times)
        horizon = min(known)
        taken: list[tuple[Waiting, Batch]] = []
        for waiting, batch in whole:
            count = next((i for i, at in enumerate(batch.times) if at > horizon), len(batch.times))
            if count == len(batch.times):
                taken.append((waiting, batch))
            elif count:
                taken.append((waiting, self._decode(waiting.records[:count], waiting.chunk)))
        return taken

    def _applied(self, waiting: Waiting, count: int) -> None:
        """Put `count` records of a chunk behind us."""
        queue = self._queues[INPUT_NAMES.index(waiting.chunk.topic)]
        if count < len(waiting.records):
            waiting.records, waiting.batch = waiting.records[count:], None
            return
        if queue and queue[0] is waiting:
            queue.popleft()
        _acknowledge(waiting)

    def _decode(self, records: Sequence[Any], chunk: Chunk) -> Batch:
        settings = self._context.settings
        last = records[-1]
        return read_chunk(
            [Record(r.offset, r.timestamp, r.key, r.value, r.headers) for r in records],
            topic=chunk.topic,
            topic_index=INPUT_NAMES.index(chunk.topic),
            lane=self.number,
            lanes=settings.lanes,
            start=chunk.start,
            end=chunk.end if last is chunk.records[-1] else last.offset + 1,
            future_limit_ms=settings.future_limit_ms,
            watermark_delay_ms=settings.watermark_delay_ms,
        )

    async def _one_by_one(self, waiting: Waiting, count: int) -> None:
        """Find the record that the core cannot apply: it alone goes to dead-letters (see :meth:`_work`)."""
        chunk = waiting.chunk
        for record in waiting.records[:count]:
            await self._commit(self._decode([record], chunk), [chunk])

    async def _commit(self, batch: Batch, chunks: Sequence[Chunk]) -> None:
        """One transaction: read, the pure core, write if the fence has not moved."""
        position = self.position
        assert position is not None
        published = self._outbox.published()
        question, users = ask(position, batch)
        loaded = await self._store.load(*question)
        done = self._work(loaded, users, batch, published)
        if done.fence.seq != position.fence.seq + 1 or done.state.epoch != position.state.epoch:
            raise FenceError("the fence is not where this worker left it")
        next_due = await self._store.commit(done.change)
        self._outbox.deleted(published)
        self._outbox.add(done.entry)
        self.position = Position(done.fence, done.state, next_due, max(position.broker_ms, batch.broker_ms))
        self._context.meter.committed(self.number, batch, done, chunks)

    def _work(self, loaded: Loaded, users: Sequence[str], batch: Batch, published: Sequence[int]) -> Done:
        """The pure core; what it fails on is left out, unless that has to be found among several records."""
        brain = self._context.brain()
        try:
            return work(loaded, users, batch, brain, published)
        except KairosError:
            raise
        except Exception as fault:
            if len(batch.inputs) > 1:
                raise
            at = [(event.source, event.record.offset) for event in batch.inputs]
            hit = [event.user for event in batch.inputs]
            # As text: the console's own rendering shows all local variables, that is to say other people's events.
            said = traceback.format_exc()
            log.error(  # noqa: TRY400
                "core_failed", lane=self.number, record=at, timers=len(loaded.due), exception=said
            )
            done = mend(work, loaded, users, batch, brain, published, fault)
            self._context.meter.guard.failed([*(hit if batch.failed else ()), *batch.parked])
            return done


def _acknowledge(waiting: Waiting) -> None:
    for _, event in waiting.parts:
        event.ack()


def _first_ms(waiting: Waiting) -> tuple[int, str]:
    assert waiting.batch is not None
    return waiting.batch.first_ms, waiting.chunk.topic
