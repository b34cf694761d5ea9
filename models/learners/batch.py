"""A batch model as decide and learn score with it: arrays of our own, tried when they are loaded, never a pickle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import factorial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.learners.base import MAX_LOG_ODDS, sigmoid
from models.learners.envelope import Envelope, unpack_state
from models.learners.linear import LinearModel
from models.learners.task import CHURN, Task
from models.learners.tree_arrays import Averaged, Summed, Trees

FloatArray = npt.NDArray[np.float64]
Odds = Callable[[FloatArray], FloatArray]

SCHEMA: Final = 1


class BatchModel:
    """A model that a batch job trained; immutable, scores like :class:`models.learners.linear.LinearModel`.

    Parameters
    ----------
    state : ``features`` it was trained on, ``columns`` of them that it uses, ``fill`` for missing values, ``mean`` and
        ``scale``, ``reference`` (a typical customer, all features), ``until_ms`` (no later label was learned), and the
        ``model``: its ``kind`` with weights, layers or trees.
    version : version in the registry. task : what it tells.

    Raises
    ------
    IncompatibleSnapshotError
        It was made for other features, or its arrays do not fit together.

    Examples
    --------
    >>> linear = {"kind": "linear", "w": [2.0], "b": -7.0}
    >>> model = BatchModel(state_of([0], [0.0], ([0.0], [1.0]), np.zeros(8), 0, linear))
    >>> raw = np.array([[10.0, 2, 1999, 40, 170], [80, 2, 1999, 110, 170]])
    >>> model.score(raw).round(2).tolist()
    [0.1, 0.86]
    """

    learned = True

    def __init__(self, state: Mapping[str, Any], version: int = 0, task: Task = CHURN) -> None:
        self.version, self.task, self.name = version, task, task.batch
        self._kind = task.kind
        try:
            if tuple(state["features"]) != task.kind.feature_names:
                raise IncompatibleSnapshotError("the model was trained on other features than this code computes")
            self._columns = np.array(state["columns"], dtype=np.intp)
            self._fill, self._mean, self._scale = (_numbers(state[name]) for name in ("fill", "mean", "scale"))
            if not (self._scale > 0.0).all():
                raise ValueError("a scale is not above 0")
            self._reference = _numbers(state["reference"])
            self.until_ms = int(state["until_ms"])
            self._odds = _KINDS[state["model"]["kind"]](state["model"], len(self._columns))
            # What does not fit together is found here, not in the middle of a batch.
            tried = self.log_odds_of(np.stack([self._reference, np.full(len(task.kind.feature_names), np.nan)]))
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise IncompatibleSnapshotError(f"not a batch model: {error!r}") from error
        if tried.shape != (2,) or not np.isfinite(tried).all():
            raise IncompatibleSnapshotError("not a batch model: it gives no number")

    @classmethod
    def from_envelope(cls, envelope: Envelope) -> BatchModel:
        """Model of a ``churn-batch`` or ``goal-batch:...`` snapshot.

        Raises
        ------
        IncompatibleSnapshotError
            Another model, schema or feature list, or arrays that do not fit together.
        """
        task = Task.of_batch(envelope.name)
        if envelope.schema != SCHEMA:
            raise IncompatibleSnapshotError(f"{envelope.name} schema {envelope.schema} is not schema {SCHEMA}")
        return cls(unpack_state(envelope.payload), envelope.version, task)

    @property
    def base_log_odds(self) -> float:
        """Log-odds of the typical customer; contributions are told against it."""
        return float(self.log_odds_of(self._reference[None, :])[0])

    def log_odds_of(self, features: FloatArray) -> FloatArray:
        """Log-odds per row of expanded features, shape (n, features); NaN is a missing value."""
        x = features[:, self._columns]
        x = (np.where(np.isnan(x), self._fill, x) - self._mean) / self._scale
        return np.asarray(np.clip(self._odds(x), -MAX_LOG_ODDS, MAX_LOG_ODDS))

    def log_odds(self, raw: FloatArray) -> FloatArray:
        """Log-odds per raw vector, shape (n,)."""
        return self.log_odds_of(self._kind.expand(raw))

    def score(self, raw: FloatArray) -> FloatArray:
        """Probability per raw vector, shape (n,)."""
        return sigmoid(self.log_odds(raw))

    def contributions(self, raw: Sequence[int]) -> list[tuple[str, float]]:
        """Share of each concept in the log-odds of one user: exact Shapley values against the typical customer.

        Returns
        -------
        (concept, share); ``base_log_odds + sum(shares)`` is the log-odds served.

        References
        ----------
        L. Shapley, "A value for n-person games", 1953. All coalitions are scored: the seven concepts of
        churn make 128 rows, the twelve of a goal 4,096.
        """
        features = self._kind.expand(np.array([raw], dtype=np.float64))[0]
        concepts: dict[str, list[int]] = {}
        for column in self._columns.tolist():
            concept = self._kind.concepts[self._kind.feature_names[column]]
            concepts.setdefault(concept, []).append(column)
        players = {name: found for name, found in concepts.items() if (features != self._reference)[found].any()}
        count = len(players)
        coalitions = np.arange(1 << count)
        rows = np.tile(self._reference, (len(coalitions), 1))
        for number, found in enumerate(players.values()):
            joined = (coalitions >> number & 1).astype(bool)
            rows[np.ix_(joined, np.array(found))] = features[found]
        odds = self.log_odds_of(rows)
        sizes = np.array([int(one).bit_count() for one in coalitions])
        weight = np.array([factorial(s) * factorial(count - s - 1) / factorial(count) for s in range(count)])
        shares = []
        for number, name in enumerate(players):
            without = coalitions[(coalitions >> number & 1) == 0]
            shares.append((name, float(weight[sizes[without]] @ (odds[without | 1 << number] - odds[without]))))
        return shares


# What decide scores churn with.
ChurnScorer = LinearModel | BatchModel


def state_of(
    columns: Sequence[int],
    fill: Sequence[float] | FloatArray,
    standard: tuple[Sequence[float] | FloatArray, Sequence[float] | FloatArray],
    reference: FloatArray,
    until_ms: int,
    model: dict[str, Any],
    task: Task = CHURN,
) -> dict[str, Any]:
    """State of any model, as :class:`BatchModel` and :func:`models.learners.envelope.pack_state` take it."""
    return {
        "features": list(task.kind.feature_names),
        "columns": [int(column) for column in columns],
        "fill": np.asarray(fill, dtype=np.float64),
        "mean": np.asarray(standard[0], dtype=np.float64),
        "scale": np.asarray(standard[1], dtype=np.float64),
        "reference": np.asarray(reference, dtype=np.float64),
        "until_ms": until_ms,
        "model": model,
    }


def _numbers(values: Any) -> FloatArray:
    found = np.asarray(values, dtype=np.float64)
    if not np.isfinite(found).all():
        raise ValueError("a number is not finite")
    return found


def _linear(model: Mapping[str, Any], _: int) -> Odds:
    weights, bias = _numbers(model["w"]), float(model["b"])
    return lambda x: np.asarray(x @ weights + bias)


def _network(model: Mapping[str, Any], _: int) -> Odds:
    layers = [(_numbers(layer["w"]), _numbers(layer["b"])) for layer in model["layers"]]

    def odds(x: FloatArray) -> FloatArray:
        for weights, bias in layers[:-1]:
            x = np.maximum(x @ weights + bias, 0.0)
        weights, bias = layers[-1]
        return np.asarray((x @ weights + bias)[:, 0])

    return odds


def _trees(model: Mapping[str, Any], features: int) -> Odds:
    made: Trees = {Summed.name: Summed, Averaged.name: Averaged}[model["trees"]["name"]]()
    made.restore(model["trees"])
    made.check(features)
    return made.log_odds


_KINDS: Final[dict[str, Callable[[Mapping[str, Any], int], Odds]]] = {
    "linear": _linear,
    "network": _network,
    "trees": _trees,
}
