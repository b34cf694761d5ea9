"""A lane in Redis: one MGET, one conditional transaction.

Synchronous redis-py with hiredis, called in a thread: it costs a third of the CPU of the asynchronous client on these
fat commands, and the thread waits for the socket without holding the interpreter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from models.errors import FenceError, TransientError
from services.state import keys
from services.state.store import Change, Loaded

Client = redis.Redis  # the type, for those who may not import redis


def connect(url: str, timeout_ms: int = 10_000) -> redis.Redis:
    """Client for one lane or role. Never repeats a command by itself.

    redis-py repeats a command whose reply was cut off; a transaction repeated after it was executed would count twice.
    """
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
    except (redis.RedisError, OSError) as error:
        raise TransientError(f"Redis: {error}") from error


def run_id(client: redis.Redis) -> str:
    """Name of the Redis run that answers; another one after a restart or a failover."""
    with translated():
        info: Any = client.info("server")
    return str(info["run_id"])


class RedisLaneStore:
    """See :class:`services.state.store.LaneStore`.

    Parameters
    ----------
    client : from :func:`connect`; one connection of it is pinned between `load` and `commit`.
    lane : partition number.
    """

    def __init__(self, client: redis.Redis, lane: int) -> None:
        self._client = client
        self._lane = lane
        self._fence_key = keys.fence(lane)
        self._state_key = keys.state(lane)
        self._timers_key = keys.timers(lane)
        self._outbox_key = keys.outbox_index(lane)
        self._names_key = keys.counter_names(lane)
        self._profile_prefix = keys.profile(lane, "")
        self._pipe: Any = None

    def load(self, due_until: int | None, limit: int, users: Callable[[list[str]], list[str]]) -> Loaded:
        """WATCH the fence, then read everything of the batch in one MGET."""
        with translated():
            if self._pipe is not None:
                self._pipe.reset()
            # Kept only when all was read: on a broken connection there is no WATCH, and nothing may be committed.
            self._pipe = None
            pipe: Any = self._client.pipeline()
            pipe.watch(self._fence_key)
            due: list[str] = []
            if due_until is not None:
                found = pipe.zrangebyscore(self._timers_key, "-inf", due_until, start=0, num=limit)
                due = [user.decode() for user in found]
            prefix = self._profile_prefix
            wanted = [prefix + user for user in users(due)]
            fence, state, *profiles = pipe.mget([self._fence_key, self._state_key, *wanted])
            self._pipe = pipe
            return Loaded(fence, state, profiles, due)

    def commit(self, change: Change) -> int | None:
        """Queue everything and EXEC; the WATCH makes it conditional on the fence read in `load`."""
        pipe: Any = self._pipe
        if pipe is None:
            raise FenceError("commit without load")
        lane = self._lane
        with translated():
            try:
                pipe.multi()
                values = {self._fence_key: change.fence, self._state_key: change.state}
                prefix = self._profile_prefix
                for user, packed in change.profiles.items():
                    values[prefix + user] = packed
                for user, offer in change.offers.items():
                    values[keys.offers(lane, user)] = offer
                if change.outbox is not None:
                    values[keys.outbox(lane, change.seq)] = change.outbox
                    pipe.zadd(self._outbox_key, {str(change.seq): change.seq})
                pipe.mset(values)
                for key, fields in change.counters.items():
                    name = keys.counters(lane, key)
                    for field_name, by in fields.items():
                        pipe.hincrby(name, field_name, by)
                if change.counters:
                    # Each time: a Redis that went back in time may have forgotten a name that it knew before.
                    pipe.sadd(self._names_key, *change.counters)
                due = {user: at for user, at in change.due.items() if at}
                if due:
                    pipe.zadd(self._timers_key, due)
                if len(due) < len(change.due):
                    pipe.zrem(self._timers_key, *(user for user, at in change.due.items() if not at))
                if change.published:
                    pipe.delete(*(keys.outbox(lane, seq) for seq in change.published))
                    pipe.zrem(self._outbox_key, *change.published)
                pipe.zrange(self._timers_key, 0, 0, withscores=True)
                first = pipe.execute()[-1]
            finally:
                pipe.reset()
                self._pipe = None
        return int(first[0][1]) if first else None

    def pending(self) -> list[tuple[int, bytes]]:
        """Outbox entries not yet deleted, in order."""
        with translated():
            found: Any = self._client.zrange(self._outbox_key, 0, -1)
            seqs = [int(seq) for seq in found]
            if not seqs:
                return []
            packed: Any = self._client.mget([keys.outbox(self._lane, seq) for seq in seqs])
            return [(seq, entry) for seq, entry in zip(seqs, packed, strict=True) if entry is not None]

    def close(self) -> None:
        """Give the connections back."""
        if self._pipe is not None:
            self._pipe.reset()
        self._client.close()
