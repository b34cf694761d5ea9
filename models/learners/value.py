"""Purchase value: what a customer will spend within a horizon, and when the next order comes."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.learners.base import sigmoid
from models.learners.second_order import SecondOrderLinear, SecondOrderLogistic

FloatArray = npt.NDArray[np.float64]

NAME: Final = "value"
# Half-life of the level of money and of errors, in labels.
LEVEL_DECAY: Final = 0.5 ** (1 / 2000)
# Of two ways to say the money, one whose rolling error is this share above the other's gets exp(-1) of its weight.
TEMPERATURE: Final = 0.25
LEVEL_PRIOR: Final = 20.0
# Amounts above so many times what was expected count as that: one wholesaler is no trend.
MOST_TIMES: Final = 20.0
MOST_LOG: Final = 18.0


class Values(NamedTuple):
    """Per row: P(buys), money expected within the horizon (major units), days until the next order if there is one."""

    returns: FloatArray
    money: FloatArray
    days: FloatArray


class Value:
    """Three second-order learners over the features of churn: whether, how much, when.

    Parameters
    ----------
    dimensions : number of features.

    Notes
    -----
    Whether: logistic regression. How much: linear regression of the logarithm on those who bought, so that one large
    customer does not move the weights. When: linear regression of the days. ``E[money] = P(buys) exp(mu) c``, where `c`
    is the running ratio of what was spent to ``exp(mu)`` as it was served. The customer's own recent pace times the own
    order value (see :func:`models.features.churn.recent_money`) says the money in another way; both are averaged,
    weighted by their rolling absolute error. Labels are known at the end of the horizon.

    References
    ----------
    N. Duan, "Smearing estimate: a nonparametric retransformation method", JASA 1983.

    Examples
    --------
    >>> value = Value(1)
    >>> for i in range(400):
    ...     value.learn_one(np.array([float(i % 2)]), 95.0 * (i % 2), 100.0 * (i % 2), 10.0 if i % 2 else None)
    >>> found = value.score(np.array([[0.0], [1.0]]), np.array([0.0, 95.0]))
    >>> found.money.round(-1).tolist(), found.days.round().tolist()[1]
    ([0.0, 100.0], 10.0)
    """

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self.returns = SecondOrderLogistic(dimensions)
        self.amount = SecondOrderLinear(dimensions)
        self.gap = SecondOrderLinear(dimensions)
        self._spent, self._expected = 0.0, 0.0
        self._errors: FloatArray = np.zeros(2)

    @property
    def count(self) -> int:
        """Labels learned."""
        return self.returns.count

    @property
    def level(self) -> float:
        """Ratio of what is spent to the exponential of the mean logarithm."""
        return (self._spent + LEVEL_PRIOR) / (self._expected + LEVEL_PRIOR)

    def learn_one(self, x: FloatArray, own: float, money: float, days: float | None) -> None:
        """Label of one customer.

        Parameters
        ----------
        x : features at the time of the score. own : money at the own recent pace.
        money : spent within the horizon. days : until the first order, if any.
        """
        if self.amount.count:
            said = np.array([float(self._by_model(x[None])[0]), own])
            self._errors = self._errors * LEVEL_DECAY + np.abs(said - money)
        if days is not None:
            if self.amount.count:
                expected = float(np.exp(min(float(self.amount.predict_many(x[None])[0]), MOST_LOG)))
                ratio = min(max(money, 0.0) / max(expected, 1e-9), MOST_TIMES)
                self._spent = self._spent * LEVEL_DECAY + ratio
                self._expected = self._expected * LEVEL_DECAY + 1.0
            self.amount.learn_one(x, float(np.log1p(max(money, 0.0))))
            self.gap.learn_one(x, float(days))
        self.returns.learn_one(x, int(days is not None))

    @property
    def weight_of_own(self) -> float:
        """Weight of the own recent pace in the money."""
        best = float(self._errors.min())
        if best <= 0.0:
            return 0.5
        raw = np.exp((1.0 - self._errors / best) / TEMPERATURE)
        return float(raw[1] / raw.sum())

    def score(self, x: FloatArray, own: FloatArray) -> Values:
        """Value of each row; the own pace alone says the money before anyone has bought."""
        returns = sigmoid(self.returns.linear().log_odds(x))
        if not self.amount.count:
            return Values(returns, own.copy(), np.full(len(x), np.nan))
        share = self.weight_of_own
        days = np.maximum(self.gap.predict_many(x), 0.0)
        return Values(returns, (1.0 - share) * self._by_model(x) + share * own, days)

    def _by_model(self, x: FloatArray) -> FloatArray:
        returns = sigmoid(self.returns.linear().log_odds(x))
        amount = np.exp(np.minimum(self.amount.predict_many(x), MOST_LOG))
        return np.asarray(returns * amount * self.level)

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        return {
            "name": NAME,
            "parts": [part.snapshot() for part in (self.returns, self.amount, self.gap)],
            "level": [self._spent, self._expected],
            "errors": self._errors.copy(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted.

        Raises
        ------
        IncompatibleSnapshotError
            The state is of another learner or of other features.
        """
        if state.get("name") != NAME:
            raise IncompatibleSnapshotError(f"not a state of {NAME}")
        for part, entry in zip((self.returns, self.amount, self.gap), state["parts"], strict=True):
            part.restore(entry)
        self._spent, self._expected = state["level"]
        self._errors = state["errors"].copy()
