"""What recommended lists bring: the lanes' counters of what was shown and answered, added up."""

from __future__ import annotations

from typing import Any

import redis

from models.offers.figures import NOTHING, Figures, figures
from models.offers.rankings import PRODUCTS, counter_key
from services.state import keys
from services.state.cluster import at_node
from services.state.counters import read_some_counters
from services.state.product_names import ProductNames
from services.state.redis_lane import translated


class RankingReader:
    """Reads; synchronous, from any thread.

    Parameters
    ----------
    client : of Redis. lanes : how many there are.
    """

    def __init__(self, client: redis.Redis, lanes: int) -> None:
        self._client, self._lanes = client, lanes
        self._names = ProductNames(client)

    def figures(self) -> Figures:
        """All of it.

        Raises
        ------
        TransientError
            Redis is away.
        """
        names = self._lists()
        if not names:
            return NOTHING
        wanted = {name: counter_key(name) for name in names}
        counts = read_some_counters(self._client, self._lanes, [*wanted.values(), PRODUCTS])
        lists = {name: counts[key] for name, key in wanted.items()}
        return figures(lists, counts[PRODUCTS], self._names.newest())

    def _lists(self) -> list[str]:
        """Names of the lists that were ever shown."""
        before, found = counter_key(""), set()
        for lane in range(self._lanes):
            with translated(), at_node(self._client, keys.counter_names(lane)) as node:
                members: Any = node.smembers(keys.counter_names(lane))
            found |= {name.decode().removeprefix(before) for name in members if name.startswith(before.encode())}
        return sorted(found)
