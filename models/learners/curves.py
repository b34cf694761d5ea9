"""How scores do, as points to be drawn: found against false alarms, and what was told against what came."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

GROUPS: Final = 10
POINTS: Final = 20


class Curves(msgspec.Struct, frozen=True):
    """Points of two plots.

    Parameters
    ----------
    roc : (share of the negatives, share of the positives) with a score above a threshold, from (0, 0) to (1, 1).
    calibration : (mean score, share of positives) of at most ten groups of equal size, lowest scores first.
    """

    roc: list[tuple[float, float]] = []
    calibration: list[tuple[float, float]] = []


def curves_of(counts: FloatArray) -> Curves:
    """Curves of scores that lie in bins.

    Parameters
    ----------
    counts : per bin, lowest scores first: labels, positives, sum of the scores; shape (bins, 3).

    Examples
    --------
    >>> curves_of(np.array([[2.0, 0.0, 0.4], [2.0, 2.0, 1.8]]))
    Curves(roc=[(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)], calibration=[(0.2, 0.0), (0.9, 1.0)])
    """
    counts = counts[counts[:, 0] > 0.0]
    seen, positives, _ = counts.sum(axis=0).tolist()
    if not positives or positives == seen:
        return Curves()
    above = np.concatenate([np.zeros((1, 3)), np.cumsum(counts[::-1], axis=0)])
    found = np.stack([(above[:, 0] - above[:, 1]) / (seen - positives), above[:, 1] / positives], axis=1)
    # Evenly along the way from one corner to the other.
    kept = np.unique(found.sum(axis=1).searchsorted(np.linspace(0.0, 2.0, POINTS + 1) - 1e-9))
    middle = (np.cumsum(counts[:, 0]) - 0.5 * counts[:, 0]) / seen
    group = np.minimum((middle * GROUPS).astype(np.int64), GROUPS - 1)
    parts = [counts[group == number].sum(axis=0) for number in np.unique(group)]
    return Curves(
        [(round(x, 4), round(y, 4)) for x, y in found[kept].tolist()],
        [(round(float(told / n), 4), round(float(came / n), 4)) for n, came, told in parts],
    )


def of_scores(scores: FloatArray, labels: npt.NDArray[np.int64]) -> Curves:
    """Curves of scores and labels, shape (n,) each."""
    order = np.argsort(scores, kind="stable")
    return curves_of(np.stack([np.ones(len(order)), labels[order].astype(np.float64), scores[order]], axis=1))
