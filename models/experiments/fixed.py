"""Tests and intervals that are valid once: at the end of an experiment whose length was fixed beforehand.

Whoever looks often uses `always_valid` or `group_sequential`: a test at 5 % that is looked at a hundred times raises a
false alarm in more than a third of the experiments. A result is None where the counts do not carry one yet.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from scipy.special import ndtr, ndtri, stdtr, stdtrit

from models.experiments.estimate import Effect, Estimate, of_means
from models.experiments.sums import Mean, Proportion


class Interval(NamedTuple):
    """Bounds of a confidence interval."""

    low: float
    high: float


class ZTest(NamedTuple):
    """A test of a difference of two shares: the difference, its z value, the two-sided p value."""

    difference: float
    z: float
    p: float


class WelchTest(NamedTuple):
    """A test of a difference of two averages, with unequal variances."""

    difference: float
    t: float
    df: float
    p: float
    interval: Interval


def two_proportion_z(control: Proportion, treatment: Proportion) -> ZTest | None:
    """Pooled two-sided z-test of two shares; None while an arm is empty or no user differs from the others.

    Notes
    -----
    z = (p_t - p_c) / sqrt(p (1 - p) (1/n_t + 1/n_c)) with the pooled share p.

    References
    ----------
    J. L. Fleiss, B. Levin, M. C. Paik, "Statistical methods for rates and proportions", 3rd ed. 2003, section 3.2.

    Examples
    --------
    >>> round(two_proportion_z(Proportion(1000, 100), Proportion(1000, 130)).p, 6)
    0.035488
    """
    pooled = control + treatment
    if not control.n or not treatment.n or pooled.successes in (0, pooled.n):
        return None
    spread = pooled.rate * (1.0 - pooled.rate) * (1.0 / control.n + 1.0 / treatment.n)
    difference = treatment.rate - control.rate
    z = difference / math.sqrt(spread)
    return ZTest(difference, z, 2.0 * float(ndtr(-abs(z))))


def wilson_interval(sample: Proportion, level: float = 0.95) -> Interval | None:
    """Wilson's score interval of one share.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if not sample.n:
        return None
    z = quantile(level)
    n, rate = sample.n, sample.rate
    middle = rate + z * z / (2 * n)
    width = z * math.sqrt(rate * (1.0 - rate) / n + z * z / (4 * n * n))
    scale = 1.0 + z * z / n
    # At the ends the bound is exact; rounding would leave it a hair inside or outside.
    low = 0.0 if sample.successes == 0 else (middle - width) / scale
    high = 1.0 if sample.successes == n else (middle + width) / scale
    return Interval(low, high)


def newcombe_interval(control: Proportion, treatment: Proportion, level: float = 0.95) -> Interval | None:
    """Interval of the difference of two shares, from the Wilson intervals of both.

    References
    ----------
    R. G. Newcombe, "Interval estimation for the difference between independent proportions: comparison of
    eleven methods", Statistics in Medicine 17 (1998), method 10.
    """
    of_control, of_treatment = wilson_interval(control, level), wilson_interval(treatment, level)
    if of_control is None or of_treatment is None:
        return None
    difference = treatment.rate - control.rate
    below = math.hypot(treatment.rate - of_treatment.low, of_control.high - control.rate)
    above = math.hypot(of_treatment.high - treatment.rate, control.rate - of_control.low)
    return Interval(difference - below, difference + above)


def wald_interval(control: Proportion, treatment: Proportion, level: float = 0.95) -> Interval | None:
    """Interval of the difference of two shares with the normal approximation; too narrow for few or rare events.

    References
    ----------
    A. Agresti, "Categorical Data Analysis", 3rd ed. 2013, section 3.1.
    """
    if not control.n or not treatment.n:
        return None
    spread = sum(arm.rate * (1.0 - arm.rate) / arm.n for arm in (control, treatment))
    return normal_interval(Effect(treatment.rate - control.rate, spread, control.n + treatment.n), level)


def normal_interval(effect: Effect, level: float = 0.95) -> Interval:
    """Estimate plus and minus the normal quantile times its standard error."""
    reach = quantile(level) * math.sqrt(effect.variance)
    return Interval(effect.value - reach, effect.value + reach)


def normal_p(effect: Effect) -> float:
    """Two-sided p value with the normal approximation."""
    return 2.0 * float(ndtr(-abs(effect.z)))


def welch_t(control: Mean, treatment: Mean, level: float = 0.95) -> WelchTest | None:
    """Welch's t-test of two averages; None while an arm has fewer than two users or nothing varies."""
    estimate = of_means(control, treatment)
    return None if isinstance(estimate, str) else welch(estimate, level)


def welch(estimate: Estimate, level: float = 0.95, *, relative: bool = False) -> WelchTest | None:
    """Welch's t-test of any two independent arms (averages, ratios, adjusted averages).

    With `relative` the lift is tested; None where the control is too near to zero for one.

    References
    ----------
    B. L. Welch, "The generalization of 'Student's' problem when several different population variances are
    involved", Biometrika 34 (1947).
    """
    effect = estimate.relative() if relative else estimate.absolute()
    if isinstance(effect, str):
        return None
    df, t, error = estimate.freedom, effect.z, math.sqrt(effect.variance)
    reach = float(stdtrit(df, 0.5 + _checked(level) / 2)) * error
    p = 2.0 * float(stdtr(df, -abs(t)))
    return WelchTest(effect.value, t, df, p, Interval(effect.value - reach, effect.value + reach))


def quantile(level: float) -> float:
    """Number of standard errors on each side of a two-sided interval of this level."""
    return float(ndtri(0.5 + _checked(level) / 2))


def _checked(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise ValueError(f"a level between 0 and 1, not {level}")
    return level
