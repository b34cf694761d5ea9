"""Bandit experiments: most users get what seems best, and the arms can still be compared.

Propensities are frozen for a batch of users and never fall below a floor. Sample means of such data are biased: an arm
that was unlucky early gets few further users and keeps its bad luck. Each reward is therefore weighted by the
propensity with which its arm was given. Batches are used in order, each once all of its rewards are in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from models.experiments.bayes import posterior
from models.experiments.estimate import Effect, Estimate, checked
from models.experiments.sums import Mean, Shortage

Weighting: TypeAlias = Literal["ipw", "aipw", "adaptive"]

FLOOR = 0.05


@dataclass(frozen=True, slots=True)
class Batch:
    """Users that were assigned with the same propensities: for each arm its propensity and the sums of its rewards."""

    propensities: tuple[float, ...]
    rewards: tuple[Mean, ...]

    def __post_init__(self) -> None:
        if len(self.propensities) != len(self.rewards) or min(self.propensities, default=0.0) <= 0.0:
            raise ValueError("a positive propensity for each arm")

    @property
    def n(self) -> int:
        """Users of all arms."""
        return sum(arm.n for arm in self.rewards)


def allocate(arms: Sequence[Mean], floor: float = FLOOR, *, higher_is_better: bool = True) -> tuple[float, ...]:
    """Propensities of the next batch: Thompson sampling's, mixed with a floor; equal ones until every arm has rewards.

    References
    ----------
    W. R. Thompson, "On the likelihood that one unknown probability exceeds another in view of the evidence of two
    samples", Biometrika 25 (1933).

    Examples
    --------
    >>> allocate([Mean(500, 50, 50), Mean(500, 80, 80)])
    (0.052, 0.948)
    """
    number = len(arms)
    if not 0.0 < floor <= 1.0 / number:
        raise ValueError(f"a floor above 0 and at most 1/{number}")
    if any(arm.n < 2 for arm in arms) or not any(arm.variance for arm in arms):
        return (1.0 / number,) * number
    # One imagined user who is unlike the others keeps an arm without successes uncertain.
    widest = max(arm.variance for arm in arms)
    known = [(arm.mean, (arm.variance * (arm.n - 1) + widest) / arm.n**2) for arm in arms]
    best = [value.best for value in posterior(known, higher_is_better=higher_is_better)]
    whole = math.fsum(best)
    # Rounded to what is stored and used for the hash; the remainder goes to the likeliest arm.
    parts = [round(floor + (1.0 - number * floor) * chance / whole, 3) for chance in best]
    likeliest = parts.index(max(parts))
    parts[likeliest] = round(1.0 - math.fsum(part for i, part in enumerate(parts) if i != likeliest), 3)
    return tuple(parts)


def compare_arms(
    batches: Sequence[Batch], control: int, treatment: int, weighting: Weighting = "adaptive"
) -> Effect | None:
    """Difference of two arms and its variance, see :func:`estimate_arms`; None without rewards.

    Examples
    --------
    >>> even = Batch((0.5, 0.5), (Mean(500, 50, 50), Mean(500, 65, 65)))
    >>> round(compare_arms([even], 0, 1).value, 6)
    0.03
    """
    found = estimate_arms(batches, control, treatment, weighting)
    if isinstance(found, str):
        return None
    return found.absolute()._replace(n=sum(batch.n for batch in batches))


def estimate_arms(
    batches: Sequence[Batch], control: int, treatment: int, weighting: Weighting = "adaptive"
) -> Estimate | Shortage:
    """Averages of two arms and their variances; the reason where there is none yet.

    Parameters
    ----------
    weighting : `ipw`, inverse propensities; `aipw`, the same around the arm's mean of earlier batches; `adaptive`,
        AIPW with the square root of the propensity as weight: its estimate is normal however the bandit wandered.

    Notes
    -----
    The score of a user for arm a is m_a + 1{a was given} (y - m_a) / e_a. `aipw` with an always-valid boundary
    (`always_valid.look`) is the asymptotic off-policy confidence sequence; `adaptive` is for one look at the end.
    The variance of the difference is the larger one of two: that of the scores as they came, and the one to be
    expected from the propensities, where an arm's rewards vary at least as those of both arms together. An arm that
    was unlucky has few users and seems to vary little, both for the same reason: with the first variance alone,
    intervals of `adaptive` at 95 % held the truth in 93.4 % of 2,000 worlds. It is split as the arms' own variances.

    References
    ----------
    V. Hadad, D. A. Hirshberg, R. Zhan, S. Wager, S. Athey, "Confidence intervals for policy evaluation in adaptive
    experiments", PNAS 118 (2021). I. Waudby-Smith, L. Wu, A. Ramdas, N. Karampatziakis, P. Mineiro, "Anytime-valid
    off-policy inference for contextual bandits", ACM/IMS Journal of Data Science 1 (2024).

    Examples
    --------
    >>> even = Batch((0.5, 0.5), (Mean(500, 50, 50), Mean(500, 65, 65)))
    >>> found = estimate_arms([even], 0, 1)
    >>> round(found.control, 6), round(found.treatment, 6)
    (0.1, 0.13)
    """
    pair = (control, treatment)
    scored = list(_scores(batches, pair, weighting))
    totals = [sum(score.weight[i] * score.n for score in scored) for i in (0, 1)]
    if not min(totals, default=0.0):
        return "no_users"
    values = [sum(score.weight[i] * score.sums[i] for score in scored) / totals[i] for i in (0, 1)]
    shares = [(score.weight[0] / totals[0], score.weight[1] / totals[1]) for score in scored]
    *own, both = _expected(scored, shares, values, _spread(batches, pair))
    variance = max(_observed(scored, shares, values), own[0] + own[1] - 2.0 * both)
    parts = [variance * one / (own[0] + own[1]) if own[0] + own[1] > 0.0 else variance / 2.0 for one in own]
    users = [sum(batch.rewards[arm].n for batch in batches) for arm in pair]
    return checked(Estimate(values[0], values[1], parts[0], parts[1], users[0], users[1]))


def sample_means(batches: Sequence[Batch]) -> tuple[Mean, ...]:
    """Rewards of each arm, simply added up: biased under a bandit, for display with that label only."""
    arms = [Mean(0, 0, 0)] * len(batches[0].rewards) if batches else []
    for batch in batches:
        arms = [arm + reward for arm, reward in zip(arms, batch.rewards, strict=True)]
    return tuple(arms)


@dataclass(frozen=True, slots=True)
class _Scores:
    """Sums of the scores of a batch for two arms, of their squares and of their product."""

    n: int
    weight: tuple[float, float]
    sums: tuple[float, float]
    products: tuple[float, float, float]
    middle: tuple[float, float]
    chances: tuple[float, float]

    def deviations(self, first: float, second: float) -> tuple[float, float, float]:
        """Sums of squares and of products about two values."""
        (a, b), (aa, ab, bb) = self.sums, self.products
        return (
            aa - 2.0 * first * a + self.n * first**2,
            ab - first * b - second * a + self.n * first * second,
            bb - 2.0 * second * b + self.n * second**2,
        )


def _observed(scored: Sequence[_Scores], shares: Sequence[tuple[float, float]], values: Sequence[float]) -> float:
    """Variance of the difference, from the scores as they came."""
    total = 0.0
    for score, share in zip(scored, shares, strict=True):
        one, both, two = score.deviations(values[0], values[1])
        total += share[0] ** 2 * one + share[1] ** 2 * two - 2.0 * share[0] * share[1] * both
    return total


def _expected(
    scored: Sequence[_Scores],
    shares: Sequence[tuple[float, float]],
    values: Sequence[float],
    spread: tuple[float, float],
) -> tuple[float, float, float]:
    """Variances of both values and their covariance, from the propensities and the variances of the rewards."""
    first = second = together = 0.0
    for score, share in zip(scored, shares, strict=True):
        gap = (values[0] - score.middle[0], values[1] - score.middle[1])
        one, two = ((spread[i] + gap[i] ** 2) / score.chances[i] - gap[i] ** 2 for i in (0, 1))
        first += score.n * share[0] ** 2 * one
        second += score.n * share[1] ** 2 * two
        together -= score.n * share[0] * share[1] * gap[0] * gap[1]
    return first, second, together


def _spread(batches: Sequence[Batch], pair: tuple[int, int]) -> tuple[float, float]:
    arms = sample_means(batches)
    one, two = arms[pair[0]], arms[pair[1]]
    together = (one + two).variance
    return max(one.variance, together), max(two.variance, together)


def _scores(batches: Sequence[Batch], pair: tuple[int, int], weighting: Weighting) -> list[_Scores]:
    before = [Mean(0, 0, 0), Mean(0, 0, 0)]
    found = []
    for batch in batches:
        if not batch.n:
            continue
        rewards = [batch.rewards[arm] for arm in pair]
        chances = [batch.propensities[arm] for arm in pair]
        # What is known before this batch only: otherwise the scores would not be fair.
        middle = [0.0 if weighting == "ipw" else one.mean for one in before]
        gaps = [(one.total - one.n * at) / chance for one, at, chance in zip(rewards, middle, chances, strict=True)]
        squares = [
            (one.total_sq - 2.0 * at * one.total + one.n * at**2) / chance**2
            for one, at, chance in zip(rewards, middle, chances, strict=True)
        ]
        n = batch.n
        sums = (n * middle[0] + gaps[0], n * middle[1] + gaps[1])
        products = (
            n * middle[0] ** 2 + 2.0 * middle[0] * gaps[0] + squares[0],
            n * middle[0] * middle[1] + middle[1] * gaps[0] + middle[0] * gaps[1],
            n * middle[1] ** 2 + 2.0 * middle[1] * gaps[1] + squares[1],
        )
        weight = (math.sqrt(chances[0]), math.sqrt(chances[1])) if weighting == "adaptive" else (1.0, 1.0)
        found.append(_Scores(n, weight, sums, products, (middle[0], middle[1]), (chances[0], chances[1])))
        before = [one + more for one, more in zip(before, rewards, strict=True)]
    return found
