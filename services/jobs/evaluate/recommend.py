"""Evaluate recommendations: the service's recommender, basket by basket, ranked before each is learned."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from models.errors import ConfigurationError
from models.learners.recommender import DAY_MS, Recommender
from models.offers.candidates import Candidates
from models.offers.past import past_of
from models.profile.rest import AFTER_MS, rest
from models.profile.state import Profile
from models.profile.update import remember_bought, remember_item
from services.jobs.evaluate.interactions import Basket, Interactions
from services.jobs.evaluate.recommend_baselines import Baselines

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

TOP: Final = 20
Repeats = Literal["allow", "exclude"]


@dataclass(slots=True)
class Tally:
    """Sums of the figures of ranked lists."""

    lists: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, ranked: list[str], wanted: set[str]) -> None:
        """Count one list against what was taken."""
        self.lists += 1
        hits = [place for place, item in enumerate(ranked[:TOP]) if item in wanted]
        gain = sum(1.0 / math.log2(place + 2) for place in hits if place < 10)
        best = sum(1.0 / math.log2(place + 2) for place in range(min(10, len(wanted))))
        found = {
            "ndcg_10": gain / best,
            "hit_rate_10": float(bool(hits) and hits[0] < 10),
            "mrr_20": 1.0 / (hits[0] + 1) if hits else 0.0,
        }
        for name, value in found.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self, suffix: str = "") -> dict[str, float]:
        """Mean figures."""
        return {f"{name}{suffix}": value / max(self.lists, 1) for name, value in self.sums.items()}


@dataclass(slots=True)
class Customer:
    """The profile of a user, as far as recommendations read it, and everything the user ever took."""

    profile: Profile = field(default_factory=Profile)
    taken: set[str] = field(default_factory=set)

    def arrive(self, at_ms: int) -> None:
        """What the service forgets of a user in silence is forgotten here, too."""
        if self.profile.last_seen_ms and at_ms - self.profile.last_seen_ms > AFTER_MS:
            rest(self.profile, at_ms, 0)

    def take(self, basket: Basket, *, viewed: bool) -> None:
        """One basket. viewed : a single item in a stream of them, so that its place in the order counts."""
        profile, at = self.profile, basket.at_ms
        if not profile.orders:
            profile.first_order = at // 1000
        profile.orders += 1
        profile.last_seen_ms = max(profile.last_seen_ms, at)
        if viewed:
            for item in basket.items:
                remember_item(profile, item)
        remember_bought(profile.bought, basket.items, at // DAY_MS)
        self.taken.update(basket.items)


def evaluate_next_basket(
    history: Interactions, score_from: float = 0.5, progress: Callable[[int, int], None] = lambda _n, _of: None
) -> dict[str, Any]:
    """Which items come next? All items, and those new to the customer; see docs/evaluate.md."""
    return _evaluate("next-basket", history, score_from, "allow", progress)


def evaluate_next_item(
    history: Interactions,
    repeats: Repeats = "allow",
    score_from: float = 0.5,
    progress: Callable[[int, int], None] = lambda _n, _of: None,
) -> dict[str, Any]:
    """Which item comes next? One target per event; see docs/evaluate.md."""
    return _evaluate("next-item", history, score_from, repeats, progress)


def _evaluate(
    task: str, history: Interactions, score_from: float, repeats: Repeats, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    if not 0.0 <= score_from < 1.0:
        raise ConfigurationError(f"--score-from {score_from:g}", remedy="a fraction from 0 to below 1")
    baskets = history.baskets
    single = task == "next-item"
    model, baselines = Recommender(), Baselines()
    customers: dict[str, Customer] = {}
    first = int(len(baskets) * score_from)
    whole, fresh = {"kairos": Tally()}, {"kairos": Tally()}
    spent = 0.0
    names: list[str] = []
    for number, basket in enumerate(baskets):
        customer = customers.get(basket.user)
        known = customer is not None
        if customer is None:
            customer = customers[basket.user] = Customer()
        started = time.process_time()
        customer.arrive(basket.at_ms)
        past = past_of(customer.profile)
        found = None
        scored = number >= first and (single or known)
        if scored:
            found = model.candidates(past, basket.at_ms)
        names += list(model.index)[len(names) :]
        if scored and found is not None:
            _judge(_lists(model, found, names, repeats, single=single), basket, customer, whole, fresh, repeats)
        spent += time.process_time() - started
        if scored:
            others = baselines.rank(basket.user)
            for name, (every, new) in others.items():
                whole.setdefault(name, Tally())
                fresh.setdefault(name, Tally())
                chosen = new if repeats == "exclude" else every
                _count(name, chosen, new, basket, customer, whole, fresh, repeats)
        started = time.process_time()
        model.learn_basket(
            [(item, name, 0, 1) for item, name in zip(basket.items, basket.names, strict=True)], past, basket.at_ms
        )
        customer.take(basket, viewed=single)
        spent += time.process_time() - started
        baselines.learn(basket.user, basket.items, basket.at_ms)
        if number % 100 == 0:
            progress(number, len(baskets))
    if not whole["kairos"].lists:
        raise ConfigurationError(
            f"nothing to score among {len(baskets)} baskets", remedy="a longer history, or a smaller --score-from"
        )
    figures = {name: tally.means() | ({} if single else fresh[name].means("_new")) for name, tally in whole.items()}
    protocol: dict[str, Any] = {"score_from": score_from}
    if single:
        protocol["repeats"] = repeats
    return {
        "task": task,
        "protocol": protocol,
        "rows": history.rows,
        "rows_skipped": history.skipped,
        "baskets": len(baskets),
        "users": len(customers),
        "items": len(model.index),
        "scored_rows": whole["kairos"].lists,
        "scored_rows_new": fresh["kairos"].lists,
        "metrics": figures.pop("kairos"),
        "baselines": figures,
        "weights": {name: [round(w, 3) for w in r.mean.tolist()] for name, r in _rankers(model)},
        "cost": {"us_per_event": 1e6 * spent / len(baskets), "us_per_item": 1e6 * spent / _items(baskets)},
    }


def _rankers(model: Recommender) -> Iterable[tuple[str, Any]]:
    return ("all", model.ranker), ("new", model.newcomer)


def _items(baskets: list[Basket]) -> int:
    return max(sum(len(basket.items) for basket in baskets), 1)


def best_first(numbers: IntArray, scores: FloatArray, popular: FloatArray, ids: Sequence[str]) -> IntArray:
    """Places of `numbers`, best first; equal scores: the more popular, then by item id.

    Examples
    --------
    >>> best_first(np.array([0, 1, 2]), np.array([1.0, 2.0, 2.0]), np.array([9.0, 1.0, 5.0]), "abc").tolist()
    [2, 1, 0]
    """
    sold = popular[numbers]
    places = np.lexsort((-sold, -scores))
    ordered, sales = scores[places], sold[places]
    if not ((ordered[1:] == ordered[:-1]) & (sales[1:] == sales[:-1])).any():
        return places
    names = [ids[number] for number in numbers.tolist()]
    rank = np.empty(len(names), dtype=np.int64)
    rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    return np.lexsort((rank, -sold, -scores))


def _lists(
    model: Recommender, found: Candidates, names: list[str], repeats: Repeats, *, single: bool
) -> tuple[list[str], list[str]]:
    """Items in the order of each re-ranker: all, and those new to the user. One is left out where nobody reads it."""
    popular = model.popularity()
    every: list[str] = []
    new: list[str] = []
    if not single or repeats == "allow":
        places = best_first(found.ids, found.x @ model.ranker.mean, popular, names)
        every = [names[number] for number in found.ids[places].tolist()]
    if not single or repeats == "exclude":
        ids, x = found.ids[~found.owned], found.x[~found.owned]
        places = best_first(ids, x @ model.newcomer.mean, popular, names)
        new = [names[number] for number in ids[places].tolist()]
    return every, new


def _judge(
    lists: tuple[list[str], list[str]],
    basket: Basket,
    customer: Customer,
    whole: dict[str, Tally],
    fresh: dict[str, Tally],
    repeats: Repeats,
) -> None:
    every, new = lists
    _count("kairos", new if repeats == "exclude" else every, new, basket, customer, whole, fresh, repeats)


def _count(
    name: str,
    chosen: list[str],
    new: list[str],
    basket: Basket,
    customer: Customer,
    whole: dict[str, Tally],
    fresh: dict[str, Tally],
    repeats: Repeats,
) -> None:
    wanted = set(basket.items)
    wanted_new = wanted - customer.taken
    taken = customer.taken
    if repeats == "exclude":
        if wanted_new:
            whole[name].add([item for item in chosen if item not in taken], wanted_new)
        return
    whole[name].add(chosen, wanted)
    if wanted_new:
        fresh[name].add([item for item in new if item not in taken], wanted_new)
