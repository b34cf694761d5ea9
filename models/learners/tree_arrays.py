"""Trees as arrays of our own: nothing is unpickled, a row costs microseconds, and who scores needs no scikit-learn."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.learners.base import MAX_LOG_ODDS, sigmoid

FloatArray = npt.NDArray[np.float64]
Arrays = dict[str, npt.NDArray[Any]]

FIELDS: Final = ("feature", "threshold", "missing_left", "left", "right", "value", "roots")
KINDS: Final = {"threshold": np.float64, "value": np.float64, "missing_left": np.bool_}
# No leaf of a forest is surer than this: it has seen ten examples.
SUREST: Final = 0.998


class Trees:
    """Many trees in flat arrays; subclasses make one score of them. NaN is a missing value.

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
        self.baseline = 0.0
        self._arrays: Arrays = {}

    @property
    def fitted(self) -> bool:
        """Whether there are trees."""
        return bool(self._arrays)

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
            "baseline": self.baseline,
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
        self._depth, self.baseline = state["depth"], state["baseline"]
        self._arrays = {name: array.astype(KINDS.get(name, np.intp)) for name, array in state["arrays"].items()}

    def check(self, features: int) -> None:
        """See that every tree stays within its arrays.

        Raises
        ------
        IncompatibleSnapshotError
            A node points beyond them, or asks for a feature that there is not.
        """
        nodes = len(self._arrays["value"])
        places = np.concatenate([self._arrays[name] for name in ("left", "right", "roots")])
        if {len(self._arrays[name]) for name in FIELDS[:-1]} != {
            nodes
        } or not 0 <= places.min() <= places.max() < nodes:
            raise IncompatibleSnapshotError(f"a tree of {self.name} points beyond its nodes")
        if not 0 <= self._arrays["feature"].min() <= self._arrays["feature"].max() < features:
            raise IncompatibleSnapshotError(f"a tree of {self.name} asks for a feature that there is not")

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

    def keep(self, trees: list[Arrays], depth: int) -> None:
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


class Summed(Trees):
    """Boosted trees: log-odds are the sum of all leaves."""

    name = "boosted"

    def _odds(self, leaves: FloatArray) -> FloatArray:
        return np.asarray(np.clip(self.baseline + leaves.sum(axis=1), -MAX_LOG_ODDS, MAX_LOG_ODDS))


class Averaged(Trees):
    """A forest, or one tree: P(y = 1) is the mean of all leaves."""

    name = "forest"
    precision = np.float32

    def _odds(self, leaves: FloatArray) -> FloatArray:
        p = np.clip(leaves.mean(axis=1), 1.0 - SUREST, SUREST)
        return np.asarray(np.log(p / (1.0 - p)))
