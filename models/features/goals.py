"""Features of the propensity for a goal: what every profile knows, whatever the goal and the shop.

A **raw vector** is a short list of whole numbers, kept with an example until its label is known; :func:`expand` turns
many of them at once into the columns that learners weigh. What a month of silence makes a profile forget says nothing
here either, so that the vector of a past moment can be told from a profile as long as nothing happened since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from models.features.attributes import PREFIX, Told, sentence
from models.profile import decay
from models.profile.state import Profile

FloatArray = npt.NDArray[np.float64]

SCHEMA: Final = 1
HOUR_S: Final = 3600
DAY_S: Final = 86_400
DAY_HOURS: Final = 24
# After so long a silence the counters that halve in a day and in a week are 0, and so is the visit after a day.
LONG_SILENCE_S: Final = 30 * DAY_S

_COUNTED: Final = ("views", "adds", "orders", "spend")
_HALF_LIVES: Final = ("1d", "7d", "30d")
RAW_NAMES: Final = (
    "silence_hours",
    "tenure_days",
    "events",
    "sessions",
    "session_events",
    "purchase_days",
    "money_minor",
    "order_hours",
    "customer_days",
    *(f"{name}_{half_life}" for name in _COUNTED for half_life in _HALF_LIVES),
)
FEATURE_NAMES: Final = (
    "silence",
    "tenure",
    "sessions",
    "visit",
    "ordered",
    "order_recency",
    "order_recency_squared",
    "purchases",
    "money",
    "pace",
    "overdue",
    "views_1d",
    "views_7d",
    "views_30d",
    "adds_1d",
    "adds_7d",
    "adds_30d",
    "orders_7d",
    "orders_30d",
    "spend_30d",
)
# What a person is told, by concept: a fact; whether it speaks for the goal is the sign of its share.
CONCEPTS: Final = {name: name.partition("_")[0] for name in FEATURE_NAMES} | {
    "order_recency": "recency",
    "order_recency_squared": "recency",
    "ordered": "recency",
    "spend_30d": "money",
    "orders_7d": "lately",
    "orders_30d": "lately",
}
_NEVER: Final = -1
_FACTS: Final = 9  # what comes before the counters
# Counters that are columns: all of views and adds, the longer ones of orders, the longest of spend.
_USED: Final = np.array([0, 1, 2, 3, 4, 5, 7, 8, 11]) + _FACTS


def raw(profile: Profile, at: int) -> list[int]:
    """Raw vector of a user at second `at`; order of :data:`RAW_NAMES`, counters in hundredths.

    Examples
    --------
    >>> from models.profile.state import Profile
    >>> found = raw(Profile(first_seen=86_400, last_seen_ms=86_400_000, events=1, sessions=1), 3 * 86_400)
    >>> found[:9], sum(found[9:])
    ([48, 2, 1, 1, 0, 0, 0, -1, 0], 0)
    """
    silence = max(at - profile.last_seen_ms // 1000, 0)
    found = [
        silence // HOUR_S,
        max(at - profile.first_seen, 0) // DAY_S,
        profile.events,
        profile.sessions,
        profile.session_events if silence <= DAY_S else 0,
        profile.purchase_days,
        profile.money_minor,
        max(at - profile.last_order_ms // 1000, 0) // HOUR_S if profile.orders else _NEVER,
        max(profile.last_order_ms // 1000 - profile.first_order, 0) // DAY_S if profile.orders else 0,
    ]
    counters = decay.read_all(profile, at)
    if silence > LONG_SILENCE_S:
        return found + [0 if i % 3 < 2 else round(value * 100.0) for i, value in enumerate(counters)]
    return found + [round(value * 100.0) for value in counters]


def as_matrix(rows: Sequence[Sequence[int]]) -> FloatArray:
    """Raw vectors as a float matrix of shape (n, len(RAW_NAMES)), also for n = 0."""
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(RAW_NAMES))


def expand(matrix: FloatArray) -> FloatArray:
    """Columns that learners weigh, one row per raw vector; order of :data:`FEATURE_NAMES`.

    Counts, money and times enter as ``log(1 + x)``; ``pace`` is purchase days per 30 days of tenure; ``overdue``
    compares the time since the last order with the user's own mean gap, and is 0 for whoever has none.
    """
    clipped = np.maximum(matrix, 0.0)
    silence, tenure, _, sessions, visit, days, money, recency, span = clipped[:, :_FACTS].T
    tenure_days = np.maximum(tenure, span)
    recency_days = recency / DAY_HOURS
    out = np.empty((len(matrix), len(FEATURE_NAMES)))
    out[:, 0] = silence / DAY_HOURS
    out[:, 1] = tenure_days
    out[:, 2] = sessions
    out[:, 3] = visit
    out[:, 5] = recency_days
    out[:, 7] = days
    out[:, 8] = money / 100.0
    out[:, 9] = 30.0 * days / (tenure_days + 30.0)
    out[:, 10] = np.where(days > 1.0, recency_days / np.maximum(span / np.maximum(days - 1.0, 1.0), 1.0), 0.0)
    np.divide(clipped[:, _USED], 100.0, out=out[:, 11:])
    out[:, 4] = out[:, 6] = 0.0
    np.log1p(out, out=out)  # at once: many small calls would cost most of the time of a single vector
    out[:, 4] = matrix[:, 7] >= 0.0
    out[:, 6] = out[:, 5] * out[:, 5]
    return out


def reasons(
    contributions: Sequence[tuple[str, float]],
    vector: Sequence[int],
    top: int = 3,
    about: Mapping[str, Told] | None = None,
) -> list[tuple[str, float]]:
    """Tell the strongest reasons in words, each with its share of the log-odds (above 0: speaks for the goal).

    Parameters
    ----------
    contributions : (feature or concept, share), see :meth:`models.learners.goal_scores.GoalScores.contributions`.
    vector : the raw vector that was scored. top : how many reasons.
    about : attributes of the user, if the goal goes by some.

    Returns
    -------
    list of (sentence, share), strongest first. Shares of one concept are added.
    """
    found = dict(zip(RAW_NAMES, vector, strict=True))
    shares: dict[str, float] = {}
    for name, share in contributions:
        concept = CONCEPTS.get(name, name)
        shares[concept] = shares.get(concept, 0.0) + share
    days, tenure = found["purchase_days"], found["tenure_days"]
    gap = max(1, round(found["customer_days"] / max(days - 1, 1)))
    texts = {
        "silence": f"last seen {_ago(found['silence_hours'])}",
        "tenure": f"known for {_days(tenure)}",
        "sessions": f"{found['sessions']:,} visit{'s' * (found['sessions'] != 1)} so far",
        "visit": f"{found['session_events']} event{'s' * (found['session_events'] != 1)} in this visit",
        "recency": "never ordered" if found["order_hours"] < 0 else f"last order {_ago(found['order_hours'])}",
        "purchases": f"ordered on {_days(days)} so far",
        "money": f"spent {found['money_minor'] / 100:,.2f} in all",
        "pace": f"{30.0 * days / (tenure + 30.0):.1f} purchase days a month",
        "overdue": f"usually {_days(gap)} between orders" if days > 1 else "no second order yet",
        "views": f"{found['views_7d'] / 100:.1f} products viewed lately",
        "adds": f"{found['adds_7d'] / 100:.1f} products put into the cart lately",
        "lately": f"{found['orders_30d'] / 100:.1f} orders in the last weeks",
    }
    for name in shares:
        if name.startswith(PREFIX):
            attribute = name.removeprefix(PREFIX)
            texts[name] = sentence(attribute, (about or {}).get(attribute))
    ranked = sorted(shares.items(), key=lambda item: (-abs(item[1]), item[0]))[:top]
    return [(texts[name], share) for name, share in ranked if share != 0.0]


def _days(number: int) -> str:
    return f"{number:,} day{'' if number == 1 else 's'}"


def _ago(hours: int) -> str:
    if hours < DAY_HOURS:
        return "within the hour" if hours == 0 else f"{hours} hour{'' if hours == 1 else 's'} ago"
    return f"{_days(hours // DAY_HOURS)} ago"
