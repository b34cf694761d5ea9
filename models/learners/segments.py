"""Segments: k-means over customers who move, kept up event by event.

Each customer counts once, where they are now: when they move, their old place is taken out of their segment's sums and
the new one is put in. So the centres are the means of the members as last seen, without a pass over all of them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans

from models.errors import IncompatibleSnapshotError
from models.learners.threads import one_thread

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NAME: Final = "segments"
NONE: Final = -1
# A first clustering needs so many customers per segment.
LEAST_PER_SEGMENT: Final = 10


class Segments:
    """Online k-means (MacQueen) with replacement of each member's last place.

    Parameters
    ----------
    k : segments. dimensions : features of a place. seed : of full fits.

    Notes
    -----
    Features are standardised by the mean and deviation of all places as last seen. :meth:`refit` is the full fit of a
    batch (ten starts); its segments get the labels of those that they resemble (an optimal matching of centres), so a
    label means the same from week to week. Memory: O(k d) here; each member's last place lies with the member.

    References
    ----------
    J. MacQueen, "Some methods for classification and analysis of multivariate observations", 1967. D. Arthur, S.
    Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.

    Examples
    --------
    >>> segments = Segments(2, 1)
    >>> places = np.array([[0.0], [0.1], [5.0], [5.1]] * 10)
    >>> labels = segments.refit(places)
    >>> bool(segments.assign(np.array([[0.2]]))[0] == labels[0] != segments.assign(np.array([[4.0]]))[0])
    True
    """

    def __init__(self, k: int, dimensions: int, seed: int = 0) -> None:
        self.name = NAME
        self.k, self.dimensions, self.seed = k, dimensions, seed
        self.count = 0
        self._sum: FloatArray = np.zeros(dimensions)
        self._sum_sq: FloatArray = np.zeros(dimensions)
        self._members: FloatArray = np.zeros(k)
        self._sums: FloatArray = np.zeros((k, dimensions))
        self._fitted = False

    @property
    def ready(self) -> bool:
        """Whether there are enough places for a first fit."""
        return self.count >= LEAST_PER_SEGMENT * self.k

    def move(self, old: FloatArray | None, label: int, new: FloatArray) -> int:
        """One customer is at `new` now; returns the label there.

        Parameters
        ----------
        old, label : what this returned and was given the last time; None and -1 for a new customer.
        """
        if old is not None:
            self.count -= 1
            self._sum -= old
            self._sum_sq -= old * old
            if label != NONE:
                self._members[label] -= 1
                self._sums[label] -= old
        self.count += 1
        self._sum += new
        self._sum_sq += new * new
        if not self._fitted:
            return NONE
        place = int(self.assign(new.reshape(1, -1))[0])
        self._members[place] += 1
        self._sums[place] += new
        return place

    def move_many(self, old: FloatArray, labels: IntArray, new: FloatArray) -> IntArray:
        """Many known customers have moved at once, as when a day has passed; like :meth:`move` for each."""
        self._sum += (new - old).sum(axis=0)
        self._sum_sq += (new * new - old * old).sum(axis=0)
        if not self._fitted:
            return np.full(len(new), NONE)
        places = self.assign(new)
        counted = labels != NONE
        np.subtract.at(self._members, labels[counted], 1.0)
        np.subtract.at(self._sums, labels[counted], old[counted])
        np.add.at(self._members, places, 1.0)
        np.add.at(self._sums, places, new)
        return places

    def assign(self, x: FloatArray) -> IntArray:
        """Label of each place: the nearest centre; -1 before the first fit."""
        if not self._fitted:
            return np.full(len(x), NONE)
        scale = self.scale()
        gaps = (x[:, None, :] - self.centres()[None, :, :]) / scale
        return np.asarray(np.einsum("nkd,nkd->nk", gaps, gaps).argmin(axis=1))

    def centres(self) -> FloatArray:
        """Centre of each segment, in the units of the features."""
        return np.asarray(self._sums / np.maximum(self._members, 1e-9)[:, None])

    def scale(self) -> FloatArray:
        """Return the deviation of each feature over all places as last seen, 1 where it does not vary."""
        mean = self._sum / max(self.count, 1)
        variance = np.maximum(self._sum_sq / max(self.count, 1) - mean * mean, 0.0)
        return np.where(variance > 1e-9, np.sqrt(variance), 1.0)

    def refit(self, places: FloatArray) -> IntArray:
        """Fit anew on the present places of **all** customers; returns their labels, matched with those before."""
        self.count = len(places)
        self._sum, self._sum_sq = places.sum(axis=0), (places * places).sum(axis=0)
        scale = self.scale()
        with one_thread():
            fitted = KMeans(self.k, n_init=10, random_state=self.seed).fit(places / scale)
        labels = np.asarray(fitted.labels_, dtype=np.int64)
        if self._fitted:
            apart = ((self.centres() / scale)[:, None, :] - fitted.cluster_centers_[None, :, :]) ** 2
            before, now = linear_sum_assignment(apart.sum(axis=2))
            labels = before[np.argsort(now)][labels]
        self._members = np.bincount(labels, minlength=self.k).astype(np.float64)
        self._sums = np.zeros((self.k, self.dimensions))
        np.add.at(self._sums, labels, places)
        self._fitted = True
        return labels

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        return {
            "name": NAME,
            "k": self.k,
            "seed": self.seed,
            "count": self.count,
            "sum": self._sum.copy(),
            "sum_sq": self._sum_sq.copy(),
            "members": self._members.copy(),
            "sums": self._sums.copy(),
            "fitted": self._fitted,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted.

        Raises
        ------
        IncompatibleSnapshotError
            The state is of another model, k or number of features.
        """
        if state.get("name") != NAME or state["sums"].shape != (self.k, self.dimensions):
            raise IncompatibleSnapshotError(f"not a state of {self.k} {NAME} over {self.dimensions} features")
        self.seed, self.count, self._fitted = state["seed"], state["count"], state["fitted"]
        self._sum, self._sum_sq = state["sum"].copy(), state["sum_sq"].copy()
        self._members, self._sums = state["members"].copy(), state["sums"].copy()
