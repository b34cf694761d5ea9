"""Always-valid tests: the formulas against integrals, the promise against 2,000 watched worlds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from models.experiments.always_valid import (
    Mixture,
    Running,
    half_width,
    information_ratio,
    log_evidence,
    look,
    one_sided_reach,
    p_value,
)
from models.experiments.estimate import Effect
from models.experiments.fixed import Interval

MOST_FALSE = 0.05 + 2.33 * math.sqrt(0.05 * 0.95 / 2_000)


@pytest.mark.parametrize(("value", "variance", "tau"), [(0.03, 1e-4, 0.03), (-1.0, 0.2, 0.5), (0.0, 1.0, 2.0)])
def test_evidence_is_the_mixture_of_likelihood_ratios(value: float, variance: float, tau: float) -> None:
    def ratio(effect: float) -> float:
        weight = stats.norm.pdf(effect, 0, tau)
        of_effect = stats.norm.logpdf(value, effect, variance**0.5) - stats.norm.logpdf(value, 0, variance**0.5)
        return float(weight * np.exp(of_effect))

    expected, _ = integrate.quad(ratio, -12 * tau, 12 * tau, points=[0.0, value], epsabs=0, epsrel=1e-11, limit=500)
    assert log_evidence(value, variance, tau**2) == pytest.approx(math.log(expected), rel=1e-8)


@given(st.floats(1e-6, 10.0), st.floats(1e-6, 10.0), st.sampled_from([0.01, 0.05, 0.2]))
def test_interval_and_test_are_the_same_statement(variance: float, tau_sq: float, alpha: float) -> None:
    """At the end of the interval, p is alpha."""
    reach = half_width(variance, tau_sq, alpha)
    assert p_value(reach, variance, tau_sq) == pytest.approx(alpha, rel=1e-6)


def test_the_interval_is_narrowest_at_the_plan() -> None:
    variance = 1.0
    best = half_width(variance, information_ratio(), 0.05)
    for other in (0.5, 0.8, 1.25, 2.0):
        assert half_width(variance, information_ratio() * other, 0.05) > best


def test_a_mixture_is_either_of_effects_or_of_users() -> None:
    assert Mixture.of_effect(-0.02).to_json() == {"tau": 0.02, "rho": None}
    for tau, rho in ((None, None), (1.0, 1.0), (0.0, None), (None, math.inf)):
        with pytest.raises(ValueError, match="either tau or rho"):
            Mixture(tau, rho)


def test_running_interval_and_p_never_grow() -> None:
    running = Running()
    assert running.state == "nothing"
    running = running.seen(0.5, Interval(-1.0, 1.0)).seen(0.02, Interval(0.1, 1.5)).seen(0.9, Interval(-3.0, 3.0))
    assert (running.p, running.interval) == (0.02, (0.1, 1.0))
    torn = running.seen(0.01, Interval(1.2, 2.0))
    assert (torn.state, torn.interval) == ("drifting", None)


def shares(seed: int, rates: tuple[float, float], users: int = 20_000, worlds: int = 2_000) -> tuple[np.ndarray, ...]:
    """Differences and variances of two shares at 100 equal looks."""
    rng = np.random.default_rng(seed)
    n = users // 100 * np.arange(1, 101)
    one, two = (rng.binomial(users // 100, rate, (worlds, 100)).cumsum(axis=1) / n for rate in rates)
    return two - one, (one * (1 - one) + two * (1 - two)) / n, 2 * n


@pytest.mark.parametrize("mixture", [Mixture.of_effect(0.01), Mixture.of_users(40_000), Mixture.of_users()])
def test_watched_a_hundred_times_it_keeps_its_error(mixture: Mixture) -> None:
    value, variance, n = shares(1, (0.10, 0.10))
    p = p_value(value, variance, mixture.tau_sq(variance, n))
    assert (p.min(axis=1) < 0.05).mean() <= MOST_FALSE
    fixed = 2 * stats.norm.sf(np.abs(value) / np.sqrt(variance))
    assert (fixed.min(axis=1) < 0.05).mean() > 0.3  # what it protects from


@pytest.mark.parametrize("mixture", [Mixture.of_effect(0.01), Mixture.of_users(40_000)])
def test_power_and_coverage_while_watched(mixture: Mixture) -> None:
    value, variance, n = shares(2, (0.10, 0.11))
    tau_sq = mixture.tau_sq(variance, n)
    assert (p_value(value, variance, tau_sq).min(axis=1) < 0.05).mean() >= 0.68 - 2.33 * 0.0104
    covered = np.abs(value - 0.01) <= half_width(variance, tau_sq)
    assert covered.all(axis=1).mean() >= 1 - MOST_FALSE


def test_one_sided_bound_keeps_its_error() -> None:
    value, variance, n = shares(3, (0.10, 0.10))
    reach = one_sided_reach(variance, Mixture.of_users(40_000).tau_sq(variance, n))
    assert (value + reach < 0.0).any(axis=1).mean() <= MOST_FALSE


def test_one_look_as_the_arrays() -> None:
    effect = Effect(0.012, 9e-6, 30_000)
    p, interval = look(effect, Mixture.of_effect(0.01))
    assert p == float(p_value(np.array([0.012]), np.array([9e-6]), 0.0001)[0])
    assert interval.high - interval.low == pytest.approx(2 * float(half_width(9e-6, 0.0001)))
