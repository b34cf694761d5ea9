"""Second-order online logistic regression: one pass, full covariance, close to a batch fit."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.learners.base import MAX_LOG_ODDS, Weights, sigmoid

FloatArray = npt.NDArray[np.float64]

WARM_UP: Final = 256
BIAS_VARIANCE: Final = 100.0


def laplace_step(theta: FloatArray, cov: FloatArray, z: FloatArray, y: float) -> None:
    """One recursive Laplace (extended Kalman) update, in place.

    Parameters
    ----------
    theta, cov : mean (d,) and covariance (d, d) of the Gaussian posterior.
    z : features with a leading 1 for the bias, shape (d,).
    y : 0 or 1.

    Notes
    -----
    With ``p = sigmoid(theta.z)`` and ``h = p (1 - p)``: ``cov -= h (cov z)(cov z)' / (1 + h z' cov z)`` and
    ``theta += cov z (y - p)``. O(d^2).
    """
    odds = min(max(float(theta @ z), -MAX_LOG_ODDS), MAX_LOG_ODDS)
    p = 1.0 / (1.0 + exp(-odds))
    h = p * (1.0 - p)
    v = cov @ z
    damped = v / (1.0 + h * float(z @ v))
    cov -= v[:, None] * (h * damped)
    theta += damped * (y - p)


class SecondOrderLogistic:
    """Online logistic regression with a Gaussian posterior over the weights (recursive Laplace).

    Parameters
    ----------
    dimensions : number of features.
    precision : prior precision of each standardised weight. 1 is a weak prior; some hundreds keep the weights
        small until thousands of labels speak (an insurance against drift).
    name : registry name.

    Notes
    -----
    Standardisation is online: running mean and variance are taken over at counts 2, 4, 8, ... Up to
    ``WARM_UP`` examples the posterior is then built again from the examples kept; later it is re-expressed
    exactly (an affine map of mean and covariance), so that predictions do not jump. Memory O(d^2 + WARM_UP
    d).

    References
    ----------
    D. J. Spiegelhalter, S. L. Lauritzen, "Sequential updating of conditional probabilities on directed
    graphical structures", 1990. O. Chapelle, L. Li, "An empirical evaluation of Thompson sampling", 2011
    (algorithm 3).

    Examples
    --------
    >>> learner = SecondOrderLogistic(1)
    >>> learner.learn_many(np.array([[0.0], [1.0], [0.1], [0.9]] * 50), np.array([0, 1, 0, 1] * 50))
    >>> learner.predict_proba_many(np.array([[0.0], [1.0]])).round(2).tolist()
    [0.03, 0.98]
    """

    def __init__(self, dimensions: int, precision: float = 1.0, name: str = "second_order") -> None:
        self.name = name
        self.dimensions = dimensions
        self.precision = precision
        self.count = 0
        self.mean: FloatArray = np.zeros(dimensions)
        self.sum_sq: FloatArray = np.zeros(dimensions)
        self._center: FloatArray = np.zeros(dimensions)
        self._scale: FloatArray = np.ones(dimensions)
        self._fixed: npt.NDArray[np.bool_] = np.zeros(dimensions, dtype=bool)
        self._theta, self._cov = self._prior()
        self._kept_x: list[FloatArray] = []
        self._kept_y: list[float] = []

    def grow(self, indicators: Sequence[bool]) -> None:
        """Take more features, which were 0 in every example before: their weights are as the prior has them.

        Parameters
        ----------
        indicators : for **all** features, whether they are 0 or 1 and to be neither centred nor scaled. A rare one
            would otherwise count in units of its small deviation, and its weight would hardly be held by the prior.
        """
        more = len(indicators) - self.dimensions
        if more <= 0:
            return
        self.dimensions = len(indicators)
        self.mean, self.sum_sq = np.pad(self.mean, (0, more)), np.pad(self.sum_sq, (0, more))
        self._center = np.pad(self._center, (0, more))
        self._scale = np.pad(self._scale, (0, more), constant_values=1.0)
        self._fixed = np.array(indicators, dtype=bool)
        self._theta = np.pad(self._theta, (0, more))
        cov = np.eye(self.dimensions + 1) / self.precision
        cov[:-more, :-more] = self._cov
        self._cov = cov
        self._kept_x = [np.pad(x, (0, more)) for x in self._kept_x]

    def learn_one(self, x: FloatArray, y: float) -> None:
        self.count += 1
        delta = x - self.mean
        self.mean += delta / self.count
        self.sum_sq += delta * (x - self.mean)
        if self.count <= WARM_UP:
            self._kept_x.append(np.array(x))
            self._kept_y.append(y)
        if self.count & (self.count - 1) == 0 and self.count > 1:
            self._rescale()
            if self.count <= WARM_UP:
                return  # rebuilt from the kept examples, this one among them
        z = np.empty(self.dimensions + 1)
        z[0] = 1.0
        z[1:] = (x - self._center) / self._scale
        self._step(z, y)

    def learn_many(self, x: FloatArray, y: npt.NDArray[np.int64]) -> None:
        for row, label in zip(x, y.tolist(), strict=True):
            self.learn_one(row, label)

    def predict_proba_many(self, x: FloatArray) -> FloatArray:
        return sigmoid(self.linear().log_odds(x))

    def linear(self) -> Weights:
        weights = self._theta[1:] / self._scale
        return Weights(weights, float(self._theta[0] - weights @ self._center))

    def snapshot(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "precision": self.precision,
            "count": self.count,
            "mean": self.mean.copy(),
            "sum_sq": self.sum_sq.copy(),
            "center": self._center.copy(),
            "scale": self._scale.copy(),
            "theta": self._theta.copy(),
            "cov": self._cov.copy(),
            "fixed": self._fixed.astype(np.float64),
            "kept_x": np.array(self._kept_x).reshape(len(self._kept_x), self.dimensions),
            "kept_y": list(self._kept_y),
        }

    def restore(self, state: dict[str, Any]) -> None:
        try:
            same = (state["name"], state["precision"]) == (self.name, self.precision)
            if not same or state["theta"].shape != self._theta.shape:
                raise IncompatibleSnapshotError(f"not a state of {self.name} over {self.dimensions} features")
            self.count = state["count"]
            self.mean, self.sum_sq = state["mean"].copy(), state["sum_sq"].copy()
            self._center, self._scale = state["center"].copy(), state["scale"].copy()
            self._theta, self._cov = state["theta"].copy(), state["cov"].copy()
            # States from before features could be fixed have none.
            self._fixed = state.get("fixed", np.zeros(self.dimensions)).astype(bool)
            self._kept_x, self._kept_y = list(state["kept_x"]), list(state["kept_y"])
        except KeyError as error:
            raise IncompatibleSnapshotError(f"state of {self.name} without {error}") from error

    def deviation(self) -> FloatArray:
        """Return the standard deviation per feature, 1 where it does not vary."""
        variance = self.sum_sq / max(self.count, 1)
        return np.where(variance > 1e-12, np.sqrt(np.maximum(variance, 1e-12)), 1.0)

    def _prior(self) -> tuple[FloatArray, FloatArray]:
        cov = np.eye(self.dimensions + 1) / self.precision
        cov[0, 0] = BIAS_VARIANCE
        return np.zeros(self.dimensions + 1), cov

    def _rescale(self) -> None:
        center = np.where(self._fixed, 0.0, self.mean)
        scale = np.where(self._fixed, 1.0, self.deviation())
        if self.count > WARM_UP:
            change = np.diag(np.concatenate(([1.0], scale / self._scale)))
            change[0, 1:] = (center - self._center) / self._scale
            self._theta = change @ self._theta
            self._cov = change @ self._cov @ change.T
            self._center, self._scale = center, scale
            self._kept_x, self._kept_y = [], []
            return
        self._center, self._scale = center, scale
        self._theta, self._cov = self._prior()
        for x, y in zip(self._kept_x, self._kept_y, strict=True):
            self._step(np.concatenate(([1.0], (x - center) / scale)), y)

    def _step(self, z: FloatArray, y: float) -> None:
        laplace_step(self._theta, self._cov, z, y)


class SecondOrderLinear(SecondOrderLogistic):
    """Online linear regression with a Gaussian posterior over the weights: recursive least squares.

    Parameters
    ----------
    dimensions, precision, name : as of :class:`SecondOrderLogistic`; outcomes are thought of in units of their noise.

    Examples
    --------
    >>> learner = SecondOrderLinear(1)
    >>> for i in range(400):
    ...     learner.learn_one(np.array([float(i % 5)]), 2.0 * (i % 5) + 1.0)
    >>> learner.predict_many(np.array([[3.0]])).round(1).tolist()
    [7.0]
    """

    def __init__(self, dimensions: int, precision: float = 1.0, name: str = "second_order_linear") -> None:
        super().__init__(dimensions, precision, name)

    def predict_many(self, x: FloatArray) -> FloatArray:
        """Expected outcome per row."""
        linear = self.linear()
        return np.asarray(x @ linear.weights + linear.bias)

    def _step(self, z: FloatArray, y: float) -> None:
        v = self._cov @ z
        damped = v / (1.0 + float(z @ v))
        self._cov -= v[:, None] * damped
        self._theta += damped * (y - float(self._theta @ z))


LEARNERS = {
    "second_order": SecondOrderLogistic,
    "second_order_cautious": lambda dimensions: SecondOrderLogistic(
        dimensions, precision=300.0, name="second_order_cautious"
    ),
}
