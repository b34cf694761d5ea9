"""Demand: every method by hand, the pool, and that nothing ahead is looked at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.learners.demand import MEMBERS, YEAR, Demand, HoltWinters, Series

weeks_of_demand = st.lists(st.floats(0.0, 1e6), min_size=1, max_size=70)


def told(history: list[float], weeks: int = 1) -> dict[str, float]:
    series = Series((1, 4))
    for value in history:
        series.observe(value)
    return dict(zip(MEMBERS, series.members(weeks).tolist(), strict=True))


def test_methods_by_hand() -> None:
    history = [float(10 + week) for week in range(60)]
    found = told(history, 4)
    assert found["seasonal_naive"] == history[60 + 3 - YEAR]
    assert found["four_week_mean"] == 67.5
    assert told([5.0, 7.0])["seasonal_naive"] == 7.0
    assert 66.0 < found["holt_winters"] < 80.0
    assert 66.0 < found["snarimax"] < 80.0


def test_season_is_learned_after_a_year() -> None:
    smooth = HoltWinters()
    for week in range(2 * YEAR + 30):
        smooth.learn_one(300.0 if week % YEAR == 50 else 100.0)
    ahead = [smooth.forecast(weeks) for weeks in range(1, YEAR + 1)]
    assert int(np.argmax(ahead)) == 20
    assert 150.0 < ahead[20] < 300.0
    assert 80.0 < float(np.median(ahead)) < 120.0


@settings(max_examples=60, deadline=None)
@given(weeks_of_demand)
def test_forecasts_are_finite_never_below_0_and_within_the_members(history: list[float]) -> None:
    demand = Demand((1, 4))
    for value in history:
        demand.observe({"a": value})
    for weeks in (1, 4):
        found = demand.forecast("a", weeks)
        assert np.isfinite(found.members).all()
        assert (found.members >= 0.0).all()
        assert found.weights.sum() == pytest.approx(1.0)
        slack = 1e-9 * (1.0 + found.members.max())
        assert found.members.min() - slack <= found.value <= found.members.max() + slack


def test_what_comes_later_changes_nothing_before() -> None:
    rng = np.random.default_rng(0)
    history = (100 * rng.random(50)).tolist()
    seen: list[list[float]] = []
    for later in (history[40:], [0.0] * 10):
        demand, found = Demand((1, 4)), []
        for value in [*history[:40], *later]:
            found.append(demand.forecast("a", 4).value)
            demand.observe({"a": value})
        seen.append(found)
    assert seen[0][:41] == seen[1][:41]
    assert seen[0][41:] != seen[1][41:]


def test_weights_follow_the_errors_and_a_young_series_leans_on_the_others() -> None:
    demand = Demand((1,))
    for week in range(80):
        steady = {f"s{i}": 100.0 + 30.0 * ((week + i) % 2) for i in range(5)}
        demand.observe(steady | ({"young": 60.0 + 20.0 * (week % 2)} if week >= 77 else {}))
    old, young = (
        dict(zip(MEMBERS, demand.forecast(name, 1).weights.tolist(), strict=True)) for name in ("s0", "young")
    )
    # Every other week is the same, so a year ago is the same.
    assert old["seasonal_naive"] > 2 * old["four_week_mean"]
    assert young["seasonal_naive"] > young["four_week_mean"]


def test_unknown_series_and_silent_ones() -> None:
    demand = Demand((1,))
    assert demand.forecast("a", 1).value == 0.0
    demand.observe({"a": 5.0})
    demand.observe({})
    assert demand.series["a"].history == [5.0, 0.0]
