"""Features of the churn score: what a profile keeps per user, and how learners see it.

Two forms. The **raw vector** is a short list of integers, made on every event and carried by training
examples; :func:`expand` turns many raw vectors at once into the columns that learners weigh. Days are UTC
calendar days, so that a second order on the same day changes nothing but the money.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

SCHEMA: Final = 1
DAY_MS: Final = 86_400_000
RECENT_HALF_LIFE_DAYS: Final = 60

RAW_NAMES: Final = ("recency_days", "purchase_days", "money_minor", "tenure_days", "recent_hundredths")
FEATURE_NAMES: Final = (
    "recency",
    "recency_squared",
    "purchases",
    "money",
    "order_value",
    "pace",
    "recent",
    "overdue",
)

# What a person is told, by concept: a plain fact; whether it raises or lowers the risk is the sign of its
# share. (Weights are learned and may turn, so a text must not presume a direction.) Squares belong to
# their base.
CONCEPTS: Final = {name: name for name in FEATURE_NAMES} | {"recency_squared": "recency"}
REASON_TEXTS: Final = {
    "recency": "last order {recency_days} days ago",
    "purchases": "ordered on {purchase_days} day(s) so far",
    "money": "spent {money:.2f} in all",
    "order_value": "{order_value:.2f} spent per purchase day",
    "pace": "{pace:.1f} purchase day(s) per month as a customer",
    "recent": "{recent:.1f} recent purchase day(s), each halving in 60 days",
    "overdue": "silent for {recency_days} days, usually {mean_gap_days} between orders",
}
# Of "money" when refunds took all of it, or more.
_GAVE_BACK: Final = ("all that was spent is refunded", "{owed:.2f} more refunded than spent")

# The rule used until labels mature: even odds for someone silent for 45 days who ordered on 2 days.
RULE_RECENCY_WEIGHT: Final = 1.0
RULE_PURCHASES_WEIGHT: Final = -0.8
RULE_EVEN_RECENCY_DAYS: Final = 45
RULE_EVEN_PURCHASES: Final = 2


def add_purchase_day(recent: float, gap_days: int) -> float:
    """Decayed count of purchase days just after one more, `gap_days` after the one before.

    Parameters
    ----------
    recent : the count at the previous purchase day (0.0 before the first).
    gap_days : days since that day.

    Notes
    -----
    One purchase day counts 1 and halves every ``RECENT_HALF_LIFE_DAYS``; one float per user, O(1).

    Examples
    --------
    >>> add_purchase_day(add_purchase_day(0.0, 0), 60)
    1.5
    """
    return float(recent * 2.0 ** (-gap_days / RECENT_HALF_LIFE_DAYS) + 1.0)


def raw_churn(
    first_order_ms: int, last_order_ms: int, purchase_days: int, money_minor: int, recent: float, at_ms: int
) -> list[int]:
    """Raw churn vector of one user at `at_ms`; order of :data:`RAW_NAMES`.

    Parameters
    ----------
    first_order_ms, last_order_ms : event time of the first and the last order.
    purchase_days : number of UTC days with at least one order.
    money_minor : money spent, minor units, refunds taken off.
    recent : decayed count of purchase days *at the last one* (:func:`add_purchase_day`).
    at_ms : event time to score at.

    Examples
    --------
    >>> raw_churn(0, 30 * DAY_MS, 2, 1999, 1.7, 40 * DAY_MS)
    [10, 2, 1999, 40, 170]
    """
    day = at_ms // DAY_MS
    return [
        day - last_order_ms // DAY_MS,
        purchase_days,
        money_minor,
        day - first_order_ms // DAY_MS,
        int(recent * 100.0 + 0.5),
    ]


def grown(x: Sequence[int], days: int) -> list[int]:
    """Raw vector of a user `days` later when nothing has happened since.

    Examples
    --------
    >>> grown([10, 2, 1999, 40, 170], 14)
    [24, 2, 1999, 54, 170]
    """
    recency, purchase_days, money, tenure, recent = x
    return [recency + days, purchase_days, money, tenure + days, recent]


def as_matrix(rows: Sequence[Sequence[int]]) -> FloatArray:
    """Raw vectors as a float matrix of shape (n, len(RAW_NAMES)), also for n = 0."""
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(RAW_NAMES))


def recent_money(raw: FloatArray, horizon_days: float | FloatArray) -> FloatArray:
    """Money that a horizon brings at the recent pace and the own mean order value, minor units, shape (n,).

    Notes
    -----
    At a steady pace the decayed count of purchase days stands for ``half-life / ln 2`` days.

    Examples
    --------
    >>> recent_money(as_matrix([[0, 2, 5000, 60, 150]]), 90).round().tolist()
    [3899.0]
    """
    recency, days, money, _, recent = np.maximum(raw, 0.0).T
    pace = recent / 100.0 * np.exp2(-recency / RECENT_HALF_LIFE_DAYS) * np.log(2.0) / RECENT_HALF_LIFE_DAYS
    return np.asarray(pace * horizon_days * money / np.maximum(days, 1.0))


def expand(raw: FloatArray) -> FloatArray:
    """Columns that learners weigh, one row per raw vector.

    Parameters
    ----------
    raw : shape (n, len(RAW_NAMES)), see :func:`raw_churn`.

    Returns
    -------
    array of shape (n, len(FEATURE_NAMES)). Counts, money and days enter as ``log(1 + x)``; ``pace`` is
    purchase days per 30 days of tenure; ``overdue`` compares the silence with the user's own mean gap and
    is 0 for one-time buyers, who have none.

    Examples
    --------
    >>> expand(as_matrix([[10, 2, 1999, 40, 170]])).round(2).tolist()
    [[2.4, 5.75, 1.1, 7.6, 6.91, 0.62, 0.92, 0.29]]
    """
    recency, days, money, tenure, recent = np.maximum(raw, 0.0).T
    days = np.maximum(days, 1.0)
    # An event that is late by event time may be older than the first order known.
    tenure = np.maximum(tenure, recency)
    mean_gap = (tenure - recency) / np.maximum(days - 1.0, 1.0)
    out = np.empty((len(FEATURE_NAMES), len(raw)))
    out[0] = recency
    out[1] = 0.0
    out[2] = days
    out[3] = money
    out[4] = money / days
    out[5] = 30.0 * days / (tenure + 30.0)
    out[6] = recent / 100.0 * np.exp2(-recency / RECENT_HALF_LIFE_DAYS)
    out[7] = np.where(days > 1.0, recency / np.maximum(mean_gap, 1.0), 0.0)
    np.log1p(out, out=out)  # at once: many small calls would cost most of the time of a single vector
    out[1] = out[0] * out[0]
    # Rows side by side: a product with a row that is not adds up in another order, and may end in another last bit.
    return np.ascontiguousarray(out.T)


def rule_weights() -> tuple[FloatArray, float]:
    """Weights over :data:`FEATURE_NAMES` and bias, in log-odds, of the rule used until labels mature."""
    weights = np.zeros(len(FEATURE_NAMES))
    weights[FEATURE_NAMES.index("recency")] = RULE_RECENCY_WEIGHT
    weights[FEATURE_NAMES.index("purchases")] = RULE_PURCHASES_WEIGHT
    even = RULE_RECENCY_WEIGHT * np.log1p(RULE_EVEN_RECENCY_DAYS)
    even += RULE_PURCHASES_WEIGHT * np.log1p(RULE_EVEN_PURCHASES)
    return weights, -float(even)


def rule_score(raw: FloatArray) -> FloatArray:
    """P(churn) by the recency/frequency rule, "not learned yet"; shape (n,).

    Notes
    -----
    ``log-odds = log((1 + silence days) / 46) - 0.8 log((1 + purchase days) / 3)``: doubling the silence
    doubles the odds, more purchase days lower them.

    Examples
    --------
    >>> rule_score(as_matrix([[45, 2, 0, 60, 100], [91, 2, 0, 120, 100]])).round(3).tolist()
    [0.5, 0.667]
    """
    weights, bias = rule_weights()
    return np.asarray(1.0 / (1.0 + np.exp(-(expand(raw) @ weights + bias))))


def reasons(
    contributions: Sequence[tuple[str, float]],
    raw: Sequence[int],
    top: int = 3,
    *,
    minor_per_major: int = 100,
) -> list[tuple[str, float]]:
    """Tell the strongest reasons in words, each with its share of the log-odds (above 0: raises the risk).

    Parameters
    ----------
    contributions : (feature, log-odds share), see :meth:`models.learners.linear.LinearModel.contributions`.
    raw : the raw vector that was scored.
    top : how many reasons.
    minor_per_major : minor units in one unit of the currency.

    Returns
    -------
    list of (sentence, share), strongest first. Shares of one concept (recency and its square) are added.

    Examples
    --------
    >>> reasons([("recency", 0.4), ("recency_squared", 0.3), ("money", -0.1)], [10, 2, 1999, 40, 170])
    [('last order 10 days ago', 0.7), ('spent 19.99 in all', -0.1)]
    """
    recency_days, purchase_days, money_minor, tenure_days, recent = raw
    shares: dict[str, float] = {}
    for name, share in contributions:
        concept = CONCEPTS[name]
        shares[concept] = shares.get(concept, 0.0) + share
    if purchase_days < 2:
        shares.pop("overdue", None)  # a one-time buyer has no usual gap to speak of
    if money_minor <= 0 and "order_value" in shares:  # one fact, not two
        shares["money"] = shares.get("money", 0.0) + shares.pop("order_value")
    facts = {
        "recency_days": recency_days,
        "purchase_days": purchase_days,
        "money": money_minor / minor_per_major,
        "owed": -money_minor / minor_per_major,
        "order_value": money_minor / minor_per_major / max(purchase_days, 1),
        "pace": 30.0 * purchase_days / (tenure_days + 30.0),
        "recent": recent / 100.0 * 2.0 ** (-recency_days / RECENT_HALF_LIFE_DAYS),
        "mean_gap_days": max(1, round((tenure_days - recency_days) / max(purchase_days - 1, 1))),
    }
    ranked = sorted(shares.items(), key=lambda item: (-abs(item[1]), item[0]))[:top]
    texts = REASON_TEXTS if money_minor > 0 else REASON_TEXTS | {"money": _GAVE_BACK[money_minor < 0]}
    return [(texts[name].format(**facts), share) for name, share in ranked if share != 0.0]
