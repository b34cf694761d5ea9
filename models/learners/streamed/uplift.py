"""Learns what each campaign's message changes, from its examples in `training`: treated and held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from config.attributes import MOST_ATTRIBUTES
from models.decisions import UpliftExample
from models.errors import IncompatibleSnapshotError
from models.experiments.fixed import newcombe_interval
from models.experiments.sums import Proportion
from models.features import goals
from models.features.attributes import Attributes, Told
from models.learners import uplift_scores
from models.learners.drift import Adwin
from models.learners.effect_pool import EffectPool
from models.learners.health import ScoreHealth, constant_share
from models.learners.model import Model
from models.learners.qini import qini_auc

FloatArray = npt.NDArray[np.float64]

MIN_OF_EACH_GROUP: Final = 200
MIN_OF_EACH_LABEL: Final = 20
# The newest outcomes of which it is known what was told of them before.
JUDGED: Final = 4_000
PARTS: Final = 5
MIN_JUDGED: Final = 100
# Campaigns that were taken out or changed are kept until so many others came after them.
KEPT: Final = 128


class UpliftLearner:
    """One campaign: its pool of effects, the average effect, and how good its scores were as they were served.

    Parameters
    ----------
    campaign : its id. attributes : names of those that it is learned from besides behaviour.
    """

    def __init__(self, campaign: str, attributes: Sequence[str] = ()) -> None:
        self.campaign = campaign
        self.attributes = Attributes(attributes, uplift_scores.INDICATOR) if attributes else None
        self.pool = EffectPool(len(goals.FEATURE_NAMES))
        self.adwin = Adwin()
        # Of those held out and of the treated: outcomes, and conversions among them.
        self.users = [0, 0]
        self.converted = [0, 0]
        self.drifts = 0
        self.last_drift_ms: int | None = None
        self.first_label_ms: int | None = None
        self.last_ms = 0
        self._judged: list[tuple[int, int, int]] = []

    def learn(self, example: UpliftExample) -> None:
        """Judge what was served, then learn."""
        treated, y = example.treated, example.label
        if example.uplift_e4 is not None:
            self._judged.append((example.uplift_e4, treated, y))
            if len(self._judged) > 2 * JUDGED:
                self._judged = self._judged[-JUDGED:]
        x: FloatArray = goals.expand(goals.as_matrix([example.x]))[0]
        about = _told(example)
        if self.attributes is not None:
            x = np.concatenate((x, self.attributes.encode(about)))
            self.pool.grow(self._indicators())
            self.attributes.learn(about, y)
        d, weights = treated - self.pool.share, self.pool.weights()
        said = self.pool.learn(x, treated, y)
        chance = min(max(said.base + d * float(weights @ said.members), 0.0), 1.0)
        if self.adwin.update((chance - y) ** 2) and self.adwin.rose:
            self.drifts += 1
            self.last_drift_ms = example.known_at
        self.users[treated] += 1
        self.converted[treated] += y
        if self.first_label_ms is None:
            self.first_label_ms = example.known_at
        self.last_ms = max(self.last_ms, example.known_at)

    def _indicators(self) -> list[bool]:
        return [False] * len(goals.FEATURE_NAMES) + ([] if self.attributes is None else self.attributes.indicators)

    @property
    def learned(self) -> bool:
        """Whether enough outcomes of both groups and kinds are known; until then nobody is told an uplift."""
        converted = sum(self.converted)
        fewer = min(converted, sum(self.users) - converted)
        return min(self.users) >= MIN_OF_EACH_GROUP and fewer >= MIN_OF_EACH_LABEL

    def payload(self) -> uplift_scores.EffectPayload:
        """What is served now."""
        return uplift_scores.payload_of(self.pool, self.campaign, learned=self.learned, attributes=self.attributes)

    def meta(self) -> dict[str, Any]:
        """Return what a person wants to know of it."""
        shares = zip(self.pool.names, self.pool.weights().round(3).tolist(), strict=True)
        return {
            "campaign": self.campaign,
            "learned": self.learned,
            "examples": sum(self.users),
            "treated": self.users[1],
            "held_out": self.users[0],
            "converted_treated": self.converted[1],
            "converted_held_out": self.converted[0],
            **self._average(),
            **self._standing(),
            "first_label_ms": self.first_label_ms,
            "last_label_ms": self.last_ms,
            "drifts": self.drifts,
            "last_drift_ms": self.last_drift_ms,
            "pool": dict(shares),
        }

    def health(self) -> ScoreHealth:
        """Return what is known of its scores."""
        return ScoreHealth(
            learned=self.learned,
            examples=sum(self.users),
            newest_ms=self.last_ms,
            judged=min(len(self._judged), JUDGED),
            drifts=self.drifts,
            last_drift_ms=self.last_drift_ms,
            constant=constant_share(self.pool.main.sum_sq, self.pool.count),
        )

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        return {
            "campaign": self.campaign,
            "pool": self.pool.snapshot(),
            "adwin": self.adwin.snapshot(),
            "users": list(self.users),
            "converted": list(self.converted),
            "counts": [self.drifts, self.last_ms],
            "moments": [self.last_drift_ms, self.first_label_ms],
            "judged": np.array(self._judged, dtype=np.float64).reshape(len(self._judged), 3),
            **({} if self.attributes is None else {"attributes": self.attributes.snapshot()}),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted."""
        self.campaign = state["campaign"]
        if "attributes" in state:
            self.attributes = Attributes(state["attributes"]["names"], uplift_scores.INDICATOR)
            self.attributes.restore(state["attributes"]["encoder"])
        self.pool.restore(state["pool"], self._indicators())
        self.adwin.restore(state["adwin"])
        self.users, self.converted = list(state["users"]), list(state["converted"])
        self.drifts, self.last_ms = state["counts"]
        self.last_drift_ms, self.first_label_ms = state["moments"]
        self._judged = [(int(told), int(treated), int(y)) for told, treated, y in state["judged"].tolist()]

    def _average(self) -> dict[str, float | None]:
        """Average effect of the message, with its interval: no model has a part in it."""
        held, treated = (Proportion(*pair) for pair in zip(self.users, self.converted, strict=True))
        interval = newcombe_interval(held, treated)
        if interval is None:
            return {"effect": None, "effect_low": None, "effect_high": None}
        effect = treated.rate - held.rate
        low, high = map(float, interval)
        return {"effect": round(effect, 5), "effect_low": round(low, 5), "effect_high": round(high, 5)}

    def _standing(self) -> dict[str, Any]:
        """How those who were told the largest uplift did: Qini, and groups of equal size, the largest first."""
        newest = self._judged[-JUDGED:]
        if len(newest) < MIN_JUDGED:
            return {"judged": len(newest), "qini": None, "groups": []}
        told, treated, y = np.array(newest, dtype=np.int64).T
        qini = qini_auc(y, told.astype(np.float64), treated)
        order = np.argsort(-told, kind="stable")
        groups = []
        for part in np.array_split(order, PARTS):
            sides = [y[part[treated[part] == side]] for side in (0, 1)]
            rates = [float(side.mean()) if len(side) else None for side in sides]
            effect = None if rates[0] is None or rates[1] is None else round(rates[1] - rates[0], 4)
            groups.append({"users": len(part), "told": round(float(told[part].mean()) / 1e4, 4), "effect": effect})
        return {"judged": len(newest), "qini": round(qini, 4) if np.isfinite(qini) else None, "groups": groups}


