"""A lane: everything of one partition number, applied one chunk after the other.

The fence in Redis is the position. Whatever goes wrong (a zombie wrote, a chunk got lost, Redis went back in time, the
reply was cut off) ends the same way: empty the lane, read the fence again, seek to it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from config.settings import Settings
from config.topics import INPUT_NAMES
from models.brain import Brain
from models.chunk import Batch, dead_letter, read_chunk
from models.errors import FenceError, KairosError, TransientError
from models.wire import Record
from services.state.redis_lane import RedisLaneStore
from services.state.step import Done, Position, begin, open_lane, read_position, work
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
    """A chunk in the lane's hands, decoded when it comes to the front."""

    chunk: Chunk
    event: Any
    batch: Batch | None = None


@dataclass(frozen=True, slots=True)
class LaneContext:
    """What all lanes of a worker share."""

    settings: Settings
    brain: Callable[[], Brain]
    meter: DecideMeter
    is_current: Callable[[Chunk], bool]
    rewind: Callable[[int], Any]
    crash: Callable[[BaseException | None], None]


class Lane:
    """One partition number of the four inputs.

    Parameters
    ----------
    number : partition. store : its state. outbox : its publisher. context : shared things of the worker.
    """

    def __init__(self, number: int, store: RedisLaneStore, outbox: LaneOutbox, context: LaneContext) -> None:
        self.number = number
        self._store = store
        self._outbox = outbox
        self._context = context
        self._queues: tuple[deque[Waiting], ...] = tuple(deque() for _ in INPUT_NAMES)
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.position: Position | None = None

    def offer(self, chunk: Chunk, event: Any) -> None:
        """Take a chunk; it is acknowledged after its transaction. The transport bounds how many come."""
        self._queues[INPUT_NAMES.index(chunk.topic)].append(Waiting(chunk, event))
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
        await self._outbox.stop()
        self._store.close()

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
                self.position = None
                self._clear()
                delay = BACKOFF_S[min(failures, len(BACKOFF_S)) - 1]
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))

    async def _open(self) -> None:
        """Take the lane over: publish what was left, and make every other owner's next transaction fail."""
        await self._outbox.stop()
        brain = self._context.brain()
        epoch = int(time.time() * 1000)
        done = await asyncio.to_thread(open_lane, self._store, self.number, epoch, brain)
        await asyncio.to_thread(self._store.commit, done.change)
        self._outbox.start(await asyncio.to_thread(self._store.pending))
        self.position = await asyncio.to_thread(read_position, self._store)
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
            await self._commit(self._timers_only(position), None)
            return True
        waiting = self._earliest()
        if waiting is None:
            self._arrived.clear()
            if not self._closing and not any(self._queues):
                await self._arrived.wait()
            return False
        await self._take(waiting, position)
        return True

    def _timers_only(self, position: Position) -> Batch:
        settings = self._context.settings
        return Batch(self.number, settings.lanes, "", -1, 0, 0, broker_ms=position.broker_ms)

    def _earliest(self) -> Waiting | None:
        """The chunk whose first event is earliest; stale ones are dropped."""
        best: Waiting | None = None
        for queue in self._queues:
            while queue and not self._context.is_current(queue[0].chunk):
                queue.popleft()
            if queue:
                waiting = queue[0]
                if waiting.batch is None:
                    waiting.batch = self._decode(waiting.chunk.records, waiting.chunk.start, waiting.chunk)
                if best is None or best.batch is None or waiting.batch.first_ms < best.batch.first_ms:
                    best = waiting
        return best

    def _decode(self, records: Sequence[Any], start: int, chunk: Chunk) -> Batch:
        settings = self._context.settings
        return read_chunk(
            [Record(r.offset, r.timestamp, r.key, r.value, r.headers) for r in records],
            topic=chunk.topic,
            topic_index=INPUT_NAMES.index(chunk.topic),
            lane=self.number,
            lanes=settings.lanes,
            start=start,
            end=chunk.end if records and records[-1] is chunk.records[-1] else records[-1].offset + 1,
            future_limit_ms=settings.future_limit_ms,
            watermark_delay_ms=settings.watermark_delay_ms,
        )

    async def _take(self, waiting: Waiting, position: Position) -> None:
        chunk, batch = waiting.chunk, waiting.batch
        assert batch is not None
        queue = self._queues[batch.source_index]
        fence = position.fence.offsets[batch.source_index]
        if fence >= chunk.end:
            queue.popleft()
            waiting.event.ack()
            return
        if 0 <= fence < chunk.start:
            raise GapError(f"{chunk.topic}-{chunk.partition}: fence {fence}, next chunk begins at {chunk.start}")
        if fence > chunk.records[0].offset:  # the front of it was applied before
            batch = self._decode([r for r in chunk.records if r.offset >= fence], fence, chunk)
        try:
            await self._commit(batch, chunk)
        except KairosError:
            raise
        except Exception:
            log.exception("chunk_failed", lane=self.number, topic=chunk.topic, start=batch.start, end=batch.end)
            await self._one_by_one(chunk)
        if queue and queue[0] is waiting:
            queue.popleft()
        waiting.event.ack()

    async def _one_by_one(self, chunk: Chunk) -> None:
        """Find the record that the core cannot apply: it alone goes to dead-letters."""
        assert self.position is not None
        index = INPUT_NAMES.index(chunk.topic)
        for record in chunk.records:
            fence = self.position.fence.offsets[index]
            if record.offset < fence:
                continue
            batch = self._decode([record], max(fence, 0), chunk)
            try:
                await self._commit(batch, chunk)
            except KairosError:
                raise
            except Exception as fault:
                log.exception("record_failed", lane=self.number, topic=chunk.topic, offset=record.offset)
                for event in batch.inputs:
                    letter = dead_letter(chunk.topic, self.number, event.record, "failed", repr(fault))
                    batch.rejected.append(letter)
                batch.inputs.clear()
                await self._commit(batch, chunk)

    async def _commit(self, batch: Batch, chunk: Chunk | None) -> None:
        """One transaction: read, the pure core, write if the fence has not moved."""
        position = self.position
        assert position is not None
        published = self._outbox.published()
        loaded, users = await asyncio.to_thread(begin, self._store, position, batch)
        done = self._work(position, batch, loaded, users, published)
        next_due = await asyncio.to_thread(self._store.commit, done.change)
        self._outbox.deleted(published)
        assert done.change.outbox is not None
        self._outbox.add(done.change.outbox)
        broker_ms = max(position.broker_ms, batch.broker_ms)
        self.position = Position(done.fence, done.state, next_due, broker_ms)
        self._context.meter.committed(self.number, batch, done, chunk)

    def _work(
        self, position: Position, batch: Batch, loaded: Any, users: Sequence[str], published: Sequence[int]
    ) -> Done:
        done = work(loaded, users, batch, self._context.brain(), published)
        if done.fence.seq != position.fence.seq + 1 or done.state.epoch != position.state.epoch:
            raise FenceError("the fence is not where this worker left it")
        return done
