"""Tests and intervals that are valid at every moment, however often somebody looks.

Both are the same mixture over effects. The mSPRT mixes effects of the size of the declared minimum effect; the
asymptotic confidence sequence mixes effects of a size that makes its interval narrowest at the planned number of users.
Either is fixed by what was declared before the start, never by outcomes.

The formulas take numbers and arrays alike, so that simulations run the very code of the service.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from models.experiments.estimate import Effect
from models.experiments.fixed import Interval

# A number, or an array with one entry per world.
Values: TypeAlias = Any

DEFAULT_USERS = 5_000
LEAST_USERS_PER_ARM = 100


@dataclass(frozen=True, slots=True)
class Mixture:
    """Which effects the mixture weighs: frozen at the experiment's start and shown with its results.

    Parameters
    ----------
    tau : standard deviation of the effects, on the effect's own scale (mSPRT), or None.
    rho : the same in standard deviations of one user's contribution (confidence sequence), or None.

    Examples
    --------
    >>> round(Mixture.of_users(10_000).rho, 6)
    0.028171
    """

    tau: float | None = None
    rho: float | None = None

    def __post_init__(self) -> None:
        given = [size for size in (self.tau, self.rho) if size is not None]
        if len(given) != 1 or not 0.0 < given[0] < math.inf:
            raise ValueError("either tau or rho, above zero")

    @classmethod
    def of_effect(cls, minimum_effect: float) -> Mixture:
        """Mixture for the smallest effect that matters, in the metric's unit."""
        return cls(tau=abs(minimum_effect))

    @classmethod
    def of_users(cls, planned: int = DEFAULT_USERS, alpha: float = 0.05) -> Mixture:
        """Mixture for the planned number of users, both arms together.

        References
        ----------
        I. Waudby-Smith et al., "Time-uniform central limit theory and asymptotic confidence sequences", Annals of
        Statistics 52 (2024), appendix B.2: rho that makes the interval narrowest at a given sample.
        """
        return cls(rho=math.sqrt(information_ratio(alpha) / planned))

    def tau_sq(self, variance: Values, n: Values) -> Values:
        """Variance of the mixed effects for an estimate with this variance from n users."""
        if self.tau is not None:
            return self.tau**2
        assert self.rho is not None
        return self.rho**2 * n * variance

    def to_json(self) -> Mapping[str, float | None]:
        """What is shown and stored."""
        return {"tau": self.tau, "rho": self.rho}


def information_ratio(alpha: float = 0.05) -> float:
    """tau^2 / variance at which the interval of the mixture is narrowest (for 5 %: 7.93)."""
    return -2.0 * math.log(alpha) + math.log(-2.0 * math.log(alpha) + 1.0)


def log_evidence(value: Values, variance: Values, tau_sq: Values) -> Values:
    """Log of the mixture likelihood ratio against "no difference".

    References
    ----------
    R. Johari, P. Koomen, L. Pekelis, D. Walsh, "Always valid inference: continuous monitoring of A/B tests",
    Operations Research 70 (2022), equation 6. H. Robbins, "Statistical methods related to the law of the iterated
    logarithm", Annals of Mathematical Statistics 41 (1970).

    Examples
    --------
    >>> round(float(log_evidence(0.03, 0.0001, 0.0009)), 6)
    2.898707
    """
    together = variance + tau_sq
    return tau_sq * np.square(value) / (2.0 * variance * together) - 0.5 * np.log(together / variance)


def p_value(value: Values, variance: Values, tau_sq: Values) -> Values:
    """P value that is valid at this moment and, as a running minimum, at all."""
    return np.exp(np.minimum(0.0, -log_evidence(value, variance, tau_sq)))


def half_width(variance: Values, tau_sq: Values, alpha: float = 0.05) -> Values:
    """Half the width of the confidence sequence: the differences that the mixture does not reject.

    References
    ----------
    I. Waudby-Smith et al., Annals of Statistics 52 (2024), theorem 2.2, with tau^2 = rho^2 n variance.
    """
    together = variance + tau_sq
    return np.sqrt(variance * together / tau_sq * (np.log(together / variance) - 2.0 * math.log(alpha)))


@dataclass(frozen=True, slots=True)
class Running:
    """What is reported while an experiment runs: the smallest p so far, and the common part of all intervals.

    Examples
    --------
    >>> first = Running().seen(0.2, Interval(-1.0, 3.0))
    >>> first.seen(0.4, Interval(-0.5, 4.0))
    Running(p=0.2, low=-0.5, high=3.0)
    """

    p: float = 1.0
    low: float = -math.inf
    high: float = math.inf

    def seen(self, p: float, interval: Interval) -> Running:
        """Add a look."""
        return Running(min(self.p, p), max(self.low, interval.low), min(self.high, interval.high))

    @property
    def interval(self) -> Interval | None:
        """The common part; None when there is none: the effect is not the same at all times."""
        return Interval(self.low, self.high) if self.low <= self.high else None

    @property
    def state(self) -> Literal["nothing", "sound", "drifting"]:
        """Whether there was a look, and whether the intervals agree."""
        if math.isinf(self.low):
            return "nothing"
        return "sound" if self.low <= self.high else "drifting"


def look(effect: Effect, mixture: Mixture, alpha: float = 0.05) -> tuple[float, Interval]:
    """P value and interval of this moment.

    Examples
    --------
    >>> p, interval = look(Effect(0.01, 9.4e-6, 40_000), Mixture.of_users(40_000))
    >>> round(p, 4), round(interval.low, 5), round(interval.high, 5)
    (0.0265, 0.00069, 0.01931)
    """
    tau_sq = mixture.tau_sq(effect.variance, effect.n)
    reach = float(half_width(effect.variance, tau_sq, alpha))
    p = float(p_value(effect.value, effect.variance, tau_sq))
    return p, Interval(effect.value - reach, effect.value + reach)


def one_sided_reach(variance: Values, tau_sq: Values, alpha: float = 0.05) -> Values:
    """Reach of a bound on one side only: a guardrail asks just whether things got worse.

    Notes
    -----
    The two-sided boundary at 2 alpha. It crosses on one given side with probability at most alpha because the
    symmetric mixture splits its error in halves, up to the asymptotic approximation.
    """
    return half_width(variance, tau_sq, min(0.999, 2.0 * alpha))
