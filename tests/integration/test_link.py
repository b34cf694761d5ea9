"""The lanes' connection to Redis: what a lost, slow or cancelled call leaves behind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from typing import Any

import pytest
import redis
from hiredis import ReplyError

from models.errors import TransientError
from services.state import keys
from services.state.link import Link
from services.state.redis_lane import RedisLaneStore
from services.state.store import Change
from support.redis import RedisServer

LANE = 5


@pytest.fixture
def client(single_redis: RedisServer) -> Any:
    with closing(redis.Redis.from_url(single_redis.url)) as made:
        made.flushall()
        yield made


@pytest.fixture
async def link(single_redis: RedisServer, client: Any) -> AsyncIterator[Link]:
    made = Link(single_redis.url)
    await made.connect()
    yield made
    made.abort()


def kill_connections(client: Any) -> None:
    """As a restart of Redis does it."""
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def test_replies_come_in_order_with_errors_among_them(link: Link) -> None:
    replies = await link.call([("SET", "a", b"\x00\r\n\xff"), ("INCR", "a"), ("GET", "a"), ("MGET", "a", "b")])
    assert replies[0] == b"OK"
    assert isinstance(replies[1], ReplyError)
    assert replies[2:] == [b"\x00\r\n\xff", [b"\x00\r\n\xff", None]]


async def test_a_large_reply_comes_whole(link: Link) -> None:
    value = bytes(range(256)) * 4096
    names = [f"k{i}" for i in range(20)]
    await link.call([("MSET", *(word for name in names for word in (name, value)))])
    (replies,) = await link.call([("MGET", *names)])
    assert replies == [value] * 20


async def test_database_and_password_of_the_address(single_redis: RedisServer, client: Any) -> None:
    client.execute_command("ACL", "SETUSER", "lane", "on", ">secret", "~*", "+@all")
    address = single_redis.url.replace("redis://", "redis://lane:secret@").replace("/0", "/2")
    link = Link(address)
    await link.connect()
    await link.call([("SET", "here", "1")])
    assert client.get("here") is None
    link.abort()
    wrong = Link(address.replace("secret", "wrong"))
    with pytest.raises(redis.RedisError):
        await wrong.connect()
    assert not wrong.connected
    client.execute_command("ACL", "DELUSER", "lane")


async def test_a_lost_connection_is_told_to_the_next_call_once(link: Link, client: Any) -> None:
    """Redis may have restarted and gone back in time: the lane has to open again, not go on as if nothing were."""
    kill_connections(client)
    await asyncio.sleep(0.05)
    with pytest.raises(TransientError, match=r"connection lost|closed"):
        await link.call([("PING",)])
    assert not link.connected
    await link.connect()
    assert await link.call([("PING",)]) == [b"PONG"]


async def test_a_store_does_not_connect_again_in_silence(single_redis: RedisServer, client: Any) -> None:
    store = RedisLaneStore(Link(single_redis.url), LANE)
    await store.load(None, 0, lambda due: due)
    await store.commit(Change(b"fence", b"state", 1))
    kill_connections(client)
    await asyncio.sleep(0.05)
    with pytest.raises(TransientError):
        await store.load(None, 0, lambda due: due)
    assert (await store.load(None, 0, lambda due: due)).fence == b"fence"
    store.close()


async def test_a_slow_answer_ends_the_connection(single_redis: RedisServer, client: Any) -> None:
    link = Link(single_redis.url, timeout_ms=100)
    await link.connect()
    client.execute_command("CLIENT", "PAUSE", 400, "ALL")
    with pytest.raises(TransientError, match="no answer within"):
        await link.call([("GET", "a")])
    assert not link.connected


async def test_a_cancelled_call_s_late_replies_reach_nobody(link: Link, client: Any) -> None:
    client.execute_command("CLIENT", "PAUSE", 200, "ALL")
    waiting = asyncio.create_task(link.call([("ECHO", "old")]))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    assert not link.connected
    await link.connect()
    assert await link.call([("ECHO", "new")]) == [b"new"]


async def test_a_closed_store_writes_nothing(single_redis: RedisServer, client: Any) -> None:
    """Between the load and the commit the lane is given away: the transaction is never sent."""
    store = RedisLaneStore(Link(single_redis.url), LANE)
    await store.load(None, 0, lambda due: due)
    store.close()
    with pytest.raises(TransientError):
        await store.commit(Change(b"fence", b"state", 1))
    assert client.get(keys.fence(LANE)) is None


async def test_a_load_that_was_not_committed_is_forgotten(single_redis: RedisServer, client: Any) -> None:
    """The next load watches anew: what changed between the two is known, and no reason to refuse."""
    store, other = RedisLaneStore(Link(single_redis.url), LANE), RedisLaneStore(Link(single_redis.url), LANE)
    await store.load(None, 0, lambda due: due)
    await other.load(None, 0, lambda due: due)
    await other.commit(Change(b"fence-1", b"state", 1))
    assert (await store.load(None, 0, lambda due: due)).fence == b"fence-1"
    await store.commit(Change(b"fence-2", b"state", 2))
    assert client.get(keys.fence(LANE)) == b"fence-2"
    for one in (store, other):
        one.close()
