"""The Faust consumer that hands out chunks, counts those in flight and goes where the lanes say."""

# Faust has no public way to replace its poll. tests/unit/streams/test_faust_contract.py guards private names.
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from faust.transport.drivers.aiokafka import Consumer, Transport
from faust.types import TP
from faust.types.tuples import ack_lock

from streams.transport.chunk import COMMITTED, EARLIEST, Chunk, ChunkMessage
from streams.transport.options import Hooks, PartitionHook, TransportOptions
from streams.transport.thread import ChunkThread


class ChunkConsumer(Consumer):
    """Consumer of chunks.

    Notes
    -----
    Differs from Faust's consumer in four ways. One message is a whole chunk. A partition with
    ``options.max_inflight`` chunks out is not polled, so that buffers never fill and no partition waits for
    another. The position is what the lanes' position source says, Kafka's committed offset is only shown.
    What was read but lost leaves a gap between chunks that the lane can see (``Chunk.start``).
    """

    _thread: ChunkThread

    def __init__(self, transport: ChunkTransport, *args: Any, **kwargs: Any) -> None:
        self.options: TransportOptions = transport.options
        self.hooks: Hooks = transport.hooks
        self._inflight: dict[TP, deque[ChunkMessage]] = {}
        self._acked_to: dict[TP, int] = {}
        # Generation of the last seek of a partition; without one nothing of it is read, no chunk is current.
        self._current: dict[TP, int] = {}
        self._reposition_lock = asyncio.Lock()
        self._open: frozenset[TP] = frozenset()
        super().__init__(transport, *args, **kwargs)

    def _new_consumer_thread(self) -> ChunkThread:
        return ChunkThread(self, loop=self.loop, beacon=self.beacon)

    # -- delivery

    def may_read(self, tp: TP) -> bool:
        """Whether a chunk of `tp` may be handed out (asked from the consumer's thread)."""
        return (
            tp in self._current
            and tp in self._active_partitions
            and len(self._inflight.get(tp, ())) < self.options.max_inflight
        )

    def is_current(self, chunk: Chunk) -> bool:
        """Whether nothing was sought, revoked or assigned since `chunk` was read; drop it if not."""
        return self._current.get(chunk.tp) == chunk.generation

    async def _drain_messages(self, fetcher: Any) -> None:
        timeout_s = self.options.poll_timeout_ms / 1000.0
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                if not self.flow_active:
                    await self.wait(self.can_resume_flow)  # type: ignore[arg-type]
                    continue
                for chunk in await self._thread.next_chunks(timeout_s):
                    await self._deliver(chunk)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise

    async def _deliver(self, chunk: Chunk) -> None:
        if not self.flow_active or not self.is_current(chunk):
            return
        tp = chunk.tp
        self.app.monitor.track_tp_end_offset(tp, chunk.highwater)
        message = ChunkMessage.of(chunk, self.app.consumer_generation_id)
        self._inflight.setdefault(tp, deque()).append(message)
        # Does not block: the streams' buffers hold more than all partitions may have in flight.
        await self.callback(message)

    # -- acknowledgement

    def ack(self, message: Any) -> bool:
        """Note that a chunk is applied; it counts as done when all before it are."""
        with ack_lock:
            if message.acked:
                return False
            message.acked = True
            self._unacked_messages.discard(message)
            # By identity: a late ack of a chunk from before a rewind must not count for its successor.
            queue = self._inflight.get(message.tp)
            was_full = queue is not None and len(queue) >= self.options.max_inflight
            while queue and queue[0].acked:
                self._acked_to[message.tp] = queue.popleft().offset + 1
                self._n_acked += 1
        if was_full and queue is not None and len(queue) < self.options.max_inflight:
            self._thread.wake()
        return True

    def _new_offset(self, tp: TP) -> int | None:
        return self._acked_to.get(tp)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in list(self._acked_to) if topics is None or tp in topics or tp.topic in topics)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: Faust would call a partition stuck whose lane is merely busy; Kairos has a watchdog."""

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: credit does the pausing; Faust's way sleeps a second when all partitions are paused."""

    # -- positions

    async def rewind(self, tps: Iterable[TP]) -> None:
        """Forget what is in flight of `tps` and read on from where the position source says.

        For a lane whose transaction failed. Chunks handed out before stop being current at the call;
        partitions that were revoked meanwhile are left alone. When the position source raises, so does this,
        and nothing of `tps` is read until it is called again.
        """
        await self._reposition(frozenset(tps))

    async def perform_seek(self) -> None:
        """Seek every assigned partition (Faust calls this after each rebalance)."""
        await self.seek_to_committed()

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek every assigned partition to its position, which is not Kafka's committed offset."""
        return await self._reposition(frozenset(self.assignment()))

    async def seek(self, partition: TP, offset: int) -> None:
        """Seek one partition."""
        async with self._reposition_lock:
            self._forget((partition,))
            self._adopt(await self._thread.seek_all({partition: offset}))

    async def _reposition(self, tps: frozenset[TP]) -> dict[TP, int]:
        self._forget(tps)
        async with self._reposition_lock:
            self._forget(tps)
            if self.hooks.positions is None:
                wanted: Mapping[TP, int] = dict.fromkeys(tps, COMMITTED)
            else:
                wanted = await self.hooks.positions(tps)
            sought = await self._thread.seek_all({tp: wanted.get(tp, EARLIEST) for tp in tps})
            self._adopt(sought)
        return {tp: offset for tp, (offset, _) in sought.items()}

    def _forget(self, tps: Iterable[TP]) -> None:
        for tp in tps:
            self._current.pop(tp, None)
            self._inflight.pop(tp, None)
            self._acked_to.pop(tp, None)
            self._committed_offset.pop(tp, None)

    def _adopt(self, sought: Mapping[TP, tuple[int, int]]) -> None:
        for tp, (offset, generation) in sought.items():
            self._current[tp] = generation
            self.log.info("reading %s-%s from %s", tp.topic, tp.partition, offset)
        self._thread.wake()

    # -- partitions come and go

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        # Nothing more is handed out while the lanes finish; Faust resumes after the next assignment.
        self.stop_flow()
        await self.close_partitions()
        self._forget(revoked)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        if not self.app.should_stop:
            self._forget(list(self._current))
            self._open = frozenset(assigned)
            await self._run_hook(self.hooks.on_assigned, self._open)
        await super().on_partitions_assigned(assigned, generation_id)

    async def close_partitions(self) -> None:
        """Let the lanes finish, then commit what they acknowledged. Does nothing the second time."""
        tps, self._open = self._open, frozenset()
        if tps:
            await self._run_hook(self.hooks.on_revoked, tps)
            await self.commit()

    async def _run_hook(self, hook: PartitionHook | None, tps: frozenset[TP]) -> None:
        if hook is None:
            return
        try:
            await hook(tps)
        except Exception as error:
            # aiokafka logs what its listener raises and goes on, with lanes in an unknown state.
            await self.crash(error)
            raise

    async def on_stop(self) -> None:
        await self.close_partitions()
        await super().on_stop()

    # -- what others ask

    def log_end(self, tp: TP) -> int | None:
        """Return the log's end by the last fetch of `tp`; None before the first, or when it is not ours."""
        return self._thread.log_end(tp)

    async def commit_positions(self, positions: Mapping[TP, int]) -> None:
        """Commit to Kafka now, whatever was acknowledged; raises when the broker did not take it."""
        await self._thread.commit_or_raise(positions)
        self._committed_offset.update(positions)

    async def committed(self, tps: Iterable[TP]) -> Mapping[TP, int | None]:
        """Return what is committed to Kafka."""
        return await self._thread.committed(frozenset(tps))


class ChunkTransport(Transport):
    """Transport of the scheme ``microbatch://``."""

    Consumer: ClassVar[type[ChunkConsumer]] = ChunkConsumer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.options = TransportOptions()
        self.hooks = Hooks()
