"""What Kairos is compared with, fed the same features and the same labels at the same time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class BatchLogistic:
    """scikit-learn's logistic regression, fitted anew on all labels known so far.

    Examples
    --------
    >>> baseline = BatchLogistic()
    >>> baseline.fit_and_score(np.array([[1.0]])).tolist()
    [0.5]
    """

    def __init__(self) -> None:
        self._x: list[FloatArray] = []
        self._y: list[IntArray] = []

    def add(self, x: FloatArray, y: IntArray) -> None:
        """More labels are known."""
        self._x.append(x)
        self._y.append(y)

    def fit_and_score(self, x: FloatArray) -> FloatArray:
        """P(y = 1) per row; the known rate where only one kind of label is known."""
        labels = np.concatenate(self._y) if self._y else np.zeros(0, dtype=np.int64)
        if len(np.unique(labels)) < 2:
            return np.full(len(x), float(labels.mean()) if len(labels) else 0.5)
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        model.fit(np.vstack(self._x), labels)
        return np.asarray(model.predict_proba(x)[:, 1])
