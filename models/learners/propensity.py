"""Propensity: how likely is a goal, learned from rows of any columns while the stream runs.

Linear learners follow every label, trees are refitted on the labels known so far, and the score is the mean of
their log-odds, weighted by how well each did on the scores **as they were served**.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.features.tabular import Encoded, TabularEncoder, Value
from models.learners.adagrad import AdaGradLogistic
from models.learners.base import MAX_LOG_ODDS
from models.learners.calibration import EVIDENCE_DECAY, OnlineLevel, log_loss
from models.learners.drift import Adwin
from models.learners.second_order import SecondOrderLogistic
from models.learners.trees import BoostedTrees, Forest

FloatArray = npt.NDArray[np.float64]

NAME: Final = "propensity"
ONLINE: Final = ("second_order", "adagrad")
BATCH: Final = ("boosted", "forest")
MEMBERS: Final = (*ONLINE, *BATCH, "rate")
PRECISION: Final = 10.0
TEMPERATURE: Final = 0.03
# A member is served from so many judged scores on; until then it is only watched.
JUDGED_FROM: Final = 100
REFIT_EVERY: Final = 500
REFIT_SHARE: Final = 0.1
KEPT_FOR_BATCH: Final = 50_000
RATE_DECAY: Final = 0.5 ** (1 / 5000)
# What is left of the evidence when drift is found: the weights are then decided by what follows.
EVIDENCE_AFTER_DRIFT: Final = 0.3


class Scored(NamedTuple):
    """A score as it was served, kept until its label comes.

    Parameters
    ----------
    probability : served, calibrated. online : the same of the online members alone.
    row, encoded : what was scored. odds : log-odds per member of `MEMBERS`, NaN while it has learned nothing.
    pooled : log-odds before calibration.
    """

    probability: float
    online: float
    row: Sequence[Value]
    encoded: Encoded
    odds: FloatArray
    pooled: float


class Propensity:
    """Score rows, learn their labels later.

    Parameters
    ----------
    kinds : per column, see :class:`models.features.tabular.TabularEncoder`.

    Notes
    -----
    `rate` is the recent rate of positives: a member like the others, so a pool that has gone wrong falls back to it by
    itself. ADWIN watches the log loss that was served; when it rises, most of the evidence is forgotten.
    :meth:`refit` is the batch part: the caller chooses the time, at best when :attr:`refit_due`.

    References
    ----------
    A. Bifet, R. Gavalda, "Learning from time-changing data with adaptive windowing", SDM 2007. R. Ranjan, T. Gneiting,
    "Combining probability forecasts", JRSS B 2010.

    Examples
    --------
    >>> learner = Propensity(["number"])
    >>> for i in range(300):
    ...     learner.learn(learner.score([float(i % 3)]), int(i % 3 == 2))
    >>> learner.score([2.0]).probability > 0.8 > 0.2 > learner.score([0.0]).probability
    True
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        self.encoder = TabularEncoder(kinds)
        self.online: list[SecondOrderLogistic | AdaGradLogistic] = [
            SecondOrderLogistic(0, precision=PRECISION),
            AdaGradLogistic(0),
        ]
        self.batch: list[BoostedTrees | Forest] = [BoostedTrees(), Forest()]
        self.level = OnlineLevel()
        self.adwin = Adwin()
        self.count = 0
        self.drifts = 0
        self._positives, self._rated = 0.0, 0.0
        self._losses: FloatArray = np.zeros(len(MEMBERS))
        self._evidence: FloatArray = np.zeros(len(MEMBERS))
        self._judged: FloatArray = np.zeros(len(MEMBERS))
        self._plain: list[FloatArray] = []
        self._labels: list[int] = []
        self._next_fit = REFIT_EVERY

    def score(self, row: Sequence[Value]) -> Scored:
        """Score one row with what is known now."""
        encoded = self.encoder.encode(row)
        odds = self._odds(encoded)
        share = self.weights()
        known = np.nan_to_num(odds)
        pooled = float(share @ known)
        online = share[: len(ONLINE)]
        alone = float(online @ known[: len(ONLINE)]) / total if (total := float(online.sum())) else pooled
        return Scored(_probability(self.level.serve(pooled)), _probability(alone), row, encoded, odds, pooled)

    def learn(self, scored: Scored, y: int) -> None:
        """Label of a row that was scored before: judge what was served, then learn."""
        self._judge(scored, y)
        self.encoder.learn(scored.row, y)
        width = self.encoder.width
        wide = np.pad(scored.encoded.wide, (0, width - len(scored.encoded.wide)))
        for member in self.online:
            member.grow(self.encoder.indicators)
            member.learn_one(wide, y)
        self._positives = self._positives * RATE_DECAY + y
        self._rated = self._rated * RATE_DECAY + 1.0
        self.count += 1
        self._plain.append(scored.encoded.plain)
        self._labels.append(y)
        if len(self._labels) > 2 * KEPT_FOR_BATCH:
            self._plain, self._labels = self._plain[-KEPT_FOR_BATCH:], self._labels[-KEPT_FOR_BATCH:]

    @property
    def refit_due(self) -> bool:
        """Whether enough labels came since the last refit: 500, or a tenth of all."""
        return self.count >= self._next_fit

    def refit(self) -> None:
        """Fit the trees anew on the newest labels known."""
        self._next_fit = self.count + max(REFIT_EVERY, int(self.count * REFIT_SHARE))
        x = np.array(self._plain[-KEPT_FOR_BATCH:])
        y = np.array(self._labels[-KEPT_FOR_BATCH:], dtype=np.int64)
        for trees in self.batch:
            trees.fit(x, y)

    def weights(self) -> FloatArray:
        """Weight of each of `MEMBERS`, adding up to 1."""
        served = self._judged >= JUDGED_FROM
        if not served.any():
            return np.array([1.0 / len(ONLINE)] * len(ONLINE) + [0.0] * (len(BATCH) + 1))
        mean = self._losses / np.maximum(self._evidence, 1e-9)
        raw = np.where(served, np.exp(-(mean - mean[served].min()) / TEMPERATURE), 0.0)
        return np.asarray(raw / raw.sum())

    def meta(self) -> dict[str, Any]:
        """Return what a person wants to know of it."""
        shares = zip(MEMBERS, self.weights().round(3).tolist(), strict=True)
        return {"examples": self.count, "features": self.encoder.width, "drifts": self.drifts, "pool": dict(shares)}

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        kept = len(self._labels)
        return {
            "name": NAME,
            "encoder": self.encoder.snapshot(),
            "online": [member.snapshot() for member in self.online],
            "batch": [trees.snapshot() for trees in self.batch],
            "level": self.level.snapshot(),
            "adwin": self.adwin.snapshot(),
            "count": self.count,
            "drifts": self.drifts,
            "rate": [self._positives, self._rated],
            "losses": self._losses.copy(),
            "evidence": self._evidence.copy(),
            "judged": self._judged.copy(),
            "plain": np.array(self._plain).reshape(kept, len(self.encoder.kinds)),
            "labels": list(self._labels),
            "next_fit": self._next_fit,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted.

        Raises
        ------
        IncompatibleSnapshotError
            The state is of another learner or of other columns.
        """
        if state.get("name") != NAME or len(state["losses"]) != len(MEMBERS):
            raise IncompatibleSnapshotError(f"not a state of {NAME}")
        self.encoder.restore(state["encoder"])
        for member, entry in zip(self.online, state["online"], strict=True):
            member.grow(self.encoder.indicators[: len(entry["mean"])])
            member.restore(entry)
        for trees, entry in zip(self.batch, state["batch"], strict=True):
            trees.restore(entry)
        self.level.restore(state["level"])
        self.adwin.restore(state["adwin"])
        self.count, self.drifts, self._next_fit = state["count"], state["drifts"], state["next_fit"]
        self._positives, self._rated = state["rate"]
        self._losses, self._evidence = state["losses"].copy(), state["evidence"].copy()
        self._judged = state["judged"].copy()
        self._plain, self._labels = list(state["plain"].copy()), list(state["labels"])

    def _odds(self, encoded: Encoded) -> FloatArray:
        odds = np.full(len(MEMBERS), np.nan)
        if not self.count:
            return odds
        for index, member in enumerate(self.online):
            linear = member.linear()
            odds[index] = linear.bias + float(linear.weights @ encoded.wide[: member.dimensions])
        row = encoded.plain.reshape(1, -1)
        for index, trees in enumerate(self.batch, start=len(ONLINE)):
            if trees.fitted:
                odds[index] = trees.log_odds(row)[0]
        rate = (self._positives + 0.5) / (self._rated + 1.0)
        odds[-1] = np.log(rate / (1.0 - rate))
        return np.asarray(np.clip(odds, -MAX_LOG_ODDS, MAX_LOG_ODDS))

    def _judge(self, scored: Scored, y: int) -> None:
        known = ~np.isnan(scored.odds)
        if not known.any():
            return
        losses = np.array([log_loss(value, y) for value in np.nan_to_num(scored.odds).tolist()])
        self._losses = np.where(known, self._losses * EVIDENCE_DECAY + losses, self._losses)
        self._evidence = np.where(known, self._evidence * EVIDENCE_DECAY + 1.0, self._evidence)
        self._judged += known
        self.level.learn_one(scored.pooled, y)
        if self.adwin.update(log_loss(scored.pooled, y)) and self.adwin.rose:
            self.drifts += 1
            self._losses *= EVIDENCE_AFTER_DRIFT
            self._evidence *= EVIDENCE_AFTER_DRIFT


def _probability(odds: float) -> float:
    return float(0.5 * (1.0 + np.tanh(0.5 * min(max(odds, -MAX_LOG_ODDS), MAX_LOG_ODDS))))
