"""Candidates for one user, and what speaks for each of them, as the re-ranker reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from models.offers.past import Past
from models.profile.state import ENTRY_DAY_BIT, ENTRY_TIMES

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

OWN: Final = 60  # of what the user bought before, the newest first
LINKED: Final = 40  # of what goes with it
POPULAR: Final = 10
NEWCOMER: Final = 60  # of what is popular, for a user without a past
SOURCES: Final = 48  # purchases that point to other items
KINDS: Final = ("together", "after", "alike")

RECENT_DAYS: Final = 45.0
FRESH_DAYS: Final = 30.0
MOST_TIMES: Final = 4

NAMES: Final = (
    "owned",
    "times",
    "share_of_orders",
    "days_since",
    "fresh",
    "rhythm",
    "last_basket",
    "together_last",
    "together_past",
    "together_seen",
    "after_last",
    "after_past",
    "after_seen",
    "alike",
    "users_like_you",
    "popular",
    "trend",
    "reorder_rate",
    "young",
    "owned_x_popular",
    "owned_x_reorder",
    "owned_x_orders",
    "owned_x_together",
    "owned_x_after",
    "seen",
)
WIDTH: Final = len(NAMES)
_TOGETHER, _AFTER, _ALIKE, _LIKE = (NAMES.index(n) for n in ("together_last", "after_last", "alike", "users_like_you"))
_POPULAR, _CROSS, _SEEN = (NAMES.index(name) for name in ("popular", "owned_x_popular", "seen"))
LIKE_YOU: Final = _LIKE
POPULARITY: Final = _POPULAR
_LINK_SCALE = 3.0
_NONE: Final = OWN + LINKED + NEWCOMER  # there are never more candidates
_THREE: Final = np.arange(3)[:, None]
_CROSSED: Final = np.array([_CROSS, _CROSS + 1, _CROSS + 3, _CROSS + 4])
_CROSSING: Final = np.array([_POPULAR, _POPULAR + 2, _TOGETHER + 1, _AFTER + 1])
_DAYS: Final = np.arange(32_768)  # to the year 2059; what is longer ago is as long ago
_GONE: Final = np.stack([np.log1p(_DAYS) / 4.0, np.exp2(-_DAYS / FRESH_DAYS)])
_RECENT: Final = np.exp2(-_DAYS / RECENT_DAYS)
_TIMES: Final = np.arange(ENTRY_TIMES + 1.0)
_COUNTED: Final = np.minimum(_TIMES, MOST_TIMES)
_LOG_TIMES: Final = np.log(np.maximum(_TIMES, 1.0))
_LEAST: Final = 1e-300


@dataclass(frozen=True, slots=True)
class Evidence:
    """Links from what a user bought or saw, flat, all of shape (links,).

    Parameters
    ----------
    targets : item each one points to; the number of items: to none, as in a table with free places.
    weights : in [0, 1]. places : of its source in what was asked for. kinds : of the link, place in `KINDS`.
    """

    targets: IntArray
    weights: FloatArray
    places: IntArray
    kinds: IntArray


class Shelf(Protocol):
    """What all users share: links between items, by number, and how each of them sells."""

    @property
    def index(self) -> dict[str, int]:
        """Number of each item."""
        ...

    def links(self, sources: IntArray) -> Evidence:
        """All links of the items `sources`."""
        ...

    def like_you(self, sources: IntArray, weights: FloatArray) -> tuple[IntArray, FloatArray]:
        """Items in recent baskets of users whose past resembles this one, flat, with weights; as in `links`, none."""
        ...

    def top(self) -> IntArray:
        """Most popular items, best first."""
        ...

    def facts(self, ids: IntArray, day: int) -> FloatArray:
        """Popularity, trend, reorder rate and youth of items, shape (4, n)."""
        ...


@dataclass(frozen=True, slots=True)
class Candidates:
    """Items by number with their features.

    Parameters
    ----------
    ids : shape (n,), ascending. x : shape (n, WIDTH).
    owned : whether the user bought it before.
    sources, bought : items that point to others, and how many of them (the first) were bought.
    evidence : the links that point to one of `ids`: targets are rows of `x`, weights are multiplied by what
        the source counts.
    """

    ids: IntArray
    x: FloatArray
    owned: npt.NDArray[np.bool_]
    sources: IntArray
    bought: int
    evidence: Evidence


def largest(values: FloatArray, count: int) -> IntArray:
    """Places of the `count` largest positive values, ascending but for ties at the end.

    Of equal ones the first: the same on every machine, which a partial sort of numpy is not.

    Examples
    --------
    >>> largest(np.array([0.5, 0.0, 0.7, 0.5, 0.5]), 2).tolist()
    [2, 0]
    """
    places: IntArray = (values > 0.0).nonzero()[0]
    if len(places) <= count:
        return places
    found = values[places]
    kth = len(found) - count
    ordered = found.copy()
    ordered.partition(kth)
    least = ordered[kth]
    above = places[found > least]
    return np.concatenate([above, places[found == least][: count - len(above)]])


def added(places: npt.NDArray[np.integer[Any]], weights: FloatArray, size: int) -> FloatArray:
    """Sum of the weights at each of `size` places; `np.bincount`, which for nothing would count in whole numbers.

    Examples
    --------
    >>> added(np.array([2, 0, 2]), np.array([0.5, 1.0, 0.25]), 4).tolist()
    [1.0, 0.0, 0.75, 0.0]
    """
    return np.bincount(places, weights, minlength=size).astype(np.float64, copy=False)


def find(shelf: Shelf, past: Past, day: int, among: Sequence[int] | None = None) -> Candidates | None:
    """Candidates of a user on a day (since 1970), what was bought before among them; None while the shelf is empty.

    `among` : the candidates, by number, where somebody else has chosen them.
    """
    # Arrays are short here, so that what is called costs more than what it computes: fewer, larger calls.
    index = shelf.index
    size = len(index)
    if not size:
        return None
    known = _known(past, index)
    seen = [number for item in past.recent if (number := index.get(item)) is not None]
    own = known[0, :OWN]
    sources, weights = _sources(known[:, :SOURCES], seen)
    links = shelf.links(sources)
    pulls = links.weights * weights.sum(axis=0).take(links.places)
    like_ids, like_weights = shelf.like_you(sources, weights[1] + weights[2])
    none = _NONE if among is None else max(_NONE, len(among))
    row = np.full(size + 1, none, dtype=np.int64)  # of each item among the candidates
    if among is None:
        quick = added(np.concatenate([links.targets, like_ids]), np.concatenate([pulls, like_weights]), size + 1)
        quick[own] = quick[size] = 0.0
        linked = largest(quick, LINKED)
        row[own] = row[linked] = 0
        top = shelf.top()
        ids = np.concatenate([own, linked, top[row.take(top) == none][: POPULAR if len(sources) else NEWCOMER]])
        ids.sort()
    else:
        ids = np.array(sorted(set(among)), dtype=np.int64)
    n = len(ids)
    row[ids] = np.arange(n)
    x = np.zeros((WIDTH, n))  # written by features, handed out by items
    owned = np.zeros(n, dtype=np.bool_)
    mine, of_own = row.take(own), _own(known[:, :OWN], past, day)
    if among is not None:
        there = mine < none
        mine, of_own = mine[there], of_own[:, there]
    owned[mine] = True
    x[:_TOGETHER, mine] = of_own
    rows = row.take(links.targets)
    keep = (rows < none).nonzero()[0]
    rows, strength = rows.take(keep), links.weights.take(keep)
    places, kinds = links.places.take(keep), links.kinds.take(keep)
    cells = (rows + n * kinds) + _THREE * (n * len(KINDS))
    shares = added(cells.ravel(), (weights.take(places, axis=1) * strength).ravel(), 3 * len(KINDS) * n)
    each = shares.reshape(3, len(KINDS), n)
    x[_TOGETHER : _TOGETHER + 3], x[_AFTER : _AFTER + 3] = each[:, 0], each[:, 1]
    x[_ALIKE] = each[0, 2] + each[1, 2] + each[2, 2]
    x[_LIKE] = added(row.take(like_ids), like_weights, n)[:n]
    x[_TOGETHER:_POPULAR] = _LINK_SCALE * np.sqrt(x[_TOGETHER:_POPULAR])
    x[_POPULAR : _POPULAR + 4] = shelf.facts(ids, day)
    x[_CROSSED] = x[_CROSSING] * owned
    x[_CROSS + 2] = owned * (np.log1p(past.orders) / 2.0)
    for place, number in enumerate(row.take(seen).tolist() if seen else ()):
        if number < none:
            x[_SEEN, number] = 1.0 / (1.0 + place)
    evidence = Evidence(rows, pulls.take(keep), places, kinds)
    return Candidates(ids, x.T, owned, sources, min(known.shape[1], SOURCES), evidence)


def _known(past: Past, index: dict[str, int]) -> IntArray:
    """Number, times and day of the last purchase of the items bought that the shelf has, the newest first."""
    n = len(past.bought)
    both = np.fromiter(chain(map(index.get, past.bought, repeat(-1)), past.bought.values()), np.int64, 2 * n)
    numbers, entries = both.reshape(2, n)
    known = np.empty((3, n), dtype=np.int64)
    known[0] = numbers
    np.bitwise_and(entries, ENTRY_TIMES, out=known[1])
    np.right_shift(entries, ENTRY_DAY_BIT, out=known[2])
    there = numbers >= 0
    return known if there.all() else known[:, there]


def _sources(known: IntArray, seen: list[int]) -> tuple[IntArray, FloatArray]:
    """Items that point to others, and how much each counts: as the last basket, as the past, as just seen."""
    numbers, times, last = known
    n = len(numbers)
    place = dict(zip(numbers.tolist(), range(n), strict=True))
    looked = [place.setdefault(number, len(place)) for number in seen]
    weights = np.zeros((3, len(place)))
    if n:
        newest = last.max()
        weights[0, :n] = last == newest
        np.multiply(_COUNTED.take(times), _RECENT.take(newest - last, mode="clip"), out=weights[1, :n])
    for i, spot in enumerate(looked):
        weights[2, spot] = 1.0 / (1.0 + i)
    # A row without anything stays 0.
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), _LEAST)
    return np.fromiter(place, np.int64, len(place)) if len(place) > n else numbers, weights


def _own(known: IntArray, past: Past, day: int) -> FloatArray:
    """What the user's own purchases of an item say, shape (7, n)."""
    _, times, last = known
    x = np.ones((_TOGETHER, len(times)))
    if not len(times):
        return x
    gone = np.maximum(day - last, 0)
    tenure = max(day - past.first_day, 1) if past.first_day else 1
    x[1] = _LOG_TIMES.take(times)
    x[2] = np.minimum(times / max(past.orders, 1), 1.0)
    x[3:5] = _GONE.take(gone, axis=1, mode="clip")
    x[5] = np.minimum(gone * times / tenure, 3.0)
    x[6] = last == last.max()
    return x
