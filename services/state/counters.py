"""Running counters of experiments and campaigns, summed over the lanes at reading time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from services.state import keys
from services.state.cluster import at_node
from services.state.redis_lane import translated


def read_lane_counters(client: redis.Redis, lane: int) -> dict[str, dict[str, int]]:
    """Counters of one lane: "exp:id" or "camp:id" -> field -> value."""
    with translated(), at_node(client, keys.counter_names(lane)) as node:
        members: Any = node.smembers(keys.counter_names(lane))
        names = sorted(name.decode() for name in members)
        pipe = node.pipeline(transaction=True)
        for name in names:
            pipe.hgetall(keys.counters(lane, name))
        found = pipe.execute()
    return {
        name: {field.decode(): int(value) for field, value in fields.items()}
        for name, fields in zip(names, found, strict=True)
    }


def read_some_counters(client: redis.Redis, lanes: int, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """The counters named ("exp:id"), of all lanes together; those that nobody counted yet are empty."""
    total: dict[str, dict[str, int]] = {name: {} for name in names}
    for lane in range(lanes):
        with translated(), at_node(client, keys.counter_names(lane)) as node:
            pipe = node.pipeline(transaction=True)
            for name in names:
                pipe.hgetall(keys.counters(lane, name))
            found = pipe.execute()
        for name, fields in zip(names, found, strict=True):
            sums = total[name]
            for field, value in fields.items():
                known = field.decode()
                sums[known] = sums.get(known, 0) + int(value)
    return total


def read_counters(client: redis.Redis, lanes: int) -> dict[str, dict[str, int]]:
    """Counters of all lanes together."""
    total: dict[str, dict[str, int]] = {}
    for lane in range(lanes):
        for name, fields in read_lane_counters(client, lane).items():
            sums = total.setdefault(name, {})
            for field, value in fields.items():
                sums[field] = sums.get(field, 0) + value
    return total
