"""Thompson sampling over arms (which offer, which picture, which subject line), with context once that proved better.

The probability of every arm is computed, not only drawn from: it is recorded with the decision, so that other policies
can be judged on the log (:mod:`models.offers.off_policy`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError

FloatArray = npt.NDArray[np.float64]

FLOOR: Final = 0.002  # no arm of a list falls below this, so that the log can judge it
MIN_REWARDS: Final = 500
SWITCH_ON, SWITCH_OFF = 2.0, 0.5  # standard errors of advantage
RIDGE: Final = 10.0
MAX_ARMS: Final = 1000

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def best_arm(mean: FloatArray, error: FloatArray) -> FloatArray:
    """Probability of each arm to be the best one, for normal posteriors; sums to one.

    Notes
    -----
    ``P(i) = E[prod_{j != i} Phi((m_i + s_i z - m_j) / s_j)]`` with z standard normal, by Gauss-Hermite quadrature of 24
    nodes: the same number on every run, where draws would need a seed.

    Examples
    --------
    >>> best_arm(np.array([0.1, 0.1]), np.array([0.01, 0.01])).round(6).tolist()
    [0.5, 0.5]
    >>> best_arm(np.array([0.1, 0.2]), np.array([0.05, 0.05])).round(3).tolist()
    [0.079, 0.921]
    """
    from scipy.special import ndtr  # noqa: PLC0415 - most of a second at start-up, for workers where no bandit chooses

    error = np.maximum(error, 1e-12)
    draws = mean[:, None] + error[:, None] * _NODES
    below = ndtr((draws[:, None, :] - mean[None, :, None]) / error[None, :, None])
    places = np.arange(len(mean))
    below[places, places, :] = 1.0
    chance = below.prod(axis=1) @ _WEIGHTS
    total = chance.sum()
    return chance / total if total > 0.0 else np.full(len(mean), 1.0 / len(mean))


@dataclass(slots=True)
class Arm:
    """Rewards of one arm: number, sum, sum of squares; and the regression of the rest on the context."""

    n: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    target: FloatArray = field(default_factory=lambda: np.zeros(0))
    weights: FloatArray = field(default_factory=lambda: np.zeros(0))
    cov: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))

    @property
    def mean(self) -> float:
        return self.total / self.n if self.n else 0.0

    @property
    def variance(self) -> float:
        return max(self.squares / self.n - self.mean**2, 0.0) if self.n else 0.0


class Thompson:
    """A bandit over named arms.

    Parameters
    ----------
    width : numbers in a context, the first of them 1; 0 or 1: no context is used.

    Notes
    -----
    Without context an arm's mean reward is normal around its average, with one imagined reward that varies as much
    as the widest arm's: an arm that was unlucky early comes back. With context a ridge regression per arm (precision
    ``RIDGE`` around the arm's average) gives mean and error. The context is used once doubly robust estimates of its
    gain, made from rewards not yet learned, lie two standard errors above zero, and no longer when they fall
    below half of one. Memory: ``width ** 2`` numbers an arm, at most ``MAX_ARMS`` arms.

    References
    ----------
    W. R. Thompson, 1933. S. Agrawal, N. Goyal, "Thompson sampling for contextual bandits with linear payoffs", 2013.

    Examples
    --------
    >>> bandit = Thompson(1)
    >>> for number in range(60):
    ...     bandit.learn("a", float(number % 4 == 0), ["a", "b"], 0.5)
    ...     bandit.learn("b", float(number % 4 != 0), ["a", "b"], 0.5)
    >>> bandit.propensities(["a", "b"]).round(3).tolist()
    [0.002, 0.998]
    """

    def __init__(self, width: int = 0) -> None:
        self.width = width
        self.arms: dict[str, Arm] = {}
        self.contextual = False
        self.gains = [0.0, 0.0, 0.0]

    def propensities(self, arms: Sequence[str], x: FloatArray | None = None) -> FloatArray:
        """Probability with which each of `arms` is taken now; together 1."""
        if len(arms) == 1:
            return np.ones(1)
        return self._mixed(self._with_context(arms, x) if self.contextual and x is not None else self._without(arms))

    def learn(
        self, arm: str, reward: float, arms: Sequence[str], propensity: float, x: FloatArray | None = None
    ) -> None:
        """Learn the reward of `arm`, taken out of `arms` with that probability."""
        if x is not None and self.width > 1:
            self._judge(arm, reward, arms, propensity, x)
        found = self.arms.get(arm)
        if found is None:
            if len(self.arms) >= MAX_ARMS:
                return
            found = self.arms[arm] = Arm()
        found.n += 1.0
        found.total += reward
        found.squares += reward * reward
        if x is not None and self.width > 1:
            if not len(found.target):
                found.cov = np.eye(self.width) / RIDGE
                found.target, found.weights = np.zeros(self.width), np.zeros(self.width)
            # Towards the arm's own average: a context that says nothing leaves the arm where it is.
            found.target += x * (reward - found.mean)
            v = found.cov @ x
            found.cov -= np.outer(v, v / (1.0 + float(x @ v)))
            found.weights = found.cov @ found.target

    def means(self, arms: Sequence[str], x: FloatArray | None = None) -> FloatArray:
        """Expected reward of each arm."""
        found = [self.arms.get(arm) for arm in arms]
        known = [one for one in found if one is not None and one.n]
        prior = sum(one.total for one in known) / sum(one.n for one in known) if known else 0.0
        means = np.array([one.mean if one is not None and one.n else prior for one in found])
        if x is not None and self.contextual:
            means += np.array(
                [float(one.weights @ x) if one is not None and len(one.weights) else 0.0 for one in found]
            )
        return means

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        arms = {
            name: [one.n, one.total, one.squares, one.target.tolist(), one.cov.ravel().tolist()]
            for name, one in self.arms.items()
        }
        return {"width": self.width, "contextual": self.contextual, "gains": list(self.gains), "arms": arms}

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted.

        Raises
        ------
        IncompatibleSnapshotError
            The state is of something else.
        """
        try:
            self.width, self.contextual = state["width"], state["contextual"]
            self.gains = list(state["gains"])
            self.arms = {}
            for name, (n, total, squares, target, cov) in state["arms"].items():
                arm = self.arms[name] = Arm(n, total, squares)
                if target:
                    arm.target = np.array(target)
                    arm.cov = np.array(cov).reshape(len(target), len(target))
                    arm.weights = arm.cov @ arm.target
        except (KeyError, ValueError, TypeError) as error:
            raise IncompatibleSnapshotError(f"not a state of a bandit: {error}") from error

    def _mixed(self, chance: FloatArray) -> FloatArray:
        floor = min(FLOOR, 0.5 / len(chance))
        return floor + (1.0 - floor * len(chance)) * chance

    def _spread(self, found: Sequence[Arm | None]) -> float:
        return max((one.variance for one in found if one is not None), default=0.0)

    def _without(self, arms: Sequence[str]) -> FloatArray:
        found = [self.arms.get(arm) for arm in arms]
        widest = self._spread(found)
        if not widest or any(one is None or one.n < 2.0 for one in found):
            new = np.array([one is None or one.n < 2.0 for one in found], dtype=np.float64)
            if not widest or new.all():
                return np.full(len(arms), 1.0 / len(arms))
            # Whoever is new is tried as often as one arm out of all.
            share = new.sum() / len(arms)
            known = [arm for arm, fresh in zip(arms, new.tolist(), strict=True) if not fresh]
            rest = iter(self._without(known) * (1.0 - share))
            return np.array([1.0 / len(arms) if fresh else next(rest) for fresh in new.tolist()])
        mean = np.array([one.mean for one in found if one is not None])
        error = np.array([((one.variance * (one.n - 1.0) + widest) ** 0.5) / one.n for one in found if one is not None])
        return best_arm(mean, error)

    def _with_context(self, arms: Sequence[str], x: FloatArray) -> FloatArray:
        found = [self.arms.get(arm) for arm in arms]
        widest = self._spread(found)
        if not widest or any(one is None or one.n < 2.0 or not len(one.target) for one in found):
            return self._without(arms)
        known = [one for one in found if one is not None]
        mean = np.array([one.mean + float(one.weights @ x) for one in known])
        error = np.array(
            [(one.variance * float(x @ one.cov @ x) + widest / one.n**2 + one.variance / one.n) ** 0.5 for one in known]
        )
        return best_arm(mean, error)

    def _judge(self, arm: str, reward: float, arms: Sequence[str], propensity: float, x: FloatArray) -> None:
        """Doubly robust gain of the context on one more reward."""
        if arm not in self.arms or arm not in arms or len(arms) < 2:
            return
        place = list(arms).index(arm)
        with_it, without = self._with_context(arms, x), self._without(arms)
        more = with_it - without
        expected = np.array([one.mean if (one := self.arms.get(name)) is not None else 0.0 for name in arms])
        gain = float(more @ expected + more[place] / max(propensity, 1e-3) * (reward - expected[place]))
        n, total, squares = self.gains
        n, total, squares = n + 1.0, total + gain, squares + gain * gain
        self.gains = [n, total, squares]
        if n >= MIN_REWARDS:
            error = (max(squares / n - (total / n) ** 2, 0.0) / n) ** 0.5
            edge = total / n / error if error else 0.0
            self.contextual = bool(edge >= (SWITCH_OFF if self.contextual else SWITCH_ON))
