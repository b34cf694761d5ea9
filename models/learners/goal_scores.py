"""The frozen linear models that decide scores goals with: the published form of what the learner of goals knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.features import goals
from models.features.attributes import PREFIX, Attributes, AttributesPayload, Told
from models.learners.base import MAX_LOG_ODDS, sigmoid
from models.learners.batch import BatchModel
from models.learners.envelope import Envelope
from models.learners.linear import LinearPayload

FloatArray = npt.NDArray[np.float64]

NAME: Final = "goals"
SCHEMA: Final = 1


class GoalPayload(msgspec.Struct, frozen=True, kw_only=True):
    """What is served for one goal.

    Parameters
    ----------
    goal : its id. model : weights; not used before it is `learned`. attributes : how those are encoded that the goal
        names, whose columns stand in the model behind those of behaviour; left out where it names none.
    """

    goal: str
    model: LinearPayload
    attributes: AttributesPayload | msgspec.UnsetType = msgspec.UNSET


class GoalsPayload(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of a ``goals`` snapshot: by the code of the goal (:attr:`config.goal.Goal.code`)."""

    goals: dict[int, GoalPayload]


# Stands where a batch model scores.
_UNUSED: Final = LinearPayload(
    features=list(goals.FEATURE_NAMES),
    weights=[0.0] * len(goals.FEATURE_NAMES),
    bias=0.0,
    mean=[0.0] * len(goals.FEATURE_NAMES),
    scale=[1.0] * len(goals.FEATURE_NAMES),
    platt=(1.0, 0.0),
    learned=True,
    examples=0,
    first_label_ms=None,
)


class _Part:
    """What the attributes of a user say of one goal, in log-odds against the average user."""

    __slots__ = ("_columns", "_mean", "_places", "_unit")

    def __init__(self, payload: AttributesPayload, unit: FloatArray, mean: FloatArray) -> None:
        self._columns, self._unit, self._mean = Attributes.of(payload), unit, mean
        if self._columns.width != len(unit):
            raise IncompatibleSnapshotError("the goals snapshot's attributes do not fit its weights")
        self._places = self._columns.places()

    def shares(self, told: Mapping[str, Told]) -> list[tuple[str, float]]:
        """Share of each attribute."""
        each = (self._columns.look(told) - self._mean) * self._unit
        names = self._columns.names
        found = np.bincount(self._places, weights=each, minlength=len(names)).tolist()
        return [(PREFIX + name, share) for name, share in zip(names, found, strict=True)]

    def log_odds(self, told: Mapping[str, Told]) -> float:
        """All of them together."""
        return float((self._columns.look(told) - self._mean) @ self._unit)


class GoalScores:
    """Models of goals, immutable, with exact contributions: logistic, or the batch model that was promoted.

    Parameters
    ----------
    payload : as it was published. version : of the snapshot, 0 for none.
    codes : goals to score; None: all that were learned. batch : promoted models by the code of their goal.

    Attributes
    ----------
    codes : goals that are scored, in the order of the columns: declared and learned ones.

    Raises
    ------
    IncompatibleSnapshotError
        A model was made for other features than this code computes.
    """

    __slots__ = ("_bias", "_mean", "_parts", "_shift", "_unit", "batch", "codes", "payload", "version")

    def __init__(
        self,
        payload: GoalsPayload | None = None,
        version: int = 0,
        codes: Sequence[int] | None = None,
        batch: Mapping[int, BatchModel] | None = None,
    ) -> None:
        self.payload, self.version = payload or GoalsPayload(goals={}), version
        self.batch: Mapping[int, BatchModel] = batch or {}
        known: Mapping[int, GoalPayload] = self.payload.goals
        wanted = dict.fromkeys((*known, *self.batch)) if codes is None else codes
        self.codes = tuple(
            code for code in wanted if code in self.batch or (code in known and known[code].model.learned)
        )
        models = [_UNUSED if code in self.batch else known[code].model for code in self.codes]
        width = len(goals.FEATURE_NAMES)
        if any(tuple(model.features[:width]) != goals.FEATURE_NAMES for model in models):
            raise IncompatibleSnapshotError("the goals snapshot was made for other features than this code computes")
        self._parts: dict[int, _Part] = {}
        for place, (code, model) in enumerate(zip(self.codes, models, strict=True)):
            attributes = msgspec.UNSET if code in self.batch else known[code].attributes
            if isinstance(attributes, AttributesPayload):
                unit = model.platt[0] * np.array(model.weights[width:]) / np.array(model.scale[width:])
                self._parts[place] = _Part(attributes, unit, np.array(model.mean[width:]))
            elif len(model.features) > width:
                raise IncompatibleSnapshotError("the goals snapshot has columns that nothing tells the meaning of")
        slopes = np.array([model.platt[0] for model in models])
        weights = np.array([model.weights[:width] for model in models]).reshape(len(models), width)
        scale = np.array([model.scale[:width] for model in models]).reshape(len(models), width)
        self._mean = np.array([model.mean[:width] for model in models]).reshape(len(models), width)
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
        return GoalScores(self.payload, self.version, codes, self.batch)

    def with_batch(self, batch: Mapping[int, BatchModel]) -> GoalScores:
        """The same online models with other promoted ones; `self` where they are the same."""
        if batch.keys() == self.batch.keys() and all(batch[code] is self.batch[code] for code in batch):
            return self
        return GoalScores(self.payload, self.version, batch=batch)

    @property
    def attributed(self) -> bool:
        """Whether a goal among them goes by attributes."""
        return bool(self._parts)

    def score(self, matrix: FloatArray, told: Sequence[Mapping[str, Told]] = ()) -> FloatArray:
        """Probability of each goal (column, order of :attr:`codes`) per raw vector: one matrix product.

        Parameters
        ----------
        told : attributes of the user of each row; none: nothing was told of anybody.
        """
        odds = goals.expand(matrix) @ self._unit.T + self._shift
        for place, part in self._parts.items():
            odds[:, place] += [part.log_odds(one) for one in told or [{}] * len(matrix)]
        for code, model in self.batch.items():
            if code in self.codes:
                odds[:, self.codes.index(code)] = model.log_odds(matrix)
        return sigmoid(np.clip(odds, -MAX_LOG_ODDS, MAX_LOG_ODDS))

    def base_log_odds(self, code: int) -> float:
        """Log-odds of the average user; contributions are told against it."""
        if code in self.batch:
            return self.batch[code].base_log_odds
        return float(self._bias[self.codes.index(code)])

    def contributions(
        self, code: int, vector: Sequence[int], told: Mapping[str, Told] | None = None
    ) -> list[tuple[str, float]]:
        """Exact share of each feature and attribute: ``base_log_odds + sum(shares)`` is what is served, in log-odds.

        (But for the cut at +-20.) Of a batch model, the share of each concept.
        """
        if code in self.batch:
            return self.batch[code].contributions(vector)
        column = self.codes.index(code)
        shares = (goals.expand(goals.as_matrix([vector]))[0] - self._mean[column]) * self._unit[column]
        found = list(zip(goals.FEATURE_NAMES, shares.tolist(), strict=True))
        return found + self._parts[column].shares(told or {}) if column in self._parts else found
