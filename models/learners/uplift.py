"""Uplift: whom does a treatment change, learned from outcomes of treated and untreated while the stream runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.features.tabular import Encoded, TabularEncoder, Value
from models.learners.base import sigmoid
from models.learners.effect import LinearEffect
from models.learners.second_order import SecondOrderLogistic
from models.learners.trees import EffectTrees

FloatArray = npt.NDArray[np.float64]

NAME: Final = "uplift"
# Prior precision of the effect of each standardised feature, on log-odds and on the rate: from free to alike for all.
ON_ODDS: Final = (30.0, 300.0, 3_000.0, 100_000.0)
ON_RATE: Final = (100.0,)
MEMBERS: Final = (
    *(f"effect_on_odds_{precision:.0f}" for precision in ON_ODDS),
    *(f"effect_on_rate_{precision:.0f}" for precision in ON_RATE),
    "t_learner",
    "effect_trees",
)
PRECISION: Final = 10.0
LEAST_CHANCE: Final = 1e-4
REFIT_FROM: Final = 1000
REFIT_GROWTH: Final = 2.0
KEPT_FOR_BATCH: Final = 50_000


class UpliftScore(NamedTuple):
    """A score as it was served, kept until its outcome comes.

    Parameters
    ----------
    uplift : P(outcome | treated) - P(outcome | not treated), served. members : the same by each of `MEMBERS`.
    base : P(outcome). encoded : what was scored. row : as it came.
    """

    uplift: float
    members: FloatArray
    base: float
    encoded: Encoded
    row: Sequence[Value]


class Uplift:
    """Score rows, learn their outcomes later.

    Parameters
    ----------
    kinds : per column, see :class:`models.features.tabular.TabularEncoder`.

    Notes
    -----
    A second-order logistic regression learns who has the outcome at all; effects are learned beside it (see
    :class:`models.learners.effect.LinearEffect`), one per way of looking at it, and a model of each group
    (T-learner). :meth:`refit` is the batch part. The score is their mean, weighted by the likelihood of the outcomes
    under what each had said **before** (Bayesian model averaging, newer outcomes count more): as long as nothing is
    known of who differs, the members that say "all alike" have most of the weight.

    References
    ----------
    S. Kuenzel et al., "Metalearners for estimating heterogeneous treatment effects", PNAS 2019. X. Nie, S. Wager,
    "Quasi-oracle estimation of heterogeneous treatment effects", Biometrika 2021.

    Examples
    --------
    >>> learner = Uplift(["number"])
    >>> for i in range(4000):  # the treatment helps where the number is 1
    ...     x, treated = float(i // 2 % 2), i % 2
    ...     learner.learn(learner.score([x]), treated, int((i // 4) % 10 < (6 if treated and x else 3)))
    >>> learner.score([1.0]).uplift > 0.1 > learner.score([0.0]).uplift
    True
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        self.encoder = TabularEncoder(kinds)
        self.main = SecondOrderLogistic(0, precision=PRECISION)
        self.groups = [SecondOrderLogistic(0, precision=PRECISION) for _ in range(2)]
        self.effects = [LinearEffect(precision) for precision in ON_ODDS]
        self.effects += [LinearEffect(precision, on_odds=False) for precision in ON_RATE]
        self.trees = EffectTrees()
        self.count = 0
        self.treated = 0
        self._losses: FloatArray = np.zeros(len(MEMBERS))
        self._plain: list[FloatArray] = []
        self._known: list[tuple[int, int, float]] = []
        self._next_fit = REFIT_FROM
        self._weights: FloatArray | None = None

    @property
    def share(self) -> float:
        """Share of the treated so far."""
        return (self.treated + 1.0) / (self.count + 2.0)

    def score(self, row: Sequence[Value]) -> UpliftScore:
        """Score one row with what is known now."""
        encoded = self.encoder.encode(row)
        wide = encoded.wide
        base = _probability(self.main, wide)
        members = np.zeros(len(MEMBERS))
        for place, effect in enumerate(self.effects):
            members[place] = effect.uplift(wide, base, self.share)
        members[-2] = _probability(self.groups[1], wide) - _probability(self.groups[0], wide)
        alike = members[len(ON_ODDS) - 1]
        members[-1] = float(self.trees.effect(encoded.plain.reshape(1, -1))[0]) if self.trees.fitted else alike
        return UpliftScore(float(self.weights() @ members), members, base, encoded, row)

    def learn(self, scored: UpliftScore, treated: int, y: int) -> None:
        """Outcome of a row that was scored before."""
        d = treated - self.share
        self._judge(scored, d, y)
        self.encoder.learn(scored.row, y)
        width = self.encoder.width
        wide = np.pad(scored.encoded.wide, (0, width - len(scored.encoded.wide)))
        for member in (self.main, *self.groups):
            member.grow(self.encoder.indicators)
        for effect in self.effects:
            effect.grow(self.encoder.indicators)
            effect.learn_one(wide, y, scored.base, d)
        self.main.learn_one(wide, y)
        self.groups[treated].learn_one(wide, y)
        self.count += 1
        self.treated += treated
        self._plain.append(scored.encoded.plain)
        self._known.append((treated, y, scored.base))
        if len(self._known) > 2 * KEPT_FOR_BATCH:
            self._plain, self._known = self._plain[-KEPT_FOR_BATCH:], self._known[-KEPT_FOR_BATCH:]

    @property
    def refit_due(self) -> bool:
        """Whether enough outcomes came since the last refit."""
        return self.count >= self._next_fit

    def refit(self) -> None:
        """Fit the trees anew on the newest outcomes known."""
        self._next_fit = max(REFIT_FROM, int(self.count * REFIT_GROWTH))
        known = np.array(self._known[-KEPT_FOR_BATCH:]).reshape(-1, 3)
        treated, y, base = known[:, 0].astype(np.int64), known[:, 1].astype(np.int64), known[:, 2]
        unseen = self.trees.fit_effect(np.array(self._plain[-KEPT_FOR_BATCH:]), treated, y)
        if unseen is not None:
            # What the trees of before had said is no measure of these; what these say of unseen rows is.
            size = len(known)
            newer = np.arange(self.count - size + 1, self.count + 1) / self.count
            losses = _losses(base + (treated - self.share) * unseen, y)
            self._losses[-1] = float(newer @ losses) * 0.5 * (self.count + 1) / float(newer.sum())
            self._weights = None

    def weights(self) -> FloatArray:
        """Weight of each of `MEMBERS`, adding up to 1."""
        if self._weights is None:
            raw = np.exp(self._losses.min() - self._losses)
            self._weights = np.asarray(raw / raw.sum())
        return self._weights

    def meta(self) -> dict[str, Any]:
        """Return what a person wants to know of it."""
        shares = zip(MEMBERS, self.weights().round(3).tolist(), strict=True)
        return {"examples": self.count, "treated": self.treated, "features": self.encoder.width, "pool": dict(shares)}

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        kept = len(self._known)
        return {
            "name": NAME,
            "encoder": self.encoder.snapshot(),
            "linear": [member.snapshot() for member in (self.main, *self.groups)],
            "effects": [effect.snapshot() for effect in self.effects],
            "trees": self.trees.snapshot(),
            "count": self.count,
            "treated": self.treated,
            "losses": self._losses.copy(),
            "plain": np.array(self._plain).reshape(kept, len(self.encoder.kinds)),
            "known": [list(one) for one in self._known],
            "next_fit": self._next_fit,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted.

        Raises
        ------
        IncompatibleSnapshotError
            The state is of another learner or of other columns.
        """
        if state.get("name") != NAME or len(state["effects"]) != len(self.effects):
            raise IncompatibleSnapshotError(f"not a state of {NAME}")
        self.encoder.restore(state["encoder"])
        for member, entry in zip((self.main, *self.groups), state["linear"], strict=True):
            member.grow(self.encoder.indicators[: len(entry["mean"])])
            member.restore(entry)
        for effect, entry in zip(self.effects, state["effects"], strict=True):
            effect.restore(entry)
        self.trees.restore(state["trees"])
        self.count, self.treated, self._next_fit = state["count"], state["treated"], state["next_fit"]
        self._losses = state["losses"].copy()
        self._plain = list(state["plain"].copy())
        self._known = [(treated, y, base) for treated, y, base in state["known"]]
        self._weights = None

    def _judge(self, scored: UpliftScore, d: float, y: int) -> None:
        # The loss of the first of n outcomes counts 1 / n of that of the last.
        self._losses = self._losses * (self.count / (self.count + 1)) + _losses(scored.base + d * scored.members, y)
        self._weights = None


def _probability(model: SecondOrderLogistic, wide: FloatArray) -> float:
    linear = model.linear()
    return float(sigmoid(linear.bias + linear.weights @ wide[: model.dimensions]))


def _losses(said: FloatArray, y: int | npt.NDArray[np.int64]) -> FloatArray:
    chance = np.clip(said, LEAST_CHANCE, 1.0 - LEAST_CHANCE)
    return -np.log(np.where(y, chance, 1.0 - chance))
