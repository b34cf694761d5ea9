"""Credit, acknowledgement and rewinding of a running consumer, from inside its process, on Apache Kafka."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import aiokafka
import faust
import pytest
from faust.types import TP

from streams.app import build_app
from streams.transport import (
    COMMITTED,
    Chunk,
    ChunkConsumer,
    TransportOptions,
    chunk_consumer,
    set_partition_hooks,
    set_position_source,
)
from support.kafka import KafkaServer

_numbers = itertools.count()


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


@dataclass
class Probe:
    """An app in this process that keeps every chunk it is handed and acknowledges none."""

    bootstrap: str
    name: str = field(default_factory=lambda: f"probe{next(_numbers)}")
    events: list[Any] = field(default_factory=list)
    positions: dict[TP, int] = field(default_factory=dict)
    hook_error: Exception | None = None
    calls: list[str] = field(default_factory=list)
    app: faust.App = field(init=False)

    @property
    def topic(self) -> str:
        return self.name

    @property
    def consumer(self) -> ChunkConsumer:
        return chunk_consumer(self.app)

    def tp(self, partition: int = 0) -> TP:
        return TP(self.topic, partition)

    def chunks(self, partition: int = 0) -> list[Chunk]:
        return [event.value for event in self.events if event.value.partition == partition]

    async def start(self) -> None:
        kafka = SimpleNamespace(bootstrap=self.bootstrap, session_timeout_ms=6000)
        options = TransportOptions(chunk_max=10, max_inflight=3, fetch_max_wait_ms=10)
        self.app = build_app(self.name, SimpleNamespace(kafka=kafka), options)

        async def positions(tps: frozenset[TP]) -> Mapping[TP, int]:
            self.calls.append("positions")
            if self.hook_error is not None:
                raise self.hook_error
            return {tp: self.positions[tp] for tp in tps if tp in self.positions}

        async def assigned(tps: frozenset[TP]) -> None:
            self.calls.append("assigned")

        async def revoked(tps: frozenset[TP]) -> None:
            self.calls.append("revoked, agents stopped" if self.app.agents.should_stop else "revoked")

        async def agent(stream: Any) -> None:
            async for event in stream.noack().events():
                self.events.append(event)

        set_position_source(self.app, positions)
        set_partition_hooks(self.app, on_assigned=assigned, on_revoked=revoked)
        self.app.agent(self.app.topic(self.topic), name="probe")(agent)
        await self.app.start()

    async def send(self, count: int, partition: int = 0) -> None:
        producer = aiokafka.AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        await producer.start()
        batch = producer.create_batch()
        for number in range(count):
            batch.append(key=b"k", value=b"%d" % number, timestamp=None)
        await (await producer.send_batch(batch, self.topic, partition=partition))
        await producer.stop()


@pytest.fixture
async def probe(kafka_server: KafkaServer) -> AsyncIterator[Probe]:
    found = Probe(kafka_server.bootstrap)
    kafka_server.create_topic(found.topic, partitions=2)
    await found.start()
    yield found
    await found.app.stop()
    assert found.calls[-1] == "revoked", "once, while the agents still run"


async def test_credit_bounds_what_is_out_and_acks_release_it_in_order(probe: Probe) -> None:
    await probe.send(100)
    await probe.send(5, partition=1)
    await until(lambda: len(probe.chunks()) == 3 and len(probe.chunks(1)) == 1)
    await asyncio.sleep(0.3)
    assert [(one.start, one.end) for one in probe.chunks()] == [(0, 10), (10, 20), (20, 30)]
    assert probe.consumer.log_end(probe.tp()) == 100

    first, second, third = (event for event in probe.events if event.value.partition == 0)
    third.ack()
    second.ack()
    await asyncio.sleep(0.2)
    assert len(probe.chunks()) == 3, "the oldest chunk is still out"
    first.ack()
    await until(lambda: len(probe.chunks()) == 6)
    await until(lambda: len(probe.chunks(1)) == 1)

    await probe.send(1, partition=1)
    await until(lambda: len(probe.chunks(1)) == 2, 1.0)
    await probe.consumer.commit()
    assert await probe.consumer.committed([probe.tp(0), probe.tp(1)]) == {probe.tp(0): 30, probe.tp(1): None}


async def test_a_rewind_reads_again_from_where_the_source_says(probe: Probe) -> None:
    await probe.send(100)
    await until(lambda: len(probe.chunks()) == 3)
    before = list(probe.events)
    assert all(probe.consumer.is_current(event.value) for event in before)

    probe.positions[probe.tp()] = 15
    rewinding = asyncio.ensure_future(probe.consumer.rewind([probe.tp()]))
    await asyncio.sleep(0)
    assert not any(probe.consumer.is_current(event.value) for event in before), "stale from the call on"
    await rewinding
    await until(lambda: len(probe.chunks()) == 6)
    again = probe.chunks()[3:]
    assert [(one.start, one.end) for one in again] == [(15, 25), (25, 35), (35, 45)]
    assert all(probe.consumer.is_current(one) for one in again)
    assert {one.sought for one in again} == {15}
    assert [record.offset for record in again[0].records] == list(range(15, 25))

    for event in before:
        event.ack()  # late: from before the rewind
    await asyncio.sleep(0.2)
    assert len(probe.chunks()) == 6, "they give no credit"
    did_commit: object = await probe.consumer.commit()
    assert did_commit is False, "and there is nothing to commit"


async def test_a_rewind_that_fails_stops_the_partition_until_the_next_one(probe: Probe) -> None:
    await probe.send(100)
    await until(lambda: len(probe.chunks()) == 3)
    probe.hook_error = OSError("the store is away")
    with pytest.raises(OSError, match="the store is away"):
        await probe.consumer.rewind([probe.tp()])
    await asyncio.sleep(0.2)
    assert len(probe.chunks()) == 3
    await probe.send(1, partition=1)
    await until(lambda: len(probe.chunks(1)) == 1)  # other partitions are read
    probe.hook_error = None
    await probe.consumer.rewind([probe.tp()])
    await until(lambda: len(probe.chunks()) == 6)
    assert probe.chunks()[3].start == 0


async def test_records_that_got_lost_on_their_way_leave_a_gap(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    # As when a rebalance comes between poll and delivery: the client has moved on, nobody has the records.
    deliver = probe.consumer._deliver

    async def losing(chunk: Chunk) -> None:
        if chunk.start != 10:
            await deliver(chunk)

    monkeypatch.setattr(probe.consumer, "_deliver", losing)
    await probe.send(100)
    await until(lambda: len(probe.chunks()) == 3)
    assert [(one.start, one.end) for one in probe.chunks()] == [(0, 10), (20, 30), (30, 40)]
    assert {one.sought for one in probe.chunks()} == {0}, "a lane without a fence sees a gap too"


async def test_a_flow_that_stops_in_the_middle_hides_nothing(probe: Probe) -> None:
    await probe.send(400)
    fence, applied = 0, 0
    for turn in itertools.count():
        await until(lambda: bool(probe.events))
        event = probe.events.pop(0)
        chunk: Chunk = event.value
        if turn % 3 == 0:
            probe.consumer.stop_flow()
            await asyncio.sleep(0.005)
            probe.consumer.resume_flow()
        if not probe.consumer.is_current(chunk):
            continue
        assert chunk.end > fence, "read twice without a rewind"
        if chunk.start > fence:
            probe.positions[probe.tp()] = fence
            await probe.consumer.rewind([probe.tp()])
            continue
        applied += len(chunk)
        fence = chunk.end
        event.ack()
        if fence == 400:
            break
    assert applied == 400


async def test_a_source_may_ask_for_the_committed_offset(probe: Probe) -> None:
    await probe.send(60)
    await until(lambda: len(probe.chunks()) == 3)
    await probe.consumer.commit_positions({probe.tp(): 42})
    assert (await probe.consumer.committed([probe.tp()]))[probe.tp()] == 42
    probe.positions[probe.tp()] = COMMITTED
    await probe.consumer.rewind([probe.tp()])
    await until(lambda: len(probe.chunks()) >= 4)
    assert probe.chunks()[3].start == 42


async def test_hooks_are_called_in_order(probe: Probe) -> None:
    await until(lambda: probe.consumer.may_read(probe.tp()))
    assert probe.calls == ["assigned", "positions"]
