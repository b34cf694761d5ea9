"""Online calibration of a score on labels that came late, served only while it helps."""

from __future__ import annotations

from math import exp, log1p
from typing import Any, Final

import numpy as np

from models.learners.base import MAX_LOG_ODDS, FloatArray

# Half-life of the evidence, in labels: it must follow drift.
EVIDENCE_DECAY: Final = 0.5 ** (1 / 2000)
MIN_DAYS: Final = 6
MAX_DAYS: Final = 30
SLOPE_BOUNDS: Final = (0.25, 4.0)


def log_loss(log_odds: float, y: int) -> float:
    """Loss of one log-odds prediction.

    Examples
    --------
    >>> round(log_loss(0.0, 1), 4)
    0.6931
    """
    signed = log_odds if y else -log_odds
    return log1p(exp(-signed)) if signed > 0 else log1p(exp(signed)) - signed


def _step(theta: FloatArray, cov: FloatArray, log_odds: float, y: float) -> None:
    """:func:`models.learners.second_order.laplace_step` for bias and slope, in plain numbers: a fifth of its time."""
    bias, slope = theta.tolist()
    (c00, c01), (_, c11) = cov.tolist()
    p = 1.0 / (1.0 + exp(-min(max(bias + slope * log_odds, -MAX_LOG_ODDS), MAX_LOG_ODDS)))
    h = p * (1.0 - p)
    v0, v1 = c00 + c01 * log_odds, c01 + c11 * log_odds
    damping = 1.0 / (1.0 + h * (v0 + log_odds * v1))
    theta[0], theta[1] = bias + damping * v0 * (y - p), slope + damping * v1 * (y - p)
    cov[0, 0], cov[1, 1] = c00 - h * damping * v0 * v0, c11 - h * damping * v1 * v1
    cov[0, 1] = cov[1, 0] = c01 - h * damping * v0 * v1


class OnlinePlatt:
    """Slope of the log-odds around their mean, learned on (score as it was served, label as it came).

    Notes
    -----
    A recursive Laplace fit of ``a * log-odds + b`` around the prior a = 1, b = 0. Only the slope is served,
    turning around the mean log-odds: over-confidence lasts, but a level that was wrong when the scores
    were made has been learned by the model itself since, and adding it once more does harm when the season
    turns (a shop's log loss went from .535 to .541). Whether the slope helps is judged with the delay, by
    the coefficients **of the time of the score**. Labels of one day go together, so one day is one
    observation: the slope is served while the mean gain of the last days is above two standard errors.

    References
    ----------
    J. Platt, "Probabilistic outputs for support vector machines", 1999.

    Examples
    --------
    >>> platt = OnlinePlatt()
    >>> for i in range(4000):  # log-odds of +-3 are told, those of +-1.1 are true
    ...     platt.learn_one(3.0 if i % 2 else -3.0, int((i // 2 % 4 == 0) != i % 2), platt.fitted(), i // 100)
    >>> round(platt.coefficients()[0], 2)
    0.37
    """

    def __init__(self) -> None:
        self.count = 0
        self._pivot = 0.0
        self._theta: FloatArray = np.array([0.0, 1.0])
        self._cov: FloatArray = np.diag([1.0, 0.05])
        # One per day of scores, oldest first: [day, labels, log loss saved].
        self._gains: list[list[float]] = []

    def learn_one(self, log_odds: float, y: int, fitted: tuple[float, float] | None, day: int) -> None:
        """Learn from one score that was served before its label was known.

        Parameters
        ----------
        log_odds, y : the plain score as served, and its label.
        fitted : what :meth:`fitted` gave at the time of the score; None compares nothing.
        day : day of the score.
        """
        if fitted is not None and fitted != (1.0, 0.0):
            saved = log_loss(log_odds, y) - log_loss(fitted[0] * log_odds + fitted[1], y)
            if not self._gains or self._gains[-1][0] < day:
                self._gains = [*self._gains[1 - MAX_DAYS :], [day, 0, 0.0]]
            self._gains[-1][1] += 1
            self._gains[-1][2] += saved
        self.count += 1
        self._pivot += (log_odds - self._pivot) / self.count
        _step(self._theta, self._cov, log_odds, y)

    def fitted(self) -> tuple[float, float]:
        """Coefficients (a, b) as fitted, served or not."""
        slope = float(np.clip(self._theta[1], *SLOPE_BOUNDS))
        return slope, (1.0 - slope) * self._pivot

    def coefficients(self) -> tuple[float, float]:
        """Coefficients (a, b) to serve: the identity until calibration has shown that it helps."""
        if len(self._gains) < MIN_DAYS:
            return 1.0, 0.0
        means = np.array([saved / labels for _, labels, saved in self._gains])
        helps = means.mean() > 2.0 * means.std(ddof=1) / np.sqrt(len(means))
        return self.fitted() if helps else (1.0, 0.0)

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        return {
            "count": self.count,
            "pivot": self._pivot,
            "theta": self._theta.copy(),
            "cov": self._cov.copy(),
            "gains": [list(entry) for entry in self._gains],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted."""
        self.count, self._pivot = state["count"], state["pivot"]
        self._theta, self._cov = state["theta"].copy(), state["cov"].copy()
        self._gains = [list(entry) for entry in state["gains"]]


# Bias and slope may move so far at each label; the bias follows the season, the slope hardly moves.
LEVEL_VARIANCE: Final = (0.05, 0.0001)
LEVEL_FORGET: Final = 0.9998
LEVEL_FROM: Final = 500


class OnlineLevel:
    """Level of the log-odds, followed on labels in the order in which they come; half of the correction is served.

    Notes
    -----
    A recursive Laplace fit of ``log-odds * a + b`` that forgets. What is needed today is somewhere between what the
    newest labels ask for, which are old when labels come late, and nothing: their mean did better than either, with
    labels at once and with labels 500 rows late.

    Examples
    --------
    >>> level = OnlineLevel()
    >>> for i in range(3000):  # half is told, a quarter is true
    ...     level.learn_one(0.0, int(i % 4 == 0))
    >>> round(level.serve(0.0), 1)
    -0.5
    """

    def __init__(self) -> None:
        self.count = 0
        self._theta: FloatArray = np.array([0.0, 1.0])
        self._cov: FloatArray = np.diag(LEVEL_VARIANCE)

    def learn_one(self, log_odds: float, y: int) -> None:
        """Learn from one score before correction, and its label."""
        self.count += 1
        if self.count > LEVEL_FROM:
            _step(self._theta, self._cov, log_odds, y)
            self._cov /= LEVEL_FORGET
            np.fill_diagonal(self._cov, np.minimum(np.diag(self._cov), LEVEL_VARIANCE))

    def serve(self, log_odds: float) -> float:
        """Log-odds to serve."""
        return 0.5 * (log_odds + float(self._theta[0] + self._theta[1] * log_odds))

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        return {"count": self.count, "theta": self._theta.copy(), "cov": self._cov.copy()}

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted."""
        self.count, self._theta, self._cov = state["count"], state["theta"].copy(), state["cov"].copy()
