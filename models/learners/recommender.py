"""Everything that all users share for recommendations, learned basket by basket: links, popularity, and their order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.learners.list_watch import ListWatch
from models.offers.candidates import KINDS, POPULARITY, WIDTH, Candidates, Evidence, find, largest
from models.offers.links import Links
from models.offers.past import Past
from models.offers.recs import NAME, PRIOR, TOP, RecsPayload, facts, nearest
from models.offers.rerank import Reranker
from models.profile.state import day_bought

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

DAY_MS: Final = 86_400_000
PAIR_HALF_LIFE_MS: Final = 60 * DAY_MS
POPULAR_HALF_LIFE_MS: Final = 14 * DAY_MS
EARLIER_WEIGHT: Final = 0.5  # of an item bought before the last basket, against one in it, as a cause of the next
SHRINK: Final = 3.0  # baskets that an item is imagined to have besides: one basket alone proves little

MAX_BASKET: Final = 60
MAX_HISTORY: Final = 30
MAX_LINKS: Final = 64  # kept after pruning; pruned at twice as many
MAX_ALIKE: Final = 8
MAX_ITEMS: Final = 50_000
MAX_TOKEN_ITEMS: Final = 200
MIN_ALIKE: Final = 0.3
VISITS: Final = 12  # newest baskets kept of each item
BASKETS: Final = 4_000  # newest baskets kept at all
BASKET_ITEMS: Final = 24
KNOWN_BY: Final = 20  # earlier items by which a basket is found, beside its own
SERVED_LINKS: Final = 20

# Decay is forward: a new event weighs 2^(age of the landmark), old ones stay untouched. The landmark moves
# before a float could overflow.
MAX_EXPONENT: Final = 300.0

BasketItem = tuple[str, str, int, int]
_WORD = re.compile(r"[^\W\d_]{3,}|\d+")


class Recommender:
    """Links between items, popularity and the order of candidates, learned basket by basket.

    Notes
    -----
    *Together*: a basket of n items adds ``1 / sqrt(n)`` to each ordered pair. *After*: as much from each item of the
    customer's last basket, half from earlier ones, and 1/k of it from the k-th newest item viewed, to each item of the
    next basket. *Alike*: cosine of the words in names, weighted by rarity, when an item first appears. *Like you*: the
    newest baskets of each item, for users whose past resembles this one's. Counts halve every
    ``PAIR_HALF_LIFE_MS`` of event time, popularity every
    ``POPULAR_HALF_LIFE_MS``. A link counts ``w(i, j) / sqrt((n(i) + SHRINK) (n(j) + SHRINK))``.

    Before a basket is learned, its customer's candidates are found and both re-rankers take a step: one over all
    candidates, one over those new to the customer.

    Memory at most ``MAX_ITEMS`` items with ``2 * MAX_LINKS`` links of each kind; about 12 KB an item when all rows are
    full. The lightest links and items are dropped, so the state depends on the sequence of baskets alone.

    References
    ----------
    G. Linden, B. Smith, J. York, "Amazon.com recommendations: item-to-item collaborative filtering", 2003. G.
    Cormode et al., "Forward decay: a practical time decay model for streaming systems", 2009. M. Ludewig, D. Jannach,
    "Evaluation of session-based recommendation algorithms", 2018 (neighbours of sessions).

    Examples
    --------
    >>> model = Recommender()
    >>> model.learn_basket([("a", "Tea", 250, 1), ("b", "Cup", 400, 2)], Past.of(), 0)
    >>> model.learn_basket([("a", "Tea", 260, 1)], Past.of([("b", 1, 0)]), 1)
    >>> [name for name, _ in model.popular()], model.items["a"]
    (['a', 'b'], ('Tea', 260, ''))
    """

    def __init__(self) -> None:
        self.name = NAME
        self.count = 0
        self.index: dict[str, int] = {}
        self.items: dict[str, tuple[str, int, str]] = {}
        self.ranker, self.newcomer = Reranker(PRIOR), Reranker(PRIOR)
        self.watch = ListWatch()
        self._together, self._after, self._alike = Links(MAX_LINKS), Links(MAX_LINKS), Links(MAX_ALIKE)
        self._tokens: dict[str, list[int]] = {}
        self._counts = np.zeros((5, 1024))  # seen, popular, born, held, bought again
        self._visits = np.zeros((1024, VISITS), dtype=np.int64)
        self._baskets = np.full((BASKETS, BASKET_ITEMS), -1, dtype=np.int64)
        self._landmarks_ms: list[int] = []
        self._latest_ms = 0

    # ------------------------------------------------------------------ learning

    def learn_basket(self, items: Sequence[BasketItem], past: Past, at_ms: int, categories: Sequence[str] = ()) -> None:
        """Learn one order.

        Parameters
        ----------
        items : (id, name, price in minor units, quantity); an id may repeat, an empty name keeps the known one.
        past : the customer's, before this order.
        at_ms : event time. categories : of the items, as far as known.
        """
        if not items:
            return
        self._move_landmarks(at_ms)
        found = self.candidates(past, at_ms) if past.bought or past.recent else None
        if found is not None:
            self._learn_order(found, {item for item, *_ in items}, at_ms)
        day = at_ms // DAY_MS
        for place, (item, name, price, _) in enumerate(items):
            before = self.items.get(item, ("", 0, ""))
            category = categories[place] if place < len(categories) else ""
            self.items[item] = (name or before[0], price, category or before[2])
            if item not in self.index:
                self._take_in(item, name, day)
        self._learn_links(list(dict.fromkeys(self.index[item] for item, *_ in items))[:MAX_BASKET], past, at_ms)
        self.count += 1
        if len(self.index) > MAX_ITEMS + MAX_ITEMS // 10:
            self._forget_items()

    def _learn_order(self, found: Candidates, bought: set[str], at_ms: int) -> None:
        hits = {number for item in bought if (number := self.index.get(item)) is not None}
        y = np.array([number in hits for number in found.ids.tolist()], dtype=np.float64)
        self.watch.add(found.x @ self.ranker.mean, found.x[:, POPULARITY], y, len(bought), at_ms)
        self.ranker.learn(found.x, y)
        self.newcomer.learn(found.x[~found.owned], y[~found.owned])

    def _learn_links(self, basket: list[int], past: Past, at_ms: int) -> None:
        pair = 2.0 ** ((at_ms - self._landmarks_ms[0]) / PAIR_HALF_LIFE_MS)
        share = pair / len(basket) ** 0.5
        seen, popular, _, held, again = self._counts
        seen[basket] += pair
        popular[basket] += 2.0 ** ((at_ms - self._landmarks_ms[1]) / POPULAR_HALF_LIFE_MS)
        for number in basket:
            self._together.add(number, basket, share)
        here = set(basket)
        newest = max(map(day_bought, past.bought.values()), default=0)
        earlier: list[int] = []
        for place, (item, entry) in enumerate(past.bought.items()):
            if item not in self.index:
                continue
            number = self.index[item]
            held[number] += 1.0
            again[number] += number in here
            if place < MAX_HISTORY:
                earlier.append(number)
                if item not in past.recent:
                    self._after.add(number, basket, share if day_bought(entry) == newest else EARLIER_WEIGHT * share)
        for place, item in enumerate(past.recent):
            if item in self.index:
                self._after.add(self.index[item], basket, share / (1.0 + place))
        ordinal = self.count + 1
        kept = list(dict.fromkeys([*basket, *earlier[:KNOWN_BY]]))
        row = self._baskets[ordinal % BASKETS]
        row[:] = -1
        row[: min(len(basket), BASKET_ITEMS)] = basket[:BASKET_ITEMS]
        self._visits[kept, 1:] = self._visits[kept, :-1]
        self._visits[kept, 0] = ordinal

    def _take_in(self, item: str, name: str, day: int) -> None:
        """A new item: its number, and what it is like by the words of its name."""
        number = self.index[item] = len(self.index)
        if number >= self._counts.shape[1]:
            self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)], axis=1)
            self._visits = np.concatenate([self._visits, np.zeros_like(self._visits)])
        self._counts[2, number] = day
        words = sorted(set(_WORD.findall(name.lower())))
        size = len(self.index)
        scores: dict[int, float] = {}
        own = 0.0
        for word in words:
            sharing = self._tokens.setdefault(word, [])
            rarity = float(np.log1p(size / (1.0 + len(sharing))))
            own += rarity
            for other in sharing[-MAX_TOKEN_ITEMS:]:
                scores[other] = scores.get(other, 0.0) + rarity
            sharing.append(number)
            del sharing[: -2 * MAX_TOKEN_ITEMS]
        best = sorted(((score / own, -other) for other, score in scores.items()), reverse=True)[:MAX_ALIKE]
        for score, other in best:
            if score >= MIN_ALIKE:
                self._alike.add(number, [-other], score)
                self._alike.add(-other, [number], score)

    # ------------------------------------------------------------------ the shelf, as the re-ranker sees it

    def candidates(self, past: Past, at_ms: int) -> Candidates | None:
        """Candidates of a customer as of now."""
        self._latest_ms = max(self._latest_ms, at_ms)
        return find(self, past, at_ms // DAY_MS)

    def links(self, sources: IntArray) -> Evidence:
        """See :class:`models.offers.candidates.Shelf`."""
        found = [self._links(kind, sources) for kind in KINDS]
        targets, weights, places = (np.concatenate(columns) for columns in zip(*found, strict=True))
        return Evidence(targets, weights, places, np.repeat(np.arange(len(KINDS)), [len(one[0]) for one in found]))

    def _links(self, kind: str, sources: IntArray) -> tuple[IntArray, FloatArray, IntArray]:
        """Targets, weights and places of the sources of one kind."""
        if kind == "alike":
            return self._alike.gather(sources.tolist())
        links = self._together if kind == "together" else self._after
        targets, weights, places = links.gather(sources.tolist())
        seen = self._counts[0] + SHRINK * self._unit()
        return targets, weights / np.sqrt(seen[targets] * seen[sources[places]]), places

    def like_you(self, sources: IntArray, weights: FloatArray) -> tuple[IntArray, FloatArray]:
        """See :class:`models.offers.candidates.Shelf`."""
        slots = self._slots(self._visits[sources])
        shares = weights / np.sqrt(np.maximum((slots < BASKETS).sum(axis=1), 1))
        best, strength = nearest(slots, shares, BASKETS)
        rows = self._baskets[best]
        there = rows >= 0
        strength = strength / np.sqrt(np.maximum(there.sum(axis=1), 1))
        return rows[there], np.broadcast_to(strength[:, None], rows.shape)[there]

    def top(self) -> IntArray:
        """Most popular items, best first."""
        popular = self._counts[1, : len(self.index)]
        found = largest(popular, TOP)
        return found[np.lexsort((found, -popular[found]))]

    def facts(self, ids: IntArray, day: int) -> FloatArray:
        """See :class:`models.offers.candidates.Shelf`."""
        size = len(self.index)
        seen, popular, born, held, again = self._counts[:, :size]
        shares = popular[ids] / (popular.sum() or 1.0)
        usual = seen[ids] / (seen.sum() or 1.0)
        return facts(shares, usual, (again[ids] + 0.5) / (held[ids] + 10.0), day - born[ids])

    def popularity(self) -> FloatArray:
        """Decayed purchases of each item, by number; only their proportions mean anything."""
        return self._counts[1, : len(self.index)]

    def popular(self, size: int = TOP) -> list[tuple[str, float]]:
        """Most popular items lately, relative to the first."""
        names = list(self.index)
        weights = self._counts[1, : len(names)]
        found = largest(weights, size)
        best = found[np.lexsort((found, -weights[found]))]
        return [(names[i], float(weights[i] / weights[best[0]])) for i in best.tolist()]

    # ------------------------------------------------------------------ published and kept

    def payload(self) -> bytes:
        """Payload of the ``recs`` snapshot."""
        size = len(self.index)
        numbers = np.arange(size)
        seen, popular, born, held, again = self._counts[:, :size]
        tables = {kind: self._table(kind, numbers) for kind in KINDS}
        visits = self._slots(self._visits[:size])
        return msgspec.msgpack.encode(
            RecsPayload(
                items=[(item, *self.items[item]) for item in self.index],
                together=tables["together"],
                after=tables["after"],
                alike=tables["alike"],
                popular=(popular / (popular.sum() or 1.0)).astype("<f4").tobytes(),
                usual=(seen / (seen.sum() or 1.0)).astype("<f4").tobytes(),
                reorder=((again + 0.5) / (held + 10.0)).astype("<f4").tobytes(),
                born=born.astype("<i4").tobytes(),
                visits=visits.astype("<u2").tobytes(),
                baskets=np.where(self._baskets < 0, size, self._baskets).astype("<u2").tobytes(),
                basket_items=BASKET_ITEMS,
                ranker=self.ranker.mean.tolist(),
                newcomer=self.newcomer.mean.tolist(),
            )
        )

    def _table(self, kind: str, numbers: IntArray) -> tuple[int, bytes, bytes]:
        """Best links of every item as two arrays, (links an item, targets, weights); free places point past the end."""
        width = MAX_ALIKE if kind == "alike" else SERVED_LINKS
        size = len(numbers)
        targets = np.full((size, width), size, dtype="<u2")
        weights = np.zeros((size, width), dtype="<f2")
        for number in range(size):
            found, strength, _ = self._links(kind, numbers[number : number + 1])
            if len(found):
                best = np.lexsort((found, -strength))[:width]
                targets[number, : len(best)] = found[best]
                weights[number, : len(best)] = strength[best]
        return width, targets.tobytes(), weights.tobytes()

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        size = len(self.index)
        return {
            "name": NAME,
            "count": self.count,
            "items": [(item, *self.items[item]) for item in self.index],
            "together": self._together.state(),
            "after": self._after.state(),
            "alike": self._alike.state(),
            "tokens": {word: list(numbers) for word, numbers in self._tokens.items()},
            "counts": self._counts[:, :size].copy(),
            "visits": self._visits[:size].astype(np.float64),
            "baskets": self._baskets.astype(np.float64),
            "landmarks": list(self._landmarks_ms),
            "latest": self._latest_ms,
            "watch": self.watch.snapshot(),
            "rankers": [[r.count, r.mean.copy(), r.precision.copy()] for r in (self.ranker, self.newcomer)],
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
        try:
            self.count = state["count"]
            self.items = {item: (name, price, category) for item, name, price, category in state["items"]}
            self.index = {item: number for number, item in enumerate(self.items)}
            for links, key in ((self._together, "together"), (self._after, "after"), (self._alike, "alike")):
                links.restore(state[key])
            self._tokens = {word: list(numbers) for word, numbers in state["tokens"].items()}
            self._counts = _room(state["counts"].T).T.copy()
            self._visits = _room(state["visits"]).astype(np.int64)
            self._baskets = state["baskets"].astype(np.int64)
            self._landmarks_ms, self._latest_ms = list(state["landmarks"]), state["latest"]
            for ranker, (count, mean, precision) in zip((self.ranker, self.newcomer), state["rankers"], strict=True):
                if mean.shape != (WIDTH,):
                    raise IncompatibleSnapshotError(f"{NAME}: a re-ranker over other features")
                ranker.count, ranker.mean, ranker.precision = count, mean.copy(), precision.copy()
            if "watch" in state:  # of before lists were judged
                self.watch.restore(state["watch"])
        except (KeyError, ValueError) as error:
            raise IncompatibleSnapshotError(f"state of {NAME}: {error!r}") from error

    def _slots(self, visits: IntArray) -> IntArray:
        return np.where(visits > max(self.count - BASKETS, 0), visits % BASKETS, BASKETS)

    def _unit(self) -> float:
        if not self._landmarks_ms:
            return 1.0
        return float(2.0 ** ((self._latest_ms - self._landmarks_ms[0]) / PAIR_HALF_LIFE_MS))

    def _move_landmarks(self, at_ms: int) -> None:
        if not self._landmarks_ms:
            self._landmarks_ms = [at_ms, at_ms]
            self._latest_ms = at_ms
        self._latest_ms = max(self._latest_ms, at_ms)
        for place, half_life in enumerate((PAIR_HALF_LIFE_MS, POPULAR_HALF_LIFE_MS)):
            if (at_ms - self._landmarks_ms[place]) / half_life > MAX_EXPONENT:
                factor = 2.0 ** ((self._landmarks_ms[place] - at_ms) / half_life)
                self._landmarks_ms[place] = at_ms
                self._counts[place] *= factor
                if place == 0:
                    self._together.scale(factor)
                    self._after.scale(factor)

    def _forget_items(self) -> None:
        names = list(self.index)
        weights = self._counts[0, : len(names)]
        kept = sorted(np.lexsort((np.arange(len(names)), -weights))[:MAX_ITEMS].tolist())
        places = {number: place for place, number in enumerate(kept)}
        self.index = {names[number]: place for number, place in places.items()}
        self.items = {item: self.items[item] for item in self.index}
        for links in (self._together, self._after, self._alike):
            links.renumber(places)
        self._counts, self._visits = _room(self._counts[:, kept].T).T.copy(), _room(self._visits[kept])
        numbers = np.full(len(names) + 1, -1, dtype=np.int64)
        numbers[kept] = np.arange(len(kept))
        self._baskets = numbers[self._baskets]
        tokens = {word: [places[n] for n in numbers_of if n in places] for word, numbers_of in self._tokens.items()}
        self._tokens = {word: found for word, found in tokens.items() if found}


def _room(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same rows with some more behind them, all zero."""
    spare = max(1024, len(rows) // 4)
    return np.concatenate([rows, np.zeros((spare, *rows.shape[1:]), dtype=rows.dtype)])
