"""Figures that every evaluated score gets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

CALIBRATION_BINS = 10


def calibration_error(labels: IntArray, scores: FloatArray, bins: int = CALIBRATION_BINS) -> float:
    """Largest gap between mean score and observed rate over equal-count bins of the scored rows.

    Examples
    --------
    >>> round(calibration_error(np.array([0, 0, 1, 1]), np.array([0.1, 0.1, 0.8, 0.8]), bins=2), 3)
    0.2
    """
    order = np.argsort(scores, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(max(abs(scores[part].mean() - labels[part].mean()) for part in parts))


def classification_metrics(labels: IntArray, scores: FloatArray) -> dict[str, float]:
    """AUC, average precision, log loss, Brier score and calibration error.

    Notes
    -----
    With labels of one kind only, AUC and average precision are undefined and left out.
    """
    found: dict[str, float] = {}
    if 0 < labels.sum() < len(labels):
        found["auc"] = float(roc_auc_score(labels, scores))
        found["average_precision"] = float(average_precision_score(labels, scores))
    found["log_loss"] = float(log_loss(labels, scores, labels=[0, 1]))
    found["brier"] = float(brier_score_loss(labels, scores))
    found["calibration_error"] = calibration_error(labels, scores)
    return found
