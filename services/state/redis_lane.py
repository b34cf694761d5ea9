"""A lane in Redis: one MGET, one conditional transaction.

One piece out and one in for each of the two, on the event loop (:mod:`services.state.link`). Everybody else asks Redis
seldom and uses redis-py's synchronous client of :func:`connect`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import redis
from hiredis import ReplyError
from redis.backoff import NoBackoff
from redis.retry import Retry

from models.errors import FenceError, TransientError
from services.state import keys
from services.state.cluster import Cluster, as_cluster, cluster_run_id, is_cluster
from services.state.link import Command, Link, Word
from services.state.store import Change, Loaded

Users = Callable[[list[str]], list[str]]
Client = redis.Redis  # the type, for those who may not import redis


def connect(url: str, timeout_ms: int = 10_000) -> redis.Redis:
    """Client for one lane or role. Never repeats a command by itself.

    redis-py repeats a command whose reply was cut off; a transaction repeated after it was executed would count twice.
    """
    if is_cluster(url):
        with translated():
            return cast(redis.Redis, Cluster(url, timeout_ms / 1000))
    return redis.Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout_ms / 1000,
        socket_connect_timeout=timeout_ms / 1000,
        health_check_interval=0,
    )


@contextmanager
def translated() -> Iterator[None]:
    """Exceptions of redis-py as errors of Kairos."""
    try:
        yield
    except redis.WatchError as error:
        raise FenceError("another owner moved the fence") from error
    except (redis.RedisError, redis.RedisClusterException, OSError) as error:
        raise TransientError(f"Redis: {error}") from error


def run_id(client: redis.Redis) -> str:
    """Name of the Redis run that answers (of a cluster: of all primaries); another one after a restart or failover."""
    with translated():
        cluster = as_cluster(client)
        if cluster is not None:
            return cluster_run_id(cluster)
        info: Any = client.info("server")
    return str(info["run_id"])


class RedisLaneStore:
    """The lane's state in Redis; :class:`services.state.store.LaneStore` with ``await``.

    Parameters
    ----------
    link : a connection of its own, opened when it is needed.
    lane : partition number.
    """

    def __init__(self, link: Link, lane: int) -> None:
        self._link = link
        self._lane = lane
        self._fence_key = keys.fence(lane)
        self._state_key = keys.state(lane)
        self._timers_key = keys.timers(lane)
        self._outbox_key = keys.outbox_index(lane)
        self._names_key = keys.counter_names(lane)
        self._profile_prefix = keys.profile(lane, "")
        self._watching = False

    async def load(self, due_until: int | None, limit: int, users: Users) -> Loaded:
        """WATCH the fence and read everything of the batch in one MGET, both in one round trip."""
        # Kept only when all was read: on a new connection there is no WATCH, and nothing may be committed.
        watched, self._watching = self._watching, False
        if not self._link.connected:
            watched = False
            with translated():
                await self._link.connect()
        begin: list[Command] = [("UNWATCH",)] if watched else []
        begin.append(("WATCH", self._fence_key))
        due: list[str] = []
        if due_until is not None:
            begin.append(("ZRANGEBYSCORE", self._timers_key, "-inf", due_until, "LIMIT", 0, limit))
            found = _sound(await self._link.call(begin))[-1]
            due, begin = [user.decode() for user in found], []
        prefix = self._profile_prefix
        wanted = [prefix + user for user in users(due)]
        replies = _sound(await self._link.call([*begin, ("MGET", self._fence_key, self._state_key, *wanted)]))
        fence, state, *profiles = replies[-1]
        self._watching = True
        return Loaded(fence, state, profiles, due)

    async def commit(self, change: Change) -> int | None:
        """Send everything up to EXEC in one piece; the WATCH makes it conditional on the fence read in `load`."""
        watching, self._watching = self._watching, False
        if not watching:
            raise FenceError("commit without load")
        *_, done = _sound(await self._link.call([("MULTI",), *self._commands(change), ("EXEC",)]))
        if done is None:
            raise FenceError("another owner moved the fence")
        first = _sound(done)[-1]
        return int(first[1]) if first else None

    def _commands(self, change: Change) -> Iterator[Command]:
        lane, prefix = self._lane, self._profile_prefix
        values: list[Word] = [self._fence_key, change.fence, self._state_key, change.state]
        for user, packed in change.profiles.items():
            values += (prefix + user, packed)
        for user, offer in change.offers.items():
            if offer is None:
                yield "DEL", keys.offers(lane, user)
            else:
                values += (keys.offers(lane, user), offer)
        if change.outbox is not None:
            values += (keys.outbox(lane, change.seq), change.outbox)
            yield "ZADD", self._outbox_key, change.seq, change.seq
        yield "MSET", *values
        for key, fields in change.counters.items():
            name = keys.counters(lane, key)
            for field_name, by in fields.items():
                yield "HINCRBY", name, field_name, by
        if change.counters:
            # Each time: a Redis that went back in time may have forgotten a name that it knew before.
            yield "SADD", self._names_key, *change.counters
        set_to: list[Word] = []
        removed = []
        for user, at in change.due.items():
            if at:
                set_to += (at, user)
            else:
                removed.append(user)
        if set_to:
            yield "ZADD", self._timers_key, *set_to
        if removed:
            yield "ZREM", self._timers_key, *removed
        if change.published:
            yield "DEL", *(keys.outbox(lane, seq) for seq in change.published)
            yield "ZREM", self._outbox_key, *change.published
        yield "ZRANGE", self._timers_key, 0, 0, "WITHSCORES"

    async def pending(self) -> list[tuple[int, bytes]]:
        """Outbox entries not yet deleted, in order."""
        if not self._link.connected:
            with translated():
                await self._link.connect()
        (found,) = _sound(await self._link.call([("ZRANGE", self._outbox_key, 0, -1)]))
        seqs = [int(seq) for seq in found]
        if not seqs:
            return []
        (packed,) = _sound(await self._link.call([("MGET", *(keys.outbox(self._lane, seq) for seq in seqs))]))
        return [(seq, entry) for seq, entry in zip(seqs, packed, strict=True) if entry is not None]

    def close(self) -> None:
        """End the connection; nothing is written any more that was not sent before."""
        self._watching = False
        self._link.abort()


def _sound(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, ReplyError):
            raise TransientError(f"Redis: {reply}")
    return replies
