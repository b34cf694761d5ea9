"""Every formula against a library, and one real test against its published numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint, proportions_ztest

from models.experiments.fixed import newcombe_interval, two_proportion_z, wald_interval, welch_t, wilson_interval
from models.experiments.sums import Mean, Proportion

# Cookie Cats: retention after seven days, first gate at level 30 (control) or 40.
GATE_30 = Proportion(44_700, 8_502)
GATE_40 = Proportion(45_489, 8_279)


def test_cookie_cats() -> None:
    result = two_proportion_z(GATE_30, GATE_40)
    assert result is not None
    assert result.z == pytest.approx(-3.16435891, abs=1e-8)
    assert result.p == pytest.approx(0.0015542500, abs=1e-10)
    assert result.difference == pytest.approx(8_279 / 45_489 - 8_502 / 44_700, rel=1e-15)


PROPORTIONS = st.integers(1, 100_000).flatmap(lambda n: st.builds(Proportion, st.just(n), st.integers(0, n)))
LEVELS = st.sampled_from([0.8, 0.9, 0.95, 0.99])


@given(PROPORTIONS, PROPORTIONS)
def test_z_test_as_statsmodels(control: Proportion, treatment: Proportion) -> None:
    result = two_proportion_z(control, treatment)
    pooled = control + treatment
    if result is None:
        assert pooled.successes in {0, pooled.n}
        return
    z, p = proportions_ztest([treatment.successes, control.successes], [treatment.n, control.n])
    assert result.z == pytest.approx(z, rel=1e-9, abs=1e-9)
    assert result.p == pytest.approx(p, rel=1e-7, abs=1e-300)


@given(PROPORTIONS, LEVELS)
def test_wilson_as_statsmodels(sample: Proportion, level: float) -> None:
    found = wilson_interval(sample, level)
    expected = proportion_confint(sample.successes, sample.n, alpha=1 - level, method="wilson")
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert found is not None
    assert 0.0 <= found.low <= sample.rate <= found.high <= 1.0


@given(PROPORTIONS, PROPORTIONS, LEVELS)
def test_newcombe_as_statsmodels(control: Proportion, treatment: Proportion, level: float) -> None:
    found = newcombe_interval(control, treatment, level)
    expected = confint_proportions_2indep(
        treatment.successes, treatment.n, control.successes, control.n, method="newcomb", alpha=1 - level
    )
    assert found == pytest.approx(expected, rel=1e-8, abs=1e-10)


@given(PROPORTIONS, PROPORTIONS, LEVELS)
def test_wald_as_statsmodels(control: Proportion, treatment: Proportion, level: float) -> None:
    found = wald_interval(control, treatment, level)
    expected = confint_proportions_2indep(
        treatment.successes, treatment.n, control.successes, control.n, method="wald", alpha=1 - level
    )
    assert found == pytest.approx(expected, rel=1e-8, abs=1e-10)


VALUES = st.lists(st.integers(0, 10_000_000), min_size=2, max_size=60)


def mean_of(values: list[int]) -> Mean:
    return Mean(len(values), sum(values), sum(value * value for value in values))


@given(VALUES, VALUES, LEVELS)
def test_welch_as_scipy(control: list[int], treatment: list[int], level: float) -> None:
    result = welch_t(mean_of(control), mean_of(treatment), level)
    if len(set(control)) == len(set(treatment)) == 1:
        assert result is None
        return
    assert result is not None
    with warnings.catch_warnings():
        # scipy warns when all values of an arm are equal, and is right nevertheless.
        warnings.simplefilter("ignore", RuntimeWarning)
        oracle: Any = stats.ttest_ind(treatment, control, equal_var=False)
    interval = oracle.confidence_interval(level)
    assert result.t == pytest.approx(oracle.statistic, rel=1e-7, abs=1e-9)
    assert result.df == pytest.approx(oracle.df, rel=1e-7)
    assert result.p == pytest.approx(oracle.pvalue, rel=1e-5, abs=1e-12)
    scale = abs(interval.low) + abs(interval.high)
    assert result.interval == pytest.approx((interval.low, interval.high), rel=1e-7, abs=1e-9 * scale)


@pytest.mark.parametrize(
    "nothing",
    [
        lambda: two_proportion_z(Proportion(0, 0), Proportion(10, 3)),
        lambda: two_proportion_z(Proportion(10, 0), Proportion(10, 0)),
        lambda: two_proportion_z(Proportion(10, 10), Proportion(10, 10)),
        lambda: wilson_interval(Proportion(0, 0)),
        lambda: newcombe_interval(Proportion(5, 1), Proportion(0, 0)),
        lambda: welch_t(Mean(1, 5, 25), Mean(9, 9, 99)),
        lambda: welch_t(Mean(2, 10, 50), Mean(2, 4, 8)),
    ],
)
def test_too_little_gives_nothing_instead_of_nan(nothing: Callable[[], object]) -> None:
    assert nothing() is None


def test_a_level_is_a_probability() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        wilson_interval(Proportion(5, 1), 95)


def test_an_a_a_test_is_significant_about_once_in_twenty() -> None:
    """Type I error of one look, over 2,000 seeded A/A tests: 5 % give or take three standard deviations."""
    rng = np.random.default_rng(20_100_314)
    hits = 0
    for control, treatment in rng.binomial(2_000, 0.1, (2_000, 2)):
        result = two_proportion_z(Proportion(2_000, int(control)), Proportion(2_000, int(treatment)))
        assert result is not None
        hits += result.p < 0.05
    assert abs(hits / 2_000 - 0.05) < 3 * math.sqrt(0.05 * 0.95 / 2_000)
