"""Champion and shadow on the same labelled examples, each scored as it would have been when the features were taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from models.experiments.always_valid import Mixture, half_width
from models.learners.base import sigmoid
from models.learners.batch import BatchModel

FloatArray = npt.NDArray[np.float64]

ONLINE: Final = 0
BINS: Final = 200
GROUPS: Final = 64
# A score is taken for no surer than .999 either way: one example must not decide.
SUREST: Final = 6.9
CALIBRATION_BINS: Final = 10
PENDING: Final = 256
# The interval is narrowest at about this many examples.
PLANNED: Final = 2_000


class Figures(msgspec.Struct, frozen=True):
    """How one of the two did; `auc` is None with labels of one kind only."""

    log_loss: float
    brier: float
    calibration_error: float
    auc: float | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two models live, as `kairos models compare` shows it.

    Parameters
    ----------
    champion, shadow : 0 for the online model, else a version of the registry; None: nothing is compared.
    since_ms : only examples whose features were taken later are counted: what either was trained on is over by then.
    examples, positives, users : what was counted, users at most 64 groups. earlier : examples from before `since_ms`.
    difference, low, high : champion's log loss minus the shadow's per example (above 0: the shadow is better), with a
        95 % interval that is valid at any time.
    refused : why a model cannot be compared.
    """

    champion: int = ONLINE
    shadow: int | None = None
    since_ms: int = 0
    examples: int = 0
    positives: int = 0
    groups: int = 0
    earlier: int = 0
    last_ms: int = 0
    of_champion: Figures | None = None
    of_shadow: Figures | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    refused: str = ""


