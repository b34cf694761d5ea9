"""Sample ratio: the test that as many users came to each arm as the weights say.

A mismatch means that users were lost or sent astray on the way: the result must not be trusted, whatever it says.
While an experiment runs, the live test decides; the chi-squared test is for finished ones, which are looked at once
(watched a hundred times at 1 %, it would alarm falsely in one of ten sound experiments).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, gammaln

from models.experiments.sums import Floats

LIVE_ALARM = 1000.0
FINISHED_ALARM = 0.01
# Prior observations of the mixture: as the authors' own implementation (ssrm-test).
CONCENTRATION = 10_000.0
# Logarithms of the factors that an arm's odds may be off by.
TILTS = np.log([1.05, 1.1, 1.2, 1.5, 2.0, 1 / 1.05, 1 / 1.1, 1 / 1.2, 1 / 1.5, 1 / 2.0])


class Epoch(NamedTuple):
    """Users per arm while the same weights were in force."""

    counts: tuple[int, ...]
    weights: tuple[float, ...]


def chi_squared_p(counts: Sequence[int], weights: Sequence[float]) -> float | None:
    """P value of a finished experiment; None without users.

    Parameters
    ----------
    counts : users per arm. weights : planned shares, or the sums over users of the assignment probabilities that
        were in force at their exposure.

    References
    ----------
    A. Fabijan et al., "Diagnosing sample ratio mismatch in online controlled experiments", KDD 2019.

    Examples
    --------
    >>> round(chi_squared_p([5_000, 5_200], [0.5, 0.5]), 4)
    0.0477
    """
    shares = _shares(counts, weights)
    n = sum(counts)
    if not n:
        return None
    expected = [n * share for share in shares]
    statistic = math.fsum((count - mean) ** 2 / mean for count, mean in zip(counts, expected, strict=True))
    return float(chdtrc(len(counts) - 1, statistic))


def log_evidence(epochs: Sequence[Epoch], concentration: float = CONCENTRATION) -> float:
    """Log of the e-process against the planned ratio; it may be looked at after every user.

    Notes
    -----
    The probability of the counts under a Dirichlet mixture of ratios around the planned one, over their probability
    under the planned one. If the plan holds, it reaches 1 / a with probability at most a, ever. Each epoch of constant
    weights is a process of its own; their product is one again. Many short epochs, as the versions of a bandit's
    shares, leave each little to learn from: with several epochs half of the evidence is that of `tilted_log_e`.

    References
    ----------
    M. Lindon, A. Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022.

    Examples
    --------
    >>> sound = Epoch((10_020, 9_980), (0.5, 0.5))
    >>> lossy = Epoch((10_000, 9_200), (0.5, 0.5))
    >>> log_evidence([sound]) < 0.0, log_evidence([lossy]) > math.log(LIVE_ALARM)
    (True, True)
    """
    total = 0.0
    for epoch in epochs:
        total += float(multinomial_log_e(np.array(epoch.counts), _shares(*epoch), concentration))
    if len(epochs) < 2:
        return total
    return float(np.logaddexp(total, tilted_log_e(epochs))) - math.log(2.0)


def tilted_log_e(epochs: Sequence[Epoch]) -> float:
    """Log of an e-process against one arm's odds being off by the same factor in all epochs.

    Notes
    -----
    A likelihood ratio user by user, its shares being those in force at the exposure, mixed over arms and factors.

    Examples
    --------
    >>> sound = [Epoch((505, 495), (0.5, 0.5)), Epoch((290, 710), (0.3, 0.7))] * 20
    >>> lossy = [Epoch((505, 395), (0.5, 0.5)), Epoch((290, 570), (0.3, 0.7))] * 20
    >>> tilted_log_e(sound) < 0.0, tilted_log_e(lossy) > math.log(LIVE_ALARM)
    (True, True)
    """
    counts = np.array([epoch.counts for epoch in epochs], dtype=np.float64)[:, :, None]
    shares = np.array([_shares(*epoch) for epoch in epochs])[:, :, None]
    users = counts.sum(axis=1, keepdims=True)
    logs = (counts * TILTS - users * np.log1p(shares * np.expm1(TILTS))).sum(axis=0).ravel()
    return float(np.logaddexp.reduce(logs)) - math.log(len(logs))


def live_alarm(epochs: Sequence[Epoch]) -> bool:
    """Whether the ratio of a running experiment is broken (evidence of 1,000 or more)."""
    return log_evidence(epochs) >= math.log(LIVE_ALARM)


def multinomial_log_e(
    counts: NDArray[np.int64], shares: Sequence[float], concentration: float = CONCENTRATION
) -> Floats:
    """Log of the mixture's evidence; the arms are the last axis of `counts`."""
    planned = np.asarray(shares, dtype=np.float64)
    prior = concentration * planned
    n = counts.sum(axis=-1)
    mixture = gammaln(concentration) - gammaln(concentration + n)
    mixture = mixture + (gammaln(prior + counts) - gammaln(prior) - counts * np.log(planned)).sum(axis=-1)
    return np.asarray(mixture)


def _shares(counts: Sequence[int], weights: Sequence[float]) -> list[float]:
    if len(counts) != len(weights) or len(counts) < 2 or min(weights) <= 0.0:
        raise ValueError("a positive weight for each of at least two arms")
    total = math.fsum(weights)
    return [weight / total for weight in weights]
