"""Trees that scikit-learn fits, kept as arrays of our own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from models.learners.threads import one_thread
from models.learners.tree_arrays import Arrays, Averaged, FloatArray, Summed, Trees

IntArray = npt.NDArray[np.int64]

FOLDS: Final = 3
LEAST_PER_CELL: Final = 25


class BoostedTrees(Summed):
    """Histogram boosting: small trees (15 leaves) and short steps (.05), which suit some thousand labels.

    References
    ----------
    G. Ke et al., "LightGBM: a highly efficient gradient boosting decision tree", NeurIPS 2017.

    Examples
    --------
    >>> trees = BoostedTrees()
    >>> x = np.arange(400.0).reshape(-1, 1)
    >>> trees.fit(x, (x[:, 0] > 200).astype(np.int64))
    >>> trees.predict_proba_many(np.array([[10.0], [390.0]])).round(1).tolist()
    [0.0, 1.0]
    """

    def fit(self, x: FloatArray, y: IntArray) -> None:
        """Learn all rows anew; with labels of one kind only, nothing changes."""
        if len(np.unique(y)) < 2:
            return
        model = HistGradientBoostingClassifier(
            learning_rate=0.05, max_iter=120, max_leaf_nodes=15, l2_regularization=1.0, random_state=self.seed
        )
        with one_thread():
            self.adopt(model.fit(x, y), len(y))

    def adopt(self, model: HistGradientBoostingClassifier, examples: int) -> None:
        """Become what scikit-learn has fitted on so many examples."""
        self.baseline = float(np.ravel(model._baseline_prediction)[0])  # noqa: SLF001
        self.examples = examples
        self.keep(*_arrays_of(model))


class Forest(Averaged):
    """Random forest with at least ten examples a leaf: errors unlike those of boosting, so their mean is better.

    References
    ----------
    L. Breiman, "Random forests", Machine Learning 2001.

    Examples
    --------
    >>> forest = Forest()
    >>> x = np.arange(400.0).reshape(-1, 1)
    >>> forest.fit(x, (x[:, 0] > 200).astype(np.int64))
    >>> forest.predict_proba_many(np.array([[10.0], [390.0]])).round(1).tolist()
    [0.0, 1.0]
    """

    def fit(self, x: FloatArray, y: IntArray) -> None:
        """Learn all rows anew; with labels of one kind only, nothing changes."""
        if len(np.unique(y)) == 2:
            forest = RandomForestClassifier(60, min_samples_leaf=10, max_depth=16, random_state=self.seed).fit(x, y)
            self.adopt(forest.estimators_, len(y))

    def adopt(self, fitted: Sequence[DecisionTreeClassifier], examples: int) -> None:
        """Become the mean of trees that scikit-learn has fitted on so many examples."""
        self.examples = examples
        trees = [
            {
                "feature": np.maximum(one.tree_.feature, -1),
                "threshold": one.tree_.threshold,
                "missing_left": one.tree_.missing_go_to_left,
                "left": one.tree_.children_left,
                "right": one.tree_.children_right,
                "value": one.tree_.value[:, 0, 1] / one.tree_.value[:, 0, :].sum(axis=1),
            }
            for one in fitted
        ]
        self.keep(trees, max(one.tree_.max_depth for one in fitted))


class EffectTrees(Trees):
    """Effect of a treatment by boosted trees, fitted across folds and scaled to what they say of unseen examples.

    Notes
    -----
    An R-learner: trees for the outcome by folds, then trees for ``(y - m) / d`` with weights ``d^2``, where ``d`` is
    treated - share of treated. What the trees of the other folds say is regressed on; the slope, drawn to 0 by its own
    uncertainty, scales all trees. Where there is nothing but noise, the effect is the same for all.

    References
    ----------
    X. Nie, S. Wager, "Quasi-oracle estimation of heterogeneous treatment effects", Biometrika 2021.

    Examples
    --------
    >>> trees, rng = EffectTrees(), np.random.default_rng(0)
    >>> x, t = rng.random((6000, 1)), rng.integers(0, 2, 6000)
    >>> _ = trees.fit_effect(x, t, (rng.random(6000) < 0.3 + 0.4 * t * (x[:, 0] > 0.5)).astype(np.int64))
    >>> trees.effect(np.array([[0.1], [0.9]])).round(1).tolist()
    [0.0, 0.4]
    """

    name = "effect_trees"

    def fit_effect(self, x: FloatArray, treated: IntArray, y: IntArray) -> FloatArray | None:
        """Learn all rows anew; returns the effect on each row by the trees that have not seen it.

        With too few of a kind nothing changes, and None is returned.
        """
        if min(np.bincount(2 * treated + y, minlength=4)) < LEAST_PER_CELL:
            return None
        self.examples = len(y)
        fold = np.arange(len(y)) % FOLDS
        size: dict[str, Any] = {"learning_rate": 0.05, "l2_regularization": 1.0, "early_stopping": False}
        base = np.empty(len(y))
        for part in range(FOLDS):
            main = HistGradientBoostingClassifier(max_iter=80, max_leaf_nodes=15, random_state=self.seed, **size)
            base[fold == part] = main.fit(x[fold != part], y[fold != part]).predict_proba(x[fold == part])[:, 1]
        d = treated - treated.mean()
        target, weight = (y - base) / d, d * d
        least = max(30, len(y) // 100)
        models, said = [], np.empty(len(y))
        for part in range(FOLDS):
            model = HistGradientBoostingRegressor(
                max_iter=60, max_leaf_nodes=8, min_samples_leaf=least, random_state=self.seed, **size
            ).fit(x[fold != part], target[fold != part], weight[fold != part])
            said[fold == part] = model.predict(x[fold == part]) - float(np.ravel(model._baseline_prediction)[0])  # noqa: SLF001
            models.append(model)
        slope = _slope(said, target, weight)
        grown: list[Arrays] = []
        depth = 0
        for model in models:
            trees, deep = _arrays_of(model)
            grown += [tree | {"value": tree["value"] * (slope / FOLDS)} for tree in trees]
            depth = max(depth, deep)
        self.baseline = float(np.average(target, weights=weight))
        self.keep(grown, depth)
        return np.asarray(np.clip(self.baseline + slope * said, -1.0, 1.0))

    def effect(self, x: FloatArray) -> FloatArray:
        """P(y = 1 | treated) - P(y = 1 | not treated) per row; 0 before the first fit."""
        return np.zeros(len(x)) if not self._arrays else self._odds(self._leaves(x))

    def _odds(self, leaves: FloatArray) -> FloatArray:
        return np.asarray(np.clip(self.baseline + leaves.sum(axis=1), -1.0, 1.0))


def _slope(said: FloatArray, target: FloatArray, weight: FloatArray) -> float:
    """Weighted regression of `target` on `said`, times 1 - 1 / t^2 (0 for |t| < 1), within [0, 1]."""
    apart = said - np.average(said, weights=weight)
    size = float(weight @ (apart * apart))
    if size <= 0.0:
        return 0.0
    slope = float(weight @ (apart * target)) / size
    left = target - np.average(target, weights=weight) - slope * apart
    noise = float(weight @ (left * left)) / len(left) / size
    return float(np.clip(slope * max(0.0, 1.0 - noise / (slope * slope)), 0.0, 1.0)) if slope > 0.0 else 0.0


def _arrays_of(model: Any) -> tuple[list[Arrays], int]:
    """Trees of a fitted histogram boosting as arrays, and the depth of the deepest."""
    # Where the trees are is private in scikit-learn; a test compares with its own prediction.
    nodes = [stage[0].nodes for stage in model._predictors]  # noqa: SLF001
    trees = [
        {
            "feature": np.where(tree["is_leaf"] == 1, -1, tree["feature_idx"]),
            "threshold": tree["num_threshold"],
            "missing_left": tree["missing_go_to_left"],
            "left": tree["left"],
            "right": tree["right"],
            "value": tree["value"],
        }
        for tree in nodes
    ]
    return trees, max(int(tree["depth"].max()) for tree in nodes)
