"""What an experiment says about two arms before any test: their averages, the difference, its variance.

Every test and interval (fixed, always-valid, group-sequential) starts from an `Effect`. Differences are treatment
minus control throughout. Where the counts carry no estimate yet, the reason is returned instead (a `Shortage` code).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from models.experiments.sums import Mean, Moments, Proportion, Shortage

LEAST_RATIO_USERS = 100
NEAR_ZERO_ERRORS = 3.0


class Effect(NamedTuple):
    """A difference, the variance of its estimate, and the users of both arms on which it rests."""

    value: float
    variance: float
    n: int

    @property
    def z(self) -> float:
        """The difference in standard errors."""
        return self.value / math.sqrt(self.variance)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Averages of two independent arms and the variances of these averages (squares of their standard errors).

    Examples
    --------
    >>> two = of_shares(Proportion(1000, 100), Proportion(1000, 130))
    >>> round(two.absolute().z, 6), round(two.relative().value, 6)
    (2.105069, 0.3)
    """

    control: float
    treatment: float
    variance_control: float
    variance_treatment: float
    n_control: int
    n_treatment: int

    def absolute(self) -> Effect:
        """Difference of the averages."""
        variance = self.variance_control + self.variance_treatment
        return Effect(self.treatment - self.control, variance, self.n_control + self.n_treatment)

    def relative(self) -> Effect | Shortage:
        """Lift: the difference as a part of the control's average, by the delta method.

        References
        ----------
        A. Deng, U. Knoblich, J. Lu, "Applying the delta method in metric analytics", KDD 2018, section 3.
        """
        if abs(self.control) <= NEAR_ZERO_ERRORS * math.sqrt(self.variance_control):
            return "control_near_zero"
        quotient = self.treatment / self.control
        variance = (self.variance_treatment + quotient**2 * self.variance_control) / self.control**2
        if variance <= 0.0:
            # Nobody in the treatment did anything: the delta method has no line to follow.
            return "no_variance"
        lift = (self.treatment - self.control) / abs(self.control)
        return Effect(lift, variance, self.n_control + self.n_treatment)

    @property
    def freedom(self) -> float:
        """Degrees of freedom after Welch and Satterthwaite."""
        of_control, of_treatment = self.variance_control, self.variance_treatment
        below = of_control**2 / (self.n_control - 1) + of_treatment**2 / (self.n_treatment - 1)
        return (of_control + of_treatment) ** 2 / below


def checked(estimate: Estimate) -> Estimate | Shortage:
    """The estimate, or why it is none."""
    if not min(estimate.n_control, estimate.n_treatment):
        return "no_users"
    if min(estimate.n_control, estimate.n_treatment) < 2:
        return "too_few_users"
    if estimate.variance_control + estimate.variance_treatment <= 0.0:
        return "no_variance"
    return estimate


def of_shares(control: Proportion, treatment: Proportion) -> Estimate | Shortage:
    """Two shares; variance p (1 - p) / n in each arm."""
    of_control, of_treatment = (arm.rate * (1.0 - arm.rate) / arm.n if arm.n else 0.0 for arm in (control, treatment))
    return checked(Estimate(control.rate, treatment.rate, of_control, of_treatment, control.n, treatment.n))


def of_means(control: Mean, treatment: Mean) -> Estimate | Shortage:
    """Two averages; sample variance / n in each arm."""
    of_control, of_treatment = (arm.variance / arm.n if arm.n else 0.0 for arm in (control, treatment))
    return checked(Estimate(control.mean, treatment.mean, of_control, of_treatment, control.n, treatment.n))


def of_ratios(control: Moments, treatment: Moments) -> Estimate | Shortage:
    """Two ratios of sums (value 0 over value 1), such as clicks per page view, by the delta method.

    Notes
    -----
    For R = sum a / sum b: variance (s_aa - 2 R s_ab + R^2 s_bb) / (n mean(b)^2), where the unit is the user.

    References
    ----------
    A. Deng, U. Knoblich, J. Lu, "Applying the delta method in metric analytics", KDD 2018.

    Examples
    --------
    >>> of_ratios(Moments.of([(1, 2), (0, 3)]), Moments.of([(1, 1), (2, 3)]))
    'too_few_users'
    """
    for arm in (control, treatment):
        short = ratio_shortage(arm)
        if short is not None:
            return short
    (first, of_first), (second, of_second) = (_ratio(arm) for arm in (control, treatment))
    return checked(Estimate(first, second, of_first, of_second, control.n, treatment.n))


def ratio_shortage(arm: Moments) -> Shortage | None:
    """Why the arm's ratio can not be trusted yet, if so."""
    if not arm.n:
        return "no_users"
    if arm.n < LEAST_RATIO_USERS:
        return "too_few_users"
    error = math.sqrt(arm.covariance(1, 1) / arm.n)
    return "denominator_near_zero" if abs(arm.mean(1)) <= NEAR_ZERO_ERRORS * error else None


def _ratio(arm: Moments) -> tuple[float, float]:
    ratio = arm.sums[0] / arm.sums[1]
    spread = arm.covariance(0, 0) - 2.0 * ratio * arm.covariance(0, 1) + ratio**2 * arm.covariance(1, 1)
    return ratio, max(0.0, spread) / (arm.n * arm.mean(1) ** 2)
