"""Uplift: whom does a treatment change, learned from outcomes of treated and untreated while the stream runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.features.tabular import Encoded, TabularEncoder, Value
from models.learners import effect_pool
from models.learners.effect_pool import EffectPool, Effects, losses
from models.learners.threads import one_thread
from models.learners.trees import EffectTrees

FloatArray = npt.NDArray[np.float64]

NAME: Final = "uplift"
TREES: Final = "effect_trees"
MEMBERS: Final = (*effect_pool.MEMBERS, TREES)
ALIKE: Final = effect_pool.MEMBERS.index(f"effect_on_odds_{effect_pool.ON_ODDS[-1]:.0f}")
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
    A pool of linear effects (:class:`models.learners.effect_pool.EffectPool`) and, refitted from time to time by
    :meth:`refit`, boosted trees as one more member.

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
        self.pool = EffectPool(more=(TREES,))
        self.trees = EffectTrees()
        self._plain: list[FloatArray] = []
        self._known: list[tuple[int, int, float]] = []
        self._next_fit = REFIT_FROM

    @property
    def count(self) -> int:
        """Outcomes learned."""
        return self.pool.count

    def score(self, row: Sequence[Value]) -> UpliftScore:
        """Score one row with what is known now."""
        encoded = self.encoder.encode(row)
        base, members = self.pool.say(encoded.wide)
        trees = self.trees
        members[-1] = float(trees.effect(encoded.plain.reshape(1, -1))[0]) if trees.fitted else members[ALIKE]
        return UpliftScore(float(self.weights() @ members), members, base, encoded, row)

    def learn(self, scored: UpliftScore, treated: int, y: int) -> None:
        """Outcome of a row that was scored before."""
        self.encoder.learn(scored.row, y)
        wide = np.pad(scored.encoded.wide, (0, self.encoder.width - len(scored.encoded.wide)))
        self.pool.grow(self.encoder.indicators)
        self.pool.learn(wide, treated, y, Effects(scored.base, scored.members))
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
        with one_thread():
            unseen = self.trees.fit_effect(np.array(self._plain[-KEPT_FOR_BATCH:]), treated, y)
        if unseen is not None:
            # What the trees of before had said is no measure of these; what these say of unseen rows is.
            size = len(known)
            newer = np.arange(self.count - size + 1, self.count + 1) / self.count
            lost = losses(base + (treated - self.pool.share) * unseen, y)
            self.pool.rejudge(-1, float(newer @ lost) * 0.5 * (self.count + 1) / float(newer.sum()))

    def weights(self) -> FloatArray:
        """Weight of each of `MEMBERS`, adding up to 1."""
        return self.pool.weights()

    def meta(self) -> dict[str, Any]:
        """Return what a person wants to know of it."""
        shares = zip(MEMBERS, self.weights().round(3).tolist(), strict=True)
        return {
            "examples": self.count,
            "treated": self.pool.treated,
            "features": self.encoder.width,
            "pool": dict(shares),
        }

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        kept = len(self._known)
        return {
            "name": NAME,
            "encoder": self.encoder.snapshot(),
            "pool": self.pool.snapshot(),
            "trees": self.trees.snapshot(),
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
        if state.get("name") != NAME:
            raise IncompatibleSnapshotError(f"not a state of {NAME}")
        self.encoder.restore(state["encoder"])
        self.pool.restore(state["pool"], self.encoder.indicators)
        self.trees.restore(state["trees"])
        self._next_fit = state["next_fit"]
        self._plain = list(state["plain"].copy())
        self._known = [(treated, y, base) for treated, y, base in state["known"]]
