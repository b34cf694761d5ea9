"""What the transport decides without a broker: credit, acknowledgement, currency of chunks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

import streams.transport as transport_package
from streams.app import build_app, options_of
from streams.transport import (
    Chunk,
    ChunkConsumer,
    ChunkMessage,
    ChunkSchema,
    ContractError,
    PositionLostError,
    TransportOptions,
    chunk_consumer,
    register,
    set_partition_hooks,
    set_position_source,
)
from streams.transport.thread import Cursor

ADDRESS = SimpleNamespace(
    kafka=SimpleNamespace(bootstrap="127.0.0.1:1, 127.0.0.1:2", session_timeout_ms=6000),
    chunk_max=17,
    chunks_in_flight=3,
    fetch_max_wait_ms=11,
    fetch_min_bytes=2_000,
)
LANE = TP("clickstream", 3)


def chunk(start: int, end: int, generation: int = 1, tp: TP = LANE) -> Chunk:
    records: Any = [SimpleNamespace(offset=offset, timestamp=1000 * offset) for offset in range(start, end)]
    return Chunk(tp.topic, tp.partition, start, end, records, end, 0.0, generation)


@pytest.fixture
def app() -> faust.App:
    return build_app("decide", ADDRESS)


@pytest.fixture
async def consumer(app: faust.App) -> AsyncIterator[ChunkConsumer]:
    found = chunk_consumer(app)
    found._wakes = []  # type: ignore[attr-defined]
    found._thread.wake = lambda: found._wakes.append(1)  # type: ignore[attr-defined,method-assign]
    found._active_partitions = {LANE}
    found._adopt({LANE: (0, 1)})
    found._wakes.clear()  # type: ignore[attr-defined]
    yield found
    found._thread.thread_loop.close()


def hand_out(consumer: ChunkConsumer, *chunks: Chunk) -> list[ChunkMessage]:
    from collections import deque

    messages = [ChunkMessage.of(one, generation_id=1) for one in chunks]
    consumer._inflight.setdefault(LANE, deque()).extend(messages)
    return messages


async def test_credit_ends_with_the_last_chunk_allowed_and_comes_back_with_an_ack(
    consumer: ChunkConsumer,
) -> None:
    assert consumer.may_read(LANE)
    first, _, third = hand_out(consumer, chunk(0, 5), chunk(5, 10), chunk(10, 15))
    assert not consumer.may_read(LANE)
    consumer.ack(third)
    assert not consumer.may_read(LANE), "the oldest is still out"
    consumer.ack(first)
    assert consumer.may_read(LANE)
    assert consumer._wakes == [1], "the poll that waits for credit is woken once"  # type: ignore[attr-defined]


async def test_nothing_is_read_of_partitions_not_sought_or_paused(consumer: ChunkConsumer) -> None:
    other = TP("clickstream", 4)
    consumer._active_partitions = {LANE, other}
    assert not consumer.may_read(other)
    consumer._active_partitions = {other}
    assert not consumer.may_read(LANE)


@given(order=st.permutations(range(6)), acked=st.integers(0, 6))
@settings(max_examples=60)
def test_the_offset_is_the_end_of_the_longest_acked_prefix(order: list[int], acked: int) -> None:
    consumer = _bare_consumer()
    chunks = [chunk(10 * number, 10 * number + 10) for number in range(6)]
    messages = hand_out(consumer, *chunks)
    for number in order[:acked]:
        consumer.ack(messages[number])
    done = set(order[:acked])
    prefix = next((number for number in range(6) if number not in done), 6)
    assert consumer._new_offset(LANE) == (10 * prefix or None)
    assert [message.offset for message in consumer._inflight[LANE]] == [10 * number + 9 for number in range(prefix, 6)]


def _bare_consumer() -> ChunkConsumer:
    from weakref import WeakSet

    found = ChunkConsumer.__new__(ChunkConsumer)
    found.options = TransportOptions(max_inflight=100)
    found._inflight, found._acked_to, found._unacked_messages = {}, {}, WeakSet()
    return found


async def test_an_ack_counts_once(consumer: ChunkConsumer) -> None:
    (message,) = hand_out(consumer, chunk(0, 5))
    assert consumer.ack(message) is True
    assert consumer.ack(message) is False


async def test_a_late_ack_does_not_count_for_the_chunk_that_was_read_again(consumer: ChunkConsumer) -> None:
    (before,) = hand_out(consumer, chunk(0, 5))
    consumer._forget([LANE])
    consumer._adopt({LANE: (0, 2)})
    (again,) = hand_out(consumer, chunk(0, 9, generation=2))
    consumer.ack(before)
    assert consumer._new_offset(LANE) is None
    consumer.ack(again)
    assert consumer._new_offset(LANE) == 9


async def test_a_chunk_is_current_until_its_partition_is_sought_or_revoked(consumer: ChunkConsumer) -> None:
    old = chunk(0, 5, generation=1)
    assert consumer.is_current(old)
    consumer._forget([LANE])
    assert not consumer.is_current(old)
    consumer._adopt({LANE: (0, 2)})
    assert not consumer.is_current(old)
    assert consumer.is_current(chunk(0, 5, generation=2))
    assert not consumer.is_current(chunk(0, 5, generation=2, tp=TP("clickstream", 4)))


async def test_a_stale_chunk_is_not_delivered(consumer: ChunkConsumer) -> None:
    await consumer._deliver(chunk(0, 5, generation=7))
    assert LANE not in consumer._inflight


async def test_no_log_end_of_a_partition_that_is_not_ours(consumer: ChunkConsumer) -> None:
    assert consumer.log_end(TP("clickstream", 9)) is None


async def test_the_log_ends_no_earlier_than_what_was_read(
    consumer: ChunkConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Kafka reads its high-water before the records that it answers with.
    client = SimpleNamespace(highwater=lambda tp: 0)
    monkeypatch.setattr(consumer._thread, "_ensure_consumer", lambda: client)
    consumer._thread._cursors[LANE] = Cursor(following=100, generation=1, sought=0)
    assert consumer.log_end(LANE) == 100


def test_the_message_of_a_chunk() -> None:
    message = ChunkMessage.of(chunk(7, 12), generation_id=4)
    assert (message.topic, message.partition, message.offset, message.tp) == ("clickstream", 3, 11, LANE)
    assert (message.timestamp, message.generation_id, message.key) == (11.0, 4, None)
    carried: Any = message.value
    assert carried == chunk(7, 12)
    assert len(chunk(7, 12)) == 5


def test_options_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="chunk_max must be at least 1, not 0"):
        TransportOptions(chunk_max=0)


@pytest.mark.parametrize(
    ("offset", "first", "why"),
    [
        (40, 60, "the log starts at 60: 20 records were deleted before they were applied"),
        (4000, 60, "the log ends before it"),
        (4000, None, "the log ends before it"),
    ],
)
def test_what_a_lost_position_says(offset: int, first: int | None, why: str) -> None:
    error = PositionLostError(LANE, offset, first)
    assert f"cannot read clickstream-3 from offset {offset}: {why}" in str(error)


def test_another_faust_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_package, "version", lambda _: "0.16.0")
    with pytest.raises(ContractError, match=r"faust-streaming 0\.15\.3, not 0\.16\.0"):
        register()


def test_hooks_need_the_micro_batch_transport() -> None:
    plain = faust.App("plain", broker="aiokafka://127.0.0.1:1", store="memory://")

    async def positions(tps: frozenset[TP]) -> dict[TP, int]:
        return {}

    with pytest.raises(TypeError, match="not microbatch"):
        set_position_source(plain, positions)
    with pytest.raises(TypeError, match="not microbatch"):
        set_partition_hooks(plain)


def test_the_app_of_a_role(app: faust.App) -> None:
    conf = app.conf
    assert conf.id == "kairos-decide-v1"
    assert [str(url) for url in conf.broker] == ["microbatch://127.0.0.1:1", "microbatch://127.0.0.1:2"]
    assert (conf.broker_session_timeout, conf.broker_heartbeat_interval) == (6.0, 2.0)
    assert not conf.web_enabled
    assert not conf.topic_allow_declare
    assert conf.topic_disable_leader
    schema: Any = conf.Schema
    assert schema is ChunkSchema
    assert app.transport.options == TransportOptions(  # type: ignore[attr-defined]
        chunk_max=17, max_inflight=3, fetch_max_wait_ms=11, fetch_min_bytes=2_000
    )
    assert options_of(ADDRESS).chunk_max == 17


def test_apps_do_not_share_options_and_hooks() -> None:
    first, second = build_app("decide", ADDRESS), build_app("learn", ADDRESS, TransportOptions(chunk_max=5))
    assert first.transport.options.chunk_max == 17  # type: ignore[attr-defined]
    assert second.transport.options.chunk_max == 5  # type: ignore[attr-defined]
    assert first.transport.hooks is not second.transport.hooks  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _no_working_files(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == [], "an app writes nothing into the working directory"
