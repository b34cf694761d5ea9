"""The frozen form of what the learner of purchase value knows: what decide answers with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.features import churn
from models.learners.base import Weights, sigmoid
from models.learners.envelope import Envelope, payload_in
from models.learners.value import MOST_LOG, NAME

FloatArray = npt.NDArray[np.float64]

SCHEMA: Final = 1
SHIPPED_HORIZON_DAYS: Final = 90
MINOR: Final = 100.0


class Part(msgspec.Struct, frozen=True):
    """A linear function of the features of churn."""

    weights: list[float]
    bias: float


class ValuePayload(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of a ``value`` snapshot (:class:`models.learners.value.Value` says what the parts are).

    Parameters
    ----------
    returns, amount, gap : log-odds of an order, logarithm of the money and the days of those who order.
    level : ratio of what is spent to the exponential of `amount`. own_share : weight of the customer's own pace.
    learned : whether it is to be served. examples, buyers : labels, and how many of them ordered.
    """

    features: list[str]
    horizon_days: int
    returns: Part
    amount: Part
    gap: Part
    level: float
    own_share: float
    learned: bool
    examples: int
    buyers: int
    first_label_ms: int | None


class Expected(NamedTuple):
    """What is expected of one customer.

    Parameters
    ----------
    money : within the horizon, major units. days : until the next order, if one comes; -1: nothing tells it.
    returns, if_returns : probability of an order in the horizon, and the money if there is one; None: not learned.
    own : money at the customer's own recent pace.
    """

    money: float
    days: float
    own: float
    returns: float | None = None
    if_returns: float | None = None


class ValueScores:
    """Value and next order of a customer, immutable. Before anything was learned: by the customer's own pace and gap.

    Parameters
    ----------
    payload : as it was published; None: nothing was learned. version : of the snapshot, 0 for none.

    Raises
    ------
    IncompatibleSnapshotError
        The payload was made for other features than this code computes.

    Examples
    --------
    >>> ValueScores().expected([10, 3, 9000, 70, 200])
    Expected(money=55.58, days=20.0, own=55.58, returns=None, if_returns=None)
    """

    name = NAME
    __slots__ = ("_amount", "_gap", "_returns", "payload", "version")

    def __init__(self, payload: ValuePayload | None = None, version: int = 0) -> None:
        self.payload, self.version = payload, version
        if payload is None:
            return
        if tuple(payload.features) != churn.FEATURE_NAMES:
            raise IncompatibleSnapshotError("the value snapshot was made for other features than this code computes")
        self._returns, self._amount, self._gap = (
            Weights(np.array(part.weights), part.bias) for part in (payload.returns, payload.amount, payload.gap)
        )

    @classmethod
    def from_envelope(cls, envelope: Envelope) -> ValueScores:
        """Scores of a ``value`` snapshot.

        Raises
        ------
        IncompatibleSnapshotError
            Another model, schema or feature list.
        """
        return cls(payload_in(envelope, NAME, SCHEMA, ValuePayload), envelope.version)

    @property
    def learned(self) -> bool:
        """False while the customer's own pace is served."""
        return self.payload is not None and self.payload.learned

    @property
    def horizon_days(self) -> int:
        """Days for which money is told."""
        return SHIPPED_HORIZON_DAYS if self.payload is None else self.payload.horizon_days

    def expected(self, raw: Sequence[int]) -> Expected:
        """What is expected of a customer, by the raw vector of churn (:func:`models.features.churn.raw_churn`)."""
        row = churn.as_matrix([raw])
        own = float(churn.recent_money(row, self.horizon_days)[0]) / MINOR
        payload = self.payload
        if payload is None or not payload.learned:
            return Expected(round(own, 2), by_own_gap(raw), round(own, 2))
        x = churn.expand(row)
        returns, amount = self._parts(x, payload.level)
        days = max(_linear(self._gap, x), 0.0)
        money = (1.0 - payload.own_share) * returns * amount + payload.own_share * own
        return Expected(
            round(money, 2),
            round(min(days, payload.horizon_days), 1),
            round(own, 2),
            round(returns, 4),
            round(amount, 2),
        )

    def by_model(self, x: FloatArray) -> float:
        """Money by what was learned alone, of one row of expanded features; before the own pace is averaged in."""
        assert self.payload is not None
        returns, amount = self._parts(x, self.payload.level)
        return returns * amount

    def _parts(self, x: FloatArray, level: float) -> tuple[float, float]:
        """Probability of an order, and the money if there is one."""
        amount = float(np.exp(min(_linear(self._amount, x), MOST_LOG))) * level
        return float(sigmoid(self._returns.log_odds(x))[0]), amount


def by_own_gap(raw: Sequence[int]) -> float:
    """Days until the next order by the customer's own mean gap: 0 if it is overdue, -1 for one-time buyers.

    Examples
    --------
    >>> by_own_gap([10, 3, 9000, 70, 200]), by_own_gap([50, 3, 9000, 70, 200]), by_own_gap([5, 1, 9000, 5, 100])
    (20.0, 0.0, -1.0)
    """
    recency, days, _, tenure, _ = raw
    if days < 2:
        return -1.0
    return round(max(0.0, max(tenure - recency, 0) / (days - 1) - recency), 1)


def _linear(weights: Weights, x: FloatArray) -> float:
    return float((x @ weights.weights)[0] + weights.bias)