class _Side:
    """Sums of one model over the examples counted."""

    def __init__(self) -> None:
        self.loss = self.brier = 0.0
        # By label and by score: how many, and the sum of their scores.
        self.counts: FloatArray = np.zeros((2, BINS))
        self.sums: FloatArray = np.zeros(BINS)

    def add(self, odds: FloatArray, labels: npt.NDArray[np.int64]) -> FloatArray:
        """Add examples; returns the log loss of each."""
        odds = np.clip(odds, -SUREST, SUREST)
        p = sigmoid(odds)
        loss = np.logaddexp(0.0, np.where(labels == 1, -odds, odds))
        self.loss += float(loss.sum())
        self.brier += float(((p - labels) ** 2).sum())
        bins = np.minimum(((odds + SUREST) * (BINS / (2.0 * SUREST))).astype(np.intp), BINS - 1)
        np.add.at(self.counts, (labels, bins), 1.0)
        np.add.at(self.sums, bins, p)
        return np.asarray(loss)

    def figures(self) -> Figures:
        n = float(self.counts.sum())
        return Figures(
            log_loss=round(self.loss / n, 6),
            brier=round(self.brier / n, 6),
            calibration_error=round(self._calibration_error(), 6),
            auc=self._auc(),
        )

    def _auc(self) -> float | None:
        negative, positive = self.counts
        pairs = negative.sum() * positive.sum()
        if not pairs:
            return None
        below = np.cumsum(negative) - negative
        return round(float((positive * (below + negative / 2.0)).sum() / pairs), 6)

    def _calibration_error(self) -> float:
        """Largest gap between mean score and rate over ten parts of about equal count, as fine as the bins allow."""
        each = self.counts.sum(axis=0)
        part = np.minimum((np.cumsum(each) - each / 2.0) * CALIBRATION_BINS // each.sum(), CALIBRATION_BINS - 1)
        gaps = [
            abs(self.sums[part == k].sum() - self.counts[1][part == k].sum()) / each[part == k].sum()
            for k in range(CALIBRATION_BINS)
            if each[part == k].any()
        ]
        return float(max(gaps))

    def snapshot(self) -> dict[str, Any]:
        return {"loss": self.loss, "brier": self.brier, "counts": self.counts.copy(), "sums": self.sums.copy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.loss, self.brier = state["loss"], state["brier"]
        self.counts, self.sums = state["counts"].copy(), state["sums"].copy()


@dataclass(slots=True)
class _Waiting:
    """Examples that are scored together."""

    x: list[Sequence[int]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    online: list[float] = field(default_factory=list)


class Contest:
    """Prequential comparison of two models; what it has counted is part of the learner's checkpoint.

    Notes
    -----
    A batch model knows the labels that were known when it was trained, so only examples whose *features* are newer
    count: their outcome lies wholly behind it. The online model is judged by the weights that it would have served
    when the features were taken.

    The interval is the asymptotic confidence sequence of the mean difference in log loss: it may be looked at as often
    as anybody likes. Examples of one customer overlap and are not independent, so customers are dealt out to 64
    groups, and the variance is the one between groups. What hits all customers at once (a season) it cannot see.

    References
    ----------
    I. Waudby-Smith et al., "Time-uniform central limit theory and asymptotic confidence sequences", Annals of
    Statistics 52 (2024). Variance of a ratio between clusters: W. Cochran, "Sampling techniques", 1977, chapter 6.
    """

    def __init__(self) -> None:
        self._models: dict[int, BatchModel] = {}
        self.refused = ""
        self.champion, self.shadow, self.since_ms = ONLINE, cast(int | None, None), 0
        self.positives = self.earlier = self.last_ms = 0
        self._counts: FloatArray = np.zeros(GROUPS)
        self._saved: FloatArray = np.zeros(GROUPS)
        self._sides = (_Side(), _Side())
        self._waiting = _Waiting()

    @property
    def active(self) -> bool:
        """Whether two models are compared."""
        return self.shadow is not None and not self.refused and {self.champion, self.shadow} <= {ONLINE, *self._models}

    def between(self, champion: int, shadow: int | None, models: Mapping[int, BatchModel], refused: str = "") -> None:
        """Compare these from here on; another pair begins anew, the same one goes on.

        Parameters
        ----------
        models : those of the two that are batch models, by version.
        refused : why one of them could not be loaded.
        """
        self.flush()
        since = max((model.until_ms for model in models.values()), default=0)
        if (champion, shadow, since) != (self.champion, self.shadow, self.since_ms) and not refused:
            self._begin(champion, shadow, since)
        elif refused and (champion, shadow) != (self.champion, self.shadow):
            self._begin(champion, shadow, 0)
        self._models, self.refused = dict(models), refused

    def note(self, user: str, at_ms: int, x: Sequence[int], label: int, online: float | None) -> None:
        """Count one example; `online`: log-odds that the online model would have served, None: it told nothing then."""
        if not self.active or (online is None and ONLINE in {self.champion, self.shadow}):
            return
        if at_ms <= self.since_ms:
            self.earlier += 1
            return
        self.last_ms = max(self.last_ms, at_ms)
        waiting = self._waiting
        waiting.x.append(x)
        waiting.labels.append(label)
        waiting.groups.append(xxhash.xxh3_64_intdigest(user.encode()) % GROUPS)
        waiting.online.append(0.0 if online is None else online)
        if len(waiting.x) >= PENDING:
            self.flush()

    def flush(self) -> None:
        """Score what waits."""
        waiting, self._waiting = self._waiting, _Waiting()
        if not waiting.x or self.shadow is None:
            return
        labels, groups = np.array(waiting.labels, dtype=np.int64), np.array(waiting.groups)
        raw, online = np.array(waiting.x, dtype=np.float64), np.array(waiting.online)
        losses = [
            side.add(online if version == ONLINE else self._models[version].log_odds(raw), labels)
            for side, version in zip(self._sides, (self.champion, self.shadow), strict=True)
        ]
        np.add.at(self._counts, groups, 1.0)
        np.add.at(self._saved, groups, losses[0] - losses[1])
        self.positives += int(labels.sum())

    def report(self) -> Comparison:
        """What was found so far."""
        self.flush()
        about = Comparison(
            champion=self.champion,
            shadow=self.shadow,
            since_ms=self.since_ms,
            examples=int(self._counts.sum()),
            positives=self.positives,
            groups=int((self._counts > 0).sum()),
            earlier=self.earlier,
            last_ms=self.last_ms,
            refused=self.refused,
        )
        if not about.examples:
            return about
        difference, reach = interval(self._counts, self._saved)
        return msgspec.structs.replace(
            about,
            of_champion=self._sides[0].figures(),
            of_shadow=self._sides[1].figures(),
            difference=round(difference, 6),
            low=None if reach is None else round(difference - reach, 6),
            high=None if reach is None else round(difference + reach, 6),
        )

    def snapshot(self) -> dict[str, Any] | None:
        """Plain state; None while nothing is compared."""
        if self.shadow is None:
            return None
        self.flush()
        return {
            "pair": [self.champion, self.shadow, self.since_ms],
            "counted": [self.positives, self.earlier, self.last_ms],
            "counts": self._counts.copy(),
            "saved": self._saved.copy(),
            "sides": [side.snapshot() for side in self._sides],
        }

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Become the one that was snapshotted; the models themselves come by :meth:`between`."""
        if state is None:
            self._begin(ONLINE, None, 0)
            return
        self._begin(*state["pair"])
        self.positives, self.earlier, self.last_ms = state["counted"]
        self._counts, self._saved = state["counts"].copy(), state["saved"].copy()
        for side, kept in zip(self._sides, state["sides"], strict=True):
            side.restore(kept)

    def _begin(self, champion: int, shadow: int | None, since_ms: int) -> None:
        self.champion, self.shadow, self.since_ms = champion, shadow, since_ms
        self.positives = self.earlier = self.last_ms = 0
        self._counts = np.zeros(GROUPS)
        self._saved = np.zeros(GROUPS)
        self._sides = (_Side(), _Side())
        self._waiting = _Waiting()


def interval(counts: FloatArray, sums: FloatArray, alpha: float = 0.05) -> tuple[float, float | None]:
    """Mean per example and the reach of its interval, from counts and sums by group; None with fewer than two groups.

    Examples
    --------
    >>> mean, reach = interval(np.full(50, 40.0), np.linspace(0.0, 8.0, 50))
    >>> round(mean, 3), round(reach or 0.0, 3)
    (0.1, 0.026)
    """
    n = counts.sum()
    mean = float(sums.sum() / n)
    groups = int((counts > 0).sum())
    if groups < 2:
        return mean, None
    variance = groups / (groups - 1) * float(((sums - mean * counts) ** 2).sum()) / n**2
    if variance == 0.0:
        return mean, 0.0
    return mean, float(half_width(variance, Mixture.of_users(PLANNED).tau_sq(variance, n), alpha))
