"""Incremental co-visitation: which items go together lately, and what is popular now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import nlargest
from typing import Any, Final

import msgspec
import numpy as np

from models.errors import IncompatibleSnapshotError

NAME: Final = "recs"
SCHEMA: Final = 1

DAY_MS: Final = 86_400_000
PAIR_HALF_LIFE_MS: Final = 60 * DAY_MS
POPULAR_HALF_LIFE_MS: Final = 14 * DAY_MS
HISTORY_WEIGHT: Final = 0.5

MAX_BASKET: Final = 60
MAX_HISTORY: Final = 30
MAX_NEIGHBOURS: Final = 64  # kept after pruning; pruned at twice as many
MAX_ITEMS: Final = 50_000
SERVED_NEIGHBOURS: Final = 20
SERVED_POPULAR: Final = 200

# Decay is forward: a new event weighs 2^(age of the landmark), old ones stay untouched. The landmark moves
# before a float could overflow.
MAX_EXPONENT: Final = 300.0

BasketItem = tuple[str, str, int, int]


class CoVisitation:
    """Recency-weighted co-visitation counts, learned basket by basket.

    Notes
    -----
    A basket of n different items adds ``1 / sqrt(n)`` to each ordered pair of them and half of it from
    each recent earlier item of the customer to each item of the basket. All counts halve every
    ``PAIR_HALF_LIFE_MS`` of event time, popularity every ``POPULAR_HALF_LIFE_MS``. Served weight of j
    after i is the cosine ``w(i, j) / sqrt(n(i) n(j))``.

    Cost per basket O(basket * (basket + history)), both capped. Memory at most ``MAX_ITEMS`` items with
    ``2 * MAX_NEIGHBOURS`` neighbours; the lightest are dropped, equal ones by id, so the state depends on the
    sequence of baskets alone.

    References
    ----------
    G. Linden, B. Smith, J. York, "Amazon.com recommendations: item-to-item collaborative filtering", 2003. G.
    Cormode et al., "Forward decay: a practical time decay model for streaming systems", 2009.

    Examples
    --------
    >>> model = CoVisitation()
    >>> model.learn_basket([("a", "Tea", 250, 1), ("b", "Cup", 400, 2)], [], 0)
    >>> model.learn_basket([("a", "Tea", 260, 1)], ["b"], 1)
    >>> [(item, round(weight, 2)) for item, weight in model.neighbours("b")]
    [('a', 0.85)]
    >>> model.popular()[0], model.items["a"]
    (('a', 1.0), ('Tea', 260))
    """

    def __init__(self) -> None:
        self.name = NAME
        self.count = 0
        self.items: dict[str, tuple[str, int]] = {}
        self._pairs: dict[str, dict[str, float]] = {}
        self._seen: dict[str, float] = {}
        self._popular: dict[str, float] = {}
        self._pair_landmark_ms: int | None = None
        self._popular_landmark_ms = 0

    def learn_basket(self, items: Sequence[BasketItem], history: Sequence[str], at_ms: int) -> None:
        """Learn one order.

        Parameters
        ----------
        items : (id, name, price in minor units, quantity); an id may repeat, an empty name keeps the known
        one. history : earlier item ids of the customer, newest last.
        at_ms : event time.
        """
        self._move_landmarks(at_ms)
        for item, name, price, _ in items:
            self.items[item] = (name or self.items.get(item, ("", 0))[0], price)
        basket = list(dict.fromkeys(item for item, *_ in items))[:MAX_BASKET]
        if not basket:
            return
        self.count += 1
        pair = 2.0 ** ((at_ms - (self._pair_landmark_ms or 0)) / PAIR_HALF_LIFE_MS)
        popular = 2.0 ** ((at_ms - self._popular_landmark_ms) / POPULAR_HALF_LIFE_MS)
        share = pair / len(basket) ** 0.5
        for item in basket:
            self._seen[item] = self._seen.get(item, 0.0) + pair
            self._popular[item] = self._popular.get(item, 0.0) + popular
            self._add(item, basket, share)
        for item in list(dict.fromkeys(reversed(history)))[:MAX_HISTORY]:
            if item in self._seen:
                self._add(item, basket, HISTORY_WEIGHT * share)
        if len(self.items) > MAX_ITEMS + MAX_ITEMS // 10:
            self._forget_items()

    def neighbours(self, item: str, size: int = SERVED_NEIGHBOURS) -> list[tuple[str, float]]:
        """Items that go with `item`, best first."""
        norms = self._norms((item, *self._pairs.get(item, ())))
        return self._best(item, norms, size)

    def popular(self, size: int = SERVED_POPULAR) -> list[tuple[str, float]]:
        """Most popular items lately, relative to the first."""
        best = nlargest(size, ((weight, item) for item, weight in self._popular.items()))
        return [(item, weight / best[0][0]) for weight, item in best if weight > 0.0]

    def payload(self) -> bytes:
        """Payload of the ``recs`` snapshot: ``{items, neighbours, popular}``."""
        norms = self._norms(self._seen)
        neighbours = {}
        for item in self._pairs:
            found = [(other, round(score, 5)) for other, score in self._best(item, norms, SERVED_NEIGHBOURS)]
            if found:
                neighbours[item] = found
        popular = [(item, round(score, 5)) for item, score in self.popular()]
        return msgspec.msgpack.encode({"items": self.items, "neighbours": neighbours, "popular": popular})

    def snapshot(self) -> dict[str, Any]:
        """Plain state; pairs are flat arrays, which encode an order of magnitude faster than nested maps."""
        order = list(self.items)
        place = {item: index for index, item in enumerate(order)}
        rows = [(item, row) for item, row in self._pairs.items() if item in place]
        columns = [place[other] for _, row in rows for other in row]
        return {
            "name": NAME,
            "count": self.count,
            "items": [(item, *self.items[item]) for item in order],
            "rows": [(place[item], len(row)) for item, row in rows],
            "columns": np.array(columns, dtype=np.float64),
            "weights": np.array([weight for _, row in rows for weight in row.values()]),
            "seen": self._seen,
            "popular": self._popular,
            "landmarks": [self._pair_landmark_ms, self._popular_landmark_ms],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted.

        Raises
        ------
        IncompatibleSnapshotError
            The state is of something else.
        """
        try:
            if state["name"] != NAME:
                raise IncompatibleSnapshotError(f"not a state of {NAME}")
            self.count = state["count"]
            order = [item for item, _, _ in state["items"]]
            self.items = {item: (name, price) for item, name, price in state["items"]}
            columns = [order[index] for index in state["columns"].astype(np.int64).tolist()]
            weights = state["weights"].tolist()
            self._pairs, start = {}, 0
            for row, length in state["rows"]:
                end = start + length
                self._pairs[order[row]] = dict(zip(columns[start:end], weights[start:end], strict=True))
                start = end
            self._seen, self._popular = dict(state["seen"]), dict(state["popular"])
            self._pair_landmark_ms, self._popular_landmark_ms = state["landmarks"]
        except KeyError as error:
            raise IncompatibleSnapshotError(f"state of {NAME} without {error}") from error

    def _norms(self, items: Iterable[str]) -> dict[str, float]:
        seen = self._seen
        # Centuries older than the rest, a count decays to exactly 0: a wrong clock must not divide by it.
        return {item: seen[item] ** -0.5 for item in items if seen.get(item, 0.0) > 0.0}

    def _best(self, item: str, norms: dict[str, float], size: int) -> list[tuple[str, float]]:
        own = norms.get(item)
        if own is None:
            return []
        row = self._pairs.get(item, {})
        scored = [(weight * own * norms[other], other) for other, weight in row.items() if other in norms]
        scored.sort(reverse=True)  # rows are short: quicker than a heap
        return [(other, score) for score, other in scored[:size]]

    def _add(self, item: str, basket: list[str], weight: float) -> None:
        row = self._pairs.setdefault(item, {})
        for other in basket:
            if other != item:
                row[other] = row.get(other, 0.0) + weight
        if len(row) > 2 * MAX_NEIGHBOURS:
            kept = nlargest(MAX_NEIGHBOURS, ((value, other) for other, value in row.items()))
            self._pairs[item] = {other: value for value, other in kept}

    def _move_landmarks(self, at_ms: int) -> None:
        if self._pair_landmark_ms is None:
            self._pair_landmark_ms = self._popular_landmark_ms = at_ms
        if (at_ms - self._pair_landmark_ms) / PAIR_HALF_LIFE_MS > MAX_EXPONENT:
            factor = 2.0 ** ((self._pair_landmark_ms - at_ms) / PAIR_HALF_LIFE_MS)
            self._pair_landmark_ms = at_ms
            self._seen = {item: weight * factor for item, weight in self._seen.items()}
            self._pairs = {
                item: {other: weight * factor for other, weight in row.items()} for item, row in self._pairs.items()
            }
        if (at_ms - self._popular_landmark_ms) / POPULAR_HALF_LIFE_MS > MAX_EXPONENT:
            factor = 2.0 ** ((self._popular_landmark_ms - at_ms) / POPULAR_HALF_LIFE_MS)
            self._popular_landmark_ms = at_ms
            self._popular = {item: weight * factor for item, weight in self._popular.items()}

    def _forget_items(self) -> None:
        ranked = nlargest(MAX_ITEMS, ((self._seen.get(item, 0.0), item) for item in self.items))
        kept = {item for _, item in ranked}
        self.items = {item: value for item, value in self.items.items() if item in kept}
        self._seen = {item: value for item, value in self._seen.items() if item in kept}
        self._popular = {item: value for item, value in self._popular.items() if item in kept}
        self._pairs = {
            item: {other: weight for other, weight in row.items() if other in kept}
            for item, row in self._pairs.items()
            if item in kept
        }
