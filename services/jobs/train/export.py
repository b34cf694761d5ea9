"""From a pipeline that scikit-learn has fitted to arrays of our own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier

from models.learners.batch import state_of
from models.learners.task import CHURN, Task
from models.learners.trees import BoostedTrees, Forest
from services.jobs.train.candidates import CalibratedSvm
from services.jobs.train.examples import FloatArray


def exported(
    pipeline: Pipeline,
    columns: Sequence[int],
    reference: FloatArray,
    until_ms: int,
    examples: int,
    task: Task = CHURN,
) -> dict[str, Any]:
    """State of a :class:`models.learners.batch.BatchModel` that scores as the pipeline does.

    Parameters
    ----------
    columns : numbers of the features that the pipeline was given. reference : medians of all features.
    until_ms : newest label that was learned. examples : how many were. task : what is told.
    """
    steps = pipeline.named_steps
    chosen = np.arange(len(columns)) if steps["select"] == "passthrough" else steps["select"].get_support(indices=True)
    scale = steps["scale"]
    standard = (np.zeros(len(chosen)), np.ones(len(chosen))) if scale == "passthrough" else (scale.mean_, scale.scale_)
    return state_of(
        [columns[int(number)] for number in chosen],
        steps["fill"].statistics_[chosen],
        standard,
        reference,
        until_ms,
        _arrays(steps["model"], examples),
        task,
    )


def _arrays(model: Any, examples: int) -> dict[str, Any]:
    if isinstance(model, LogisticRegression):
        return {"kind": "linear", "w": model.coef_[0], "b": float(model.intercept_[0])}
    if isinstance(model, CalibratedSvm):
        machine, slope = model.machine_, model.slope_
        level = slope * float(machine.intercept_[0]) + model.level_
        return {"kind": "linear", "w": slope * machine.coef_[0], "b": level}
    if isinstance(model, MLPClassifier):
        layers = [{"w": w, "b": b} for w, b in zip(model.coefs_, model.intercepts_, strict=True)]
        return {"kind": "network", "layers": layers}
    if isinstance(model, HistGradientBoostingClassifier):
        boosted = BoostedTrees()
        boosted.adopt(model, examples)
        return {"kind": "trees", "trees": boosted.snapshot()}
    forest = Forest()
    trees = model.estimators_ if isinstance(model, RandomForestClassifier) else [model]
    if not all(isinstance(tree, DecisionTreeClassifier) for tree in trees):
        raise TypeError(f"no arrays for {type(model).__name__}")
    forest.adopt(trees, examples)
    return {"kind": "trees", "trees": forest.snapshot()}
