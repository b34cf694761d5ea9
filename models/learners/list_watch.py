"""How good lists of products were, judged by the order that followed, and whether they have become worse."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.learners.drift import Adwin

FloatArray = npt.NDArray[np.float64]

SIZE: Final = 10
# Half-life of the figures, in lists.
DECAY: Final = 0.5 ** (1 / 2000)
NAMES: Final = ("ndcg_10", "hit_rate_10", "ndcg_10_by_popularity")
_GAINS: Final = 1.0 / np.log2(np.arange(2, SIZE + 2))
_BEST: Final = np.cumsum(_GAINS)


class ListWatch:
    """Prequential figures of lists: each is ordered and judged before the order is learned.

    Notes
    -----
    Binary gain, as in `kairos evaluate next-basket`: NDCG over the first ten, and the share of lists with a hit. What
    is no candidate cannot be hit and counts as missed. Beside it the same candidates by popularity. ADWIN looks at the
    NDCG.

    Examples
    --------
    >>> watch = ListWatch()
    >>> _ = watch.add(np.array([2.0, 1.0, 0.0]), np.array([0.0, 1.0, 2.0]), np.array([1.0, 0.0, 0.0]), 1, 0)
    >>> watch.figures()["figures"]
    {'ndcg_10': 1.0, 'hit_rate_10': 1.0, 'ndcg_10_by_popularity': 0.5}
    """

    def __init__(self) -> None:
        self.judged = 0
        self.adwin = Adwin()
        self.drifts = 0
        self.last_drift_ms: int | None = None
        self._sums: FloatArray = np.zeros(len(NAMES))
        self._lists = 0.0

    def add(self, scores: FloatArray, popular: FloatArray, y: FloatArray, bought: int, at_ms: int) -> bool:
        """One list and the order that followed; whether it raised an alarm.

        Parameters
        ----------
        scores, popular : of each candidate, shape (n,). y : 1 where it was bought. bought : products in the order.
        """
        if not bought:
            return False
        best = float(_BEST[min(bought, SIZE) - 1])
        ours, theirs = (y[np.argsort(-order, kind="stable")[:SIZE]] for order in (scores, popular))
        ndcg = float(ours @ _GAINS[: len(ours)]) / best
        told = (ndcg, float(ours.any()), float(theirs @ _GAINS[: len(theirs)]) / best)
        self._sums = self._sums * DECAY + told
        self._lists = self._lists * DECAY + 1.0
        self.judged += 1
        alarm = self.adwin.update(1.0 - ndcg) and self.adwin.rose
        if alarm:
            self.drifts += 1
            self.last_drift_ms = at_ms
        return alarm

    def figures(self) -> dict[str, Any]:
        """For :class:`models.learners.health.ScoreHealth`."""
        means = (self._sums / self._lists).round(4).tolist() if self.judged else []
        return {
            "judged": self.judged,
            "figures": dict(zip(NAMES, means, strict=False)),
            "drifts": self.drifts,
            "last_drift_ms": self.last_drift_ms,
        }

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        return {
            "counts": [self.judged, self.drifts],
            "last_drift_ms": self.last_drift_ms,
            "adwin": self.adwin.snapshot(),
            "sums": self._sums.copy(),
            "lists": self._lists,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted."""
        self.judged, self.drifts = state["counts"]
        self.last_drift_ms = state["last_drift_ms"]
        self.adwin.restore(state["adwin"])
        self._sums, self._lists = state["sums"].copy(), state["lists"]
