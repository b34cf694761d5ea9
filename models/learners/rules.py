"""Association rules: counts of items and pairs of items over baskets, kept up basket by basket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any, Final, NamedTuple

import numpy as np

from models.errors import IncompatibleSnapshotError

NAME: Final = "rules"
_HALF: Final = 32
_LOW: Final = (1 << _HALF) - 1


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
    """Rules of one item to another, with exact figures at any time while there is room for all pairs.

    Parameters
    ----------
    most_pairs, most_items : how many are counted at most; 0: all that come.
    longest : of a longer basket the pairs of its first items (by name) are counted; 0: of any.

    Attributes
    ----------
    missed : no pair occurred more often than its count and this, but for baskets that were cut.
    cut : baskets whose pairs were not all counted, or that hold an item for which there was no room.
        Where both are 0, all figures are exact.

    Notes
    -----
    Counts only ever grow, so nothing is mined again. A basket of n items costs n (n - 1) / 2 additions. When there are
    too many pairs, those that occurred least go (lossy counting): each remembers how often it may have occurred before
    it was counted, and goes when count and that are no more than what goes with it. Counts are then too low by at most
    `missed`, never too high. Memory: about 110 bytes a pair and 200 an item.

    References
    ----------
    R. Agrawal, T. Imielinski, A. Swami, "Mining association rules between sets of items in large databases", SIGMOD
    1993. G. Manku, R. Motwani, "Approximate frequency counts over data streams", VLDB 2002.

    Examples
    --------
    >>> rules = AssociationRules()
    >>> for basket in (["tea", "milk"], ["tea", "milk", "jam"], ["jam"], ["tea"]):
    ...     rules.learn(basket)
    >>> [(r.given, r.then, round(r.confidence, 2), round(r.lift, 2)) for r in rules.rules(min_support=0.5)]
    [('milk', 'tea', 1.0, 1.33), ('tea', 'milk', 0.67, 1.33)]
    """

    def __init__(self, most_pairs: int = 0, most_items: int = 0, longest: int = 0) -> None:
        self.name = NAME
        self.baskets = 0
        self.missed = 0
        self.cut = 0
        self._limits = (most_pairs, most_items, longest)
        self._numbers: dict[str, int] = {}
        self._items: list[str] = []
        self._counts: list[int] = []
        self._pairs: dict[int, int] = {}
        self._before: dict[int, int] = {}  # how often a pair may have occurred before it was counted; none: never

    def learn(self, basket: Iterable[str]) -> None:
        """Count one basket; an item that is in it twice is in it."""
        most_pairs, most_items, longest = self._limits
        self.baskets += 1
        items = sorted(set(basket))
        numbers = []
        for item in items:
            number = self._numbers.get(item)
            if number is None:
                if most_items and len(self._items) >= most_items:
                    continue
                number = self._numbers[item] = len(self._items)
                self._items.append(item)
                self._counts.append(0)
            self._counts[number] += 1
            numbers.append(number)
        if longest:
            numbers = numbers[:longest]
        self.cut += len(numbers) < len(items)
        pairs, missed = self._pairs, self.missed
        for first, second in combinations(numbers, 2):
            key = first << _HALF | second if first < second else second << _HALF | first
            count = pairs.get(key)
            if count is None:
                pairs[key] = 1
                if missed:
                    self._before[key] = missed
            else:
                pairs[key] = count + 1
        if most_pairs and len(pairs) > most_pairs:
            self._make_room()

    @property
    def pairs(self) -> int:
        """Pairs that are counted."""
        return len(self._pairs)

    def count(self, item: str) -> int:
        """Baskets with an item."""
        number = self._numbers.get(item)
        return 0 if number is None else self._counts[number]

    def rules(self, min_support: float = 0.01, min_confidence: float = 0.0) -> list[Rule]:
        """Rules with at least that support and confidence: highest lift first, then confidence, then names."""
        # Shares of whole counts: the tolerance keeps a support of exactly the limit.
        least = min_support * self.baskets - 1e-9
        found = [rule for rule in self.every(least) if rule.confidence >= min_confidence - 1e-12]
        return sorted(found, key=lambda rule: (-rule.lift, -rule.confidence, rule.given, rule.then))

    def every(self, least: float) -> Iterator[Rule]:
        """Both rules of each pair that occurred in at least so many baskets."""
        for key, together in self._pairs.items():
            if together >= least:
                first, second = key >> _HALF, key & _LOW
                for given, then in ((first, second), (second, first)):
                    confidence = together / self._counts[given]
                    lift = confidence * self.baskets / self._counts[then]
                    names = self._items[given], self._items[then]
                    yield Rule(*names, together, together / self.baskets, confidence, lift)

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        pairs = list(self._pairs)
        return {
            "name": NAME,
            "limits": list(self._limits),
            "baskets": self.baskets,
            "missed": self.missed,
            "cut": self.cut,
            "items": list(self._items),
            "counts": list(self._counts),
            "first": _packed([key >> _HALF for key in pairs]),
            "second": _packed([key & _LOW for key in pairs]),
            "together": _packed(list(self._pairs.values())),
            "before": _packed([self._before.get(key, 0) for key in pairs]),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted.

        Raises
        ------
        IncompatibleSnapshotError
            The state is of something else.
        """
        if state.get("name") != NAME or list(state.get("limits", ())) != list(self._limits):
            raise IncompatibleSnapshotError(f"not a state of {NAME} with these limits")
        self.baskets, self.missed, self.cut = state["baskets"], state["missed"], state["cut"]
        self._items, self._counts = list(state["items"]), list(state["counts"])
        self._numbers = {item: number for number, item in enumerate(self._items)}
        first, second, together, before = (_unpacked(state[part]) for part in ("first", "second", "together", "before"))
        keys = [one << _HALF | other for one, other in zip(first, second, strict=True)]
        self._pairs = dict(zip(keys, together, strict=True))
        self._before = {key: missed for key, missed in zip(keys, before, strict=True) if missed}

    def _make_room(self) -> None:
        """A quarter of the pairs or more go: those that cannot have occurred more often than the others did."""
        before = self._before
        most = [count + before.get(key, 0) for key, count in self._pairs.items()]
        self.missed = int(np.partition(np.array(most), len(most) // 4)[len(most) // 4])
        keep = zip(self._pairs.items(), most, strict=True)
        self._pairs = {key: count for (key, count), highest in keep if highest > self.missed}
        self._before = {key: missed for key, missed in before.items() if key in self._pairs}


def _packed(numbers: list[int]) -> list[str | bytes]:
    """Kind of number, the smallest that holds them all, and the numbers."""
    kind = np.min_scalar_type(max(numbers, default=0)).newbyteorder("<")
    return [kind.str, np.array(numbers, dtype=kind).tobytes()]


def _unpacked(packed: list[Any]) -> list[int]:
    found: list[int] = np.frombuffer(packed[1], dtype=packed[0]).tolist()
    return found
