"""What predictions cost: a score on an event, a ranking at 10,000 products, a labelled example. In this process."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks.hot_path import tamed_collector

from config.loader import load_definitions
from config.settings import PACKAGE_CONFIG_DIR
from models import churn
from models.campaigns.conditions import condition_fault
from models.decisions import Cause
from models.features.churn import RAW_NAMES
from models.learners.linear import LinearModel
from models.learners.model import model_class
from models.learners.recommender import DAY_MS, BasketItem, Recommender
from models.learners.session import LearnSession
from models.offers.past import Past
from models.offers.rank import rank_items
from models.offers.recs import Recs
from models.outcome import Outcome, ScoreRow
from models.profile.state import Profile
from support.training_examples import HOUR_MS, examples

SEED = 7
ITEMS = 10_000
BASKETS = 6_000
CUSTOMERS = 600
LIST = 10
ROUNDS = 9
MOMENTS = 1_000  # scored together: those of one batch
EXAMPLES = 4_000
CHUNK = 500
LABELLED = ("churn", "value", "segments", "goals", "uplift")  # models whose examples are labels of a user
USERS = 3_000
EVERY_MS = 600_000
_END_MS = 1_790_000_000_000


@dataclass(frozen=True, slots=True)
class Learning:
    """Processor time, microseconds: of a score, of a ranking by how many products, of an example by model, of a basket.

    `payload`, `pasts`, `items`: snapshot of the recommender, its customers, and how many products there are.
    """

    score_us: float
    ranking_us: float
    ranking_p99_us: float
    example_us: dict[str, float]
    basket_us: float
    payload: bytes
    pasts: list[Past]
    items: int


def measure(tell: Callable[[str], object], *, quick: bool = False) -> Learning:
    """All of it; each the cheapest of several rounds, since whatever else the machine does only adds."""
    rng = random.Random(SEED)
    with tamed_collector():
        tell("Scores and examples ...")
        score_us, example_us = _score_us(rng), {model: _example_us(model) for model in LABELLED}
        tell(f"Rankings at {ITEMS:,} products ...")
        items = ITEMS // 10 if quick else ITEMS
        payload, pasts, basket_us = _shop(rng, items, BASKETS // 10 if quick else BASKETS)
        ranking_us, p99_us = _ranking_us(Recs.from_payload(payload, 1), pasts)
    return Learning(score_us, ranking_us, p99_us, example_us, basket_us, payload, pasts, items)


def _cheapest(work: Callable[[], object], count: int) -> float:
    costs = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        work()
        costs.append(time.process_time() - begun)
    return min(costs) / count * 1e6


def _raw(rng: random.Random) -> list[int]:
    return [rng.randrange(1, 400), rng.randrange(1, 20), rng.randrange(100, 500_000), rng.randrange(1, 700), 100][
        : len(RAW_NAMES)
    ]


def _score_us(rng: random.Random) -> float:
    rules = load_definitions(PACKAGE_CONFIG_DIR, condition_fault).churn
    model, cause = LinearModel.rule(), Cause("event", "m", "Product Viewed", _END_MS)
    profiles = []
    for _ in range(MOMENTS):
        first = _END_MS - rng.randrange(30, 400) * DAY_MS
        last = first + rng.randrange(1, 30) * DAY_MS
        profiles.append(
            Profile(orders=3, purchase_days=2, money_minor=9_900, first_order=first // 1000, last_order_ms=last)
        )

    def work() -> None:
        rows: list[ScoreRow] = [churn.row_of("u", profile, _END_MS, cause, rules) for profile in profiles]
        churn.score(Outcome(), rows, model, rules)

    work()  # whoever is alerted now is not alerted again
    return _cheapest(work, MOMENTS)


def _example_us(name: str) -> float:
    """From the bytes in `training` on, as the role takes them: in chunks, through a session."""
    values = examples(model_class(name).learns, EXAMPLES, SEED, _dense)
    records = [_Record(place, value) for place, value in enumerate(values)]

    def work() -> None:
        session = LearnSession(name)
        for start in range(0, EXAMPLES, CHUNK):
            applied = session.apply(records[start : start + CHUNK], start, start + CHUNK)
            if applied.learned != CHUNK:
                raise AssertionError(f"{name}: {applied}")

    return _cheapest(work, EXAMPLES)


def _dense(example: dict[str, Any]) -> dict[str, Any]:
    """Many users, and an example every ten minutes, so that what is done by time counts as it does in a shop."""
    number = int(example["id"])
    moved = {name: example[name] - number * (6 * HOUR_MS - EVERY_MS) for name in ("at", "due", "known_at")}
    return example | moved | {"user": f"u{number * 7 % USERS}"}


@dataclass(frozen=True, slots=True)
class _Record:
    """A record as it lies in `training`."""

    offset: int
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


def _shop(rng: random.Random, items: int, baskets: int) -> tuple[bytes, list[Past], float]:
    """A recommender that learned a made-up shop, its customers, and what a basket cost to learn."""
    ranks = np.random.default_rng(SEED).zipf(1.2, size=40 * baskets) % items
    drawn = iter(ranks.tolist())
    bought: list[dict[str, tuple[int, int]]] = [{} for _ in range(CUSTOMERS)]
    orders, model, first_day = [0] * CUSTOMERS, Recommender(), 14_000
    begun = time.process_time()
    for number in range(baskets):
        who, day = rng.randrange(CUSTOMERS), first_day + number * 300 // baskets
        chosen = {f"item-{next(drawn)}" for _ in range(rng.randrange(2, 20))}
        lines: list[BasketItem] = [(item, f"name of {item}", 250, 1) for item in sorted(chosen)]
        model.learn_basket(lines, _past(bought[who], orders[who], first_day), day * DAY_MS)
        orders[who] += 1
        for item, *_ in lines:
            times, _ = bought[who].pop(item, (0, 0))
            bought[who][item] = (times + 1, day)
    basket_us = (time.process_time() - begun) / baskets * 1e6
    for number in range(items):  # what nobody bought is in the catalogue all the same
        if f"item-{number}" not in model.index:
            model.learn_basket([(f"item-{number}", "", 250, 1)], Past.of(), (first_day + 300) * DAY_MS)
    pasts = [_past(one, count, first_day) for one, count in zip(bought, orders, strict=True)]
    return model.payload(), pasts, basket_us


def _past(bought: dict[str, tuple[int, int]], orders: int, first_day: int) -> Past:
    newest = [(item, times, day) for item, (times, day) in reversed(bought.items())][:64]
    return Past.of(newest, [item for item, *_ in newest[3:11]], orders, first_day)


def _ranking_us(recs: Recs, pasts: Sequence[Past]) -> tuple[float, float]:
    best = [float("inf")] * len(pasts)
    for _ in range(ROUNDS):
        for place, past in enumerate(pasts):
            begun = time.process_time_ns()
            rank_items(past, recs, day=14_301, size=LIST, repeats=True)
            best[place] = min(best[place], (time.process_time_ns() - begun) / 1000)
    best.sort()
    return sum(best) / len(best), best[len(best) * 99 // 100]
