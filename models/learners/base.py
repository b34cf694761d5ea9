"""What every learner of labelled examples can do, and the registry that finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# Log-odds beyond this are cut: a probability of 1e-9 is as sure as any label can make us.
MAX_LOG_ODDS = 20.0


@dataclass(frozen=True, slots=True)
class Weights:
    """A linear model in log-odds of the expanded features: ``bias + x @ weights``."""

    weights: FloatArray
    bias: float

    def log_odds(self, x: FloatArray) -> FloatArray:
        """Log-odds per row of `x` (shape (n, d))."""
        return np.asarray(np.clip(x @ self.weights + self.bias, -MAX_LOG_ODDS, MAX_LOG_ODDS))


class Learner(Protocol):
    """A binary classifier that learns one example at a time and is linear in log-odds.

    `x` has shape (d,) or (n, d) and holds **unscaled** features: scaling is the learner's own business.
    Learning depends on the sequence of examples alone, not on how it is cut into calls; a restored learner
    goes on bit by bit like the one that was snapshotted.
    """

    name: str

    def learn_one(self, x: FloatArray, y: int) -> None:
        """Learn one example; `y` is 0 or 1."""
        ...

    def learn_many(self, x: FloatArray, y: npt.NDArray[np.int64]) -> None:
        """Learn rows in order."""
        ...

    def predict_proba_many(self, x: FloatArray) -> FloatArray:
        """P(y = 1) per row; 0.5 before anything was learned."""
        ...

    def linear(self) -> Weights:
        """Return the model as weights over unscaled features, for vectorised scoring and contributions."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """Plain state (numbers, strings, lists, dicts, float arrays), for :func:`..envelope.pack_state`."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Become the learner that was snapshotted.

        Raises
        ------
        IncompatibleSnapshotError
            The state is of another learner, layout or number of features.
        """
        ...


def sigmoid(log_odds: FloatArray) -> FloatArray:
    """Probability of log-odds, without overflow.

    Examples
    --------
    >>> sigmoid(np.array([0.0, -800.0])).tolist()
    [0.5, 0.0]
    """
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * log_odds)))
