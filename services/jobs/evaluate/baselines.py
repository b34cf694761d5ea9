"""What Kairos is compared with, fed the same features and the same labels at the same time."""

from __future__ import annotations

from collections.abc import Sequence

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


class FrozenLogistic:
    """scikit-learn's logistic regression, fitted now and then on all labels known, as weights for single rows.

    Examples
    --------
    >>> frozen = FrozenLogistic()
    >>> frozen.fit(np.array([[0.0], [1.0]] * 9), np.array([0, 1] * 9))
    >>> frozen.log_odds(np.array([1.0])) > 1 > frozen.log_odds(np.array([0.0]))
    True
    """

    def __init__(self) -> None:
        self._weights: FloatArray = np.zeros(0)
        self._bias = 0.0

    def fit(self, x: FloatArray, y: IntArray, indicators: Sequence[bool] = ()) -> None:
        """Learn all rows anew; with labels of one kind only, nothing changes. `indicators` are not standardised."""
        if len(np.unique(y)) < 2:
            return
        fixed = np.array(indicators or [False] * x.shape[1], dtype=bool)
        center, scale = np.where(fixed, 0.0, x.mean(axis=0)), np.where(fixed, 1.0, x.std(axis=0))
        scale = np.where(scale > 1e-12, scale, 1.0)
        logistic = LogisticRegression(max_iter=300).fit((x - center) / scale, y)
        self._weights = logistic.coef_[0] / scale
        self._bias = float(logistic.intercept_[0] - self._weights @ center)

    def log_odds(self, x: FloatArray) -> float:
        """Log-odds of one row; columns that were not there at the fit count nothing."""
        width = min(len(x), len(self._weights))
        return self._bias + float(self._weights[:width] @ x[:width])
