"""How good scores were as they were served, known once their labels came: counted in bins, so memory is bounded."""

from __future__ import annotations

from math import log
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.learners.curves import Curves, curves_of

FloatArray = npt.NDArray[np.float64]

NAME: Final = "prequential"
BINS: Final = 200
LARGEST: Final = 8.0  # log-odds; a bin is 0.08 wide
GROUPS: Final = 10
# Half-life of the figures, in labels.
DECAY: Final = 0.5 ** (1 / 20_000)
LEAST: Final = 1e-4


class Prequential:
    """AUC, log loss and calibration of scores and labels, the newest counting most.

    Notes
    -----
    Scores lie in bins of log-odds; within a bin they count as equal, which moves the AUC by less than .001 where they
    are spread. Calibration: the mean distance between probability and share of positives over ten groups of equal
    size (of bins). ``rate_log_loss`` is what telling everybody the rate of positives known by then would have lost.

    Examples
    --------
    >>> seen = Prequential()
    >>> for i in range(1000):
    ...     seen.add(0.75 if i % 2 else 0.25, int(i % 4 == 0 or i % 2 == 1 and i % 4 == 1 or i % 8 == 3))
    >>> seen.figures()["judged"]
    1000
    """

    def __init__(self) -> None:
        self.count = 0
        # Per bin: labels, positives, sum of the probabilities.
        self._bins: FloatArray = np.zeros((BINS, 3))
        self._seen, self._positives, self._loss, self._rate_loss = 0.0, 0.0, 0.0, 0.0
        self._weight = 1.0  # of the newest label: instead of decaying all bins, new ones count more

    def add(self, probability: float, label: int) -> None:
        """One score as it was served, and its label."""
        p = min(max(probability, LEAST), 1.0 - LEAST)
        rate = (self._positives + 0.5 * self._weight) / (self._seen + self._weight)
        self._loss -= self._weight * log(p if label else 1.0 - p)
        self._rate_loss -= self._weight * log(rate if label else 1.0 - rate)
        place = int((log(p / (1.0 - p)) + LARGEST) / (2.0 * LARGEST) * BINS)
        row = self._bins[min(max(place, 0), BINS - 1)]
        self._seen += self._weight
        self._positives += self._weight * label
        row[0] += self._weight
        row[1] += self._weight * label
        row[2] += self._weight * p
        self.count += 1
        self._weight /= DECAY
        if self._weight > 1e6:
            self._bins /= self._weight
            self._loss, self._rate_loss = self._loss / self._weight, self._rate_loss / self._weight
            self._seen, self._positives = self._seen / self._weight, self._positives / self._weight
            self._weight = 1.0

    def figures(self) -> dict[str, float | int | None]:
        """Return what a person wants to know; None where it cannot be told yet."""
        seen, positives, _ = self._bins.sum(axis=0).tolist()
        negatives = seen - positives
        if not self.count:
            return {"judged": 0, "auc": None, "log_loss": None, "rate_log_loss": None, "calibration": None}
        lower = np.concatenate(([0.0], np.cumsum(self._bins[:, 0] - self._bins[:, 1])[:-1]))
        pairs = float((self._bins[:, 1] * (lower + 0.5 * (self._bins[:, 0] - self._bins[:, 1]))).sum())
        return {
            "judged": self.count,
            "auc": round(pairs / (positives * negatives), 4) if positives > 0 and negatives > 0 else None,
            "log_loss": round(self._loss / seen, 4),
            "rate_log_loss": round(self._rate_loss / seen, 4),
            "calibration": round(self._calibration(seen), 4),
            "rate": round(positives / seen, 4),
        }

    def curves(self) -> Curves:
        """Points of its plots."""
        return curves_of(self._bins)

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        return {
            "name": NAME,
            "count": self.count,
            "bins": self._bins.copy(),
            "sums": [self._loss, self._rate_loss, self._weight, self._seen, self._positives],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted.

        Raises
        ------
        IncompatibleSnapshotError
            The state is of something else.
        """
        if state.get("name") != NAME or state["bins"].shape != (BINS, 3):
            raise IncompatibleSnapshotError(f"not a state of {NAME}")
        self.count, self._bins = state["count"], state["bins"].copy()
        self._loss, self._rate_loss, self._weight, *counted = state["sums"]
        # States from before these were kept have them in the bins only.
        self._seen, self._positives = counted or self._bins[:, :2].sum(axis=0).tolist()

    def _calibration(self, seen: float) -> float:
        """Groups are made of whole bins; a bin belongs to the group in which its middle lies."""
        middle = np.cumsum(self._bins[:, 0]) - 0.5 * self._bins[:, 0]
        group = np.minimum((middle / seen * GROUPS).astype(int), GROUPS - 1)
        found = 0.0
        for number in range(GROUPS):
            _, positives, told = self._bins[group == number].sum(axis=0).tolist()
            found += abs(told - positives) / seen
        return found
