"""Publish what lanes decided: in order, from Redis after a restart, and never forgotten before Kafka has it.

One entry of a lane is on its way at a time. Consumers drop what lies at or below the highest position they saw of a
lane; if a later entry could overtake an earlier one that failed, the earlier one would be dropped for good.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

from config.settings import KafkaSettings
from services.state.step import OutboxEntry, decode_entry
from streams.producer import start_producer

log = structlog.get_logger()
RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)


class KafkaOutlet:
    """The producer of a worker: idempotent, all replicas, whole batches."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._made: AIOKafkaProducer | None = None

    @property
    def _producer(self) -> AIOKafkaProducer:
        if self._made is None:
            raise RuntimeError("the outlet is not started")
        return self._made

    async def start(self) -> None:
        """Connect."""
        self._made = await start_producer(self._kafka, max_batch_size=1024 * 1024, max_request_size=4 * 1024 * 1024)

    async def stop(self) -> None:
        """Send what is under way and disconnect."""
        await self._producer.stop()

    async def publish(self, entry: OutboxEntry) -> None:
        """Send every record of `entry` and wait until the brokers have them."""
        position = [
            ("kairos-lane", str(entry.lane).encode()),
            ("kairos-epoch", str(entry.epoch).encode()),
            ("kairos-seq", str(entry.seq).encode()),
        ]
        builders: dict[tuple[str, int], list[object]] = {}
        waits: list[asyncio.Future[object]] = []
        for n, output in enumerate(entry.outputs):
            headers = [*output.headers, *position, ("kairos-n", str(n).encode())]
            target = (output.topic, output.partition)
            batch = builders.get(target)
            if batch is None or not _append(batch[0], output.key, output.value, headers):
                if batch is not None:
                    # Waited for at once: if it failed after the next one of this partition was written, consumers would
                    # take the repeated records for old ones.
                    await (await self._send(batch[0], target))
                builder = self._producer.create_batch()
                if not _append(builder, output.key, output.value, headers):
                    # Larger than a batch: the producer refuses it loudly if the broker would.
                    await self._producer.send_and_wait(
                        output.topic, output.value, output.key, partition=output.partition, headers=headers
                    )
                    builders.pop(target, None)
                    continue
                builders[target] = [builder]
        for target, batch in builders.items():
            waits.append(await self._send(batch[0], target))
        await asyncio.gather(*waits)

    async def _send(self, builder: object, target: tuple[str, int]) -> asyncio.Future[object]:
        builder.close()  # type: ignore[attr-defined]
        future: asyncio.Future[object] = await self._producer.send_batch(builder, target[0], partition=target[1])
        return future

    async def tick(self, topic: str, partition: int, value: bytes) -> None:
        """Write one tick; a lost one is replaced by the next."""
        await self._producer.send(topic, value, partition=partition)


def _append(builder: object, key: bytes | None, value: bytes, headers: list[tuple[str, bytes]]) -> bool:
    done = builder.append(timestamp=None, key=key, value=value, headers=headers)  # type: ignore[attr-defined]
    return done is not None


class LaneOutbox:
    """Entries of one lane that wait for Kafka, oldest first."""

    def __init__(self, lane: int, outlet: KafkaOutlet) -> None:
        self._lane = lane
        self._outlet = outlet
        self._waiting: deque[OutboxEntry] = deque()
        self._published: list[int] = []
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def start(
        self, pending: Iterable[tuple[int, bytes]], ended: Callable[[asyncio.Task[None]], object] | None = None
    ) -> None:
        """Begin with what an earlier owner left in Redis; `ended` is called if publishing comes to an end by itself."""
        self._waiting = deque(decode_entry(packed) for _, packed in pending)
        self._published = []
        self._changed.set()
        self._task = asyncio.create_task(self._run(), name=f"outbox-{self._lane}")
        if ended is not None:
            self._task.add_done_callback(ended)

    async def stop(self) -> None:
        """Stop at once; what is not published lies in Redis."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def add(self, entry: OutboxEntry) -> None:
        """An entry that Redis has."""
        self._waiting.append(entry)
        self._changed.set()

    def published(self) -> list[int]:
        """Sequence numbers that Kafka has and Redis still holds; the next transaction deletes them."""
        return list(self._published)

    def deleted(self, seqs: Iterable[int]) -> None:
        """Redis let go of these."""
        gone = set(seqs)
        self._published = [seq for seq in self._published if seq not in gone]

    async def _run(self) -> None:
        failures = 0
        while True:
            if not self._waiting:
                self._changed.clear()
                await self._changed.wait()
                continue
            entry = self._waiting[0]
            try:
                await self._outlet.publish(entry)
            except KafkaError as error:
                if not (error.retriable or isinstance(error, KafkaTimeoutError)):
                    # Also the sequence numbers of an idempotent producer may be out of step now, for good: the worker
                    # ends, and its successor begins with a new producer and what lies in Redis.
                    raise
                failures += 1
                log.warning("outbox_retry", lane=self._lane, seq=entry.seq, failures=failures, error=repr(error))
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S)) - 1])
                continue
            failures = 0
            self._waiting.popleft()
            self._published.append(entry.seq)
