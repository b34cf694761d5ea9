"""Whether what a model says can be trusted now: what its learner notes of each score, and what follows from it."""

from __future__ import annotations

from math import log
from typing import Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from models.learners.calibration import log_loss
from models.learners.curves import Curves
from models.learners.drift import Adwin
from models.learners.prequential import Prequential

FloatArray = npt.NDArray[np.float64]
State = Literal["fine", "stale", "drifting", "worse than the rate", "not learned yet"]

DAY_MS: Final = 86_400_000
# Without a new label for so long, or after an alarm for so long, in event time.
STALE_MS: Final = 21 * DAY_MS
FRESH_ALARM_MS: Final = 14 * DAY_MS
LEAST_JUDGED: Final = 200


class ScoreHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What the learner knows of one score; what it does not know is None.

    Parameters
    ----------
    learned : whether it is served. examples : that it learned from. newest_ms : event time of the newest label.
    judged, auc, log_loss, calibration : of scores as they were served, known once their labels came. rate_log_loss :
        what telling everybody the rate would have lost.
    drifts, last_drift_ms : alarms of ADWIN on what was served, and event time of the last one.
    constant : share of the features that never varied. fallback : whether the recent rate is served instead.
    figures : what else is measured live, by name: of lists, forecasts, amounts and groups, which are no probabilities.
    curves : of a probability as it was served, to be drawn.
    """

    learned: bool
    examples: int
    newest_ms: int | None = None
    judged: int = 0
    auc: float | None = None
    log_loss: float | None = None
    rate_log_loss: float | None = None
    calibration: float | None = None
    drifts: int = 0
    last_drift_ms: int | None = None
    constant: float | None = None
    fallback: bool = False
    figures: dict[str, float] = {}
    curves: Curves | None = None

    def state(self, now_ms: int | None) -> State:
        """In one word; `now_ms` is event time, None if it is not known."""
        if not self.learned:
            return "not learned yet"
        newest = self.newest_ms
        if newest is not None:
            if now_ms is not None and now_ms - newest > STALE_MS:
                return "stale"
            if self.last_drift_ms is not None and newest - self.last_drift_ms <= FRESH_ALARM_MS:
                return "drifting"
        if self.judged >= LEAST_JUDGED and (self.log_loss or 0.0) > (self.rate_log_loss or np.inf):
            return "worse than the rate"
        return "fine"


class Watch:
    """Judges probabilities as they were served, and raises an alarm when they get worse.

    Examples
    --------
    >>> watch = Watch()
    >>> for i in range(2000):
    ...     drifted = watch.add(0.9 if i % 2 else 0.1, i % 2 if i < 1000 else 1 - i % 2, i)
    >>> watch.drifts > 0, watch.last_drift_ms > 1000
    (True, True)
    """

    def __init__(self) -> None:
        self.served = Prequential()
        self.adwin = Adwin()
        self.drifts = 0
        self.last_drift_ms: int | None = None

    def add(self, probability: float, label: int, known_ms: int) -> bool:
        """One score and its label; whether it raised an alarm."""
        self.served.add(probability, label)
        alarm = self.adwin.update((probability - label) ** 2) and self.adwin.rose
        if alarm:
            self.drifts += 1
            self.last_drift_ms = known_ms
        return alarm

    def figures(self) -> dict[str, Any]:
        """For :class:`ScoreHealth`."""
        found = self.served.figures()
        names = ("judged", "auc", "log_loss", "rate_log_loss", "calibration")
        told = {"drifts": self.drifts, "last_drift_ms": self.last_drift_ms, "curves": self.served.curves()}
        return {name: found[name] for name in names} | told

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        return {
            "served": self.served.snapshot(),
            "adwin": self.adwin.snapshot(),
            "drifts": self.drifts,
            "last_drift_ms": self.last_drift_ms,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted."""
        self.served.restore(state["served"])
        self.adwin.restore(state["adwin"])
        self.drifts, self.last_drift_ms = state["drifts"], state["last_drift_ms"]


class Doubt:
    """After an alarm: whether the recent rate does better than the model, and is to be served in its place.

    Notes
    -----
    From an alarm on both are judged on the same labels. Once `LEAST` of them say that the rate loses less, it is
    served, and no longer than they say so; after `OPEN` labels without another alarm the model is trusted again.
    """

    LEAST: Final = 40
    OPEN: Final = 1_000
    DECAY: Final = 0.5 ** (1 / 200)

    def __init__(self) -> None:
        self._since = 0  # labels since the alarm, plus 1; 0: there is no doubt
        self._judged = 0
        self._model, self._rate = 0.0, 0.0  # losses, decayed
        self._positives, self._seen = 0.5, 1.0

    @property
    def open(self) -> bool:
        """Whether there is doubt."""
        return self._since > 0

    @property
    def fallback(self) -> bool:
        """Whether the rate is to be served."""
        return self.open and self._judged >= self.LEAST and self._rate < self._model

    @property
    def log_odds(self) -> float:
        """The recent rate."""
        return log(self._positives / (self._seen - self._positives))

    def begin(self) -> None:
        """An alarm was raised."""
        if not self.open:
            self._judged, self._model, self._rate = 0, 0.0, 0.0
        self._since = 1

    def add(self, log_odds: float | None, label: int) -> None:
        """A label, and what the model had said of it; None: nothing."""
        if self.open:
            if log_odds is not None:
                self._model = self._model * self.DECAY + log_loss(log_odds, label)
                self._rate = self._rate * self.DECAY + log_loss(self.log_odds, label)
                self._judged += 1
            self._since = 0 if self._since > self.OPEN else self._since + 1
        self._positives = self._positives * self.DECAY + label
        self._seen = self._seen * self.DECAY + 1.0
        # Never quite 0 or 1.
        self._positives = min(max(self._positives, 1e-3), self._seen - 1e-3)

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        return {"counts": [self._since, self._judged], "sums": [self._model, self._rate, self._positives, self._seen]}

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted."""
        self._since, self._judged = state["counts"]
        self._model, self._rate, self._positives, self._seen = state["sums"]


def constant_share(sum_sq: FloatArray, count: int) -> float:
    """Share of features that never varied, from their sums of squared deviations."""
    return round(float(np.mean(sum_sq / max(count, 1) <= 1e-12)), 3) if len(sum_sq) else 0.0
