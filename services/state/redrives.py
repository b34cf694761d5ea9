"""Which dead letters were sent again: one hash, a letter can be claimed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import redis

from services.state import keys
from services.state.redis_lane import translated

AT_ONCE = 1000


class Redrive(msgspec.Struct, frozen=True):
    """When a letter was sent again, where to, and whether Kafka confirmed it."""

    at: int
    to: str
    sent: bool
    edited: bool = False

    @property
    def when(self) -> str:
        """Wall clock for a person."""
        return datetime.fromtimestamp(self.at / 1000, UTC).strftime("%d %b %Y %H:%M:%S UTC")


_decode = msgspec.json.Decoder(Redrive).decode
_encode = msgspec.json.Encoder().encode


def read_redrives(client: redis.Redis, letters: Sequence[str]) -> dict[str, Redrive]:
    """What is known of these letters; those that nobody sent again are left out."""
    found: dict[str, Redrive] = {}
    for first in range(0, len(letters), AT_ONCE):
        part = list(letters[first : first + AT_ONCE])
        with translated():
            values: Any = client.hmget(keys.REDRIVEN, part)
        found.update((name, _decode(value)) for name, value in zip(part, values, strict=True) if value is not None)
    return found


def claim_redrives(client: redis.Redis, attempts: Mapping[str, Redrive], *, again: bool) -> set[str]:
    """Claim letters before they are published; returns those that somebody claimed before (none with `again`)."""
    if not attempts:
        return set()
    with translated():
        pipe = client.pipeline(transaction=False)
        for name, attempt in attempts.items():
            if again:
                pipe.hset(keys.REDRIVEN, name, _encode(attempt))
            else:
                pipe.hsetnx(keys.REDRIVEN, name, _encode(attempt))
        answers = pipe.execute()
    return set() if again else {name for name, new in zip(attempts, answers, strict=True) if not new}


def forget_redrives(client: redis.Redis, before_ms: int) -> int:
    """Take out attempts from before a time at which every letter of then has left the log; answers how many."""
    old: list[str] = []
    with translated():
        for name, value in client.hscan_iter(keys.REDRIVEN, count=AT_ONCE):
            if _decode(value).at < before_ms:
                old.append(name)
        for first in range(0, len(old), AT_ONCE):
            client.hdel(keys.REDRIVEN, *old[first : first + AT_ONCE])
    return len(old)


def mark_sent(client: redis.Redis, attempts: Mapping[str, Redrive]) -> None:
    """Note that Kafka confirmed these."""
    if attempts:
        done: dict[Any, Any] = {
            name: _encode(msgspec.structs.replace(one, sent=True)) for name, one in attempts.items()
        }
        with translated():
            client.hset(keys.REDRIVEN, mapping=done)
