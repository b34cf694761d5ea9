"""Qini: how well a ranking finds those whom a treatment changes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def qini_curve(outcome: IntArray, uplift: FloatArray, treatment: IntArray) -> tuple[FloatArray, FloatArray]:
    """Users targeted so far (x) and outcomes gained by it (y), the largest uplift first.

    Notes
    -----
    Gained: outcomes of the treated, minus those of the others scaled to as many. Equal scores are one point.
    """
    order = np.argsort(uplift, kind="mergesort")[::-1]
    outcome, uplift, treatment = outcome[order], uplift[order], treatment[order]
    ends = np.r_[np.flatnonzero(np.diff(uplift)), len(uplift) - 1]
    treated = np.cumsum(treatment, dtype=np.float64)[ends]
    others = ends + 1.0 - treated
    of_treated = np.cumsum(outcome * treatment, dtype=np.float64)[ends]
    of_others = np.cumsum(outcome * (1 - treatment), dtype=np.float64)[ends]
    gained = of_treated - of_others * np.divide(treated, others, out=np.zeros_like(treated), where=others != 0)
    return np.r_[0.0, ends + 1.0], np.r_[0.0, gained]


def qini_auc(outcome: IntArray, uplift: FloatArray, treatment: IntArray) -> float:
    """Area between the Qini curve and that of a random ranking, over the same of a perfect one; 0 is guessing.

    Notes
    -----
    Equal to ``qini_auc_score`` of scikit-uplift. Perfect: treated with the outcome first, untreated with it last. NaN
    where nothing can be gained.

    References
    ----------
    N. Radcliffe, "Using control groups to target on predicted lift", 2007.

    Examples
    --------
    >>> y, t = np.array([1, 0, 0, 1]), np.array([1, 1, 0, 0])
    >>> round(qini_auc(y, np.array([0.9, 0.5, 0.4, 0.1]), t), 3)
    1.0
    """
    x, gained = qini_curve(outcome, uplift, treatment)
    ideal = (outcome * treatment - outcome * (1 - treatment)).astype(np.float64)
    best_x, best = qini_curve(outcome, ideal, treatment)
    by_chance = 0.5 * float(best_x[-1]) * float(best[-1])
    possible = float(np.trapezoid(best, best_x)) - by_chance
    return (float(np.trapezoid(gained, x)) - by_chance) / possible if possible else float("nan")
