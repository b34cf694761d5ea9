"""Logistic regression by AdaGrad in plain arrays: first-order steps, a step size for each weight."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.learners.base import MAX_LOG_ODDS, Weights, sigmoid

FloatArray = npt.NDArray[np.float64]

NAME: Final = "adagrad"
RATE: Final = 0.1


class AdaGradLogistic:
    """Logistic regression over standardised features with a step size per weight.

    Parameters
    ----------
    dimensions : number of features; :meth:`grow` adds more.

    Notes
    -----
    Gradients are taken of features standardised by the running mean and variance, cut at +-5. O(d) an example.

    References
    ----------
    J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for online learning and stochastic optimization",
    JMLR 2011.

    Examples
    --------
    >>> learner = AdaGradLogistic(1)
    >>> learner.learn_many(np.array([[0.0], [1.0]] * 200), np.array([0, 1] * 200))
    >>> bool(learner.predict_proba_many(np.array([[1.0]]))[0] > 0.8)
    True
    """

    def __init__(self, dimensions: int) -> None:
        self.name = NAME
        self.dimensions = dimensions
        self.count = 0
        self.mean: FloatArray = np.zeros(dimensions)
        self.sum_sq: FloatArray = np.zeros(dimensions)
        self._fixed: npt.NDArray[np.bool_] = np.zeros(dimensions, dtype=bool)
        self._some_fixed = False
        self._theta: FloatArray = np.zeros(dimensions + 1)
        self._squares: FloatArray = np.full(dimensions + 1, 1e-8)

    def grow(self, indicators: Sequence[bool]) -> None:
        """Take more features, see :meth:`models.learners.second_order.SecondOrderLogistic.grow`."""
        more = len(indicators) - self.dimensions
        if more <= 0:
            return
        self.dimensions = len(indicators)
        self.mean, self.sum_sq = np.pad(self.mean, (0, more)), np.pad(self.sum_sq, (0, more))
        self._fixed = np.array(indicators, dtype=bool)
        self._some_fixed = bool(self._fixed.any())
        self._theta = np.pad(self._theta, (0, more))
        self._squares = np.pad(self._squares, (0, more), constant_values=1e-8)

    def learn_one(self, x: FloatArray, y: int) -> None:
        self.count += 1
        delta = x - self.mean
        self.mean += delta / self.count
        self.sum_sq += delta * (x - self.mean)
        z = np.empty(self.dimensions + 1)
        z[0] = 1.0
        scaled = (x - self._center()) / self._deviation()
        np.minimum(np.maximum(scaled, -5.0), 5.0, out=z[1:])
        odds = min(max(float(self._theta @ z), -MAX_LOG_ODDS), MAX_LOG_ODDS)
        gradient = (1.0 / (1.0 + exp(-odds)) - y) * z
        self._squares += gradient * gradient
        self._theta -= RATE * gradient / np.sqrt(self._squares)

    def learn_many(self, x: FloatArray, y: npt.NDArray[np.int64]) -> None:
        for row, label in zip(x, y.tolist(), strict=True):
            self.learn_one(row, label)

    def predict_proba_many(self, x: FloatArray) -> FloatArray:
        return sigmoid(self.linear().log_odds(x))

    def linear(self) -> Weights:
        weights = self._theta[1:] / self._deviation()
        return Weights(weights, float(self._theta[0] - weights @ self._center()))

    def snapshot(self) -> dict[str, Any]:
        return {
            "name": NAME,
            "count": self.count,
            "mean": self.mean.copy(),
            "sum_sq": self.sum_sq.copy(),
            "fixed": self._fixed.astype(np.float64),
            "theta": self._theta.copy(),
            "squares": self._squares.copy(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        try:
            if state["name"] != NAME or len(state["theta"]) != self.dimensions + 1:
                raise IncompatibleSnapshotError(f"not a state of {NAME} over {self.dimensions} features")
            self.count = state["count"]
            self.mean, self.sum_sq = state["mean"].copy(), state["sum_sq"].copy()
            self._fixed = state["fixed"].astype(bool)
            self._some_fixed = bool(self._fixed.any())
            self._theta, self._squares = state["theta"].copy(), state["squares"].copy()
        except KeyError as error:
            raise IncompatibleSnapshotError(f"state of {NAME} without {error}") from error

    def _center(self) -> FloatArray:
        return np.where(self._fixed, 0.0, self.mean) if self._some_fixed else self.mean

    def _deviation(self) -> FloatArray:
        variance = self.sum_sq / max(self.count, 1)
        variance[variance <= 1e-12] = 1.0
        found = np.sqrt(variance)
        if self._some_fixed:
            found[self._fixed] = 1.0
        return found


LEARNERS = {NAME: AdaGradLogistic}
