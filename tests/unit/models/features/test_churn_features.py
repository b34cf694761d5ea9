"""Churn features: O(1) folds equal a recomputation, and the columns mean what they say."""

from __future__ import annotations

from math import log1p

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.features import churn
from models.features.churn import DAY_MS, RAW_NAMES

HISTORIES = st.lists(st.integers(0, 700), min_size=1, max_size=40).map(sorted)


@given(HISTORIES, st.integers(0, 200))
def test_fold_equals_recomputation(days: list[int], silence: int) -> None:
    distinct = sorted(set(days))
    recent = 0.0
    for before, day in zip([distinct[0], *distinct], distinct, strict=False):
        recent = churn.add_purchase_day(recent, day - before)
    at = distinct[-1] + silence
    raw = churn.raw_churn(
        distinct[0] * DAY_MS + 5, distinct[-1] * DAY_MS + 9, len(distinct), 100, recent, at * DAY_MS + 1
    )
    whole = sum(0.5 ** ((distinct[-1] - day) / churn.RECENT_HALF_LIFE_DAYS) for day in distinct)
    assert raw[:4] == [silence, len(distinct), 100, at - distinct[0]]
    assert raw[4] == pytest.approx(100 * whole, abs=0.51)
    assert all(type(value) is int for value in raw)


@given(st.integers(0, 400), st.integers(1, 50), st.integers(0, 10**9), st.integers(0, 700), st.integers(0, 9000))
def test_expand_against_plain_formulas(recency: int, days: int, money: int, more: int, recent: int) -> None:
    tenure = recency + more
    row = dict(
        zip(
            churn.FEATURE_NAMES,
            churn.expand(churn.as_matrix([[recency, days, money, tenure, recent]]))[0],
            strict=True,
        )
    )
    gap = more / (days - 1) if days > 1 else 0
    expected = {
        "recency": log1p(recency),
        "recency_squared": log1p(recency) ** 2,
        "purchases": log1p(days),
        "money": log1p(money),
        "order_value": log1p(money / days),
        "pace": log1p(30 * days / (tenure + 30)),
        "recent": log1p(recent / 100 * 0.5 ** (recency / 60)),
        "overdue": log1p(recency / max(gap, 1)) if days > 1 else 0.0,
    }
    assert row == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(st.lists(st.lists(st.integers(-(10**12), 10**12), min_size=5, max_size=5), max_size=20))
def test_expand_is_finite_for_any_integers(rows: list[list[int]]) -> None:
    # Late events, refunds above the spending and clocks that ran backwards give negative entries.
    expanded = churn.expand(churn.as_matrix(rows))
    assert expanded.shape == (len(rows), len(churn.FEATURE_NAMES))
    assert np.isfinite(expanded).all()
    assert ((churn.rule_score(churn.as_matrix(rows)) >= 0) & (churn.rule_score(churn.as_matrix(rows)) <= 1)).all()


def test_same_day_orders_change_money_only() -> None:
    morning = churn.raw_churn(0, 40 * DAY_MS, 3, 500, 1.5, 40 * DAY_MS + 1)
    evening = churn.raw_churn(0, 40 * DAY_MS + DAY_MS - 1, 3, 900, 1.5, 41 * DAY_MS - 1)
    assert [name for name, a, b in zip(RAW_NAMES, morning, evening, strict=True) if a != b] == ["money_minor"]


def test_rule_rises_with_silence_and_falls_with_frequency() -> None:
    silent = churn.rule_score(churn.as_matrix([[days, 3, 100, 200, 100] for days in range(0, 180, 10)]))
    loyal = churn.rule_score(churn.as_matrix([[30, days, 100, 200, 100] for days in range(1, 30)]))
    assert (np.diff(silent) > 0).all()
    assert (np.diff(loyal) < 0).all()


def test_reasons_add_up_by_concept_and_name_facts() -> None:
    shares = [("recency", 0.5), ("recency_squared", 0.25), ("purchases", -1.0), ("overdue", 2.0)]
    told = churn.reasons(shares, [12, 1, 100, 12, 100], top=5)
    assert told == [("ordered on 1 day(s) so far", -1.0), ("last order 12 days ago", 0.75)]
    told = churn.reasons(shares, [40, 3, 100, 60, 100], top=1)
    assert told == [("silent for 40 days, usually 10 between orders", 2.0)]


@pytest.mark.parametrize(
    ("money_minor", "told"), [(-4_250, "42.50 more refunded than spent"), (0, "all that was spent is refunded")]
)
def test_what_was_refunded_is_one_fact(money_minor: int, told: str) -> None:
    shares = [("money", 0.5), ("order_value", 0.25), ("recency", 0.1)]
    assert churn.reasons(shares, [10, 2, money_minor, 40, 170]) == [(told, 0.75), ("last order 10 days ago", 0.1)]


def test_every_feature_has_a_reason() -> None:
    for name in churn.FEATURE_NAMES:
        assert churn.CONCEPTS[name] in churn.REASON_TEXTS
        assert churn.reasons([(name, 1.0)], [12, 4, 100, 60, 100])
