"""Purchase value in the stream: what each customer spent within the horizon of churn, and when the first order came."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final

import msgspec
import numpy as np

from models.decisions import ChurnExample
from models.errors import IncompatibleSnapshotError
from models.features import churn
from models.learners.base import FloatArray
from models.learners.churn_examples import read, read_many
from models.learners.health import ScoreHealth, constant_share
from models.learners.model import Model
from models.learners.second_order import SecondOrderLogistic
from models.learners.value import LEVEL_DECAY, NAME, TEMPERATURE, Value
from models.learners.value_scores import MINOR, SCHEMA, SHIPPED_HORIZON_DAYS, Part, ValuePayload, ValueScores

MIN_EXAMPLES: Final = 500
MIN_BUYERS: Final = 50
# Moments of a horizon at which what was learned is kept.
SERVED: Final = 30


class ValueModel(Model):
    """Learns the examples of churn; served as :class:`models.learners.value_scores.ValueScores`.

    Notes
    -----
    Labels are known at the end of the horizon, like those of churn. What was learned and the customer's own pace are
    averaged by how well each did **as it was served**: what was learned is kept as it stood at `SERVED` moments of the
    last horizon, and a label judges the one of its time. Until one was judged, the own pace alone is served. A shop
    that changes the horizon in `churn.yaml` begins anew: money of 60 days says nothing exact of 90.
    """

    schema = SCHEMA
    learns = "churn"

    def __init__(self) -> None:
        self.horizon_days = SHIPPED_HORIZON_DAYS
        self.value = Value(len(churn.FEATURE_NAMES))
        self.buyers = 0
        self.first_label_ms: int | None = None
        # Rolling absolute errors of what was learned and of the own pace; what was served from when on.
        self._errors: FloatArray = np.zeros(2)
        self._judged = 0
        self._served_from: list[tuple[int, ValuePayload]] = []

    def learn(self, value: bytes) -> None:
        """Learn one :class:`models.decisions.ChurnExample`."""
        self.learn_examples([read(value)])

    def learn_many(self, values: Sequence[bytes]) -> list[str | None]:
        examples, told = read_many(values)
        self.learn_examples(examples)
        return told

    def learn_examples(self, examples: Sequence[ChurnExample]) -> None:
        """Learn examples that were checked, in order; those of before money was told are left out."""
        known = [example for example in examples if example.spent_minor is not None]
        raw = churn.as_matrix([example.x for example in known])
        horizons = [max(1, (example.due - example.at) // churn.DAY_MS) for example in known]
        own = churn.recent_money(raw, np.array(horizons, dtype=np.float64)) / MINOR
        for example, days, x, pace in zip(known, horizons, churn.expand(raw), own.tolist(), strict=True):
            self._learn(example, days, x, pace)

    def _learn(self, example: ChurnExample, horizon_days: int, x: FloatArray, own: float) -> None:
        """Learn one; `x` : its features. `own` : what the customer's own pace would bring within the horizon."""
        if horizon_days != self.horizon_days:
            self.horizon_days = horizon_days
            self.value, self.buyers, self.first_label_ms = Value(len(churn.FEATURE_NAMES)), 0, None
            self._errors, self._judged, self._served_from = np.zeros(2), 0, []
        self._judge(example, x, own)
        days = None if example.next_order_days is None else float(example.next_order_days)
        self.value.learn_one(x, own, (example.spent_minor or 0) / MINOR, days)
        self.buyers += days is not None
        if self.first_label_ms is None:
            self.first_label_ms = example.known_at

    @property
    def learned(self) -> bool:
        """Whether enough is known; until then the customer's own pace is served."""
        return self.value.count >= MIN_EXAMPLES and self.buyers >= MIN_BUYERS

    @property
    def own_share(self) -> float:
        """Weight of the own pace in the money: 1 until what was learned was judged."""
        best = float(self._errors.min())
        if best <= 0.0:
            return 1.0
        raw = np.exp((1.0 - self._errors / best) / TEMPERATURE)
        return float(raw[1] / raw.sum())

    def scores(self) -> ValueScores:
        """Return what is served now."""
        return ValueScores(self._served())

    def payload(self) -> bytes:
        return msgspec.msgpack.encode(self._served())

    def meta(self) -> dict[str, Any]:
        return {
            "learned": self.learned,
            "examples": self.value.count,
            "buyers": self.buyers,
            "first_label_ms": self.first_label_ms,
            "horizon_days": self.horizon_days,
            "own_share": round(self.own_share, 3),
        }

    def health(self) -> dict[str, ScoreHealth]:
        seen = (1.0 - LEVEL_DECAY**self._judged) / (1.0 - LEVEL_DECAY)
        names = ("mae_learned", "mae_of_own_pace")
        figures = dict(zip(names, (self._errors / seen).round(2).tolist(), strict=True)) if self._judged else {}
        return {
            "": ScoreHealth(
                learned=self.learned,
                examples=self.value.count,
                judged=self._judged,
                constant=constant_share(self.value.returns.sum_sq, self.value.count),
                figures=figures | {"own_share": round(self.own_share, 3)},
            )
        }

    def snapshot(self) -> dict[str, Any]:
        return {
            "judged": self._judged,
            "value": self.value.snapshot(),
            "buyers": self.buyers,
            "first_label_ms": self.first_label_ms,
            "horizon_days": self.horizon_days,
            "errors": self._errors.copy(),
            "served": [[at, msgspec.to_builtins(payload)] for at, payload in self._served_from],
        }

    def restore(self, state: dict[str, Any]) -> None:
        try:
            self.value.restore(state["value"])
            self.buyers, self.first_label_ms = state["buyers"], state["first_label_ms"]
            self.horizon_days = state["horizon_days"]
            # States of before judged otherwise: they begin to judge anew.
            self._judged = state.get("judged", 0)
            self._errors = state["errors"].copy() if "judged" in state else np.zeros(2)
            self._served_from = [(at, msgspec.convert(one, ValuePayload)) for at, one in state.get("served", [])]
        except KeyError as error:
            raise IncompatibleSnapshotError(f"state of {NAME} without {error}") from error

    def _judge(self, example: ChurnExample, x: FloatArray, own: float) -> None:
        """Take the errors of what was served when the customer was scored, and keep what is served now."""
        place = bisect_right(self._served_from, example.at, key=itemgetter(0)) - 1
        if place >= 0:
            said = ValueScores(self._served_from[place][1]).by_model(x[None])
            errors = np.abs(np.array([said, own]) - (example.spent_minor or 0) / MINOR)
            self._errors = self._errors * LEVEL_DECAY + errors
            self._judged += 1
        last = self._served_from[-1][0] if self._served_from else 0
        if self.learned and example.known_at - last >= self.horizon_days * churn.DAY_MS // SERVED:
            self._served_from = [*self._served_from[-SERVED:], (example.known_at, self._served())]

    def _served(self) -> ValuePayload:
        value = self.value
        return ValuePayload(
            features=list(churn.FEATURE_NAMES),
            horizon_days=self.horizon_days,
            returns=_part(value.returns),
            amount=_part(value.amount),
            gap=_part(value.gap),
            level=value.level,
            own_share=self.own_share,
            learned=self.learned,
            examples=value.count,
            buyers=self.buyers,
            first_label_ms=self.first_label_ms,
        )


def _part(learner: SecondOrderLogistic) -> Part:
    linear = learner.linear()
    return Part(linear.weights.tolist(), linear.bias)


MODEL: Final = ValueModel
