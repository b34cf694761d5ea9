"""The frozen linear models that decide scores goals with: the published form of what the learner of goals knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.features import goals
from models.learners.base import MAX_LOG_ODDS, sigmoid
from models.learners.envelope import Envelope
from models.learners.linear import LinearPayload

FloatArray = npt.NDArray[np.float64]

NAME: Final = "goals"
SCHEMA: Final = 1


class GoalPayload(msgspec.Struct, frozen=True, kw_only=True):
    """What is served for one goal. `goal` : its id. `model` : weights; not used before it is `learned`."""

    goal: str
    model: LinearPayload


class GoalsPayload(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of a ``goals`` snapshot: by the code of the goal (:attr:`config.goal.Goal.code`)."""

    goals: dict[int, GoalPayload]


class GoalScores:
    """Logistic models over the features of goals, immutable, with exact contributions.

    Parameters
    ----------
    payload : as it was published. version : of the snapshot, 0 for none.
    codes : goals to score; None: all that were learned.

    Attributes
    ----------
    codes : goals that are scored, in the order of the columns: declared and learned ones.

    Raises
    ------
    IncompatibleSnapshotError
        A model was made for other features than this code computes.
    """

    __slots__ = ("_bias", "_mean", "_shift", "_unit", "codes", "payload", "version")

    def __init__(
        self, payload: GoalsPayload | None = None, version: int = 0, codes: Sequence[int] | None = None
    ) -> None:
        self.payload, self.version = payload or GoalsPayload(goals={}), version
        known: Mapping[int, GoalPayload] = self.payload.goals
        wanted = known if codes is None else codes
        self.codes = tuple(code for code in wanted if code in known and known[code].model.learned)
        models = [known[code].model for code in self.codes]
        width = len(goals.FEATURE_NAMES)
        if any(tuple(model.features) != goals.FEATURE_NAMES for model in models):
            raise IncompatibleSnapshotError("the goals snapshot was made for other features than this code computes")
        slopes = np.array([model.platt[0] for model in models])
        weights = np.array([model.weights for model in models]).reshape(len(models), width)
        scale = np.array([model.scale for model in models]).reshape(len(models), width)
        self._mean = np.array([model.mean for model in models]).reshape(len(models), width)
        self._unit = slopes[:, None] * weights / scale
        self._bias = np.array([model.platt[0] * model.bias + model.platt[1] for model in models])
        self._shift = self._bias - (self._unit * self._mean).sum(axis=1)

    @classmethod
    def from_envelope(cls, envelope: Envelope) -> GoalScores:
        """Models of a ``goals`` snapshot.

        Raises
        ------
        IncompatibleSnapshotError
            Another model, schema or feature list.
        """
        if (envelope.name, envelope.schema) != (NAME, SCHEMA):
            raise IncompatibleSnapshotError(f"{envelope.name} schema {envelope.schema} is not goals schema {SCHEMA}")
        try:
            payload = msgspec.msgpack.decode(envelope.payload, type=GoalsPayload)
        except msgspec.DecodeError as error:
            raise IncompatibleSnapshotError(f"goals payload: {error}") from error
        return cls(payload, envelope.version)

    def of(self, codes: Sequence[int]) -> GoalScores:
        """The same models for these goals only."""
        return GoalScores(self.payload, self.version, codes)

    def score(self, matrix: FloatArray) -> FloatArray:
        """Probability of each goal (column, order of :attr:`codes`) per raw vector: one matrix product."""
        odds = goals.expand(matrix) @ self._unit.T + self._shift
        return sigmoid(np.clip(odds, -MAX_LOG_ODDS, MAX_LOG_ODDS))

    def base_log_odds(self, code: int) -> float:
        """Log-odds of the average user; contributions are told against it."""
        return float(self._bias[self.codes.index(code)])

    def contributions(self, code: int, vector: Sequence[int]) -> list[tuple[str, float]]:
        """Exact share of each feature in the log-odds: ``base_log_odds + sum(shares)`` is what is served.

        (But for the cut at +-20.)
        """
        column = self.codes.index(code)
        shares = (goals.expand(goals.as_matrix([vector]))[0] - self._mean[column]) * self._unit[column]
        return list(zip(goals.FEATURE_NAMES, shares.tolist(), strict=True))
