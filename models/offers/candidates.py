"""Candidates for one user, and what speaks for each of them, as the re-ranker reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from models.offers.past import Past

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
_LINK_SCALE = 3.0


class Shelf(Protocol):
    """What all users share: links between items, by number, and how each of them sells."""

    @property
    def index(self) -> dict[str, int]:
        """Number of each item."""
        ...

    def links(self, kind: str, sources: IntArray) -> tuple[IntArray, FloatArray, IntArray]:
        """Flat targets, weights in [0, 1] and the place of each one's source in `sources`."""
        ...

    def like_you(self, sources: IntArray, weights: FloatArray) -> tuple[IntArray, FloatArray]:
        """Items in recent baskets of users whose past resembles this one, flat, with weights."""
        ...

    def top(self) -> IntArray:
        """Most popular items, best first."""
        ...

    def facts(self, ids: IntArray, day: int) -> FloatArray:
        """Popularity, trend, reorder rate and youth of items, shape (n, 4)."""
        ...


@dataclass(frozen=True, slots=True)
class Candidates:
    """Items by number with their features.

    Parameters
    ----------
    ids : shape (n,), ascending. x : shape (n, WIDTH).
    owned : whether the user bought it before.
    sources, bought, weights : items that point to others, how many of them (the first) were bought, what each counts.
    evidence : (kind, targets, weights, places of the sources), flat.
    """

    ids: IntArray
    x: FloatArray
    owned: npt.NDArray[np.bool_]
    sources: IntArray
    bought: int
    weights: FloatArray
    evidence: tuple[tuple[str, IntArray, FloatArray, IntArray], ...]


def largest(values: FloatArray, count: int) -> IntArray:
    """Places of the `count` largest positive values, ascending but for ties at the end.

    Of equal ones the first: the same on every machine, which a partial sort of numpy is not.

    Examples
    --------
    >>> largest(np.array([0.5, 0.0, 0.7, 0.5, 0.5]), 2).tolist()
    [2, 0]
    """
    places = np.flatnonzero(values > 0.0)
    if len(places) <= count:
        return places
    found = values[places]
    least = np.partition(found, len(found) - count)[len(found) - count]
    above = places[found > least]
    return np.concatenate([above, places[found == least][: count - len(above)]])


def find(shelf: Shelf, past: Past, day: int) -> Candidates | None:
    """Candidates of a user on a day (since 1970), what was bought before among them; None while the shelf is empty."""
    index = shelf.index
    size = len(index)
    if not size:
        return None
    known = [(number, times, last) for item, times, last in past.bought if (number := index.get(item)) is not None]
    seen = [number for item in past.recent if (number := index.get(item)) is not None]
    own = np.array([one[0] for one in known[:OWN]], dtype=np.int64)
    sources, weights = _sources(known[:SOURCES], seen)
    evidence = tuple((kind, *shelf.links(kind, sources)) for kind in KINDS)
    blend = weights.sum(axis=0)
    targets = np.concatenate([one[1] for one in evidence])
    strength = np.concatenate([one[2] for one in evidence])
    places = np.concatenate([one[3] for one in evidence])
    quick = np.zeros(size)  # added to: the counts of nothing would be whole numbers
    quick += np.bincount(targets, strength * blend[places], minlength=size)
    like_ids, like_weights = shelf.like_you(sources, weights[1] + weights[2])
    quick += np.bincount(like_ids, like_weights, minlength=size)
    quick[own] = 0.0
    slot = np.full(size, -1, dtype=np.int64)
    slot[own] = slot[largest(quick, LINKED)] = 0
    top = shelf.top()
    slot[top[slot[top] < 0][: POPULAR if len(sources) else NEWCOMER]] = 0
    ids = np.flatnonzero(slot == 0)
    n = len(ids)
    slot[ids] = np.arange(n)
    x = np.zeros((n, WIDTH))
    owned = np.zeros(n, dtype=np.bool_)
    if len(own):
        mine = slot[own]
        owned[mine] = True
        x[mine, :_TOGETHER] = _own(known[:OWN], past, day)
    at = slot[targets]
    keep = np.flatnonzero(at >= 0)
    kinds = np.repeat(np.arange(len(KINDS)), [len(one[1]) for one in evidence])[keep]
    at, strength, places = at[keep] + n * kinds, strength[keep], places[keep]
    for j in range(3):
        shares = np.bincount(at, strength * weights[j][places], minlength=n * len(KINDS)).reshape(len(KINDS), n)
        x[:, _TOGETHER + j], x[:, _AFTER + j] = shares[0], shares[1]
        x[:, _ALIKE] += shares[2]
    at = slot[like_ids]
    liked = at >= 0
    x[:, _LIKE] = np.bincount(at[liked], like_weights[liked], minlength=n)
    x[:, _TOGETHER:_POPULAR] = _LINK_SCALE * np.sqrt(x[:, _TOGETHER:_POPULAR])
    x[:, _POPULAR : _POPULAR + 4] = shelf.facts(ids, day)
    x[:, _CROSS] = owned * x[:, _POPULAR]
    x[:, _CROSS + 1] = owned * x[:, _POPULAR + 2]
    x[:, _CROSS + 2] = owned * (np.log1p(past.orders) / 2.0)
    x[:, _CROSS + 3] = owned * x[:, _TOGETHER + 1]
    x[:, _CROSS + 4] = owned * x[:, _AFTER + 1]
    for place, number in enumerate(seen):
        if slot[number] >= 0:
            x[slot[number], _SEEN] = 1.0 / (1.0 + place)
    return Candidates(ids, x, owned, sources, min(len(known), SOURCES), blend, evidence)


def _sources(known: list[tuple[int, int, int]], seen: list[int]) -> tuple[IntArray, FloatArray]:
    """Items that point to others, and how much each counts: as the last basket, as the past, as just seen."""
    place = {number: i for i, (number, _, _) in enumerate(known)}
    for number in seen:
        place.setdefault(number, len(place))
    weights = np.zeros((3, len(place)))
    if known:
        n = len(known)
        last = np.array([one[2] for one in known], dtype=np.float64)
        newest = last.max()
        weights[0, :n] = last == newest
        times = np.array([one[1] for one in known], dtype=np.float64)
        weights[1, :n] = np.minimum(times, MOST_TIMES) * 2.0 ** ((last - newest) / RECENT_DAYS)
    for i, number in enumerate(seen):
        weights[2, place[number]] = 1.0 / (1.0 + i)
    totals = weights.sum(axis=1, keepdims=True)
    return np.array(list(place), dtype=np.int64), weights / np.where(totals > 0.0, totals, 1.0)


def _own(known: list[tuple[int, int, int]], past: Past, day: int) -> FloatArray:
    """What the user's own purchases of an item say, shape (n, 7)."""
    times = np.array([one[1] for one in known], dtype=np.float64)
    last = np.array([one[2] for one in known], dtype=np.float64)
    gone = np.maximum(day - last, 0.0)
    tenure = max(day - past.first_day, 1) if past.first_day else 1
    x = np.ones((len(known), _TOGETHER))
    x[:, 1] = np.log(times)
    x[:, 2] = np.minimum(times / max(past.orders, 1), 1.0)
    x[:, 3] = np.log1p(gone) / 4.0
    x[:, 4] = 2.0 ** (-gone / FRESH_DAYS)
    x[:, 5] = np.minimum(gone * times / tenure, 3.0)
    x[:, 6] = last == last.max()
    return x
