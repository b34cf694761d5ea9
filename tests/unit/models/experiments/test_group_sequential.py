"""Boundaries against published ones, clocks that can not be cheated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.experiments.crossing import Walk, crossing
from models.experiments.estimate import Effect
from models.experiments.group_sequential import Clock, Spending, boundaries, repeated_interval, spent

# Two-sided 5 %, as gsDesign (sfLDOF, sfLDPocock with 0.025 on each side) and rpact (asOF, asP) print them.
PUBLISHED: list[tuple[Spending, list[float], list[float]]] = [
    ("obrien-fleming", [0.2, 0.4, 0.6, 0.8, 1.0], [4.877, 3.357, 2.680, 2.290, 2.031]),
    ("obrien-fleming", [0.25, 0.5, 0.75, 1.0], [4.333, 2.963, 2.359, 2.014]),
    ("obrien-fleming", [1 / 3, 2 / 3, 1.0], [3.710, 2.511, 1.993]),
    ("obrien-fleming", [0.33, 0.67, 1.0], [3.731, 2.504, 1.994]),
    ("obrien-fleming", [0.5, 1.0], [2.963, 1.969]),
    ("pocock", [0.2, 0.4, 0.6, 0.8, 1.0], [2.438, 2.427, 2.410, 2.397, 2.386]),
    ("pocock", [0.25, 0.5, 0.75, 1.0], [2.368, 2.368, 2.358, 2.350]),
    ("pocock", [0.5, 1.0], [2.157, 2.201]),
]
HUNDRED = [look / 100 for look in range(1, 101)]


@pytest.mark.parametrize(("spending", "information", "expected"), PUBLISHED)
def test_published_boundaries(spending: Spending, information: list[float], expected: list[float]) -> None:
    assert boundaries(spending, information) == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize("spending", ["obrien-fleming", "pocock"])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1])
def test_all_error_is_spent_and_no_more(spending: Spending, alpha: float) -> None:
    bounds = boundaries(spending, HUNDRED, alpha)
    found = crossing(HUNDRED, bounds)
    assert found == pytest.approx([spent(spending, alpha, at) for at in HUNDRED], abs=1e-9)
    assert found[-1] == pytest.approx(alpha, abs=1e-9)


def test_first_looks_of_obrien_fleming_decide_nothing() -> None:
    assert math.isinf(boundaries("obrien-fleming", [0.01, 1.0])[0])


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=6, unique=True), st.floats(0.0, 4.0))
def test_integration_as_a_simulation(looks: list[float], drift: float) -> None:
    looks = sorted(looks)
    looks = [at for i, at in enumerate(looks) if not i or at - looks[i - 1] > 0.005]
    found = crossing(looks, [2.2] * len(looks), drift)[-1]
    rng = np.random.default_rng(5)
    steps = np.diff([0.0, *looks])
    score = (rng.normal(0.0, 1.0, (4_000, len(looks))) * np.sqrt(steps) + drift * steps).cumsum(axis=1)
    hits = (np.abs(score) >= 2.2 * np.sqrt(looks)).any(axis=1).mean()
    assert found == pytest.approx(hits, abs=4.5 * math.sqrt(max(found * (1 - found), 0.001) / 4_000))


def test_mass_is_kept() -> None:
    walk = Walk.start().within(0.01, 3.0).within(0.5, 3.0).within(0.51, 2.0)
    gone = crossing([0.01, 0.5, 0.51], [3.0, 3.0, 2.0])[-1]
    assert walk.mass.sum() == pytest.approx(1.0 - gone, abs=1e-12)


@pytest.mark.parametrize("spending", ["obrien-fleming", "pocock"])
def test_watched_a_hundred_times_it_keeps_its_error_and_its_power(spending: Spending) -> None:
    rng = np.random.default_rng(6)
    n = 200 * np.arange(1, 101)
    found = []
    for rate in (0.10, 0.11):
        one, two = (rng.binomial(200, p, (2_000, 100)).cumsum(axis=1) / n for p in (0.10, rate))
        z = (two - one) / np.sqrt((one * (1 - one) + two * (1 - two)) / n)
        found.append((np.abs(z) >= np.array(boundaries(spending, HUNDRED))).any(axis=1).mean())
    assert found[0] <= 0.05 + 2.33 * math.sqrt(0.05 * 0.95 / 2_000)
    if spending == "obrien-fleming":
        assert found[1] >= 0.87


def test_looks_are_at_least_one_percent_apart() -> None:
    clock = Clock("pocock").look(0.3, 1.0)
    assert clock.look(0.309, 99.0) is clock
    assert clock.look(0.2, 99.0) is clock, "users may leave again; there is no way back"
    assert len(clock.look(0.31, 1.0).looks) == 2


def test_past_the_plan_one_last_look_spends_the_rest() -> None:
    clock = Clock("obrien-fleming").look(0.995, 1.0)
    assert clock.due(1.0)
    ended = clock.look(1.2, 1.97)
    assert ended.over
    assert ended.look(1.5, 9.0) is ended
    information, bounds = zip(*((look.information, look.bound) for look in ended.looks), strict=True)
    assert crossing(information, bounds)[-1] == pytest.approx(0.05, abs=1e-9)


def test_a_decision_is_final() -> None:
    clock = Clock("pocock").look(0.5, 3.0)
    assert clock.over
    assert clock.verdict == clock.last
    assert clock.look(0.9, 0.0) is clock
    assert Clock("pocock").verdict is None
    assert not Clock("pocock").due(0.0)


def test_repeated_interval_excludes_zero_exactly_when_the_boundary_is_crossed() -> None:
    assert repeated_interval(Effect(2.0, 1.0, 10), 2.0) == (0.0, 4.0)
    assert repeated_interval(Effect(2.0, 1.0, 10), math.inf) == (-math.inf, math.inf)
