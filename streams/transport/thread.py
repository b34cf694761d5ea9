"""The consumer's thread: where records are taken from aiokafka and cut into chunks.

Everything here runs on the thread's own event loop, so that "take the records, note where they end" and
"seek, note where to" are each one step that nothing can come between.
"""

# Faust has no public way to replace its poll. tests/unit/streams/test_faust_contract.py guards private names.
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import aiokafka
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, credentials_to_aiokafka_auth, server_list
from faust.types import TP

from streams.transport.chunk import COMMITTED, EARLIEST, Chunk
from streams.transport.options import PositionLostError

if TYPE_CHECKING:
    from streams.transport.consumer import ChunkConsumer


#: A partition's new leader may for a moment not know how far its log was replicated, and what the client knew before
#: the seek may be older still: a second answer has to say the same.
_BEYOND_GRACE_S = 5.0


class Cursor(NamedTuple):
    """How far a partition is read: where the next chunk starts, and the seek that reading began with."""

    following: int
    generation: int
    sought: int


class ChunkThread(AIOKafkaConsumerThread):
    """aiokafka's consumer in its thread."""

    consumer: ChunkConsumer

    def __post_init__(self) -> None:
        super().__post_init__()
        # A partition is here from its first seek after an assignment until the next rebalance; others are
        # never read.
        self._cursors: dict[TP, Cursor] = {}
        self._seeks = itertools.count(1)
        self._waker: asyncio.Future[None] | None = None
        self._beyond: dict[TP, tuple[float, int]] = {}
        self._calls: set[asyncio.Future[Any]] = set()

    # -- calls from the application's loop

    async def call_thread(self, fun: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Run `fun` on the thread's loop; `ConsumerStoppedError` when the thread ends before its turn.

        Faust would wait for ever: a worker whose consumer crashed hung at its last commit instead of ending.
        """
        # Both here and in _fail_calls on the application's loop: no call can slip between the two.
        if self._shutdown.is_set():
            raise ConsumerStoppedError
        promise: asyncio.Future[Any] = self.parent_loop.create_future()
        self._calls.add(promise)
        try:
            return await (await self.method_queue.call(promise, fun, *args, **kwargs))
        finally:
            self._calls.discard(promise)

    def set_shutdown(self) -> None:
        super().set_shutdown()
        self.parent_loop.call_soon_threadsafe(self._fail_calls)

    def _fail_calls(self) -> None:
        for promise in self._calls:
            if not promise.done():
                promise.set_exception(ConsumerStoppedError())

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        conf, options = self.app.conf, self.consumer.options
        return aiokafka.AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            bootstrap_servers=server_list(transport.url, transport.default_port),
            # Partition 7 of every input must lie with one worker (a lane). Range does that; round-robin,
            # Faust's choice for an app without tables, only when the workers divide the partitions evenly.
            partition_assignment_strategy=[RangePartitionAssignor],
            enable_auto_commit=False,
            # "earliest" would jump over deleted records without a word.
            auto_offset_reset="none",
            fetch_max_wait_ms=options.fetch_max_wait_ms,
            fetch_min_bytes=options.fetch_min_bytes,
            fetch_max_bytes=options.fetch_max_bytes,
            max_partition_fetch_bytes=options.max_partition_fetch_bytes,
            max_poll_interval_ms=int((conf.broker_max_poll_interval or 0) * 1000),
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            check_crcs=conf.broker_check_crcs,
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            connections_max_idle_ms=conf.consumer_connections_max_idle_ms,
            **credentials_to_aiokafka_auth(conf.broker_credentials, conf.ssl_context),
        )

    # -- reading

    async def next_chunks(self, timeout_s: float) -> list[Chunk]:
        """At most one chunk of each partition that may be read; empty after `timeout_s`."""
        chunks: list[Chunk] = await self.call_thread(self._next_chunks, timeout_s)
        return chunks

    async def _next_chunks(self, timeout_s: float) -> list[Chunk]:
        client = self._ensure_consumer()
        fetcher = client._fetcher
        deadline = self.thread_loop.time() + timeout_s
        # In this context the coordinator counts this consumer as alive, also while it waits for credit.
        with fetcher._subscriptions.fetch_context():
            while self.consumer.flow_active:
                if client._closed or fetcher._closed:
                    raise ConsumerStoppedError
                chunks = []
                for tp in list(fetcher._records):
                    if tp in self._cursors and self.consumer.may_read(tp):
                        chunk = await self._take(client, tp)
                        if chunk is not None:
                            chunks.append(chunk)
                remaining_s = deadline - self.thread_loop.time()
                if chunks or remaining_s <= 0:
                    return chunks
                self._fail_if_beyond_the_end(client)
                await self._wait(fetcher, remaining_s)
        return []

    async def _take(self, client: aiokafka.AIOKafkaConsumer, tp: TP) -> Chunk | None:
        chunk_max = self.consumer.options.chunk_max
        try:
            taken = await client._fetcher.fetched_records([tp], timeout=0, max_records=chunk_max)
        except NoOffsetForPartitionError:
            # From before our first seek, when aiokafka looked for a committed offset by itself.
            return None
        except OffsetOutOfRangeError as error:
            await self._fail_if_lost(client, error)
            return None
        # No await from the moment fetched_records took the records to the moment the cursor moves.
        cursor = self._cursors.get(tp)
        if not taken or cursor is None:
            return None
        records = taken[tp]
        end = records[-1].offset + 1
        self._cursors[tp] = cursor._replace(following=end)
        return Chunk(
            topic=tp.topic,
            partition=tp.partition,
            start=cursor.following,
            end=end,
            records=records,
            highwater=max(end, client.highwater(tp) or 0),
            fetched_at=time.monotonic(),
            generation=cursor.generation,
            sought=cursor.sought,
        )

    def log_end(self, tp: TP) -> int | None:
        """Return the log's end as far as this consumer knows; None when it does not read `tp`."""
        cursor = self._cursors.get(tp)
        if cursor is None:
            return None
        try:
            highwater = self._ensure_consumer().highwater(TopicPartition(*tp))
        except IllegalStateError:
            return None  # taken away this moment
        # The broker reads its high-water before the records: an answer may hold records that lie above it.
        return None if highwater is None else max(highwater, cursor.following)

    async def _fail_if_lost(self, client: aiokafka.AIOKafkaConsumer, error: OffsetOutOfRangeError) -> None:
        for partition, offset in error.args[0].items():
            tp = TP(partition.topic, partition.partition)
            if tp not in self._cursors or await client.position(partition) != offset:
                continue  # about a position that was left by a seek since
            firsts = await client.beginning_offsets([partition])
            raise PositionLostError(tp, offset, firsts.get(partition)) from error

    def _fail_if_beyond_the_end(self, client: aiokafka.AIOKafkaConsumer) -> None:
        # Kafka refuses such a fetch. Tansu answers it with nothing, for ever: a store that outlived its log
        # would wait until the new log reaches the old fence, and what came before would be skipped.
        now = time.monotonic()
        for tp, cursor in self._cursors.items():
            highwater = client.highwater(tp)
            if cursor.following != cursor.sought or highwater is None or highwater >= cursor.sought:
                self._beyond.pop(tp, None)
                continue
            answered_at = client.last_poll_timestamp(tp)
            since, first_answer = self._beyond.setdefault(tp, (now, answered_at))
            if now - since > _BEYOND_GRACE_S and answered_at != first_answer:
                raise PositionLostError(tp, cursor.sought, None)

    async def _wait(self, fetcher: Any, timeout_s: float) -> None:
        fetched = fetcher._create_fetch_waiter()
        self._waker = self.thread_loop.create_future()
        done, pending = await asyncio.wait(
            (fetched, self._waker), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        self._waker = None
        for future in pending:
            future.cancel()
        for future in done:
            future.result()  # errors of the group coordinator arrive this way

    def wake(self) -> None:
        """Make a waiting poll look again (from any thread)."""
        if not self.thread_loop.is_closed():
            self.thread_loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    # -- positions

    async def seek_all(self, positions: Mapping[TP, int]) -> dict[TP, tuple[int, int]]:
        """Seek; answers (offset, generation) of those partitions that are (still) ours.

        Raises
        ------
        PositionLostError
            A position lies before the log's first record.
        """
        sought: dict[TP, tuple[int, int]] = await self.call_thread(self._seek_all, positions)
        return sought

    async def _seek_all(self, positions: Mapping[TP, int]) -> dict[TP, tuple[int, int]]:
        client = self._ensure_consumer()
        ours = [TopicPartition(*tp) for tp in positions if TopicPartition(*tp) in client.assignment()]
        firsts = await client.beginning_offsets(ours)
        targets: dict[TP, int] = {}
        for partition in ours:
            tp = TP(*partition)
            offset = positions[tp]
            if offset == COMMITTED:
                committed = await client.committed(partition)
                offset = EARLIEST if committed is None else committed
            if offset == EARLIEST:
                offset = firsts[partition]
            if offset < firsts[partition]:
                raise PositionLostError(tp, offset, firsts[partition])
            targets[tp] = offset
        sought: dict[TP, tuple[int, int]] = {}
        for tp, offset in targets.items():
            try:
                client.seek(TopicPartition(*tp), offset)
            except IllegalStateError:
                continue  # taken away while we asked the broker
            generation = next(self._seeks)
            self._cursors[tp] = Cursor(offset, generation, offset)
            sought[tp] = (offset, generation)
        return sought

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self._cursors.clear()
        self._beyond.clear()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._cursors.clear()
        await super().on_partitions_assigned(assigned, generation_id)

    # -- committed offsets

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        try:
            return bool(await super().commit(offsets))
        except ConsumerStoppedError:
            return False

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        # Kafka's offset only shows the lag: losing one must not end a worker, as it does in Faust.
        try:
            await self._commit_or_raise(offsets)
        except (CommitFailedError, IllegalStateError, KafkaError) as error:
            self.log.warning("offsets not committed: %r", error)
            return False
        return True

    async def commit_or_raise(self, offsets: Mapping[TP, int]) -> None:
        """Commit and wait for the broker's answer."""
        await self.call_thread(self._commit_or_raise, offsets)

    async def _commit_or_raise(self, offsets: Mapping[TP, int]) -> None:
        wanted = {TopicPartition(*tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items()}
        await self._ensure_consumer().commit(wanted)

    async def committed(self, tps: frozenset[TP]) -> dict[TP, int | None]:
        """Offsets that the group has committed."""
        offsets: dict[TP, int | None] = await self.call_thread(self._committed, tps)
        return offsets

    async def _committed(self, tps: frozenset[TP]) -> dict[TP, int | None]:
        client = self._ensure_consumer()
        return {tp: await client.committed(TopicPartition(*tp)) for tp in tps}
