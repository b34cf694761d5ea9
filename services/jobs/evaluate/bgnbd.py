"""BG/NBD with gamma-gamma money: the classic formula for what customers will spend, as a baseline."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import gammaln, hyp2f1

FloatArray = npt.NDArray[np.float64]

DAYS_A_UNIT = 7.0
HELD = 0.001


def bgnbd_value(raw: FloatArray, horizon_days: float) -> FloatArray:
    """Money expected within the horizon, fitted to the customers of one moment alone (it needs no labels).

    Parameters
    ----------
    raw : churn vectors, see :func:`models.features.churn.raw_churn`.

    References
    ----------
    P. Fader, B. Hardie, K. Lee, "Counting your customers the easy way", Marketing Science 2005; P. Fader, B. Hardie,
    "The gamma-gamma model of monetary value", 2013.
    """
    age = np.maximum(raw[:, 3], 1.0) / DAYS_A_UNIT
    repeats = np.maximum(raw[:, 1] - 1.0, 0.0)
    last = np.maximum(raw[:, 3] - raw[:, 0], 0.0) / DAYS_A_UNIT
    per_day = np.maximum(raw[:, 2] / 100.0, 0.01) / np.maximum(raw[:, 1], 1.0)
    r, alpha, a, b = fit_bgnbd(repeats, last, age)
    orders = expected_orders(repeats, last, age, horizon_days / DAYS_A_UNIT, (r, alpha, a, b))
    # Gamma-gamma, with its parameters by moments: an order's mean is drawn to that of all by its own evidence.
    many = raw[:, 1] > 1
    mean = float(per_day.mean())
    between = float(per_day[many].var()) if many.sum() > 1 else 0.0
    within = float(per_day.var())
    evidence = raw[:, 1] / (raw[:, 1] + within / max(between, 1e-9))
    return np.asarray(orders * (evidence * per_day + (1.0 - evidence) * mean))


def fit_bgnbd(repeats: FloatArray, last: FloatArray, age: FloatArray) -> tuple[float, float, float, float]:
    """Parameters (r, alpha, a, b) of greatest likelihood.

    Parameters
    ----------
    repeats, last, age : purchases after the first, time of the last one and of now since the first.
    """

    def loss(logs: FloatArray) -> float:
        r, alpha, a, b = np.exp(logs)
        first = gammaln(r + repeats) - gammaln(r) + r * np.log(alpha)
        second = gammaln(a + b) + gammaln(b + repeats) - gammaln(b) - gammaln(a + b + repeats)
        alive = -(r + repeats) * np.log(alpha + age)
        gone = np.where(
            repeats > 0,
            np.log(a) - np.log(b + np.maximum(repeats, 1.0) - 1.0) - (r + repeats) * np.log(alpha + last),
            -np.inf,
        )
        return float(-(first + second + np.logaddexp(alive, gone)).mean() + HELD * (logs**2).sum())

    found = minimize(loss, np.zeros(4), method="L-BFGS-B", bounds=[(-6.0, 6.0)] * 4)
    r, alpha, a, b = np.exp(found.x).tolist()
    return r, alpha, a, b


def expected_orders(
    repeats: FloatArray, last: FloatArray, age: FloatArray, ahead: float, fitted: tuple[float, float, float, float]
) -> FloatArray:
    """Orders expected in the next `ahead` units of time.

    Examples
    --------
    >>> fitted = (0.243, 4.414, 0.793, 2.426)  # Fader, Hardie and Lee, 2005, section 4: 1.226
    >>> expected_orders(np.array([2.0]), np.array([30.43]), np.array([38.86]), 39.0, fitted).round(3).tolist()
    [1.226]
    """
    r, alpha, a, b = fitted
    if abs(a - 1.0) < 1e-6:
        a += 1e-6
    z = ahead / (alpha + age + ahead)
    shape = hyp2f1(r + repeats, b + repeats, a + b + repeats - 1.0, z)
    rest = 1.0 - ((alpha + age) / (alpha + age + ahead)) ** (r + repeats) * shape
    alive = 1.0 + np.where(
        repeats > 0, a / (b + np.maximum(repeats, 1.0) - 1.0) * ((alpha + age) / (alpha + last)) ** (r + repeats), 0.0
    )
    return np.asarray((a + b + repeats - 1.0) / (a - 1.0) * rest / alive)
