"""Evaluate segments: customers move through the online k-means as they buy and as days pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

from models.errors import ConfigurationError
from models.learners.segments import NONE, Segments
from services.jobs.evaluate.tables import Purchases, day_number

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

FEATURES: Final = ("recency_days", "purchase_days", "money")
SILHOUETTE_SAMPLE: Final = 4000


@dataclass(frozen=True, slots=True)
class SegmentsProtocol:
    """How customers are grouped; days count from the first date.

    Parameters
    ----------
    k : segments. refit_days : days between two full fits; none in the last seven days.
    end_date : last date (ISO) that counts; None: the last of the file.
    """

    k: int = 4
    refit_days: int = 28
    end_date: str | None = None

    def __post_init__(self) -> None:
        if self.k < 2:
            raise ConfigurationError("-k must be at least 2")
        if self.refit_days < 1:
            raise ConfigurationError("--refit-days must be at least 1")


class _Shop:
    """Customers as rows of arrays: what a profile keeps of each."""

    def __init__(self, size: int) -> None:
        self.row: dict[str, int] = {}
        self.last = np.zeros(size)
        self.days = np.zeros(size)
        self.money = np.zeros(size)
        self.places = np.zeros((size, len(FEATURES)))
        self.labels: IntArray = np.full(size, NONE)

    def buy(self, customer: str, day: int, money: float) -> int:
        """One purchase; returns the customer's row."""
        known = customer in self.row
        row = self.row.setdefault(customer, len(self.row))
        if not known or day > self.last[row]:
            self.days[row] += 1
            self.last[row] = day
        self.money[row] += money
        return row

    def at(self, rows: IntArray | slice, midnight: int) -> FloatArray:
        """Places of `rows` at a midnight: logarithms of recency, purchase days and money."""
        facts = (midnight - self.last[rows], self.days[rows], self.money[rows])
        return np.log1p(np.maximum(np.column_stack(facts), 0.0))


def evaluate_segments(
    purchases: Purchases,
    protocol: SegmentsProtocol,
    progress: Callable[[int, int], None] = lambda _day, _last: None,
) -> dict[str, Any]:
    """Run the protocol; see docs/evaluate.md.

    Raises
    ------
    ConfigurationError
        There are too few customers or days.
    """
    days = purchases.days
    last = int(days[-1]) if protocol.end_date is None else day_number(protocol.end_date)
    used = int(np.searchsorted(days, last, side="right"))
    shop = _Shop(len(set(purchases.customers[:used])))
    model = Segments(protocol.k, len(FEATURES))
    row, spent_s, last_fit = 0, 0.0, NONE
    frozen: Segments | None = None
    for day in range(int(days[0]), last + 1):
        started = time.perf_counter()
        bought = set()
        while row < used and days[row] == day:
            bought.add(shop.buy(purchases.customers[row], day, purchases.money_minor[row] / 100.0))
            row += 1
        for index in sorted(bought):
            _event(model, shop, index, day)
        _midnight(model, shop, day + 1)
        fit_due = last_fit == NONE or day - last_fit >= protocol.refit_days
        if fit_due and model.ready and day <= last - 7:
            here = shop.places[: len(shop.row)]
            shop.labels[: len(here)] = model.refit(here)
            frozen = Segments(protocol.k, len(FEATURES))
            frozen.restore(model.snapshot())
            last_fit = day
        spent_s += time.perf_counter() - started
        progress(day - int(days[0]) + 1, last - int(days[0]) + 1)
    if frozen is None:
        raise ConfigurationError(
            f"{len(shop.row)} customers in {last - int(days[0]) + 1} days: too few for a fit a week before the end",
            remedy=f"give at least {10 * protocol.k} customers and two weeks, or a smaller -k",
        )
    return _judged(model, frozen, shop, purchases, protocol, spent_s / max(used, 1), (last_fit - last, last + 1))


def _event(model: Segments, shop: _Shop, index: int, day: int) -> None:
    """A customer bought: the place is new at once."""
    label = int(shop.labels[index])
    new = shop.at(slice(index, index + 1), day)[0]
    known = bool(shop.places[index].any())
    shop.labels[index] = model.move(shop.places[index].copy() if known else None, label, new)
    shop.places[index] = new


def _midnight(model: Segments, shop: _Shop, midnight: int) -> None:
    """A day has passed: all who are silent have moved."""
    here = slice(0, len(shop.row))
    new = shop.at(here, midnight)
    shop.labels[here] = model.move_many(shop.places[here], shop.labels[here], new)
    shop.places[here] = new


def _judged(
    model: Segments,
    frozen: Segments,
    shop: _Shop,
    purchases: Purchases,
    protocol: SegmentsProtocol,
    spent_s: float,
    ends: tuple[int, int],
) -> dict[str, Any]:
    count = len(shop.row)
    places, served = shop.places[:count], shop.labels[:count]
    deviation = places.std(axis=0)
    scale = np.where(deviation > 1e-9, deviation, 1.0)
    best = KMeans(protocol.k, n_init=10, random_state=0).fit(places / scale)
    sample = np.random.default_rng(0).permutation(count)[:SILHOUETTE_SAMPLE]

    def figures(centres: FloatArray, labels: IntArray) -> dict[str, float]:
        inertia = float((((places - centres[labels]) / scale) ** 2).sum())
        found = {
            "inertia_ratio": inertia / float(best.inertia_) if best.inertia_ > 0 else 1.0,
            "ari": float(adjusted_rand_score(best.labels_, labels)),
        }
        if 1 < len(set(labels[sample].tolist())) < len(sample):
            found["silhouette"] = float(silhouette_score((places / scale)[sample], labels[sample]))
        return found

    groups = [
        {
            "segment": label,
            "customers": int((served == label).sum()),
            **{name: round(float(np.expm1(model.centres()[label, place])), 2) for place, name in enumerate(FEATURES)},
        }
        for label in range(protocol.k)
    ]
    return {
        "task": "segments",
        "protocol": asdict(protocol) | {"last_full_fit_days_before_end": -ends[0]},
        "rows": purchases.rows,
        "rows_skipped": purchases.skipped,
        "scored_rows": count,
        "metrics": figures(model.centres(), served),
        "baselines": {
            "batch_kmeans": figures(best.cluster_centers_ * scale, best.labels_),
            "centres_of_the_last_fit": figures(frozen.centres(), frozen.assign(places)),
        },
        "segments": groups,
        "notes": [
            f"segment {group['segment']}: {group['customers']:,} customers, typically {group['recency_days']:.0f} days "
            f"silent, {group['purchase_days']:.1f} purchase days, {group['money']:,.2f} spent"
            for group in groups
        ],
        "cost": {"us_per_event": 1e6 * spent_s},
    }
