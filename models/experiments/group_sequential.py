"""Group-sequential tests, for experiments with a planned number of users: few costs in power, valid at every look.

The error that may be spent until a look depends only on the information observed by then; the boundary follows by
numerical integration. Each metric keeps its own clock. Between looks there is no verdict; past the plan one last look
spends what is left, and that is the end.

References
----------
K. K. G. Lan, D. L. DeMets, "Discrete sequential boundaries for clinical trials", Biometrika 70 (1983).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, TypeAlias

from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from models.experiments.crossing import FAR, Walk
from models.experiments.estimate import Effect
from models.experiments.fixed import Interval

Spending: TypeAlias = Literal["obrien-fleming", "pocock"]

STEP = 0.01  # at most one look per 1 % of the planned information


def _obrien_fleming(alpha: float, part: float) -> float:
    return 4.0 * float(ndtr(-float(ndtri(1.0 - alpha / 4.0)) / math.sqrt(part)))


def _pocock(alpha: float, part: float) -> float:
    return alpha * math.log1p((math.e - 1.0) * part)


SPENDING: Mapping[Spending, Callable[[float, float], float]] = {
    "obrien-fleming": _obrien_fleming,
    "pocock": _pocock,
}


def spent(spending: Spending, alpha: float, information: float) -> float:
    """Two-sided error that may be spent until this part of the planned information.

    Examples
    --------
    >>> round(spent("obrien-fleming", 0.05, 0.5), 6), round(spent("pocock", 0.05, 0.5), 6)
    (0.003051, 0.031006)
    """
    if information <= 0.0:
        return 0.0
    return alpha if information >= 1.0 else SPENDING[spending](alpha, information)


@dataclass(frozen=True, slots=True)
class Look:
    """One look: its information (1: as planned), the boundary in standard errors (infinite: none yet), and z."""

    information: float
    bound: float
    z: float

    @property
    def crossed(self) -> bool:
        """Whether the boundary was reached."""
        return abs(self.z) >= self.bound


@dataclass(frozen=True, slots=True)
class Clock:
    """The looks of one metric so far: a small frozen state that is stored with the experiment.

    Examples
    --------
    >>> clock = Clock("obrien-fleming").look(0.5, 2.1).look(0.505, 9.9).look(1.0, 2.1)
    >>> [(look.information, round(look.bound, 4), look.crossed) for look in clock.looks]
    [(0.5, 2.9626, False), (1.0, 1.9686, True)]
    """

    spending: Spending
    alpha: float = 0.05
    looks: tuple[Look, ...] = ()

    @property
    def verdict(self) -> Look | None:
        """The look that decided, if one did."""
        return next((look for look in self.looks if look.crossed), None)

    @property
    def last(self) -> Look | None:
        """The latest look."""
        return self.looks[-1] if self.looks else None

    @property
    def over(self) -> bool:
        """Whether no look is left: decided, or all error spent."""
        return self.verdict is not None or (self.last is not None and self.last.information >= 1.0)

    def due(self, information: float) -> bool:
        """Whether a look is allowed now: 1 % of the plan after the last one, or the plan is reached."""
        if self.over:
            return False
        before = self.last.information if self.last is not None else 0.0
        return information >= before + STEP * (1.0 - 1e-9) or (information >= 1.0 and information > before)

    def look(self, information: float, z: float) -> Clock:
        """Look, if a look is due; otherwise nothing changes."""
        if not self.due(information):
            return self
        bound = next_bound(
            self.spending, self.alpha, tuple((look.information, look.bound) for look in self.looks), information
        )
        return replace(self, looks=(*self.looks, Look(information, bound, z)))


def repeated_interval(effect: Effect, bound: float) -> Interval:
    """Interval that holds at all looks together: estimate plus and minus boundary times standard error.

    References
    ----------
    C. Jennison, B. W. Turnbull, "Interim analyses: the repeated confidence interval approach", JRSS B 51 (1989).
    """
    reach = bound * math.sqrt(effect.variance)
    return Interval(effect.value - reach, effect.value + reach)


def boundaries(spending: Spending, information: Sequence[float], alpha: float = 0.05) -> tuple[float, ...]:
    """Boundaries of looks at these parts of the planned information, in standard errors.

    Examples
    --------
    >>> [round(bound, 3) for bound in boundaries("obrien-fleming", [0.2, 0.4, 0.6, 0.8, 1.0])]
    [4.877, 3.357, 2.68, 2.29, 2.031]
    """
    done: tuple[tuple[float, float], ...] = ()
    for now in information:
        done = (*done, (now, next_bound(spending, alpha, done, now)))
    return tuple(bound for _, bound in done)


def next_bound(spending: Spending, alpha: float, done: tuple[tuple[float, float], ...], information: float) -> float:
    """Boundary of the next look, after looks (information, boundary) that did not cross theirs."""
    walk = _walk(done)
    before = spent(spending, alpha, done[-1][0]) if done else 0.0
    allowed = spent(spending, alpha, information) - before
    if allowed <= walk.beyond(information, FAR):
        return math.inf
    return float(brentq(lambda bound: walk.beyond(information, bound) - allowed, 0.0, FAR, xtol=1e-12))


@lru_cache(maxsize=1024)
def _walk(done: tuple[tuple[float, float], ...]) -> Walk:
    """Density after these looks. Kept, because each look of a clock asks for the looks before it."""
    if not done:
        return Walk.start()
    return _walk(done[:-1]).within(*done[-1])
