"""States of all messages in the send ledger, for the audit."""

from __future__ import annotations

import redis

from services.state.redis_lane import translated

PREFIX = "ledger:"
AT_ONCE = 2000


def ledger_states(client: redis.Redis) -> dict[str, str]:
    """Message id -> state, of every entry that has not expired."""
    found: dict[str, str] = {}
    with translated():
        names = list(client.scan_iter(match=PREFIX + "*", count=AT_ONCE))
        for first in range(0, len(names), AT_ONCE):
            part = names[first : first + AT_ONCE]
            pipe = client.pipeline(transaction=False)
            for name in part:
                pipe.hget(name, "state")
            for name, state in zip(part, pipe.execute(), strict=True):
                if state is not None:
                    found[name.decode()[len(PREFIX) :]] = state.decode()
    return found
