"""What a policy would have earned, from a log of another one that recorded its propensities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class Value(NamedTuple):
    """Estimated mean reward and its standard error."""

    value: float
    error: float


def ips(reward: FloatArray, propensity: FloatArray, chosen: FloatArray) -> Value:
    """Inverse propensity score: unbiased where the log gave every action a chance.

    Parameters
    ----------
    reward, propensity : of the logged action. chosen : probability that the judged policy takes that action.

    References
    ----------
    D. G. Horvitz, D. J. Thompson, "A generalization of sampling without replacement from a finite universe", 1952.

    Examples
    --------
    >>> ips(np.array([1.0, 0.0]), np.array([0.5, 0.5]), np.array([1.0, 0.0])).value
    1.0
    """
    return _mean(reward * chosen / propensity)


def snips(reward: FloatArray, propensity: FloatArray, chosen: FloatArray) -> Value:
    """Self-normalised IPS: a little biased, far less noisy; 0 where the policies never agree.

    References
    ----------
    A. Swaminathan, T. Joachims, "The self-normalized estimator for counterfactual learning", 2015.

    Examples
    --------
    >>> snips(np.array([1.0, 0.0, 1.0]), np.array([0.5, 0.5, 0.25]), np.array([1.0, 1.0, 0.0])).value
    0.5
    """
    weight = chosen / propensity
    total = float(weight.sum())
    if not total:
        return Value(0.0, 0.0)
    value = float(reward @ weight) / total
    return Value(value, float(np.sqrt(np.sum((weight * (reward - value)) ** 2))) / total)


def dr(
    reward: FloatArray, propensity: FloatArray, chosen: FloatArray, expected: FloatArray, expected_policy: FloatArray
) -> Value:
    """Doubly robust: right when either the propensities or the expected rewards are.

    Parameters
    ----------
    expected : model's reward of the logged action. expected_policy : its mean over what the judged policy takes.

    References
    ----------
    M. Dudik, J. Langford, L. Li, "Doubly robust policy evaluation and learning", 2011.

    Examples
    --------
    >>> one = np.ones(1)
    >>> dr(one, one / 2, one, 0.75 * one, 0.75 * one).value
    1.25
    """
    return _mean(expected_policy + chosen / propensity * (reward - expected))


def _mean(values: FloatArray) -> Value:
    n = len(values)
    if not n:
        return Value(0.0, 0.0)
    return Value(float(values.mean()), float(values.std(ddof=1)) / n**0.5 if n > 1 else 0.0)
