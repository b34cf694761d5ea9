"""Trees of scikit-learn kept as arrays of our own: nothing is unpickled, and a row costs microseconds."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier

from models.errors import IncompatibleSnapshotError
from models.learners.base import MAX_LOG_ODDS, sigmoid

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[Any]]

FIELDS: Final = ("feature", "threshold", "missing_left", "left", "right", "value", "roots")
KINDS: Final = {"threshold": np.float64, "value": np.float64, "missing_left": np.bool_}
# No leaf of a forest is surer than this: it has seen ten examples.
SUREST: Final = 0.998
FOLDS: Final = 3
LEAST_PER_CELL: Final = 25


class Trees:
    """Many trees in flat arrays; subclasses fit them. NaN is a missing value.

    Notes
    -----
    All trees of all rows are walked level by level: O(depth) array operations, whatever the number of trees.
    """

    name: str
    # What the library rounds features to before it compares them.
    precision: type[np.floating[Any]] = np.float64

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.examples = 0
        self._depth = 0
        self._baseline = 0.0
        self._arrays: Arrays = {}

    @property
    def fitted(self) -> bool:
        """Whether there are trees."""
        return bool(self._arrays)

    def fit(self, x: FloatArray, y: IntArray) -> None:
        """Learn all rows anew; with labels of one kind only, nothing changes."""
        if len(np.unique(y)) == 2:
            self._fit(x, y)
            self.examples = len(y)

    def log_odds(self, x: FloatArray) -> FloatArray:
        """Log-odds per row, 0 before the first fit."""
        return np.zeros(len(x)) if not self._arrays else self._odds(self._leaves(x))

    def predict_proba_many(self, x: FloatArray) -> FloatArray:
        """P(y = 1) per row."""
        return sigmoid(self.log_odds(x))

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        return {
            "name": self.name,
            "seed": self.seed,
            "examples": self.examples,
            "depth": self._depth,
            "baseline": self._baseline,
            "arrays": {name: array.astype(np.float64) for name, array in self._arrays.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted.

        Raises
        ------
        IncompatibleSnapshotError
            The state is of another model.
        """
        if state.get("name") != self.name or not set(state["arrays"]) <= set(FIELDS):
            raise IncompatibleSnapshotError(f"not a state of {self.name}")
        self.seed, self.examples = state["seed"], state["examples"]
        self._depth, self._baseline = state["depth"], state["baseline"]
        self._arrays = {name: array.astype(KINDS.get(name, np.intp)) for name, array in state["arrays"].items()}

    def _fit(self, x: FloatArray, y: IntArray) -> None:
        raise NotImplementedError

    def _odds(self, leaves: FloatArray) -> FloatArray:
        raise NotImplementedError

    def _leaves(self, x: FloatArray) -> FloatArray:
        """Value of the leaf that each row reaches in each tree, shape (rows, trees)."""
        feature, threshold, missing_left, left, right, value, roots = (self._arrays[name] for name in FIELDS)
        x = x.astype(self.precision)
        place = np.broadcast_to(roots, (len(x), len(roots)))
        rows = np.arange(len(x))[:, None]
        for _ in range(self._depth):
            here = x[rows, feature[place]]
            with np.errstate(invalid="ignore"):
                goes_left = np.where(np.isnan(here), missing_left[place], here <= threshold[place])
            place = np.where(goes_left, left[place], right[place])
        return np.asarray(value[place])

    def _keep(self, trees: list[Arrays], depth: int) -> None:
        """Join trees whose children count from their own root; a leaf is its own child."""
        sizes = [len(tree["value"]) for tree in trees]
        roots = np.cumsum([0, *sizes[:-1]])
        base = np.repeat(roots, sizes)
        joined = {name: np.concatenate([tree[name] for tree in trees]) for name in FIELDS[:-1]}
        leaf, own = joined["feature"] < 0, np.arange(len(base))
        joined["feature"] = np.where(leaf, 0, joined["feature"])
        for side in ("left", "right"):
            joined[side] = np.where(leaf, own, joined[side].astype(np.int64) + base)
        joined["roots"] = roots
        self._depth = depth
        self._arrays = {name: array.astype(KINDS.get(name, np.intp)) for name, array in joined.items()}


class BoostedTrees(Trees):
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

    name = "boosted"

    def _fit(self, x: FloatArray, y: IntArray) -> None:
        model = HistGradientBoostingClassifier(
            learning_rate=0.05, max_iter=120, max_leaf_nodes=15, l2_regularization=1.0, random_state=self.seed
        ).fit(x, y)
        self._baseline = float(np.ravel(model._baseline_prediction)[0])  # noqa: SLF001
        self._keep(*_arrays_of(model))

    def _odds(self, leaves: FloatArray) -> FloatArray:
        return np.asarray(np.clip(self._baseline + leaves.sum(axis=1), -MAX_LOG_ODDS, MAX_LOG_ODDS))


class Forest(Trees):
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

    name = "forest"
    precision = np.float32

    def _fit(self, x: FloatArray, y: IntArray) -> None:
        model = RandomForestClassifier(60, min_samples_leaf=10, max_depth=16, random_state=self.seed).fit(x, y)
        trees = [
            {
                "feature": np.maximum(one.tree_.feature, -1),
                "threshold": one.tree_.threshold,
                "missing_left": one.tree_.missing_go_to_left,
                "left": one.tree_.children_left,
                "right": one.tree_.children_right,
                "value": one.tree_.value[:, 0, 1] / one.tree_.value[:, 0, :].sum(axis=1),
            }
            for one in model.estimators_
        ]
        self._keep(trees, max(one.tree_.max_depth for one in model.estimators_))

    def _odds(self, leaves: FloatArray) -> FloatArray:
        p = np.clip(leaves.mean(axis=1), 1.0 - SUREST, SUREST)
        return np.asarray(np.log(p / (1.0 - p)))


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
        self._baseline = float(np.average(target, weights=weight))
        self._keep(grown, depth)
        return np.asarray(np.clip(self._baseline + slope * said, -1.0, 1.0))

    def effect(self, x: FloatArray) -> FloatArray:
        """P(y = 1 | treated) - P(y = 1 | not treated) per row; 0 before the first fit."""
        return np.zeros(len(x)) if not self._arrays else self._odds(self._leaves(x))

    def _odds(self, leaves: FloatArray) -> FloatArray:
        return np.asarray(np.clip(self._baseline + leaves.sum(axis=1), -1.0, 1.0))


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
