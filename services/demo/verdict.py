"""Whether Kairos was right: its alerts and offers held against what the customers did next, in the file.

Nothing here comes from the decision core: the truth is the history, the claims are what was published.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from config.topics import DAY_MS
from models.experiments.sums import Proportion
from services.demo.history import Invoice

POPULAR_DAYS = 30
TOP = 10


@dataclass(frozen=True, slots=True)
class Alert:
    """A published churn alert. `learned`: the score came from the learned model, not from the first rule."""

    user: str
    at_ms: int
    score: float
    learned: bool


@dataclass(frozen=True, slots=True)
class Ranked:
    """A published answer: product ids, best first."""

    user: str
    at_ms: int
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AlertVerdict:
    """Of the alerts whose time is over, how many were about customers who did not return.

    Parameters
    ----------
    all, by_rule, by_model : users alerted, and those of them without an order within the horizon.
    eligible : the same of every eligible customer, looked at each fortnight of the same months.
    waiting : alerts whose time is not over yet.
    """

    all: Proportion
    by_rule: Proportion
    by_model: Proportion
    eligible: Proportion
    waiting: int


@dataclass(frozen=True, slots=True)
class OfferVerdict:
    """Of the baskets that followed an answer, how many held at least one of its first ten products.

    Parameters
    ----------
    kairos, popular : baskets, and those that were hit by Kairos and by the shop's best sellers of the 30 days
        before.
    hits : how often each product id was offered and then bought.
    """

    kairos: Proportion
    popular: Proportion
    hits: Mapping[str, int]


class Purchases:
    """When each customer ordered; several orders of one moment are one basket."""

    def __init__(self, orders: Iterable[Invoice]) -> None:
        baskets: dict[str, dict[int, set[str]]] = defaultdict(dict)
        for order in orders:
            baskets[order.user].setdefault(order.at_ms, set()).update(line.stock_code for line in order.items)
        self.times = {user: sorted(found) for user, found in baskets.items()}
        self.baskets = baskets

    def returned(self, user: str, at_ms: int, horizon_ms: int) -> bool:
        """Whether the customer ordered after `at_ms` and not later than `horizon_ms` after it."""
        times = self.times.get(user, [])
        following = bisect_right(times, at_ms)
        return following < len(times) and times[following] <= at_ms + horizon_ms

    def eligible(self, at_ms: int, within_ms: int) -> list[str]:
        """List the customers whose last order before `at_ms` is not older than `within_ms`."""
        found = []
        for user, times in self.times.items():
            before = bisect_left(times, at_ms)
            if before and at_ms - times[before - 1] <= within_ms:
                found.append(user)
        return found


def judge_alerts(
    purchases: Purchases,
    alerts: Sequence[Alert],
    end_ms: int,
    *,
    horizon_ms: int,
    eligible_within_ms: int,
    every_ms: int = 14 * DAY_MS,
) -> AlertVerdict:
    """Hold the alerts against the orders that followed.

    Parameters
    ----------
    end_ms : end of what is known; an alert is judged when its horizon lies before it.
    horizon_ms : who orders within this time has returned.
    eligible_within_ms : who ordered within this time counts as a customer.
    every_ms : distance of the moments at which all eligible customers are looked at, for comparison.
    """
    over = [alert for alert in alerts if alert.at_ms + horizon_ms <= end_ms]
    lost = [not purchases.returned(alert.user, alert.at_ms, horizon_ms) for alert in over]

    def share(which: Iterable[bool]) -> Proportion:
        found = list(which)
        return Proportion(len(found), sum(found))

    everyone = Proportion(0, 0)
    if over:
        at_ms, last_ms = min(alert.at_ms for alert in over), max(alert.at_ms for alert in over)
        while at_ms <= last_ms:
            users = purchases.eligible(at_ms, eligible_within_ms)
            everyone += share(not purchases.returned(user, at_ms, horizon_ms) for user in users)
            at_ms += every_ms
    return AlertVerdict(
        all=share(lost),
        by_rule=share(gone for gone, alert in zip(lost, over, strict=True) if not alert.learned),
        by_model=share(gone for gone, alert in zip(lost, over, strict=True) if alert.learned),
        eligible=everyone,
        waiting=len(alerts) - len(over),
    )


def judge_offers(purchases: Purchases, answers: Sequence[Ranked], top: int = TOP) -> OfferVerdict:
    """Hold each customer's latest answer before a basket against that basket."""
    latest: dict[str, tuple[list[int], list[Ranked]]] = {}
    for answer in sorted(answers, key=lambda one: one.at_ms):
        times, ranked = latest.setdefault(answer.user, ([], []))
        times.append(answer.at_ms)
        ranked.append(answer)
    popular = _BestSellers(purchases)
    baskets = kairos = best = 0
    hits: Counter[str] = Counter()
    for user, times in purchases.times.items():
        if user not in latest:
            continue
        given, ranked = latest[user]
        for at_ms in times:
            before = bisect_left(given, at_ms)
            if before == 0:
                continue
            answer, basket = ranked[before - 1], purchases.baskets[user][at_ms]
            if not basket:
                continue
            baskets += 1
            met = basket.intersection(answer.items[:top])
            hits.update(met)
            kairos += bool(met)
            best += not basket.isdisjoint(popular.at(answer.at_ms, top))
    return OfferVerdict(Proportion(baskets, kairos), Proportion(baskets, best), hits)


def judge_reminders(purchases: Purchases, causes: Iterable[tuple[str, int]], after_ms: int) -> Proportion:
    """Count the reminders whose customer really had not ordered within `after_ms` of filling the cart.

    Parameters
    ----------
    causes : customer and event time of the cart, of each reminder that was sent.
    """
    found = [not purchases.returned(user, at_ms - 1, after_ms + 1) for user, at_ms in causes]
    return Proportion(len(found), sum(found))


class _BestSellers:
    """Products in the most baskets of the 30 days before a day; ties by id."""

    def __init__(self, purchases: Purchases) -> None:
        self._by_day: dict[int, Counter[str]] = defaultdict(Counter)
        for baskets in purchases.baskets.values():
            for at_ms, items in baskets.items():
                self._by_day[at_ms // DAY_MS].update(items)
        self._known: dict[tuple[int, int], list[str]] = {}

    def at(self, at_ms: int, top: int) -> list[str]:
        day = at_ms // DAY_MS
        if (day, top) not in self._known:
            counts: Counter[str] = Counter()
            for earlier in range(day - POPULAR_DAYS, day):
                counts.update(self._by_day.get(earlier, {}))
            ranked = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
            self._known[day, top] = [item for item, _ in ranked[:top]]
        return self._known[day, top]
