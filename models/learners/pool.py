"""The pool: a log-odds mean of learners, weighted by how well their scores did once labels came."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.learners.adagrad import AdaGradLogistic
from models.learners.base import Learner, Weights, sigmoid
from models.learners.calibration import EVIDENCE_DECAY, OnlinePlatt, log_loss
from models.learners.health import constant_share
from models.learners.registry import make_learner
from models.learners.second_order import SecondOrderLogistic

FloatArray = npt.NDArray[np.float64]

NAME: Final = "pool"
MEMBERS: Final = ("second_order", "second_order_cautious", "river_logistic")
# A member whose mean log loss is this much higher gets exp(-1) of the weight: soft, because labels of one
# customer are correlated and a few thousand of them prove less than they seem to.
TEMPERATURE: Final = 0.03
# What is left of the evidence when drift is found: the weights are then decided by what follows.
EVIDENCE_AFTER_DRIFT: Final = 0.3
MAX_PAST: Final = 64
PAST_SPACING_MS: Final = 86_400_000
# Where examples carry no time.
LABELS_A_DAY: Final = 500


class Served(NamedTuple):
    """What would have been served at one time: weights (members, d), biases (members,), calibration."""

    weights: FloatArray
    biases: FloatArray
    fitted: tuple[float, float]


class Pool:
    """Log-odds mean of linear learners; itself linear, so contributions stay exact.

    Parameters
    ----------
    dimensions : number of features.
    members : registry names of the learners.
    judged_from : labels before which nothing is served, and so nothing is judged.

    Notes
    -----
    Labels come late: judging a member by its present weights would let it answer with knowledge that it
    did not have when it would have served. So the pool keeps past weights (at most ``MAX_PAST``, about one
    per day of event time, thinned to wider spacing as delays demand) and an example is judged by the
    newest that existed at its own time: *delayed prequential* log loss, decayed. Calibration learns from
    the same scores. Without times the present weights are judged before learning (plain prequential).

    Examples
    --------
    >>> pool = Pool(1)
    >>> pool.learn_many(np.array([[0.0], [1.0]] * 100), np.array([0, 1] * 100))
    >>> bool(pool.predict_proba_many(np.array([[1.0]]))[0] > 0.9)
    True
    """

    def __init__(self, dimensions: int, members: tuple[str, ...] = MEMBERS, judged_from: int = 1) -> None:
        self.name = NAME
        self.dimensions = dimensions
        self.judged_from = judged_from
        self.members: list[Learner] = [make_learner(name, dimensions) for name in members]
        self.platt = OnlinePlatt()
        self.count = 0
        self._losses: FloatArray = np.zeros(len(members))
        self._evidence = 0.0
        self._past_ms: list[int] = []
        self._past: list[Served] = []
        self._spacing_ms = PAST_SPACING_MS

    def grow(self, indicators: Sequence[bool]) -> None:
        """Take more features, see :meth:`models.learners.second_order.SecondOrderLogistic.grow`."""
        more = len(indicators) - self.dimensions
        if more <= 0:
            return
        for member in self.members:
            if not isinstance(member, SecondOrderLogistic | AdaGradLogistic):
                raise TypeError(f"{member.name} cannot take more features")
            member.grow(indicators)
        self.dimensions = len(indicators)
        self._past = [one._replace(weights=np.pad(one.weights, ((0, 0), (0, more)))) for one in self._past]

    def learn_one(self, x: FloatArray, y: int, at_ms: int | None = None, known_ms: int | None = None) -> None:
        """Judge by delayed loss, then learn.

        Parameters
        ----------
        x, y : features and label.
        at_ms, known_ms : event time of the features and of the moment the label was known.
        """
        if known_ms is not None:
            self._remember(known_ms)
        served = self._present() if at_ms is None else self._as_of(at_ms)
        if served is not None and self.count:
            day = self.count // LABELS_A_DAY if at_ms is None else at_ms // PAST_SPACING_MS
            odds = served.weights @ x + served.biases
            self.platt.learn_one(float(self.weights() @ odds), y, served.fitted, day)
            self._losses = self._losses * EVIDENCE_DECAY + [log_loss(value, y) for value in odds.tolist()]
            self._evidence = self._evidence * EVIDENCE_DECAY + 1.0
        self.count += 1
        for member in self.members:
            member.learn_one(x, y)

    def learn_many(
        self,
        x: FloatArray,
        y: npt.NDArray[np.int64],
        at_ms: npt.NDArray[np.int64] | None = None,
        known_ms: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Learn rows in order; times as in :meth:`learn_one`."""
        for index, label in enumerate(y.tolist()):
            self.learn_one(
                x[index],
                label,
                None if at_ms is None else int(at_ms[index]),
                None if known_ms is None else int(known_ms[index]),
            )

    def weights(self) -> FloatArray:
        """Weight of each member, adding up to 1; equal until there is evidence."""
        if not self._evidence:
            return np.full(len(self.members), 1.0 / len(self.members))
        mean = self._losses / self._evidence
        raw = np.exp(-(mean - mean.min()) / TEMPERATURE)
        return np.asarray(raw / raw.sum())

    def served_at(self, x: FloatArray, at_ms: int) -> float | None:
        """Log-odds that would have been served at a time in the past; None when nothing was learned by then."""
        served = self._as_of(at_ms)
        if served is None or not self.count:
            return None
        a, b = (1.0, 0.0) if self.platt.coefficients() == (1.0, 0.0) else served.fitted
        return a * float(self.weights() @ (served.weights @ x + served.biases)) + b

    def doubt(self) -> None:
        """Drift was found in what was served: forget most of the evidence for the weights."""
        self._losses *= EVIDENCE_AFTER_DRIFT
        self._evidence *= EVIDENCE_AFTER_DRIFT

    def predict_proba_many(self, x: FloatArray) -> FloatArray:
        return sigmoid(self.linear().log_odds(x))

    def linear(self) -> Weights:
        """Pooled weights with calibration applied."""
        pooled = self.uncalibrated()
        a, b = self.platt.coefficients()
        return Weights(a * pooled.weights, a * pooled.bias + b)

    def uncalibrated(self) -> Weights:
        """Pooled weights; log-odds of a mean are the mean of log-odds, so the pool is one linear model."""
        present = self._present()
        share = self.weights()
        return Weights(share @ present.weights, float(share @ present.biases))

    def standardisation(self) -> tuple[FloatArray, FloatArray]:
        """Mean and scale of the features learned from (1 where a feature does not vary)."""
        for member in self.members:
            if isinstance(member, SecondOrderLogistic):
                return member.mean.copy(), member.deviation()
        return np.zeros(self.dimensions), np.ones(self.dimensions)

    def constant(self) -> float:
        """Share of the features that never varied."""
        for member in self.members:
            if isinstance(member, SecondOrderLogistic):
                return constant_share(member.sum_sq, member.count)
        return 0.0

    def snapshot(self) -> dict[str, Any]:
        return {
            "name": NAME,
            "members": [{"name": member.name, "state": member.snapshot()} for member in self.members],
            "platt": self.platt.snapshot(),
            "count": self.count,
            "losses": self._losses.copy(),
            "evidence": self._evidence,
            "past_ms": list(self._past_ms),
            "past": [[past.weights.copy(), past.biases.copy(), list(past.fitted)] for past in self._past],
            "spacing_ms": self._spacing_ms,
        }

    def restore(self, state: dict[str, Any]) -> None:
        try:
            names = [member.name for member in self.members]
            if state["name"] != NAME or [entry["name"] for entry in state["members"]] != names:
                raise IncompatibleSnapshotError(f"not a state of {NAME} with members {', '.join(names)}")
            for member, entry in zip(self.members, state["members"], strict=True):
                member.restore(entry["state"])
            self.platt.restore(state["platt"])
            self.count, self._evidence = state["count"], state["evidence"]
            self._losses = state["losses"].copy()
            self._past_ms = list(state["past_ms"])
            self._past = [Served(weights.copy(), biases.copy(), (a, b)) for weights, biases, (a, b) in state["past"]]
            self._spacing_ms = state["spacing_ms"]
        except KeyError as error:
            raise IncompatibleSnapshotError(f"state of {NAME} without {error}") from error

    def _present(self) -> Served:
        each = [member.linear() for member in self.members]
        weights, biases = np.stack([one.weights for one in each]), np.array([one.bias for one in each])
        return Served(weights, biases, self.platt.fitted())

    def _as_of(self, at_ms: int) -> Served | None:
        index = bisect_right(self._past_ms, at_ms) - 1
        return self._past[index] if index >= 0 else None

    def _remember(self, now_ms: int) -> None:
        if self.count < self.judged_from or (self._past_ms and now_ms < self._past_ms[-1] + self._spacing_ms):
            return
        self._past_ms.append(now_ms)
        self._past.append(self._present())
        if len(self._past_ms) > MAX_PAST:
            self._past_ms, self._past = self._past_ms[::2], self._past[::2]
            self._spacing_ms *= 2


LEARNERS = {NAME: Pool}
