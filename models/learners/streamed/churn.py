"""Churn in the stream: a pool of linear learners, told what became of every customer when the horizon is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np

from models.decisions import ChurnExample
from models.features import churn
from models.learners import linear
from models.learners.base import MAX_LOG_ODDS, FloatArray, sigmoid
from models.learners.churn_examples import read, read_many
from models.learners.contest import Contest
from models.learners.health import ScoreHealth, Watch
from models.learners.model import Model
from models.learners.pool import Pool
from models.learners.task import CHURN, Task

MIN_EXAMPLES: Final = 500
MIN_OF_EACH_LABEL: Final = 20
# One label in so many judges what was served: enough for the figures, at a quarter of the cost.
JUDGED_EVERY: Final = 4


class ChurnModel(Model):
    """The churn pool behind a session; served as one :class:`models.learners.linear.LinearModel`."""

    schema = linear.SCHEMA
    learns = "churn"

    def __init__(self) -> None:
        self.pool = Pool(len(churn.FEATURE_NAMES))
        self.contest: Contest = Contest()
        self.watch = Watch()
        self._positives = 0
        self._first_label_ms: int | None = None
        self._last_ms: int | None = None

    def learn(self, value: bytes) -> None:
        """Learn one :class:`models.decisions.ChurnExample`."""
        example = read(value)
        self._judge_and_learn(example, churn.expand(churn.as_matrix([example.x]))[0])

    def learn_many(self, values: Sequence[bytes]) -> list[str | None]:
        examples, told = read_many(values)
        for example, features in zip(examples, churn.expand(churn.as_matrix([one.x for one in examples])), strict=True):
            self._judge_and_learn(example, features)
        return told

    def _judge_and_learn(self, example: ChurnExample, features: FloatArray) -> None:
        judged = self.pool.count % JUDGED_EVERY == 0 and self.learned
        online = self.pool.served_at(features, example.at) if judged or self.contest.active else None
        if self.contest.active:
            told = _rule_log_odds(example.x) if online is None else online
            self.contest.note(example.user, example.at, example.x, example.label, told)
        if judged and online is not None:
            served = float(sigmoid(np.clip(online, -MAX_LOG_ODDS, MAX_LOG_ODDS)))
            self.watch.add(served, example.label, example.known_at)
        self._learn(features, example.label, example.at, example.known_at)

    def learn_example(self, x: Sequence[int], label: int, at_ms: int, known_ms: int) -> None:
        """Learn one raw vector with its label."""
        self._learn(churn.expand(churn.as_matrix([x]))[0], label, at_ms, known_ms)

    def _learn(self, features: FloatArray, label: int, at_ms: int, known_ms: int) -> None:
        self.pool.learn_one(features, label, at_ms, known_ms)
        self._positives += label
        if self._first_label_ms is None:
            self._first_label_ms = known_ms
        self._last_ms = max(known_ms, self._last_ms or known_ms)

    @property
    def learned(self) -> bool:
        """Whether enough labels of both kinds are known; until then the rule is served."""
        fewer = min(self._positives, self.pool.count - self._positives)
        return self.pool.count >= MIN_EXAMPLES and fewer >= MIN_OF_EACH_LABEL

    def linear_model(self) -> linear.LinearModel:
        """Return what is served now."""
        return linear.LinearModel(self._linear_payload())

    def payload(self) -> bytes:
        return msgspec.msgpack.encode(self._linear_payload())

    def meta(self) -> dict[str, Any]:
        shares = zip((member.name for member in self.pool.members), self.pool.weights().round(3), strict=True)
        return {
            "learned": self.learned,
            "examples": self.pool.count,
            "first_label_ms": self._first_label_ms,
            "pool": {name: float(share) for name, share in shares},
        }

    def contests(self) -> dict[Task, Contest]:
        return {CHURN: self.contest}

    def health(self) -> dict[str, ScoreHealth]:
        return {
            "": ScoreHealth(
                learned=self.learned,
                examples=self.pool.count,
                newest_ms=self._last_ms,
                **self.watch.figures(),
                constant=self.pool.constant(),
            )
        }

    def snapshot(self) -> dict[str, Any]:
        return {
            "pool": self.pool.snapshot(),
            "watch": self.watch.snapshot(),
            "last_ms": self._last_ms,
            "positives": self._positives,
            "first_label_ms": self._first_label_ms,
            "contest": self.contest.snapshot(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.pool.restore(state["pool"])
        self._positives, self._first_label_ms = state["positives"], state["first_label_ms"]
        self.contest.restore(state.get("contest"))
        self._last_ms = state.get("last_ms")
        if "watch" in state:  # of before scores were judged
            self.watch.restore(state["watch"])

    def _linear_payload(self) -> linear.LinearPayload:
        count, first = self.pool.count, self._first_label_ms
        if not self.learned:
            rule = linear.LinearModel.rule().payload
            return msgspec.structs.replace(rule, examples=count, first_label_ms=first)
        return linear.payload_of(self.pool, churn.FEATURE_NAMES, learned=True, since_ms=first)


def _rule_log_odds(x: Sequence[int]) -> float:
    return float(linear.LinearModel.rule().log_odds(churn.as_matrix([x]))[0])


MODEL: Final = ChurnModel
