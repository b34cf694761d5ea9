"""River's scaler and logistic regression, exported to plain weights for vectorised scoring."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from river import compose, linear_model, optim, preprocessing
from river.utils import VectorDict

from models.errors import IncompatibleSnapshotError
from models.learners.base import Weights, sigmoid

FloatArray = npt.NDArray[np.float64]

NAME: Final = "river_logistic"


class RiverLogistic:
    """``StandardScaler | LogisticRegression(AdaGrad)`` of River.

    Parameters
    ----------
    dimensions : number of features.

    Notes
    -----
    River learns (labelled examples only); scoring takes its weights, because ``predict_proba_one`` costs
    tens of microseconds a row. First-order steps calibrate worse than :mod:`models.learners.second_order`
    but follow drift differently, which is why it is in the pool.

    References
    ----------
    J. Montiel et al., "River: machine learning for streaming data in Python", JMLR 2021. J. Duchi, E.
    Hazan, Y. Singer, "Adaptive subgradient methods", JMLR 2011.

    Examples
    --------
    >>> learner = RiverLogistic(1)
    >>> learner.learn_many(np.array([[0.0], [1.0]] * 100), np.array([0, 1] * 100))
    >>> bool(learner.predict_proba_many(np.array([[1.0]]))[0] > 0.8)
    True
    """

    def __init__(self, dimensions: int) -> None:
        self.name = NAME
        self.dimensions = dimensions
        self._keys = [str(index) for index in range(dimensions)]
        self._scaler = preprocessing.StandardScaler()
        self._optimizer = optim.AdaGrad(0.1)
        self._logistic = linear_model.LogisticRegression(self._optimizer)
        self.pipeline = compose.Pipeline(self._scaler, self._logistic)

    def learn_one(self, x: FloatArray, y: int) -> None:
        self.pipeline.learn_one(dict(zip(self._keys, x.tolist(), strict=True)), bool(y))

    def learn_many(self, x: FloatArray, y: npt.NDArray[np.int64]) -> None:
        for row, label in zip(x, y.tolist(), strict=True):
            self.learn_one(row, label)

    def predict_proba_many(self, x: FloatArray) -> FloatArray:
        return sigmoid(self.linear().log_odds(x))

    def linear(self) -> Weights:
        variance = self._column(self._scaler.vars)
        scale = np.sqrt(variance)
        weights = self._column(self._logistic.weights)
        # River scales a constant feature to 0, whatever its weight.
        weights = np.divide(weights, scale, out=np.zeros(self.dimensions), where=scale > 0)
        return Weights(weights, float(self._logistic.intercept - weights @ self._column(self._scaler.means)))

    def snapshot(self) -> dict[str, Any]:
        return {
            "name": NAME,
            "count": self._scaler.counts.get(self._keys[0], 0),
            "means": self._column(self._scaler.means),
            "vars": self._column(self._scaler.vars),
            "weights": self._column(self._logistic.weights),
            "intercept": float(self._logistic.intercept),
            "g2": self._column(self._optimizer.g2),
            "iterations": int(self._optimizer.n_iterations),
        }

    def restore(self, state: dict[str, Any]) -> None:
        try:
            if state["name"] != NAME or len(state["weights"]) != self.dimensions:
                raise IncompatibleSnapshotError(f"not a state of {NAME} over {self.dimensions} features")
            self.__init__(self.dimensions)  # type: ignore[misc]  # a fresh pipeline, then its state
            if not state["count"]:
                return
            for key, mean, var, g2 in zip(
                self._keys, state["means"].tolist(), state["vars"].tolist(), state["g2"].tolist(), strict=True
            ):
                self._scaler.counts[key] = state["count"]
                self._scaler.means[key], self._scaler.vars[key] = mean, var
                self._optimizer.g2[key] = g2
            self._optimizer.n_iterations = state["iterations"]
            weights = dict(zip(self._keys, state["weights"].tolist(), strict=True))
            # River has no public setter; the conformance suite shows that the restored model goes on bit
            # by bit.
            self._logistic._weights = VectorDict(weights)  # noqa: SLF001
            self._logistic.intercept = state["intercept"]
        except KeyError as error:
            raise IncompatibleSnapshotError(f"state of {NAME} without {error}") from error

    def _column(self, values: Any) -> FloatArray:
        return np.array([float(values.get(key, 0.0)) for key in self._keys])


LEARNERS = {NAME: RiverLogistic}
