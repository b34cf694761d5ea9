"""Bayesian values for reading: the probability to be best, and what choosing an arm would lose on average.

They never decide anything. "Stop when the probability exceeds 95 %", watched a hundred times, stops more than half of
the experiments without any difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from models.experiments.crossing import legendre
from models.experiments.sums import Floats

_NODES = 32
_REACH = 9.0


class Posterior(NamedTuple):
    """Of one arm: probability to be the best, and expected loss against the best, in the metric's unit."""

    best: float
    loss: float


def posterior(arms: Sequence[tuple[float, float]], *, higher_is_better: bool = True) -> list[Posterior]:
    """Values of all arms, from (average, variance of the average), with flat priors.

    Notes
    -----
    The posterior of an average is normal (Bernstein and von Mises). With F_i its distribution:
    P(i is best) = integral of prod_{j != i} F_j dF_i; expected loss of i = integral of F_i (1 - prod_{j != i} F_j) dx.

    References
    ----------
    C. Stucchio, "Bayesian A/B testing at VWO", 2015 (expected loss).

    Examples
    --------
    >>> [round(value, 4) for value in posterior([(0.10, 0.0001), (0.13, 0.0001)])[1]]
    [0.9831, 0.0001]
    """
    sign = 1.0 if higher_is_better else -1.0
    means = sign * np.array([mean for mean, _ in arms])
    errors = np.sqrt(np.array([variance for _, variance in arms]))
    widest = float(errors.max())
    if not widest:
        most = means == means.max()
        return [
            Posterior(float(one) / int(most.sum()), float(means.max() - mean))
            for one, mean in zip(most, means, strict=True)
        ]
    errors = np.maximum(errors, 1e-9 * widest)
    low, x, weights = _grid(means, errors)
    z = (x[None, :] - means[:, None]) / errors[:, None]
    below = ndtr(z)
    density = np.exp(-0.5 * z * z) / (errors[:, None] * math.sqrt(2.0 * math.pi))
    found = []
    for i in range(len(arms)):
        others = np.delete(below, i, axis=0).prod(axis=0)
        best = float(weights @ (density[i] * others))
        # Below the grid the best of the others never is; there only F_i is left.
        under = (low - means[i]) / errors[i]
        rest = errors[i] * (under * ndtr(under) + math.exp(-0.5 * under * under) / math.sqrt(2.0 * math.pi))
        loss = float(weights @ (below[i] * (1.0 - others)) + rest)
        found.append(Posterior(min(1.0, best), max(0.0, loss)))
    return found


def _grid(means: Floats, errors: Floats) -> tuple[float, Floats, Floats]:
    """Start, nodes and weights where something happens: in pieces, as errors may differ by orders of magnitude."""
    low, high = (means - _REACH * errors).max(), (means + _REACH * errors).max()
    around = np.concatenate([means + step * errors for step in (-_REACH, -3.0, 0.0, 3.0, _REACH)])
    ends = np.unique(np.clip(around, low, high))
    points, weights = legendre(_NODES)
    half = np.diff(ends)[:, None] / 2.0
    middle = (ends[1:] + ends[:-1])[:, None] / 2.0
    return float(low), (middle + half * points).ravel(), (half * weights).ravel()
