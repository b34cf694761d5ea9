"""Statistics of experiments from sums: counts are stored, results are worked out when somebody looks.

Differences are treatment minus control throughout. A result is None where the counts do not carry one yet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scipy.special import chdtrc, ndtr, ndtri, stdtr, stdtrit


@dataclass(frozen=True, slots=True)
class Proportion:
    """Sufficient statistic of a share: users, and those of them with the event.

    Examples
    --------
    >>> (Proportion(4, 1) + Proportion(6, 2)).rate
    0.3
    """

    n: int
    successes: int

    def __post_init__(self) -> None:
        if not 0 <= self.successes <= self.n:
            raise ValueError(f"{self.successes} of {self.n} is no share")

    def __add__(self, other: Proportion) -> Proportion:
        return Proportion(self.n + other.n, self.successes + other.successes)

    @property
    def rate(self) -> float:
        """Share of the users, 0 without any."""
        return self.successes / self.n if self.n else 0.0


@dataclass(frozen=True, slots=True)
class Mean:
    """Sufficient statistic of an average: users, sum and sum of squares of their values (integers: exact).

    Examples
    --------
    >>> (Mean(2, 300, 50_000) + Mean(1, 300, 90_000)).variance
    10000.0
    """

    n: int
    total: int | float
    total_sq: int | float

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.n + other.n, self.total + other.total, self.total_sq + other.total_sq)

    @property
    def mean(self) -> float:
        """Average per user, 0 without any."""
        return self.total / self.n if self.n else 0.0

    @property
    def variance(self) -> float:
        """Sample variance, 0 with fewer than two users."""
        if self.n < 2:
            return 0.0
        # In this order integers lose nothing before the one division.
        return max(0.0, (self.n * self.total_sq - self.total * self.total) / (self.n * (self.n - 1)))


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
    z = _quantile(level)
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


def welch_t(control: Mean, treatment: Mean, level: float = 0.95) -> WelchTest | None:
    """Welch's t-test of two averages; None while an arm has fewer than two users or nothing varies.

    References
    ----------
    B. L. Welch, "The generalization of 'Student's' problem when several different population variances are
    involved", Biometrika 34 (1947).
    """
    if control.n < 2 or treatment.n < 2:
        return None
    of_control, of_treatment = control.variance / control.n, treatment.variance / treatment.n
    squared = of_control + of_treatment
    if squared <= 0.0:
        return None
    df = squared**2 / (of_control**2 / (control.n - 1) + of_treatment**2 / (treatment.n - 1))
    difference, error = treatment.mean - control.mean, math.sqrt(squared)
    t = difference / error
    reach = float(stdtrit(df, 0.5 + level / 2)) * error
    p = 2.0 * float(stdtr(df, -abs(t)))
    return WelchTest(difference, t, df, p, Interval(difference - reach, difference + reach))


def srm_p(counts: Sequence[int], weights: Sequence[float]) -> float | None:
    """Test the sample ratio: the p value that as many users came to each arm as the weights say.

    A small value means that users were lost or sent astray on the way: the result must not be trusted.

    References
    ----------
    A. Fabijan et al., "Diagnosing sample ratio mismatch in online controlled experiments", KDD 2019.

    Examples
    --------
    >>> round(srm_p([5_000, 5_200], [0.5, 0.5]), 4)
    0.0477
    """
    if len(counts) != len(weights) or len(counts) < 2 or min(weights) <= 0.0:
        raise ValueError("a positive weight for each of at least two arms")
    n, share = sum(counts), math.fsum(weights)
    if not n:
        return None
    expected = [n * weight / share for weight in weights]
    statistic = math.fsum((count - mean) ** 2 / mean for count, mean in zip(counts, expected, strict=True))
    return float(chdtrc(len(counts) - 1, statistic))


def _quantile(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise ValueError(f"a level between 0 and 1, not {level}")
    return float(ndtri(0.5 + level / 2))
