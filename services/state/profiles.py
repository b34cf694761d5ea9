"""All profiles of a lane, a page at a time, while the lane goes on: for jobs that need no exact moment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis

from services.state import keys
from services.state.cluster import get_many
from services.state.lane_dump import AT_ONCE, literal
from services.state.redis_lane import translated


def each_profile(client: redis.Redis, lane: int) -> Iterator[tuple[str, bytes]]:
    """Every user of a lane with the packed profile.

    Raises
    ------
    TransientError
        Redis is away.
    """
    prefix = keys.profile(lane, "")
    with translated():
        names: list[Any] = list(client.scan_iter(match=literal(prefix) + "*", count=AT_ONCE))
    for first in range(0, len(names), AT_ONCE):
        page = names[first : first + AT_ONCE]
        with translated():
            values: Any = get_many(client, [name.decode() for name in page])
        for name, value in zip(page, values, strict=True):
            if value is not None:
                yield name.decode()[len(prefix) :], value
