"""Association rules: exact counts of items and pairs of items over baskets, kept up basket by basket."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Any, Final, NamedTuple

from models.errors import IncompatibleSnapshotError

NAME: Final = "rules"


class Rule(NamedTuple):
    """Who buys `given` also buys `then`.

    Parameters
    ----------
    baskets : baskets with both. support : their share of all. confidence : their share of those with `given`.
    lift : confidence over the share of baskets with `then`; 1 says nothing, above 1: they go together.
    """

    given: str
    then: str
    baskets: int
    support: float
    confidence: float
    lift: float


class AssociationRules:
    """Rules of one item to another, with exact figures at any time.

    Notes
    -----
    Counts only ever grow, so nothing is mined again. Memory O(items + pairs that occurred together); a basket of n
    items costs n (n - 1) / 2 additions.

    References
    ----------
    R. Agrawal, T. Imielinski, A. Swami, "Mining association rules between sets of items in large databases", SIGMOD
    1993.

    Examples
    --------
    >>> rules = AssociationRules()
    >>> for basket in (["tea", "milk"], ["tea", "milk", "jam"], ["jam"], ["tea"]):
    ...     rules.learn(basket)
    >>> [(r.given, r.then, round(r.confidence, 2), round(r.lift, 2)) for r in rules.rules(min_support=0.5)]
    [('milk', 'tea', 1.0, 1.33), ('tea', 'milk', 0.67, 1.33)]
    """

    def __init__(self) -> None:
        self.name = NAME
        self.baskets = 0
        self._items: dict[str, int] = {}
        self._pairs: dict[tuple[str, str], int] = {}

    def learn(self, basket: Iterable[str]) -> None:
        """Count one basket; an item that is in it twice is in it."""
        self.baskets += 1
        items = sorted(set(basket))
        for item in items:
            self._items[item] = self._items.get(item, 0) + 1
        for pair in combinations(items, 2):
            self._pairs[pair] = self._pairs.get(pair, 0) + 1

    def rules(self, min_support: float = 0.01, min_confidence: float = 0.0) -> list[Rule]:
        """Rules with at least that support and confidence: highest lift first, then confidence, then names."""
        found = []
        # Shares of whole counts: the tolerance keeps a support of exactly the limit.
        least = min_support * self.baskets - 1e-9
        for (first, second), together in self._pairs.items():
            if together < least:
                continue
            for given, then in ((first, second), (second, first)):
                confidence = together / self._items[given]
                if confidence >= min_confidence - 1e-12:
                    lift = confidence * self.baskets / self._items[then]
                    found.append(Rule(given, then, together, together / self.baskets, confidence, lift))
        return sorted(found, key=lambda rule: (-rule.lift, -rule.confidence, rule.given, rule.then))

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        return {
            "name": NAME,
            "baskets": self.baskets,
            "items": dict(self._items),
            "pairs": [[first, second, count] for (first, second), count in self._pairs.items()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted.

        Raises
        ------
        IncompatibleSnapshotError
            The state is of something else.
        """
        if state.get("name") != NAME:
            raise IncompatibleSnapshotError(f"not a state of {NAME}")
        self.baskets, self._items = state["baskets"], dict(state["items"])
        self._pairs = {(first, second): count for first, second, count in state["pairs"]}
