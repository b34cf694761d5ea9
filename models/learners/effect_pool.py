"""Several ways to look at an effect, weighted by what the outcomes say of each: all of them linear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.learners.base import sigmoid
from models.learners.effect import LinearEffect
from models.learners.second_order import SecondOrderLogistic

FloatArray = npt.NDArray[np.float64]

# Prior precision of the effect of each standardised feature, on log-odds and on the rate: from free to alike for all.
ON_ODDS: Final = (30.0, 300.0, 3_000.0, 100_000.0)
ON_RATE: Final = (100.0,)
MEMBERS: Final = (
    *(f"effect_on_odds_{precision:.0f}" for precision in ON_ODDS),
    *(f"effect_on_rate_{precision:.0f}" for precision in ON_RATE),
    "t_learner",
)
PRECISION: Final = 10.0
LEAST_CHANCE: Final = 1e-4


class Effects(NamedTuple):
    """What a pool says of one example: `base` is P(outcome), `members` what each says of the uplift."""

    base: float
    members: FloatArray


class EffectPool:
    """Effects learned beside a main effect, and a model of each group (T-learner), by Bayesian model averaging.

    Parameters
    ----------
    dimensions : number of features; more may come (:meth:`grow`).
    more : names of members that the owner computes and hands over with each example.

    Notes
    -----
    A second-order logistic regression learns who has the outcome at all; effects are learned beside it (see
    :class:`models.learners.effect.LinearEffect`), one per way of looking at it. Members weigh by the likelihood of
    the outcomes under what each had said **before**, newer outcomes counting more: as long as nothing is known of who
    differs, those that say "all alike" have most of the weight.

    References
    ----------
    S. Kuenzel et al., "Metalearners for estimating heterogeneous treatment effects", PNAS 2019. X. Nie, S. Wager,
    "Quasi-oracle estimation of heterogeneous treatment effects", Biometrika 2021.

    Examples
    --------
    >>> pool = EffectPool(1)
    >>> for i in range(2000):  # the treatment helps where the feature is 1
    ...     x, treated = float(i // 2 % 2), i % 2
    ...     _ = pool.learn(np.array([x]), treated, int((i // 4) % 10 < (6 if treated and x else 3)))
    >>> pool.uplift(np.array([1.0])) > 0.1 > pool.uplift(np.array([0.0]))
    True
    """

    def __init__(self, dimensions: int = 0, more: tuple[str, ...] = ()) -> None:
        self.names = (*MEMBERS, *more)
        self.main = SecondOrderLogistic(dimensions, precision=PRECISION)
        self.groups = [SecondOrderLogistic(dimensions, precision=PRECISION) for _ in range(2)]
        self.effects = [LinearEffect(precision) for precision in ON_ODDS]
        self.effects += [LinearEffect(precision, on_odds=False) for precision in ON_RATE]
        for effect in self.effects:
            effect.grow([False] * dimensions)
        self.count = 0
        self.treated = 0
        self._losses: FloatArray = np.zeros(len(self.names))
        self._weights: FloatArray | None = None

    @property
    def share(self) -> float:
        """Share of the treated so far."""
        return (self.treated + 1.0) / (self.count + 2.0)

    def grow(self, indicators: Sequence[bool]) -> None:
        """Take more features, see :meth:`models.learners.second_order.SecondOrderLogistic.grow`."""
        for member in (self.main, *self.groups):
            member.grow(indicators)
        for effect in self.effects:
            effect.grow(indicators)

    def say(self, x: FloatArray) -> Effects:
        """What is known of one example now; members of the owner are 0."""
        base, share = _probability(self.main, x), self.share
        members = np.zeros(len(self.names))
        for place, effect in enumerate(self.effects):
            members[place] = effect.uplift(x, base, share)
        members[len(self.effects)] = _probability(self.groups[1], x) - _probability(self.groups[0], x)
        return Effects(base, members)

    def uplift(self, x: FloatArray) -> float:
        """P(outcome | treated) - P(outcome | not treated)."""
        return float(self.weights() @ self.say(x).members)

    def learn(self, x: FloatArray, treated: int, y: int, said: Effects | None = None) -> Effects:
        """Learn one outcome.

        Parameters
        ----------
        said : what was said of it before; None: what is said now.

        Returns
        -------
        What was said.
        """
        said = self.say(x) if said is None else said
        d = treated - self.share
        # The loss of the first of n outcomes counts 1 / n of that of the last.
        self._losses = self._losses * (self.count / (self.count + 1)) + losses(said.base + d * said.members, y)
        self._weights = None
        for effect in self.effects:
            effect.learn_one(x, y, said.base, d)
        self.main.learn_one(x, y)
        self.groups[treated].learn_one(x, y)
        self.count += 1
        self.treated += treated
        return said

    def rejudge(self, place: int, loss: float) -> None:
        """Replace what is held of a member of the owner, which is another one from now on."""
        self._losses[place] = loss
        self._weights = None

    def weights(self) -> FloatArray:
        """Weight of each member, adding up to 1."""
        if self._weights is None:
            raw = np.exp(self._losses.min() - self._losses)
            self._weights = np.asarray(raw / raw.sum())
        return self._weights

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        return {
            "linear": [member.snapshot() for member in (self.main, *self.groups)],
            "effects": [effect.snapshot() for effect in self.effects],
            "count": self.count,
            "treated": self.treated,
            "losses": self._losses.copy(),
        }

    def restore(self, state: dict[str, Any], indicators: Sequence[bool] = ()) -> None:
        """Become the one that was snapshotted; `indicators` as told to :meth:`grow`.

        Raises
        ------
        IncompatibleSnapshotError
            The state is of another pool.
        """
        if len(state["effects"]) != len(self.effects) or len(state["losses"]) != len(self.names):
            raise IncompatibleSnapshotError("not a state of this pool of effects")
        for member, entry in zip((self.main, *self.groups), state["linear"], strict=True):
            member.grow(indicators[: len(entry["mean"])])
            member.restore(entry)
        for effect, entry in zip(self.effects, state["effects"], strict=True):
            effect.restore(entry)
        self.count, self.treated = state["count"], state["treated"]
        self._losses = state["losses"].copy()
        self._weights = None


def losses(said: FloatArray, y: int | npt.NDArray[np.int64]) -> FloatArray:
    """Log loss of probabilities that may lie outside of 0 to 1."""
    chance = np.clip(said, LEAST_CHANCE, 1.0 - LEAST_CHANCE)
    return -np.log(np.where(y, chance, 1.0 - chance))


def _probability(model: SecondOrderLogistic, x: FloatArray) -> float:
    linear = model.linear()
    return float(sigmoid(linear.bias + linear.weights @ x[: model.dimensions]))
