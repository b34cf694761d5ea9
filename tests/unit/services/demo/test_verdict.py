"""Verdicts against a slow, obvious recount."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.topics import DAY_MS
from models.experiments.sums import Proportion
from services.demo.history import Invoice, Line
from services.demo.verdict import Alert, Purchases, Ranked, judge_alerts, judge_offers, judge_reminders

USERS = ("a", "b", "c")
CODES = [f"{10_000 + number}" for number in range(14)]


def order(user: str, day: float, codes: tuple[str, ...] = (CODES[0],), number: str = "1") -> Invoice:
    lines = tuple(Line(code, code, 1, 100) for code in codes)
    return Invoice(number, user, int(day * DAY_MS), "EIRE", refund=False, lines=lines)


orders = st.lists(
    st.builds(
        order,
        st.sampled_from(USERS),
        st.integers(0, 300),
        st.lists(st.sampled_from(CODES), max_size=4).map(tuple),
    ),
    max_size=30,
)
alerts = st.lists(
    st.builds(
        lambda user, day, learned: Alert(user, day * DAY_MS, 0.8, learned),
        st.sampled_from(USERS),
        st.integers(0, 300),
        st.booleans(),
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(orders, alerts, st.integers(1, 400))
def test_alerts_equal_a_recount(bought: list[Invoice], raised: list[Alert], end_day: int) -> None:
    horizon, within, end_ms = 90 * DAY_MS, 180 * DAY_MS, end_day * DAY_MS
    found = judge_alerts(Purchases(bought), raised, end_ms, horizon_ms=horizon, eligible_within_ms=within)

    def back(user: str, at_ms: int) -> bool:
        return any(one.user == user and at_ms < one.at_ms <= at_ms + horizon for one in bought)

    over = [alert for alert in raised if alert.at_ms + horizon <= end_ms]
    assert found.waiting == len(raised) - len(over)
    assert found.all == Proportion(len(over), sum(not back(one.user, one.at_ms) for one in over))
    assert found.by_rule + found.by_model == found.all
    eligible = gone = 0
    if over:
        moments = range(min(o.at_ms for o in over), max(o.at_ms for o in over) + 1, 14 * DAY_MS)
        for at_ms in moments:
            for user in USERS:
                before = [one.at_ms for one in bought if one.user == user and one.at_ms < at_ms]
                if before and at_ms - max(before) <= within:
                    eligible += 1
                    gone += not back(user, at_ms)
    assert found.eligible == Proportion(eligible, gone)


@settings(max_examples=200, deadline=None)
@given(
    orders,
    st.lists(
        st.builds(
            lambda user, day, items: Ranked(user, day * DAY_MS, tuple(items)),
            st.sampled_from(USERS),
            st.integers(0, 300),
            st.lists(st.sampled_from(CODES), unique=True, max_size=12),
        ),
        max_size=12,
        unique_by=lambda one: (one.user, one.at_ms),
    ),
)
def test_offers_equal_a_recount(bought: list[Invoice], answers: list[Ranked]) -> None:
    found = judge_offers(Purchases(bought), answers)
    baskets: dict[tuple[str, int], set[str]] = {}
    for one in bought:
        baskets.setdefault((one.user, one.at_ms), set()).update(line.stock_code for line in one.items)

    def popular(at_ms: int) -> list[str]:
        day = at_ms // DAY_MS
        counts = Counter(item for (_, at), items in baskets.items() if day - 30 <= at // DAY_MS < day for item in items)
        return sorted(counts, key=lambda item: (-counts[item], item))[:10]

    judged = kairos = best = 0
    for (user, at_ms), items in baskets.items():
        earlier = [one for one in answers if one.user == user and one.at_ms < at_ms]
        if not items or not earlier:
            continue
        latest = max(earlier, key=lambda one: one.at_ms)
        judged += 1
        kairos += bool(items & set(latest.items[:10]))
        best += bool(items & set(popular(latest.at_ms)))
    assert (found.kairos, found.popular) == (Proportion(judged, kairos), Proportion(judged, best))


def test_an_order_exactly_at_the_end_of_the_horizon_is_a_return_and_one_at_the_alert_is_not() -> None:
    purchases = Purchases([order("a", 10), order("a", 100)])
    assert purchases.returned("a", 10 * DAY_MS, 90 * DAY_MS)
    assert not purchases.returned("a", 10 * DAY_MS, 90 * DAY_MS - 1)
    assert not purchases.returned("a", 100 * DAY_MS, 90 * DAY_MS)
    assert not purchases.returned("nobody", 0, 90 * DAY_MS)


def test_a_reminder_is_right_if_no_order_came_while_it_waited() -> None:
    hour = DAY_MS // 24
    purchases = Purchases([order("a", 10)])
    at = 10 * DAY_MS
    causes = [("a", at - hour - 1), ("a", at - hour), ("a", at - 1), ("a", at), ("a", at + 1), ("b", at)]
    assert judge_reminders(purchases, causes, hour) == Proportion(6, 3)


def test_alerts_about_those_who_leave_beat_the_average_customer() -> None:
    stayers = [order(f"s{number}", day) for number in range(8) for day in range(0, 300, 10)]
    leavers = [order(f"l{number}", 5) for number in range(8)]
    raised = [Alert(f"l{number}", 40 * DAY_MS, 0.9, learned=False) for number in range(8)]
    found = judge_alerts(
        Purchases([*stayers, *leavers]),
        raised,
        300 * DAY_MS,
        horizon_ms=90 * DAY_MS,
        eligible_within_ms=180 * DAY_MS,
    )
    assert found.all.rate == 1.0
    assert found.eligible.rate == pytest.approx(0.5)
