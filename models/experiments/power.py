"""How many users an experiment needs, what it can see, and how many days that takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from models.experiments.always_valid import half_width, information_ratio
from models.experiments.crossing import crossing
from models.experiments.group_sequential import boundaries

Method: TypeAlias = Literal["fixed", "always-valid", "obrien-fleming", "pocock"]

METHODS: tuple[Method, ...] = ("fixed", "always-valid", "obrien-fleming", "pocock")
LOOKS = 100


@dataclass(frozen=True, slots=True)
class Design:
    """What is to be found, and how surely.

    Parameters
    ----------
    variance_control, variance_treatment : of one user's value. effect : smallest difference that matters.
    alpha : two-sided error, of each comparison. power : chance to find the effect.
    ratio : users of the treatment per user of the control.
    """

    variance_control: float
    variance_treatment: float
    effect: float
    alpha: float = 0.05
    power: float = 0.8
    ratio: float = 1.0

    @classmethod
    def of_shares(
        cls, rate: float, effect: float, alpha: float = 0.05, power: float = 0.8, ratio: float = 1.0
    ) -> Design:
        """Design for a share that goes from `rate` to `rate + effect`."""
        if not 0.0 < rate < 1.0 or not 0.0 < rate + effect < 1.0:
            raise ValueError(f"shares between 0 and 1, not {rate:g} and {rate + effect:g}")
        new = rate + effect
        return cls(rate * (1.0 - rate), new * (1.0 - new), effect, alpha, power, ratio)

    def __post_init__(self) -> None:
        sound = 0.0 < self.alpha < 1.0 and 0.0 < self.power < 1.0 and self.ratio > 0.0
        if not sound or not self.effect or min(self.variance_control, self.variance_treatment) <= 0.0:
            raise ValueError("alpha and power between 0 and 1, an effect other than 0, variances above 0")
        if self.power <= self.alpha:
            raise ValueError("a power above alpha")


def users_needed(design: Design, method: Method = "fixed", looks: int = LOOKS) -> tuple[int, int]:
    """Users of control and treatment.

    Notes
    -----
    n = (z_alpha/2 + z_power)^2 (v_c + v_t / ratio) / effect^2 in the control, times the factor of the method for as
    many equal looks. The other tail's share of the power is left out, as usual.

    References
    ----------
    S.-C. Chow, J. Shao, H. Wang, Y. Lokhnygina, "Sample size calculations in clinical research", 3rd ed. 2018,
    sections 3.2 and 4.2.

    Examples
    --------
    >>> users_needed(Design.of_shares(0.10, 0.01))
    (14749, 14749)
    """
    reach = float(ndtri(1.0 - design.alpha / 2.0) + ndtri(design.power))
    spread = design.variance_control + design.variance_treatment / design.ratio
    needed = reach**2 * spread / design.effect**2 * inflation(method, design.alpha, design.power, looks)
    return max(2, math.ceil(needed)), max(2, math.ceil(needed * design.ratio))


def power_of(design: Design, control: int, treatment: int, method: Method = "fixed", looks: int = LOOKS) -> float:
    """Chance to find the design's effect with so many users.

    Examples
    --------
    >>> design = Design.of_shares(0.10, 0.01)
    >>> [round(power_of(design, 20_000, 20_000, method), 3) for method in METHODS]
    [0.904, 0.689, 0.889, 0.823]
    """
    variance = design.variance_control / control + design.variance_treatment / treatment
    drift = abs(design.effect) / math.sqrt(variance)
    return _power(method, design.alpha, looks, drift)


def detectable(design: Design, control: int, treatment: int, method: Method = "fixed", looks: int = LOOKS) -> float:
    """Smallest effect that so many users find with the design's power (variances as in the design).

    Examples
    --------
    >>> round(detectable(Design.of_shares(0.10, 0.01), 14_749, 14_749), 4)
    0.01
    """
    variance = design.variance_control / control + design.variance_treatment / treatment
    reach = float(ndtri(1.0 - design.alpha / 2.0) + ndtri(design.power))
    return reach * math.sqrt(variance * inflation(method, design.alpha, design.power, looks))


@lru_cache(maxsize=256)
def inflation(method: Method, alpha: float = 0.05, power: float = 0.8, looks: int = LOOKS) -> float:
    """Users that a method needs, as a multiple of the fixed test's.

    Examples
    --------
    >>> [round(inflation(method), 2) for method in METHODS]
    [1.0, 1.68, 1.05, 1.28]
    """
    if method == "fixed":
        return 1.0
    least = float(ndtri(1.0 - alpha / 2.0) + ndtri(power))
    drift = brentq(lambda at: _power(method, alpha, looks, at) - power, 0.9 * least, 4.0 * max(1.0, least), xtol=1e-6)
    return float(drift / least) ** 2


@lru_cache(maxsize=256)
def bounds_of(method: Method, alpha: float, looks: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Equal looks up to the planned information, and the boundary of a method at each."""
    information = tuple(float(at) for at in np.arange(1, looks + 1) / looks)
    if method == "fixed":
        return (1.0,), (float(ndtri(1.0 - alpha / 2.0)),)
    if method == "always-valid":
        variance = 1.0 / np.array(information)
        reach = half_width(variance, information_ratio(alpha), alpha) / np.sqrt(variance)
        return information, tuple(float(bound) for bound in reach)
    return information, boundaries(method, information, alpha)


def _power(method: Method, alpha: float, looks: int, drift: float) -> float:
    if method == "fixed":
        bound = float(ndtri(1.0 - alpha / 2.0))
        return float(ndtr(drift - bound) + ndtr(-drift - bound))
    information, bounds = bounds_of(method, alpha, looks)
    return float(crossing(information, bounds, drift)[-1])


def days_to_decide(needed: int, matured: int, waiting: int, per_day: float, window_days: float) -> int | None:
    """Days until enough users have matured: those inside their window count at its end, the rest must come first.

    Parameters
    ----------
    needed : users of all arms. matured : whose window has closed. waiting : exposed, window still open.
    per_day : newly exposed users a day. window_days : the metric's conversion window.

    Returns
    -------
    int or None
        None when nobody comes any more and those who are there do not suffice.

    Examples
    --------
    >>> days_to_decide(10_000, 4_000, 2_000, per_day=500, window_days=7)
    15
    >>> days_to_decide(10_000, 10_500, 0, per_day=0, window_days=7)
    0
    """
    if matured >= needed:
        return 0
    missing = needed - matured - waiting
    if missing <= 0:
        # They came evenly over the window, so the oldest ones mature first.
        return math.ceil(window_days * (needed - matured) / waiting)
    return None if per_day <= 0.0 else math.ceil(missing / per_day + window_days)
