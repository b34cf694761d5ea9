"""The recommender's snapshot as decide reads it: arrays, shared by all users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.learners.envelope import Envelope, require
from models.offers.candidates import KINDS, NAMES, SOURCES, Evidence, added, largest
from models.profile.state import RECENT_ITEMS

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
# Tables of all items are as narrow as what they hold: a ranking waits for memory more than for arithmetic.
Places = npt.NDArray[np.uint16]
Weights = npt.NDArray[np.float32]

NAME: Final = "recs"
SCHEMA: Final = 2

SIMILAR_BASKETS: Final = 40
TOP: Final = 100
_FLOOR = 1e-5
_YOUNG_DAYS = 14.0

# Before anything was learned: what was bought before, then what goes with it, then what sells.
_FIRST = {
    "owned": 1.0,
    "times": 1.0,
    "share_of_orders": 1.0,
    "fresh": 0.5,
    "together_last": 0.3,
    "together_past": 0.6,
    "together_seen": 0.6,
    "after_last": 0.3,
    "after_past": 0.6,
    "after_seen": 0.6,
    "alike": 0.2,
    "users_like_you": 0.3,
    "popular": 1.0,
}
PRIOR: Final = tuple(_FIRST.get(name, 0.0) for name in NAMES)


def facts(shares: FloatArray, usual: FloatArray, reorder: FloatArray, age_days: FloatArray) -> FloatArray:
    """Popularity, trend, reorder rate and youth as the re-ranker reads them, shape (4, n).

    Parameters
    ----------
    shares, usual : of all purchases lately and in the long run. reorder : how often an item owned is bought again.
    """
    found = np.empty((4, len(shares)))
    found[0] = np.log(shares + _FLOOR) / 4.0 + 2.0
    found[1] = np.log((shares + _FLOOR) / (usual + _FLOOR))
    found[2] = np.log(reorder) / 4.0 + 1.0
    found[3] = youth(age_days)
    return found


def youth(age_days: FloatArray) -> FloatArray:
    """1 on the day when an item appeared, halving every two weeks."""
    return np.asarray(np.exp2(-np.maximum(age_days, 0.0) / _YOUNG_DAYS))


def nearest(slots: npt.NDArray[np.integer[Any]], votes: FloatArray, size: int) -> tuple[IntArray, FloatArray]:
    """Recent baskets that share most with a user's past, and how much.

    Parameters
    ----------
    slots : places of the newest baskets of each source, shape (sources, visits); `size`, their number: none.
    votes : of each source for each of its baskets, shape (sources,).
    """
    found = added(slots.ravel(), votes.repeat(slots.shape[1]), size + 1)[:size]
    best = largest(found, SIMILAR_BASKETS)
    return best, found[best]


class RecsPayload(msgspec.Struct, frozen=True):
    """Payload of a ``recs`` snapshot: arrays as little-endian bytes, items by their number.

    Parameters
    ----------
    items : (id, name, price in minor units, category).
    together, after, alike : (links an item, targets u2, weights f2); a target past the end is none.
    popular, usual, reorder : f4. born : i4, day. visits : u2. baskets : u2, an item past the end is none.
    ranker, newcomer : weights of the re-rankers, of all items and of those new to the user.
    """

    items: list[tuple[str, str, int, str]]
    together: tuple[int, bytes, bytes]
    after: tuple[int, bytes, bytes]
    alike: tuple[int, bytes, bytes]
    popular: bytes
    usual: bytes
    reorder: bytes
    born: bytes
    visits: bytes
    baskets: bytes
    basket_items: int
    ranker: list[float]
    newcomer: list[float]


@dataclass(frozen=True, slots=True)
class LinkTable:
    """Links of every item side by side: one row gathers all that an item points to.

    Parameters
    ----------
    targets, weights : shape (items, width); a target past the end is a free place. kinds : of each column.
    spelt : place of the row, and kind, of each cell of as many rows as a user's past usually takes.
    """

    targets: Places
    weights: Weights
    kinds: IntArray
    spelt: tuple[IntArray, IntArray]

    @classmethod
    def of(cls, items: int, tables: Mapping[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]) -> LinkTable:
        """The table of (targets, weights) by kind; a kind that is not there has no links."""
        there = [(place, *tables[kind]) for place, kind in enumerate(KINDS) if kind in tables]
        kinds = np.concatenate([np.full(targets.shape[1], place, dtype=np.int64) for place, targets, _ in there])
        return cls(
            np.concatenate([np.minimum(targets, items).astype(np.uint16) for _, targets, _ in there], axis=1),
            np.concatenate([weights.astype(np.float32) for _, _, weights in there], axis=1),
            kinds,
            _spelt(kinds, SOURCES + RECENT_ITEMS),
        )

    def of_items(self, sources: IntArray) -> Evidence:
        """All links of the items `sources`."""
        count, width = len(sources), len(self.kinds)
        places, kinds = self.spelt
        if count > len(places) // max(width, 1):
            places, kinds = _spelt(self.kinds, count)
        return Evidence(
            self.targets.take(sources, axis=0).ravel().astype(np.int64),
            self.weights.take(sources, axis=0).ravel().astype(np.float64),
            places[: count * width],
            kinds[: count * width],
        )


def _spelt(kinds: IntArray, count: int) -> tuple[IntArray, IntArray]:
    """Place and kind of each cell of `count` rows."""
    return np.arange(count).repeat(len(kinds)), np.tile(kinds, count)


_NOTHING: Final = np.zeros(0, dtype=np.int64)
_NO_LINKS: Final = LinkTable(
    np.zeros((0, 0), dtype=np.uint16), np.zeros((0, 0), dtype=np.float32), _NOTHING, (_NOTHING, _NOTHING)
)


@dataclass(frozen=True, slots=True)
class Recs:
    """What all users share for recommendations, immutable.

    Parameters
    ----------
    items : item -> (name, price in minor units, category), in the order of their numbers.
    table : links of each item.
    popular, born : share of purchases lately, and day of appearance, of each item.
    known : its facts but for youth (:func:`facts`), shape (3, n).
    visits, baskets : newest baskets of each item, items of each basket; the number of baskets or items: none.
    roots : square root of how many there are, for each item and for each basket.
    ranker, newcomer : weights of the re-rankers.
    version : snapshot version, 0 before anything was learned.
    order : place of each item among all, the more popular first, then by id.
    by_day : all facts as of the day that was asked for last, shape (n, 4).
    """

    items: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    table: LinkTable = _NO_LINKS
    popular: FloatArray = field(default_factory=lambda: np.zeros(0))
    known: FloatArray = field(default_factory=lambda: np.zeros((3, 0)))
    born: FloatArray = field(default_factory=lambda: np.zeros(0))
    visits: Places = field(default_factory=lambda: np.zeros((0, 1), dtype=np.uint16))
    baskets: Places = field(default_factory=lambda: np.zeros((0, 1), dtype=np.uint16))
    roots: tuple[FloatArray, FloatArray] = (np.ones(0), np.ones(0))
    ranker: FloatArray = field(default_factory=lambda: np.array(PRIOR))
    newcomer: FloatArray = field(default_factory=lambda: np.array(PRIOR))
    version: int = 0
    index: dict[str, int] = field(default_factory=dict)
    ids: tuple[str, ...] = ()
    best: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    order: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    by_day: dict[int, FloatArray] = field(default_factory=dict, compare=False)

    @classmethod
    def of(
        cls,
        items: Mapping[str, tuple[str, int] | tuple[str, int, str]],
        together: Mapping[str, Sequence[tuple[str, float]]] | None = None,
        popular: Sequence[tuple[str, float]] = (),
        version: int = 0,
    ) -> Recs:
        """Recs of plain maps, with the weights that stand before anything was learned."""
        index = {item: number for number, item in enumerate(items)}
        links = together or {}
        width = max((len(found) for found in links.values()), default=1) or 1
        targets, weights = np.full((len(index), width), len(index), dtype=np.int64), np.zeros((len(index), width))
        for item, found in links.items():
            for place, (other, weight) in enumerate(found):
                targets[index[item], place], weights[index[item], place] = index[other], weight
        shares = np.zeros(len(index))
        for item, weight in popular:
            shares[index[item]] = weight
        shares /= shares.sum() or 1.0
        n = len(index)
        return cls(
            items={item: (one[0], one[1], one[2] if len(one) > 2 else "") for item, one in items.items()},
            table=LinkTable.of(n, {"together": (targets, weights)}),
            popular=shares,
            known=facts(shares, shares, np.full(n, 0.05), np.zeros(n))[:3],
            born=np.zeros(n),
            visits=np.zeros((n, 1), dtype=np.uint16),
            roots=(np.ones(n), np.ones(0)),
            version=version,
            index=index,
            ids=tuple(index),
            best=_best(shares),
            order=order_of(shares, tuple(index)),
        )

    @classmethod
    def from_envelope(cls, envelope: Envelope) -> Recs:
        """Recs of a `recs` snapshot.

        Raises
        ------
        IncompatibleSnapshotError
            Another model or layout.
        """
        require(envelope, NAME, SCHEMA)
        try:
            return cls.from_payload(envelope.payload, envelope.version)
        except (msgspec.DecodeError, ValueError) as error:
            raise IncompatibleSnapshotError(f"recs payload: {error}") from error

    @classmethod
    def from_payload(cls, payload: bytes, version: int = 0) -> Recs:
        """Recs of the payload of a snapshot."""
        found = msgspec.msgpack.decode(payload, type=RecsPayload)
        n = len(found.items)
        if len(found.ranker) != len(NAMES) or len(found.newcomer) != len(NAMES):
            raise IncompatibleSnapshotError("the recs snapshot was made for other features than this code computes")
        baskets = np.frombuffer(found.baskets, dtype="<u2").reshape(-1, found.basket_items)
        visits = np.frombuffer(found.visits, dtype="<u2").reshape(n, -1 if n else 1)
        popular, ids = _floats(found.popular), tuple(one[0] for one in found.items)
        return cls(
            items={item: (name, price, category) for item, name, price, category in found.items},
            table=LinkTable.of(
                n,
                {
                    kind: (
                        np.frombuffer(targets, dtype="<u2").reshape(n, width),
                        np.frombuffer(weights, dtype="<f2").reshape(n, width),
                    )
                    for kind, (width, targets, weights) in (
                        ("together", found.together),
                        ("after", found.after),
                        ("alike", found.alike),
                    )
                },
            ),
            popular=popular,
            known=facts(popular, _floats(found.usual), _floats(found.reorder), np.zeros(n))[:3],
            born=np.frombuffer(found.born, dtype="<i4").astype(np.float64),
            visits=np.minimum(visits, len(baskets)),
            baskets=np.minimum(baskets, n),
            roots=(_roots(visits < len(baskets)), _roots(baskets < n)),
            ranker=np.array(found.ranker),
            newcomer=np.array(found.newcomer),
            version=version,
            index={one[0]: number for number, one in enumerate(found.items)},
            ids=ids,
            best=_best(popular),
            order=order_of(popular, ids),
        )

    def links(self, sources: IntArray) -> Evidence:
        """See :class:`models.offers.candidates.Shelf`."""
        return self.table.of_items(sources)

    def like_you(self, sources: IntArray, weights: FloatArray) -> tuple[IntArray, FloatArray]:
        """See :class:`models.offers.candidates.Shelf`."""
        votes = weights / self.roots[0].take(sources)
        best, strength = nearest(self.visits.take(sources, axis=0), votes, len(self.baskets))
        likely = strength / self.roots[1].take(best)
        return self.baskets.take(best, axis=0).ravel().astype(np.int64), likely.repeat(self.baskets.shape[1])

    def top(self) -> IntArray:
        """Most popular items, best first."""
        return self.best

    def facts(self, ids: IntArray, day: int) -> FloatArray:
        """See :class:`models.offers.candidates.Shelf`."""
        known = self.by_day.get(day)
        if known is None:
            # By items: what is read of one lies side by side.
            known = np.concatenate([self.known, youth(day - self.born)[None]]).T.copy()
            self.by_day.clear()  # days only go on
            self.by_day[day] = known
        return known.take(ids, axis=0).T


def order_of(popular: FloatArray, ids: Sequence[str]) -> IntArray:
    """Place of each item among all: the more popular first, equal ones by id.

    Examples
    --------
    >>> order_of(np.array([1.0, 5.0, 1.0]), ["b", "c", "a"]).tolist()
    [2, 0, 1]
    """
    names = np.empty(len(ids), dtype=np.int64)
    names[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(len(ids))
    found = np.empty(len(ids), dtype=np.int64)
    found[np.lexsort((names, -popular))] = np.arange(len(ids))
    return found


def _roots(there: npt.NDArray[np.bool_]) -> FloatArray:
    counts: FloatArray = np.maximum(there.sum(axis=1), 1).astype(np.float64)
    return np.sqrt(counts)


def _floats(packed: bytes) -> FloatArray:
    return np.frombuffer(packed, dtype="<f4").astype(np.float64)


def _best(popular: FloatArray) -> IntArray:
    found = largest(popular, TOP)
    return found[np.lexsort((found, -popular[found]))]
