"""The online models of the stream, as training sets them beside the batch models: one example at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np

from models.features import goals
from models.learners.base import FloatArray
from models.learners.pool import Pool
from models.learners.streamed.churn import ChurnModel
from models.learners.streamed.goals import MEMBERS, MIN_EXAMPLES
from models.learners.task import Task


class Online(Protocol):
    """Learns and scores raw vectors."""

    def learn(self, x: Sequence[int], label: int, at_ms: int, known_ms: int) -> None:
        """Learn one example; times of its features and of its label."""

    def score(self, raw: FloatArray) -> FloatArray:
        """Probability per raw vector, as it would be served now."""


class _Churn:
    def __init__(self) -> None:
        self._model = ChurnModel()
        self.learn = self._model.learn_example

    def score(self, raw: FloatArray) -> FloatArray:
        return self._model.linear_model().score(raw)


class _Goal:
    def __init__(self) -> None:
        self._pool = Pool(len(goals.FEATURE_NAMES), MEMBERS, judged_from=MIN_EXAMPLES)

    def learn(self, x: Sequence[int], label: int, at_ms: int, known_ms: int) -> None:
        self._pool.learn_one(goals.expand(goals.as_matrix([x]))[0], label, at_ms, known_ms)

    def score(self, raw: FloatArray) -> FloatArray:
        return np.asarray(self._pool.predict_proba_many(goals.expand(raw)))


_KINDS: Final[dict[str, type[_Churn | _Goal]]] = {"churn": _Churn, "goal": _Goal}


def online_of(task: Task) -> Online:
    """A new one."""
    return _KINDS[task.kind.name]()
