"""The ledger in a real Redis: the same steps as the pure ones, repeatable, conditional, few round trips."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import delivery
from models.delivery import DeliverFence, Entry, State
from models.errors import FenceError, TransientError
from services.state.ledger import DAY_MS, Ledger, Outcome, fence_key, ledger_key
from services.state.redis_lane import connect
from support.any_redis import AnyRedis
from support.messages import message
from support.redis import RedisServer

OWNERS, TOKENS = st.sampled_from(["w1", "w2"]), st.sampled_from(["t1", "t2", "t3"])
OUTCOME_STATES = st.sampled_from(sorted(delivery.OUTCOMES))
STEPS = st.one_of(
    st.tuples(st.just("claim"), OWNERS),
    st.tuples(st.just("hand"), OWNERS, TOKENS, st.booleans()),
    st.tuples(st.just("release"), TOKENS),
    st.tuples(st.just("settle"), OUTCOME_STATES, OWNERS, st.one_of(st.just(""), TOKENS)),
)


@pytest.fixture
async def ledger(redis_server: AnyRedis) -> AsyncIterator[Ledger]:
    client = connect(redis_server.url)
    client.flushall()
    client.close()
    made = Ledger(redis_server.url, timeout_ms=2_000)
    yield made
    await made.close()


def expected(entry: Entry | None, step: tuple[Any, ...]) -> tuple[Entry | None, Any]:
    """Entry and answer after a step, by the pure functions."""
    name, *args = step
    if name == "claim":
        return delivery.claim(entry, args[0]), entry
    if name == "hand":
        after = delivery.hand(entry, args[0], args[1], retake=args[2])
        return (entry, False) if after is None else (after, True)
    if name == "release":
        after = delivery.release(entry, args[0])
        return (entry, False) if after is None else (after, True)
    state, owner, token = args
    after = delivery.settle(entry, state, owner=owner, token=token, reason=f"because {state}", ref="ref")
    return (entry, None) if after is None else (after, after.state)


async def done(ledger: Ledger, number: int, step: tuple[Any, ...]) -> Any:
    """Answer of Redis."""
    name, *args = step
    command = message(id=number)
    if name == "claim":
        return (await ledger.claim_many(0, [command], args[0], 1))[0]
    if name == "hand":
        return await ledger.handing(0, command.id, args[0], args[1], 2, retake=args[2])
    if name == "release":
        return await ledger.release(0, command.id, args[0], 3, "451")
    state, owner, token = args
    return await ledger.outcome(0, Outcome(command, state, owner, token, f"because {state}", "ref"), 4)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=10))
def test_redis_does_what_the_pure_functions_say(redis_server: AnyRedis, steps: list[tuple[Any, ...]]) -> None:
    async def play() -> None:
        ledger = Ledger(redis_server.url)
        number = counter()
        entry: Entry | None = None
        for step in steps:
            entry, answer = expected(entry, step)
            assert await done(ledger, number, step) == answer, step
            # Asking again, as after a lost answer, changes nothing.
            await done(ledger, number, step)
            assert await ledger.read(0, message(id=number).id) == entry, step
        await ledger.close()

    asyncio.run(play())


def _count() -> Callable[[], int]:
    numbers = iter(range(10**9, 10**12))
    return lambda: next(numbers)


counter = _count()


async def test_the_story_tells_why(ledger: Ledger) -> None:
    command = message(id=1, variant="a")
    await ledger.claim_many(0, [command], "w1", 10)
    assert await ledger.handing(0, command.id, "w1", "t1", 20)
    assert await ledger.release(0, command.id, "t1", 30, "451 later")
    assert await ledger.handing(0, command.id, "w1", "t2", 40)
    assert await ledger.outcome(0, Outcome(command, State.DELIVERED, "w1", "t2", "", "250 OK"), 50) is State.DELIVERED
    story = await ledger.story(command.id, 4)
    assert story is not None
    assert [(step.state, step.at, step.detail) for step in story.history] == [
        ("claimed", 10, "w1"),
        ("handing", 20, "t1"),
        ("claimed", 30, "451 later"),
        ("handing", 40, "t2"),
        ("delivered", 50, ""),
    ]
    assert (story.state, story.attempts, story.ref) == (State.DELIVERED, 2, "250 OK")
    assert (story.command.user, story.command.campaign, story.command.variant) == ("u1", "win-back", "a")
    assert story.command.reason == command.reason
    assert story.command.cause == command.cause
    assert await ledger.story("nobody", 4) is None


async def test_the_ledger_keeps_neither_address_nor_content(ledger: Ledger, redis_server: AnyRedis) -> None:
    await ledger.claim_many(0, [message(id=1)], "w1", 10)
    raw = connect(redis_server.url).hget(ledger_key(0, message(id=1).id), "command")
    assert isinstance(raw, bytes)
    assert b"example.com" not in raw
    assert b"HEART" not in raw


async def test_an_outcome_outlives_its_command(redis_server: AnyRedis) -> None:
    ledger = Ledger(redis_server.url, ttl_ms=60_000)
    client = connect(redis_server.url)
    now_ms = 1_700_000_000_000
    for number, expires_at, forgotten in ((1, now_ms + 5_000, DAY_MS + 5_000), (2, 0, 60_000)):
        command = message(id=number + 100, expires_at=expires_at)
        await ledger.claim_many(0, [command], "w1", now_ms)
        assert client.ttl(ledger_key(0, command.id)) == -1  # what is not settled is never forgotten
        await ledger.outcome(0, Outcome(command, State.FAILED, "w1"), now_ms + 10**12)
        assert client.pexpiretime(ledger_key(0, command.id)) >= now_ms + forgotten
    await ledger.close()


async def test_the_fence_moves_only_from_where_it_was_and_in_the_same_run(ledger: Ledger) -> None:
    run = await ledger.run_id()
    assert await ledger.fence(0) == (b"", None)
    first = DeliverFence(5, run, 0, {0: (1, 2, 3)})
    raw = await ledger.advance(0, b"", first)
    assert await ledger.advance(0, b"", first) == raw  # the answer was lost: asked again
    assert await ledger.fence(0) == (raw, first)
    with pytest.raises(FenceError, match="another worker"):
        await ledger.advance(0, b"", DeliverFence(9, run))
    with pytest.raises(FenceError, match="restarted"):
        await ledger.advance(0, raw, DeliverFence(9, "f" * 40))
    with pytest.raises(FenceError):
        await ledger.require_run("f" * 40)
    await ledger.require_run(run)
    assert (await ledger.fence(0))[0] == raw


async def test_a_flushed_script_cache_is_filled_again(ledger: Ledger, redis_server: AnyRedis) -> None:
    await ledger.claim_many(0, [message(id=1)], "w1", 1)
    connect(redis_server.url).script_flush()
    before = await ledger.claim_many(0, [message(id=1), message(id=2)], "w2", 2)
    assert [entry and entry.owner for entry in before] == ["w1", None]


async def test_many_steps_share_round_trips() -> None:
    with RedisServer() as server:  # one that counts for itself: a cluster counts by node
        ledger, client = Ledger(server.url), connect(server.url)
        await ledger.claim_many(0, [message(id=0)], "w1", 1)
        commands = [message(id=number) for number in range(400)]
        client.config_resetstat()
        await ledger.claim_many(0, commands, "w1", 1)
        reads = client.info("stats")["total_reads_processed"]
        calls = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        await ledger.close()
        client.close()
    assert reads < 60  # one by one it would be more than 400
    assert calls == 400


async def test_redis_away_is_transient_and_nothing_is_done_twice() -> None:
    with RedisServer() as server:
        ledger = Ledger(server.url, timeout_ms=500)
        await ledger.claim_many(0, [message(id=1)], "w1", 1)
        server.pause()
        with pytest.raises(TransientError):
            await ledger.handing(0, message(id=1).id, "w1", "t1", 2)
        server.resume()
        assert await ledger.handing(0, message(id=1).id, "w1", "t1", 3)
        story = await ledger.story(message(id=1).id, 4)
        assert story is not None
        assert story.attempts == 1
        server.kill()
        with pytest.raises(TransientError):
            await ledger.read(0, message(id=1).id)
        server.start()
        entry = await ledger.read(0, message(id=1).id)
        assert entry is not None
        assert entry.state is State.HANDING
        await ledger.close()


def test_keys_are_the_documented_ones() -> None:
    assert ledger_key(3, "m") == "ledger:{p3}:m"
    assert fence_key(3) == "deliver:{p3}:fence"
