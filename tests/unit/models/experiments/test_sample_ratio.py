"""The chi-squared test against scipy; the live test under continuous watching."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import betaln

from models.experiments.sample_ratio import (
    CONCENTRATION,
    LIVE_ALARM,
    Epoch,
    chi_squared_p,
    live_alarm,
    log_evidence,
    multinomial_log_e,
)


def test_cookie_cats_raises_the_alarm() -> None:
    p = chi_squared_p([44_700, 45_489], [0.5, 0.5])
    assert p is not None
    assert p == pytest.approx(0.0086, abs=5e-5)
    assert p < 0.01


@given(st.lists(st.integers(0, 100_000), min_size=2, max_size=6), st.data())
def test_sample_ratio_as_scipy(counts: list[int], data: st.DataObject) -> None:
    parts = data.draw(st.lists(st.integers(1, 100), min_size=len(counts), max_size=len(counts)))
    weights = [part / sum(parts) for part in parts]
    found = chi_squared_p(counts, weights)
    if sum(counts) == 0:
        assert found is None
        return
    expected = stats.chisquare(counts, [sum(counts) * weight for weight in weights]).pvalue
    assert found == pytest.approx(expected, rel=1e-7, abs=1e-300)


@pytest.mark.parametrize(("counts", "weights"), [([1], [1.0]), ([1, 2], [1.0]), ([1, 2], [1.0, 0.0])])
def test_sample_ratio_needs_a_weight_for_each_arm(counts: list[int], weights: list[float]) -> None:
    with pytest.raises(ValueError, match="positive weight"):
        chi_squared_p(counts, weights)


def test_nobody_is_no_mismatch() -> None:
    assert chi_squared_p([0, 0], [0.5, 0.5]) is None
    assert log_evidence([]) == 0.0
    assert log_evidence([Epoch((0, 0), (0.5, 0.5))]) == pytest.approx(0.0, abs=1e-9)


@given(st.integers(0, 100_000), st.integers(0, 100_000), st.floats(0.05, 0.95))
def test_two_arms_are_a_beta_binomial(first: int, second: int, share: float) -> None:
    found = log_evidence([Epoch((first, second), (share, 1.0 - share))])
    prior = CONCENTRATION * share, CONCENTRATION * (1.0 - share)
    expected = betaln(prior[0] + first, prior[1] + second) - betaln(*prior)
    expected -= first * math.log(share) + second * math.log1p(-share)
    assert found == pytest.approx(float(expected), rel=1e-8, abs=1e-6)


def test_epochs_with_other_weights_are_no_mismatch() -> None:
    """90:10, then 50:50: together neither, each as planned."""
    epochs = [Epoch((9_020, 980), (0.9, 0.1)), Epoch((4_980, 5_020), (0.5, 0.5))]
    assert not live_alarm(epochs)
    assert live_alarm([Epoch((9_020 + 4_980, 980 + 5_020), (0.5, 0.5))])


def test_watched_after_every_hundred_users_it_hardly_ever_alarms() -> None:
    """2,000 sound worlds, 400 looks: at 1,000 the bound is one false alarm in a thousand; chi-squared at 1 % fails."""
    rng = np.random.default_rng(11)
    first = rng.binomial(100, 0.5, (2_000, 400)).cumsum(axis=1)
    n = np.arange(100, 40_001, 100)
    evidence = multinomial_log_e(np.stack([first, n - first], axis=-1), (0.5, 0.5))
    assert (evidence.max(axis=1) >= math.log(LIVE_ALARM)).mean() <= 0.001 + 2.33 * math.sqrt(0.001 / 2_000)
    chi = (2 * first - n) ** 2 / n
    watched = (chi[:, 3::4] > stats.chi2.isf(0.01, 1)).any(axis=1)
    assert watched.mean() > 0.05


def test_a_loss_of_three_percent_is_found() -> None:
    """Of one arm's users 3 % never come: seen before 100,000 users in nearly every world."""
    rng = np.random.default_rng(12)
    share = 0.5 / (0.5 + 0.5 * 0.97)
    first = rng.binomial(1_000, share, (500, 100)).cumsum(axis=1)
    n = np.arange(1_000, 100_001, 1_000)
    evidence = multinomial_log_e(np.stack([first, n - first], axis=-1), (0.5, 0.5))
    assert (evidence.max(axis=1) >= math.log(LIVE_ALARM)).mean() > 0.8
