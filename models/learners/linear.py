"""The frozen linear model that decide scores with: the published form of the churn learners."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.features import churn
from models.learners.base import MAX_LOG_ODDS, sigmoid
from models.learners.envelope import Envelope, payload_in
from models.learners.pool import Pool

FloatArray = npt.NDArray[np.float64]

NAME: Final = "churn"
SCHEMA: Final = 1


class LinearPayload(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of a ``churn`` snapshot (see docs/evaluate.md for the protocol it is judged by)."""

    features: list[str]
    weights: list[float]
    bias: float
    mean: list[float]
    scale: list[float]
    platt: tuple[float, float]
    learned: bool
    examples: int
    first_label_ms: int | None


def payload_of(pool: Pool, features: Sequence[str], *, learned: bool, since_ms: int | None) -> LinearPayload:
    """What a pool has learned, over standardised features.

    Parameters
    ----------
    features : their names. learned : whether it is to be served. since_ms : when its first label was known.
    """
    pooled = pool.uncalibrated()
    mean, scale = pool.standardisation()
    return LinearPayload(
        features=list(features),
        weights=(pooled.weights * scale).tolist(),
        bias=pooled.bias + float(pooled.weights @ mean),
        mean=mean.tolist(),
        scale=scale.tolist(),
        platt=pool.platt.coefficients(),
        learned=learned,
        examples=pool.count,
        first_label_ms=since_ms,
    )


class LinearModel:
    """A logistic model over expanded churn features, immutable, with exact contributions.

    Parameters
    ----------
    payload : weights over standardised features ``(x - mean) / scale``, bias, and the calibration
        ``a * log-odds + b``.
    version : snapshot version, 0 for the rule.

    Raises
    ------
    IncompatibleSnapshotError
        The payload was made for other features than this code computes.

    Examples
    --------
    >>> rule = LinearModel.rule()
    >>> rule.learned, rule.score(churn.as_matrix([[45, 2, 0, 60, 100]])).round(3).tolist()
    (False, [0.5])
    >>> [name for name, share in rule.contributions([400, 2, 0, 500, 100]) if abs(share) > 1]
    ['recency']
    """

    name = NAME
    __slots__ = ("_a", "_bias", "_mean", "_shift", "_unit", "_weights", "payload", "version")

    def __init__(self, payload: LinearPayload, version: int = 0) -> None:
        if tuple(payload.features) != churn.FEATURE_NAMES:
            raise IncompatibleSnapshotError("the churn snapshot was made for other features than this code computes")
        self.payload = payload
        self.version = version
        self._a, b = payload.platt
        self._mean = np.array(payload.mean)
        self._unit = self._a * np.array(payload.weights) / np.array(payload.scale)
        self._bias = self._a * payload.bias + b
        self._shift = self._bias - float(self._unit @ self._mean)
        self._weights = self._unit

    @classmethod
    def rule(cls) -> LinearModel:
        """Return the recency/frequency rule, "not learned yet", as a linear model with exact reasons."""
        weights, bias = churn.rule_weights()
        # Shares are told against an even-odds customer, whose log-odds are 0.
        mean = np.zeros(len(churn.FEATURE_NAMES))
        mean[churn.FEATURE_NAMES.index("recency")] = np.log1p(churn.RULE_EVEN_RECENCY_DAYS)
        mean[churn.FEATURE_NAMES.index("purchases")] = np.log1p(churn.RULE_EVEN_PURCHASES)
        return cls(
            LinearPayload(
                features=list(churn.FEATURE_NAMES),
                weights=weights.tolist(),
                bias=bias + float(weights @ mean),
                mean=mean.tolist(),
                scale=[1.0] * len(mean),
                platt=(1.0, 0.0),
                learned=False,
                examples=0,
                first_label_ms=None,
            )
        )

    @classmethod
    def from_envelope(cls, envelope: Envelope) -> LinearModel:
        """Model of a ``churn`` snapshot.

        Raises
        ------
        IncompatibleSnapshotError
            Another model, schema or feature list.
        """
        return cls(payload_in(envelope, NAME, SCHEMA, LinearPayload), envelope.version)

    @property
    def learned(self) -> bool:
        """False while the score is the rule."""
        return self.payload.learned

    @property
    def base_log_odds(self) -> float:
        """Log-odds of the average customer; contributions are told against it."""
        return self._bias

    def log_odds(self, raw: FloatArray) -> FloatArray:
        """Calibrated log-odds per raw vector, shape (n,)."""
        odds = churn.expand(raw) @ self._weights + self._shift
        return np.asarray(np.clip(odds, -MAX_LOG_ODDS, MAX_LOG_ODDS))

    def score(self, raw: FloatArray) -> FloatArray:
        """P(churn) per raw vector, shape (n,); `raw` from :func:`models.features.churn.as_matrix`."""
        return sigmoid(self.log_odds(raw))

    def contributions(self, raw: Sequence[int]) -> list[tuple[str, float]]:
        """Exact share of each feature in the log-odds of one user.

        Returns
        -------
        (feature, share) in the order of ``FEATURE_NAMES``; ``base_log_odds + sum(shares)`` is the log-odds
        served
        (but for the cut at +-20).
        """
        shares = (churn.expand(churn.as_matrix([raw]))[0] - self._mean) * self._unit
        return list(zip(churn.FEATURE_NAMES, shares.tolist(), strict=True))
