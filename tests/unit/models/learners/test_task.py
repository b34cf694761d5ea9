"""What batch models are trained for: names that lead back, and what a missing value makes missing."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import IncompatibleSnapshotError
from models.features import goals
from models.learners.task import CHURN, Task

GOAL = Task.of_goal("buy-again", 7)


@pytest.mark.parametrize("task", [CHURN, GOAL], ids=lambda task: task.score)
def test_names_lead_back_to_the_task(task: Task) -> None:
    assert Task.of_batch(task.batch) == task
    assert task.score == task.place.removesuffix(":7")


@pytest.mark.parametrize("name", ["churn", "goals", "goal-batch", "goal-batch:x", "goal-batch::7", "goal-batch:x:y"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(IncompatibleSnapshotError, match="is no batch model"):
        Task.of_batch(name)


@pytest.mark.parametrize("task", [CHURN, GOAL], ids=lambda task: task.score)
def test_a_missing_value_makes_missing_what_hangs_on_it(task: Task) -> None:
    """Every feature that a value can change is missing without it; all others are not."""
    kind, rng = task.kind, np.random.default_rng(1)
    rows = rng.integers(2, 4000, size=(200, len(kind.raw_names))).astype(float)
    whole = kind.columns(rows)
    for column in range(len(kind.raw_names)):
        other, holes = rows.copy(), rows.copy()
        other[:, column] = -1.0
        holes[:, column] = np.nan
        changed = (kind.columns(other) != whole).any(axis=0)
        missing = np.isnan(kind.columns(holes))
        named = [kind.feature_names[number] for number in np.flatnonzero(changed & ~missing.all(axis=0))]
        assert not named, (kind.raw_names[column], named)
    assert not np.isnan(whole).any()
    assert goals.CONCEPTS.keys() == set(goals.FEATURE_NAMES)
