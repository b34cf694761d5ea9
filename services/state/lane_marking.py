"""A transaction that marks a lane from outside, while no worker has it: divided, freed, moved on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from services.state import keys
from services.state.cluster import at_node
from services.state.redis_lane import translated
from services.state.store import Change


def commit_marking(client: redis.Redis, lane: int, made: Callable[[bytes | None, bytes | None], Change]) -> None:
    """One transaction of a lane, conditional on its fence, as those of its owner are.

    Parameters
    ----------
    made : called with the packed fence and state, returns what to write; no profiles are looked at.

    Raises
    ------
    FenceError
        Somebody else moved the fence meanwhile.
    """
    with translated(), at_node(client, keys.fence(lane)) as node, node.pipeline() as pipe:
        pipe.watch(keys.fence(lane))  # type: ignore[no-untyped-call]
        found: Any = pipe.mget([keys.fence(lane), keys.state(lane)])
        change = made(*found)
        pipe.multi()
        pipe.mset({keys.fence(lane): change.fence, keys.state(lane): change.state})
        if change.outbox is not None:
            pipe.set(keys.outbox(lane, change.seq), change.outbox)
            pipe.zadd(keys.outbox_index(lane), {str(change.seq): change.seq})
        pipe.execute()
