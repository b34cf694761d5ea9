"""Purchase value in the stream: what each customer spent within the horizon of churn, and when the first order came."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from models.decisions import ChurnExample
from models.errors import IncompatibleSnapshotError
from models.features import churn
from models.learners.model import Model
from models.learners.second_order import SecondOrderLogistic
from models.learners.value import NAME, Value
from models.learners.value_scores import MINOR, SCHEMA, SHIPPED_HORIZON_DAYS, Part, ValuePayload, ValueScores

MIN_EXAMPLES: Final = 500
MIN_BUYERS: Final = 50


class ValueModel(Model):
    """Learns the examples of churn; served as :class:`models.learners.value_scores.ValueScores`.

    Notes
    -----
    Labels are known at the end of the horizon, like those of churn. A shop that changes the horizon in `churn.yaml`
    begins anew: money of 60 days says nothing exact of 90.
    """

    schema = SCHEMA
    learns = "churn"

    def __init__(self) -> None:
        self.horizon_days = SHIPPED_HORIZON_DAYS
        self.value = Value(len(churn.FEATURE_NAMES))
        self.buyers = 0
        self.first_label_ms: int | None = None
        self._decode = msgspec.json.Decoder(ChurnExample).decode

    def learn(self, value: bytes) -> None:
        """Learn one :class:`models.decisions.ChurnExample`; those of before money was told say nothing here."""
        example = self._decode(value)
        if len(example.x) != len(churn.RAW_NAMES) or example.due <= example.at:
            raise msgspec.ValidationError("not a churn example of this feature schema")
        self.learn_example(example)

    def learn_example(self, example: ChurnExample) -> None:
        """Learn one example that was checked."""
        if example.spent_minor is None:
            return
        horizon_days = max(1, (example.due - example.at) // churn.DAY_MS)
        if horizon_days != self.horizon_days:
            self.horizon_days = horizon_days
            self.value, self.buyers, self.first_label_ms = Value(len(churn.FEATURE_NAMES)), 0, None
        raw = churn.as_matrix([example.x])
        own = float(churn.recent_money(raw, horizon_days)[0]) / MINOR
        days = None if example.next_order_days is None else float(example.next_order_days)
        self.value.learn_one(churn.expand(raw)[0], own, example.spent_minor / MINOR, days)
        self.buyers += days is not None
        if self.first_label_ms is None:
            self.first_label_ms = example.known_at

    @property
    def learned(self) -> bool:
        """Whether enough is known; until then the customer's own pace is served."""
        return self.value.count >= MIN_EXAMPLES and self.buyers >= MIN_BUYERS

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
            "own_share": round(self.value.weight_of_own, 3),
        }

    def snapshot(self) -> dict[str, Any]:
        return {
            "value": self.value.snapshot(),
            "buyers": self.buyers,
            "first_label_ms": self.first_label_ms,
            "horizon_days": self.horizon_days,
        }

    def restore(self, state: dict[str, Any]) -> None:
        try:
            self.value.restore(state["value"])
            self.buyers, self.first_label_ms = state["buyers"], state["first_label_ms"]
            self.horizon_days = state["horizon_days"]
        except KeyError as error:
            raise IncompatibleSnapshotError(f"state of {NAME} without {error}") from error

    def _served(self) -> ValuePayload:
        value = self.value
        return ValuePayload(
            features=list(churn.FEATURE_NAMES),
            horizon_days=self.horizon_days,
            returns=_part(value.returns),
            amount=_part(value.amount),
            gap=_part(value.gap),
            level=value.level,
            own_share=value.weight_of_own,
            learned=self.learned,
            examples=value.count,
            buyers=self.buyers,
            first_label_ms=self.first_label_ms,
        )


def _part(learner: SecondOrderLogistic) -> Part:
    linear = learner.linear()
    return Part(linear.weights.tolist(), linear.bias)


MODEL: Final = ValueModel
