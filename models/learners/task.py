"""What batch models are trained for: churn, or one of the goals; its features, its names, its words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.features import churn, goals

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A kind of prediction.

    Parameters
    ----------
    name : `type` of its examples in `training`. learner : online model that serves it.
    raw_names, feature_names, concepts, expand : of its module in :mod:`models.features`.
    hidden : (feature, raw value it hangs on) where a missing value does not make the feature missing by itself, since
        it is compared and not computed with.
    yes, no, positives : the labels in words.
    """

    name: str
    learner: str
    raw_names: tuple[str, ...]
    feature_names: tuple[str, ...]
    concepts: Mapping[str, str]
    expand: Callable[[FloatArray], FloatArray]
    hidden: tuple[tuple[str, str], ...]
    yes: str
    no: str
    positives: str

    def columns(self, raw: FloatArray) -> FloatArray:
        """Features as learners see them; NaN where one of the values it is made of is missing."""
        found = self.expand(raw)
        for feature, value in self.hidden:
            missing = np.isnan(raw[:, self.raw_names.index(value)])
            found[missing, self.feature_names.index(feature)] = np.nan
        return found


_CHURN: Final = Kind(
    "churn",
    "churn",
    churn.RAW_NAMES,
    churn.FEATURE_NAMES,
    churn.CONCEPTS,
    churn.expand,
    (("overdue", "purchase_days"),),
    "did not return",
    "return",
    "lost",
)
_GOAL: Final = Kind(
    "goal",
    "goals",
    goals.RAW_NAMES,
    goals.FEATURE_NAMES,
    goals.CONCEPTS,
    goals.expand,
    (("overdue", "purchase_days"), ("ordered", "order_hours")),
    "reached the goal",
    "do not reach it",
    "reached it",
)

# What names of batch models of goals begin with.
GOAL_BATCH: Final = "goal-batch:"


@dataclass(frozen=True, slots=True)
class Task:
    """One prediction that has an online model and versions of batch models.

    Parameters
    ----------
    kind : what it is made of. goal, code : which goal, and what it asks for (:attr:`config.goal.Goal.code`): versions
        of a goal that asked something else are others.

    Examples
    --------
    >>> CHURN.score, CHURN.batch, CHURN.place
    ('churn', 'churn-batch', 'churn')
    >>> task = Task.of_goal("buy-again", 7)
    >>> task.score, task.batch, task.place
    ('goal:buy-again', 'goal-batch:buy-again:7', 'goal:buy-again:7')
    >>> Task.of_batch(task.batch) == task
    True
    """

    kind: Kind
    goal: str = ""
    code: int = 0

    @classmethod
    def of_goal(cls, goal: str, code: int) -> Task:
        """Task of a goal, declared or only learned."""
        return cls(_GOAL, goal, code)

    @classmethod
    def of_batch(cls, name: str) -> Task:
        """Task of the batch models of this name.

        Raises
        ------
        IncompatibleSnapshotError
            It is no name of batch models.
        """
        if name == CHURN.batch:
            return CHURN
        goal, _, code = name.removeprefix(GOAL_BATCH).partition(":")
        if not name.startswith(GOAL_BATCH) or not goal or not code.isdecimal():
            raise IncompatibleSnapshotError(f"{name} is no batch model")
        return cls.of_goal(goal, int(code))

    @property
    def score(self) -> str:
        """What people call it."""
        return f"{self.kind.name}:{self.goal}" if self.goal else self.kind.name

    @property
    def part(self) -> str:
        """Which of the scores of its learner it is; empty where there is one."""
        return f"{self.goal}:{self.code}" if self.goal else ""

    @property
    def batch(self) -> str:
        """Name of its batch models."""
        return f"{GOAL_BATCH}{self.part}" if self.goal else f"{self.kind.name}-batch"

    @property
    def place(self) -> str:
        """Name under which the registry keeps who serves."""
        return f"{self.kind.name}:{self.part}" if self.goal else self.kind.name


CHURN: Final = Task(_CHURN)
