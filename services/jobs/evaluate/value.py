"""Evaluate value: what customers spend within the horizon and when they order next; labels come late."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.errors import ConfigurationError
from models.features import churn
from models.learners.value import Value
from services.jobs.evaluate.bgnbd import bgnbd_value
from services.jobs.evaluate.churn import ChurnProtocol, Customer, Snapshot, take_snapshot
from services.jobs.evaluate.tables import Purchases, day_number

FloatArray = npt.NDArray[np.float64]

TOP_SHARE: Final = 0.2


@dataclass(slots=True)
class ValueLabels:
    """Per customer of a snapshot: money spent within the horizon, days until the first order (NaN: none)."""

    money: FloatArray
    days: FloatArray


@dataclass(slots=True)
class _Run:
    """Learners under test, fed with the same labels at the same time."""

    kairos: Value = field(default_factory=lambda: Value(len(churn.FEATURE_NAMES)))
    x: list[FloatArray] = field(default_factory=list)
    labels: list[ValueLabels] = field(default_factory=list)
    kairos_s: float = 0.0

    def learn(self, due: Snapshot, labels: ValueLabels, horizon_days: int) -> None:
        """Labels of `due` have become known."""
        raw = churn.as_matrix(due.raw)
        x, own = churn.expand(raw), churn.recent_money(raw, horizon_days) / 100.0
        started = time.process_time()
        for place, (money, days) in enumerate(zip(labels.money.tolist(), labels.days.tolist(), strict=True)):
            self.kairos.learn_one(x[place], float(own[place]), money, None if np.isnan(days) else days)
        self.kairos_s += time.process_time() - started
        self.x.append(x)
        self.labels.append(labels)

    def score(self, snapshot: Snapshot, horizon_days: int) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        """Money and days by everything that is compared."""
        raw = churn.as_matrix(snapshot.raw)
        started = time.process_time()
        x, own = churn.expand(raw), churn.recent_money(raw, horizon_days) / 100.0
        served = self.kairos.score(x, own)
        self.kairos_s += time.process_time() - started
        recency, purchase_days, minor, tenure = raw[:, 0], raw[:, 1], raw[:, 2] / 100.0, np.maximum(raw[:, 3], 1.0)
        known = np.concatenate([one.money for one in self.labels])
        days = np.concatenate([one.days for one in self.labels])
        money = {
            "kairos": served.money,
            "own_recent_pace": own,
            "own_past_rate": np.maximum(minor, 0.0) / np.maximum(tenure, horizon_days / 2) * horizon_days,
            "mean_of_all": np.full(len(raw), known.mean()),
            "bgnbd_gamma_gamma": bgnbd_value(raw, horizon_days),
        } | _batch_money(np.vstack(self.x), known, x)
        mean_gap = np.where(purchase_days > 1, (tenure - recency) / np.maximum(purchase_days - 1, 1), np.nan)
        usual = float(np.nanmedian(days)) if np.isfinite(days).any() else horizon_days / 2
        by_gap = np.where(np.isnan(mean_gap), usual, np.clip(mean_gap - recency, 1.0, horizon_days))
        when = {
            "kairos": np.nan_to_num(served.days, nan=usual),
            "own_mean_gap": by_gap,
            "mean_of_all": np.full(len(raw), usual),
            "batch_ridge": _batch_days(np.vstack(self.x), days, x, usual),
        }
        return money, when


def evaluate_value(
    purchases: Purchases,
    protocol: ChurnProtocol,
    progress: Callable[[int, int], None] = lambda _day, _last: None,
) -> dict[str, Any]:
    """Run the protocol of churn for money and dates; see docs/evaluate.md.

    Raises
    ------
    ConfigurationError
        The history is too short for the protocol.
    """
    first = int(purchases.days[0])
    days = purchases.days - first
    last = int(days[-1]) if protocol.end_date is None else day_number(protocol.end_date) - first
    horizon = protocol.horizon_days
    customers: dict[str, Customer] = {}
    bought: dict[str, list[tuple[int, int]]] = {}
    pending: deque[Snapshot] = deque()
    run = _Run()
    scored: list[tuple[Snapshot, dict[str, FloatArray], dict[str, FloatArray]]] = []
    row, rows, fold_s, day = 0, len(days), 0.0, protocol.first_snapshot_day
    while day + horizon <= last:
        started = time.process_time()
        while row < rows and days[row] < day:
            row = _fold(purchases, int(days[row]), row, customers, bought)
        snapshot = take_snapshot(customers, day, protocol.eligible_days)
        fold_s += time.process_time() - started
        while pending and pending[0].day + horizon <= day:
            due = pending.popleft()
            run.learn(due, labels_of_value(due, bought, horizon), horizon)
        if day >= protocol.score_from_day and snapshot.customers and run.kairos.amount.count:
            scored.append((snapshot, *run.score(snapshot, horizon)))
        pending.append(snapshot)
        progress(day, last)
        day += protocol.snapshot_days
    while row < rows and days[row] <= last:
        row = _fold(purchases, int(days[row]), row, customers, bought)
    if not scored:
        raise ConfigurationError(
            f"nothing to score: the history has {last + 1} days",
            remedy=f"score-from-day + horizon-days must be at most {last}, and labels of before must be due; "
            "choose smaller ones",
        )
    labels = [labels_of_value(snapshot, bought, horizon) for snapshot, _, _ in scored]
    money = np.concatenate([one.money for one in labels])
    when = np.concatenate([one.days for one in labels])
    figures: dict[str, dict[str, float]] = {}
    for name in scored[0][1]:
        figures[name] = _money_metrics(money, np.concatenate([said[name] for _, said, _ in scored]))
    for name in scored[0][2]:
        said = np.concatenate([days_said[name] for _, _, days_said in scored])
        returned = np.isfinite(when)
        if returned.any():
            gap = float(np.abs(said[returned] - when[returned]).mean())
            figures.setdefault(name, {})["next_order_mae_days"] = gap
    return {
        "task": "value",
        "protocol": asdict(protocol),
        "rows": purchases.rows,
        "rows_used": row,
        "rows_skipped": purchases.skipped,
        "customers": len(customers),
        "snapshots_scored": len(scored),
        "scored_rows": len(money),
        "returned_share": float(np.isfinite(when).mean()),
        "mean_money": float(money.mean()),
        "metrics": figures.pop("kairos"),
        "baselines": figures,
        "cost": {"us_per_event": 1e6 * (fold_s + run.kairos_s) / max(row, 1)},
    }


def _fold(
    purchases: Purchases, day: int, row: int, customers: dict[str, Customer], bought: dict[str, list[tuple[int, int]]]
) -> int:
    name, minor = purchases.customers[row], int(purchases.money_minor[row])
    customer = customers.get(name)
    if customer is None:
        customer = customers[name] = Customer(day, day)
    customer.purchase(day, minor)
    bought.setdefault(name, []).append((day, minor))
    return row + 1


def labels_of_value(snapshot: Snapshot, bought: dict[str, list[tuple[int, int]]], horizon_days: int) -> ValueLabels:
    """Money and first order in [day, day + horizon). Only asked once all rows of the horizon have been folded."""
    start, end = snapshot.day, snapshot.day + horizon_days
    money, days = np.zeros(len(snapshot.customers)), np.full(len(snapshot.customers), np.nan)
    for place, name in enumerate(snapshot.customers):
        for day, minor in reversed(bought[name]):
            if day < start:
                break
            if day < end:
                money[place] += minor / 100.0
                days[place] = day - start
    return ValueLabels(money, days)


def _money_metrics(money: FloatArray, said: FloatArray) -> dict[str, float]:
    """Errors in money, order of the customers, and money of those who were said to be the best fifth."""
    best = np.argsort(-said, kind="stable")[: max(1, int(len(said) * TOP_SHARE))]
    total = float(money.sum())
    order = float(spearmanr(said, money).statistic) if np.ptp(said) and np.ptp(money) else 0.0
    return {
        "mae": float(np.abs(said - money).mean()),
        "rmse": float(np.sqrt(np.mean((said - money) ** 2))),
        "spearman": order,
        "top_fifth": float(money[best].sum()) / total if total else 0.0,
        "said_to_spent": float(said.sum()) / total if total else 0.0,
    }


def _batch_money(x: FloatArray, money: FloatArray, now: FloatArray) -> dict[str, FloatArray]:
    """Ridge on the money, and ridge on its logarithm times a logistic regression of buying at all."""
    ridge = make_pipeline(StandardScaler(), Ridge(alpha=1.0)).fit(x, money)
    found = {"batch_ridge": np.maximum(ridge.predict(now), 0.0)}
    buys = money > 0
    if buys.all() or not buys.any():
        return found
    chance = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(x, buys).predict_proba(now)[:, 1]
    logs = make_pipeline(StandardScaler(), Ridge(alpha=1.0)).fit(x[buys], np.log1p(money[buys]))
    level = money[buys].sum() / np.exp(logs.predict(x[buys])).sum()
    return found | {"batch_two_parts": chance * np.exp(logs.predict(now)) * level}


def _batch_days(x: FloatArray, days: FloatArray, now: FloatArray, usual: float) -> FloatArray:
    known = np.isfinite(days)
    if not known.any():
        return np.full(len(now), usual)
    ridge = make_pipeline(StandardScaler(), Ridge(alpha=1.0)).fit(x[known], np.log1p(days[known]))
    return np.asarray(np.expm1(np.maximum(ridge.predict(now), 0.0)))
