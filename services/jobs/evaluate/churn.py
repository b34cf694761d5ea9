"""Evaluate churn: the service's features and learners, event by event, with labels that come late."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import ConfigurationError
from models.features import churn
from models.learners.linear import LinearModel
from models.learners.registry import make_learner
from models.learners.streamed.churn import ChurnModel
from services.jobs.evaluate.baselines import BatchLogistic
from services.jobs.evaluate.metrics import classification_metrics
from services.jobs.evaluate.tables import Purchases, day_number

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ONLINE_ALONE: Final = ("second_order", "river_logistic")


@dataclass(frozen=True, slots=True)
class ChurnProtocol:
    """What is asked of the score; all in days, day 0 is the first date.

    Parameters
    ----------
    horizon_days : a customer churned when no purchase follows within this many days.
    snapshot_days, first_snapshot_day : every customer is scored at these times.
    eligible_days : only those who bought within so many days before are scored; 0: all.
    score_from_day : snapshots before it only teach.
    end_date : last date (ISO) that counts as observed; None: the last date of the file.
    """

    horizon_days: int = 90
    snapshot_days: int = 14
    first_snapshot_day: int = 90
    eligible_days: int = 180
    score_from_day: int = 200
    end_date: str | None = None

    def __post_init__(self) -> None:
        if self.horizon_days < 1 or self.snapshot_days < 1:
            raise ConfigurationError("horizon and snapshot days must be at least 1")
        if min(self.first_snapshot_day, self.eligible_days, self.score_from_day) < 0:
            raise ConfigurationError("days must not be negative")


@dataclass(slots=True)
class Customer:
    """What a profile keeps of a customer for the churn score."""

    first_day: int
    last_day: int
    purchase_days: int = 1
    money_minor: int = 0
    recent: float = 1.0

    def purchase(self, day: int, money_minor: int) -> None:
        """One row; same-day rows are one purchase."""
        if day > self.last_day:
            self.recent = churn.add_purchase_day(self.recent, day - self.last_day)
            self.purchase_days += 1
            self.last_day = day
        self.money_minor += money_minor

    def raw(self, day: int) -> list[int]:
        """Raw churn vector at the start of `day`."""
        return churn.raw_churn(
            self.first_day * churn.DAY_MS,
            self.last_day * churn.DAY_MS,
            self.purchase_days,
            self.money_minor,
            self.recent,
            day * churn.DAY_MS,
        )


@dataclass(slots=True)
class Snapshot:
    """All eligible customers at one day; `labels` are known at `day + horizon`."""

    day: int
    customers: list[str]
    raw: list[list[int]]


@dataclass(slots=True)
class Run:
    """The learners under test, fed with the same labels at the same time."""

    kairos: ChurnModel
    alone: dict[str, Any]
    batch: BatchLogistic
    kairos_s: float = 0.0
    labels: int = 0

    @classmethod
    def fresh(cls) -> Run:
        """Everything unlearned."""
        width = len(churn.FEATURE_NAMES)
        return cls(ChurnModel(), {name: make_learner(name, width) for name in ONLINE_ALONE}, BatchLogistic())

    def learn(self, due: Snapshot, labels: IntArray, horizon_days: int) -> None:
        """Labels of `due` have become known."""
        at_ms, known_ms = due.day * churn.DAY_MS, (due.day + horizon_days) * churn.DAY_MS
        started = time.perf_counter()
        for raw, label in zip(due.raw, labels.tolist(), strict=True):
            self.kairos.learn_example(raw, label, at_ms, known_ms)
        self.kairos_s += time.perf_counter() - started
        self.labels += len(labels)
        expanded = churn.expand(churn.as_matrix(due.raw))
        for learner in self.alone.values():
            learner.learn_many(expanded, labels)
        self.batch.add(expanded, labels)

    def score(self, snapshot: Snapshot) -> dict[str, FloatArray]:
        """Scores of `snapshot` by everything that is compared."""
        raw = churn.as_matrix(snapshot.raw)
        started = time.perf_counter()
        scores = {"kairos": self.kairos.linear_model().score(raw)}
        self.kairos_s += time.perf_counter() - started
        expanded = churn.expand(raw)
        scores["batch_logistic_retrained"] = self.batch.fit_and_score(expanded)
        for name, learner in self.alone.items():
            scores[f"{name}_alone"] = learner.predict_proba_many(expanded)
        scores["recency_frequency_rule"] = LinearModel.rule().score(raw)
        return scores


def evaluate_churn(
    purchases: Purchases,
    protocol: ChurnProtocol,
    progress: Callable[[int, int], None] = lambda _day, _last: None,
) -> dict[str, Any]:
    """Run the protocol; see docs/evaluate.md.

    Parameters
    ----------
    purchases : in time order.
    progress : told (day, last day) at every snapshot.

    Returns
    -------
    The JSON document ``{task, protocol, rows, scored_rows, metrics, baselines, cost, ...}``.

    Raises
    ------
    ConfigurationError
        The history is too short for the protocol.
    """
    first = int(purchases.days[0])
    days = purchases.days - first
    last = int(days[-1]) if protocol.end_date is None else day_number(protocol.end_date) - first
    customers: dict[str, Customer] = {}
    bought: dict[str, list[int]] = {}
    pending: deque[Snapshot] = deque()
    run = Run.fresh()
    scored: list[tuple[Snapshot, dict[str, FloatArray]]] = []
    first_learned: int | None = None
    row, rows = 0, len(days)
    day = protocol.first_snapshot_day
    fold_s = 0.0
    while day + protocol.horizon_days <= last:
        started = time.perf_counter()
        while row < rows and days[row] < day:
            row = _fold(purchases, days, row, customers, bought)
        snapshot = take_snapshot(customers, day, protocol.eligible_days)
        fold_s += time.perf_counter() - started
        while pending and pending[0].day + protocol.horizon_days <= day:
            due = pending.popleft()
            run.learn(due, _labels(due, bought, protocol.horizon_days), protocol.horizon_days)
        if first_learned is None and run.kairos.learned:
            first_learned = day
        if day >= protocol.score_from_day and snapshot.customers:
            scored.append((snapshot, run.score(snapshot)))
        pending.append(snapshot)
        progress(day, last)
        day += protocol.snapshot_days
    # Labels of the last snapshots lie in the rest of the file; nothing is scored after this.
    while row < rows and days[row] <= last:
        row = _fold(purchases, days, row, customers, bought)
    if not scored:
        raise ConfigurationError(
            f"nothing to score: the history has {last + 1} days",
            remedy=f"score-from-day + horizon-days must be at most {last}; choose smaller ones",
        )
    labels = np.concatenate([_labels(snapshot, bought, protocol.horizon_days) for snapshot, _ in scored])
    pooled = {name: np.concatenate([scores[name] for _, scores in scored]) for name in scored[0][1]}
    figures = {name: classification_metrics(labels, scores) for name, scores in pooled.items()}
    events = max(row, 1)
    return {
        "task": "churn",
        "protocol": asdict(protocol),
        "rows": purchases.rows,
        "rows_used": row,
        "rows_skipped": purchases.skipped,
        "customers": len(customers),
        "snapshots_scored": len(scored),
        "scored_rows": len(labels),
        "positive_rate": float(labels.mean()),
        "first_learned_day": first_learned,
        "metrics": figures.pop("kairos"),
        "baselines": figures,
        "pool": run.kairos.meta()["pool"],
        "cost": {
            "us_per_event": 1e6 * (fold_s + run.kairos_s) / events,
            "us_per_label_and_score": 1e6 * run.kairos_s / max(run.labels + len(labels), 1),
        },
    }


def _fold(
    purchases: Purchases,
    days: IntArray,
    row: int,
    customers: dict[str, Customer],
    bought: dict[str, list[int]],
) -> int:
    name, day = purchases.customers[row], int(days[row])
    customer = customers.get(name)
    if customer is None:
        customer = customers[name] = Customer(day, day)
    customer.purchase(day, int(purchases.money_minor[row]))
    seen = bought.setdefault(name, [])
    if not seen or seen[-1] != day:
        seen.append(day)
    return row + 1


def take_snapshot(customers: dict[str, Customer], day: int, eligible_days: int) -> Snapshot:
    """Raw vectors of all who are eligible at the start of `day`."""
    chosen = [
        (name, customer.raw(day))
        for name, customer in customers.items()
        if not eligible_days or day - customer.last_day <= eligible_days
    ]
    return Snapshot(day, [name for name, _ in chosen], [raw for _, raw in chosen])


def _labels(snapshot: Snapshot, bought: dict[str, list[int]], horizon_days: int) -> IntArray:
    """1 = no purchase in [day, day + horizon). Only asked once all rows of the horizon have been folded."""
    start, end = snapshot.day, snapshot.day + horizon_days
    return np.array(
        [int(not any(start <= day < end for day in reversed(bought[name]))) for name in snapshot.customers],
        dtype=np.int64,
    )
