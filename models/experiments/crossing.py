"""Numerical integration of a test statistic that is looked at several times.

The score S(t) = Z(t) sqrt(t) of a test with information t is a random walk with normal steps. From look to look its
density over the region where nothing was decided yet is carried on a Gauss-Legendre grid: the recursion of Armitage,
McPherson and Rowe.

References
----------
P. Armitage, C. K. McPherson, B. C. Rowe, "Repeated significance tests on accumulating data", JRSS A 132 (1969).
C. Jennison, B. W. Turnbull, "Group Sequential Methods with Applications to Clinical Trials", 1999, chapter 19.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtr

from models.experiments.sums import Floats

# Beyond this many standard errors nothing happens that a double could see in a probability of 5 %.
FAR = 8.5
_SMALLEST, _LARGEST = 32, 256


@dataclass(frozen=True, slots=True)
class Walk:
    """Where the score may be at a look, given that nothing was decided until then.

    Parameters
    ----------
    information : of the last look. nodes : scores. mass : probability at each of them.
    """

    information: float
    nodes: Floats
    mass: Floats

    @classmethod
    def start(cls) -> Walk:
        """Before the first look: at zero, for certain."""
        return cls(0.0, np.zeros(1), np.ones(1))

    def beyond(self, information: float, bound: float, drift: float = 0.0) -> float:
        """Probability to be outside +-bound (in standard errors) at the next look."""
        step = information - self.information
        middle = self.nodes + drift * step
        reach, spread = bound * math.sqrt(information), math.sqrt(step)
        return float(self.mass @ (ndtr((middle - reach) / spread) + ndtr((-reach - middle) / spread)))

    def within(self, information: float, bound: float, drift: float = 0.0) -> Walk:
        """Go on to the next look and stay inside +-bound."""
        step = information - self.information
        spread = math.sqrt(step)
        reach = min(bound * math.sqrt(information), FAR * math.sqrt(information) + abs(drift) * information)
        # Nodes half a standard deviation of a step apart, nearer at the ends.
        wanted = 16 * math.ceil((16 + 4.0 * reach / spread) / 16)
        points, weights = legendre(min(_LARGEST, max(_SMALLEST, wanted)))
        nodes = points * reach
        gaps = (nodes[:, None] - (self.nodes + drift * step)[None, :]) / spread
        density = np.exp(-0.5 * gaps * gaps) @ self.mass / (spread * math.sqrt(2.0 * math.pi))
        return Walk(information, nodes, density * weights * reach)


def crossing(information: Sequence[float], bounds: Sequence[float], drift: float = 0.0) -> Floats:
    """Probability to have crossed by each look.

    Parameters
    ----------
    information : of the looks, as parts of the planned information. bounds : in standard errors.
    drift : expected z value at information 1; 0 under the null hypothesis.

    Examples
    --------
    >>> crossing([0.5, 1.0], [1.96, 1.96]).round(4).tolist()
    [0.05, 0.0831]
    """
    walk, found, total = Walk.start(), [], 0.0
    for now, bound in zip(information, bounds, strict=True):
        total += walk.beyond(now, bound, drift)
        found.append(total)
        walk = walk.within(now, bound, drift)
    return np.array(found)


@lru_cache(maxsize=32)
def legendre(number: int) -> tuple[Floats, Floats]:
    """Nodes and weights of Gauss and Legendre's integration on [-1, 1]."""
    points, weights = np.polynomial.legendre.leggauss(number)
    return points, weights
