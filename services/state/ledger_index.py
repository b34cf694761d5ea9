"""All messages in the send ledger, for the audit and for tests."""

from __future__ import annotations

import redis

from services.state.redis_lane import translated

PATTERN = "ledger:{p*}:*"
AT_ONCE = 2000


def ledger_states(client: redis.Redis) -> dict[str, str]:
    """Message id -> state, of every entry that has not expired."""
    return ledger_field(client, "state")


def ledger_field(client: redis.Redis, name: str) -> dict[str, str]:
    """Message id -> one field of its entry, where it has that."""
    found: dict[str, str] = {}
    with translated():
        keys = list(client.scan_iter(match=PATTERN, count=AT_ONCE))
        for first in range(0, len(keys), AT_ONCE):
            part = keys[first : first + AT_ONCE]
            pipe = client.pipeline(transaction=False)
            for key in part:
                pipe.hget(key, name)
            for key, value in zip(part, pipe.execute(), strict=True):
                if value is not None:
                    found[key.decode().split(":", 2)[2]] = value.decode()
    return found