def _told(example: UpliftExample) -> dict[str, Told]:
    """Attributes of an example."""
    return example.attributes if isinstance(example.attributes, dict) else {}


class UpliftModel(Model):
    """All campaigns behind a session; served as one :class:`models.learners.uplift_scores.UpliftScores`."""

    schema = uplift_scores.SCHEMA
    learns = "uplift"

    def __init__(self) -> None:
        self.learners: dict[int, UpliftLearner] = {}
        self._decode = msgspec.json.Decoder(UpliftExample).decode

    def learn(self, value: bytes) -> None:
        """Learn one :class:`models.decisions.UpliftExample`."""
        example = self._decode(value)
        kinds = {example.label, example.treated}
        if example.type != "uplift" or not kinds <= {0, 1} or len(example.x) != len(goals.RAW_NAMES):
            raise msgspec.ValidationError("not an uplift example of this feature schema")
        if len(_told(example)) > MOST_ATTRIBUTES:
            raise msgspec.ValidationError(f"more than {MOST_ATTRIBUTES} attributes")
        learner = self.learners.get(example.code)
        if learner is None:
            if len(self.learners) >= KEPT:
                del self.learners[min(self.learners, key=lambda code: (self.learners[code].last_ms, code))]
            learner = self.learners[example.code] = UpliftLearner(example.campaign, sorted(_told(example)))
        learner.learn(example)

    def scores(self) -> uplift_scores.UpliftScores:
        """Return what is served now."""
        return uplift_scores.UpliftScores(self._served())

    def payload(self) -> bytes:
        return msgspec.msgpack.encode(self._served())

    def meta(self) -> dict[str, Any]:
        return {"campaigns": {str(code): one.meta() for code, one in sorted(self.learners.items())}}

    def health(self) -> dict[str, ScoreHealth]:
        return {one.campaign: one.health() for _, one in sorted(self.learners.items())}

    def snapshot(self) -> dict[str, Any]:
        return {"learners": {str(code): one.snapshot() for code, one in self.learners.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        try:
            self.learners = {}
            for code, found in state["learners"].items():
                learner = self.learners[int(code)] = UpliftLearner(found["campaign"])
                learner.restore(found)
        except KeyError as error:
            raise IncompatibleSnapshotError(f"state of {uplift_scores.NAME} without {error}") from error

    def _served(self) -> uplift_scores.UpliftPayload:
        return uplift_scores.UpliftPayload(
            campaigns={code: one.payload() for code, one in sorted(self.learners.items())}
        )


MODEL = UpliftModel
