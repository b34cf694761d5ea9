"""How much a treatment changes an outcome, for whom: a linear effect, second order, one example at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.learners.base import MAX_LOG_ODDS, Weights

FloatArray = npt.NDArray[np.float64]

WARM_UP: Final = 64
AVERAGE_VARIANCE: Final = 1.0


class LinearEffect:
    """Bayesian linear effect of a treatment beside a main effect that is given.

    Parameters
    ----------
    precision : prior precision of each standardised weight; the larger, the more alike all users are thought to be.
    on_odds : the effect is added to log-odds; otherwise to the probability (in units of the mean p (1 - p)).

    Notes
    -----
    With ``d = treated - share of treated`` and the main effect ``m = P(y = 1 | x)`` known, ``P(y = 1 | x, d)`` is
    ``sigmoid(logit(m) + d tau(x))`` or ``m + d v tau(x)``. Only ``tau`` is learned, so that it can be held much tighter
    than the main effect: effects are small, and the difference of two separate models is mostly their noise. Since `m`
    was predicted before the example was learned, its own error is not fitted (an R-learner without folds). Updates
    are recursive Laplace steps, O(d^2). Features are standardised by the first `WARM_UP` examples, and anew at
    counts 128, 256, ... by an exact re-expression.

    References
    ----------
    X. Nie, S. Wager, "Quasi-oracle estimation of heterogeneous treatment effects", Biometrika 2021.

    Examples
    --------
    >>> effect = LinearEffect(10.0)
    >>> for i in range(2000):  # helps where x is 1, harms where it is 0
    ...     x, d = float(i // 2 % 2), (i % 2) - 0.5
    ...     effect.learn_one(np.array([x]), int((i // 4) % 10 < (7 if (d > 0) == (x > 0) else 3)), 0.5, d)
    >>> low, high = (effect.uplift(np.array([x]), 0.5, 0.5) for x in (0.0, 1.0))
    >>> low < -0.2 < 0.2 < high
    True
    """

    def __init__(self, precision: float, *, on_odds: bool = True) -> None:
        self.precision = precision
        self.on_odds = on_odds
        self.dimensions = 0
        self.count = 0
        self._mean: FloatArray = np.zeros(0)
        self._sum_sq: FloatArray = np.zeros(0)
        self._center: FloatArray = np.zeros(0)
        self._scale: FloatArray = np.ones(0)
        self._fixed: npt.NDArray[np.bool_] = np.zeros(0, dtype=bool)
        self._theta: FloatArray = np.zeros(1)
        self._cov: FloatArray = np.array([[AVERAGE_VARIANCE]])
        self._spread = 0.25
        self._kept: list[tuple[FloatArray, int, float, float]] = []

    def grow(self, indicators: Sequence[bool]) -> None:
        """Take more features, which were 0 before; `indicators` (of all features) are neither centred nor scaled."""
        more = len(indicators) - self.dimensions
        if more <= 0:
            return
        self.dimensions = len(indicators)
        self._mean, self._sum_sq = np.pad(self._mean, (0, more)), np.pad(self._sum_sq, (0, more))
        self._center = np.pad(self._center, (0, more))
        self._scale = np.pad(self._scale, (0, more), constant_values=1.0)
        self._fixed = np.array(indicators, dtype=bool)
        self._theta = np.pad(self._theta, (0, more))
        cov = np.eye(self.dimensions + 1) / self.precision
        cov[:-more, :-more] = self._cov
        self._cov = cov
        self._kept = [(np.pad(x, (0, self.dimensions - len(x))), y, base, d) for x, y, base, d in self._kept]

    def learn_one(self, x: FloatArray, y: int, base: float, d: float) -> None:
        """Learn one outcome.

        Parameters
        ----------
        x, y : features and outcome. base : P(y = 1 | x) as it was predicted before. d : treated - share of treated.
        """
        if len(x) > self.dimensions:
            self.grow([False] * len(x))
        self.count += 1
        delta = x - self._mean
        self._mean += delta / self.count
        self._sum_sq += delta * (x - self._mean)
        self._spread += (base * (1.0 - base) - self._spread) / (self.count + 1)
        if self.count < WARM_UP:
            self._kept.append((x.copy(), y, base, d))
            return
        if self.count & (self.count - 1) == 0:
            self._rescale()
            for kept in self._kept:
                self._step(*kept)
            self._kept = []
        self._step(x, y, base, d)

    def uplift(self, x: FloatArray, base: float, share: float) -> float:
        """P(y = 1 | x, treated) - P(y = 1 | x, not treated), where `share` of all are treated."""
        x = x[: self.dimensions]
        tau = float(self._theta[0] + self._theta[1:] @ ((x - self._center) / self._scale))
        if not self.on_odds:
            return min(max(self._spread * tau, -1.0), 1.0)
        odds = _logit(base)
        return _sigmoid(odds + (1.0 - share) * tau) - _sigmoid(odds - share * tau)

    @property
    def spread(self) -> float:
        """Mean p (1 - p): what an effect on the rate is counted in."""
        return self._spread

    def linear(self) -> Weights:
        """The effect as weights over features as they come."""
        weights = self._theta[1:] / self._scale
        return Weights(weights, float(self._theta[0] - weights @ self._center))

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        return {
            "kind": [self.precision, float(self.on_odds)],
            "count": self.count,
            "spread": self._spread,
            "mean": self._mean.copy(),
            "sum_sq": self._sum_sq.copy(),
            "center": self._center.copy(),
            "scale": self._scale.copy(),
            "fixed": self._fixed.astype(np.float64),
            "theta": self._theta.copy(),
            "cov": self._cov.copy(),
            "kept": [[x.copy(), y, base, d] for x, y, base, d in self._kept],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted.

        Raises
        ------
        IncompatibleSnapshotError
            The state is of another effect.
        """
        if state.get("kind") != [self.precision, float(self.on_odds)]:
            raise IncompatibleSnapshotError("not a state of this effect")
        self.count, self._spread = state["count"], state["spread"]
        self._mean, self._sum_sq = state["mean"].copy(), state["sum_sq"].copy()
        self._center, self._scale = state["center"].copy(), state["scale"].copy()
        self._fixed = state["fixed"].astype(bool)
        self._theta, self._cov = state["theta"].copy(), state["cov"].copy()
        self.dimensions = len(self._mean)
        self._kept = [(x.copy(), y, base, d) for x, y, base, d in state["kept"]]

    def _step(self, x: FloatArray, y: int, base: float, d: float) -> None:
        z = np.empty(self.dimensions + 1)
        z[0] = d
        z[1:] = (x - self._center) / self._scale * d
        shift = float(self._theta @ z)
        if self.on_odds:
            p = _sigmoid(_logit(base) + shift)
            h = p * (1.0 - p)
        else:
            p, h = base + self._spread * shift, self._spread
        v = self._cov @ z
        damped = v / (1.0 + h * float(z @ v))
        self._cov -= np.outer(v, h * damped)
        self._theta += damped * (y - p)

    def _rescale(self) -> None:
        variance = self._sum_sq / self.count
        deviation = np.where(variance > 1e-12, np.sqrt(np.maximum(variance, 1e-12)), 1.0)
        center = np.where(self._fixed, 0.0, self._mean)
        scale = np.where(self._fixed, 1.0, deviation)
        if self.count > WARM_UP:
            change = np.diag(np.concatenate(([1.0], scale / self._scale)))
            change[0, 1:] = (center - self._center) / self._scale
            self._theta = change @ self._theta
            self._cov = change @ self._cov @ change.T
        self._center, self._scale = center, scale


def _logit(p: float) -> float:
    p = min(max(p, 1e-9), 1.0 - 1e-9)
    return float(np.log(p / (1.0 - p)))


def _sigmoid(odds: float) -> float:
    return float(0.5 * (1.0 + np.tanh(0.5 * min(max(odds, -MAX_LOG_ODDS), MAX_LOG_ODDS))))
