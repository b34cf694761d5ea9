"""Learns every declared goal from its examples in `training`: one pool of linear learners for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from config.attributes import MOST_ATTRIBUTES
from config.goal import MOST_GOALS
from models.decisions import GoalExample
from models.errors import IncompatibleSnapshotError
from models.features import goals
from models.features.attributes import Attributes, Told
from models.learners import goal_scores, linear
from models.learners.contest import ONLINE, Contest
from models.learners.health import Doubt, ScoreHealth, Watch
from models.learners.model import Model
from models.learners.pool import Pool
from models.learners.task import Task

FloatArray = npt.NDArray[np.float64]

MEMBERS: Final = ("second_order", "adagrad")
MIN_EXAMPLES: Final = 300
MIN_OF_EACH_LABEL: Final = 20
# Goals that were taken out or changed are kept until so many others came after them.
KEPT: Final = 4 * MOST_GOALS


class GoalLearner:
    """One goal: its pool, and how good its scores were as they were served.

    Parameters
    ----------
    goal : its id. attributes : names of those that it is learned from besides behaviour.
    """

    def __init__(self, goal: str, attributes: Sequence[str] = ()) -> None:
        self.goal = goal
        self.attributes = Attributes(attributes) if attributes else None
        self.pool = Pool(len(goals.FEATURE_NAMES), MEMBERS, judged_from=MIN_EXAMPLES)
        self.watch = Watch()
        self.doubt = Doubt()
        self.contest = Contest()
        self.positives = 0
        self.first_label_ms: int | None = None
        self.last_ms = 0

    def learn(self, example: GoalExample) -> None:
        """Judge what was served, then learn."""
        if example.p_e4 >= 0 and self.watch.add(example.p_e4 / 10_000, example.label, example.known_at):
            self.pool.doubt()
            self.doubt.begin()
        x = self._columns(example)
        online = self.pool.served_at(x, example.at) if self.doubt.open or self.contest.active else None
        if self.contest.active:
            told = self.doubt.log_odds if self.doubt.fallback else online
            self.contest.note(example.user, example.at, example.x, example.label, told)
        self.doubt.add(online if self.doubt.open else None, example.label)
        self.pool.learn_one(x, example.label, example.at, example.known_at)
        if self.attributes is not None:
            self.attributes.learn(_told(example), example.label)
        self.positives += example.label
        if self.first_label_ms is None:
            self.first_label_ms = example.known_at
        self.last_ms = max(self.last_ms, example.known_at)

    def _columns(self, example: GoalExample) -> FloatArray:
        x: FloatArray = goals.expand(goals.as_matrix([example.x]))[0]
        if self.attributes is None:
            return x
        told = self.attributes.encode(_told(example))
        self._grow()
        return np.concatenate((x, told))

    def _grow(self) -> None:
        if self.attributes is not None:
            self.pool.grow([False] * len(goals.FEATURE_NAMES) + self.attributes.indicators)

    @property
    def learned(self) -> bool:
        """Whether enough labels of both kinds are known; until then there is no score."""
        fewer = min(self.positives, self.pool.count - self.positives)
        return self.pool.count >= MIN_EXAMPLES and fewer >= MIN_OF_EACH_LABEL

    def payload(self) -> goal_scores.GoalPayload:
        """What is served now."""
        attributes = self.attributes
        names = [*goals.FEATURE_NAMES, *([] if attributes is None else attributes.names_of_columns())]
        model = linear.payload_of(self.pool, names, learned=self.learned, since_ms=self.first_label_ms)
        if self.doubt.fallback:
            nothing = [0.0] * len(names)
            model = msgspec.structs.replace(model, weights=nothing, bias=self.doubt.log_odds, platt=(1.0, 0.0))
        told = msgspec.UNSET if attributes is None else attributes.payload()
        return goal_scores.GoalPayload(goal=self.goal, model=model, attributes=told)

    def meta(self) -> dict[str, Any]:
        """Return what a person wants to know of it."""
        shares = zip((member.name for member in self.pool.members), self.pool.weights().round(3), strict=True)
        return {
            "learned": self.learned,
            "examples": self.pool.count,
            "positives": self.positives,
            "first_label_ms": self.first_label_ms,
            "last_label_ms": self.last_ms,
            "drifts": self.watch.drifts,
            "last_drift_ms": self.watch.last_drift_ms,
            "fallback": self.doubt.fallback,
            "pool": {name: float(share) for name, share in shares},
            **self.watch.served.figures(),
        }

    def health(self) -> ScoreHealth:
        """Return what is known of its scores."""
        return ScoreHealth(
            learned=self.learned,
            examples=self.pool.count,
            newest_ms=self.last_ms,
            **self.watch.figures(),
            constant=self.pool.constant(),
            fallback=self.doubt.fallback and self.contest.champion == ONLINE,
        )

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        return {
            "goal": self.goal,
            "pool": self.pool.snapshot(),
            "watch": self.watch.snapshot(),
            "doubt": self.doubt.snapshot(),
            "counts": [self.positives, self.last_ms],
            "first_label_ms": self.first_label_ms,
            **({} if self.attributes is None else {"attributes": self.attributes.snapshot()}),
            "contest": self.contest.snapshot(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted."""
        self.goal = state["goal"]
        if "attributes" in state:
            self.attributes = Attributes(state["attributes"]["names"])
            self.attributes.restore(state["attributes"]["encoder"])
            self._grow()
        self.pool.restore(state["pool"])
        if "watch" in state:
            self.watch.restore(state["watch"])
            self.doubt.restore(state["doubt"])
            self.positives, self.last_ms = state["counts"]
        else:  # of before there was a fallback
            drifts, self.positives, self.last_ms = state["counts"]
            self.watch.restore(
                {"served": state["served"], "adwin": state["adwin"], "drifts": drifts, "last_drift_ms": None}
            )
        self.first_label_ms = state["first_label_ms"]
        self.contest.restore(state.get("contest"))


def _told(example: GoalExample) -> dict[str, Told]:
    """Attributes of an example."""
    return example.attributes if isinstance(example.attributes, dict) else {}


class GoalsModel(Model):
    """All goals behind a session; served as one :class:`models.learners.goal_scores.GoalScores`.

    Notes
    -----
    A goal is told apart by its code, which stands for what is asked: one whose file asks something else begins anew.
    """

    schema = goal_scores.SCHEMA
    learns = "goal"

    def __init__(self) -> None:
        self.learners: dict[int, GoalLearner] = {}
        self._decode = msgspec.json.Decoder(GoalExample).decode

    def learn(self, value: bytes) -> None:
        """Learn one :class:`models.decisions.GoalExample`."""
        example = self._decode(value)
        if example.label not in (0, 1) or len(example.x) != len(goals.RAW_NAMES):
            raise msgspec.ValidationError("not a goal's example of this feature schema")
        if len(_told(example)) > MOST_ATTRIBUTES:
            raise msgspec.ValidationError(f"more than {MOST_ATTRIBUTES} attributes")
        self.learn_example(example)

    def learn_example(self, example: GoalExample) -> None:
        """Learn one example that was checked."""
        learner = self.learners.get(example.code)
        if learner is None:
            if len(self.learners) >= KEPT:
                del self.learners[min(self.learners, key=lambda code: (self.learners[code].last_ms, code))]
            learner = self.learners[example.code] = GoalLearner(example.goal, sorted(_told(example)))
        learner.learn(example)

    def scores(self) -> goal_scores.GoalScores:
        """Return what is served now."""
        return goal_scores.GoalScores(self._served())

    def payload(self) -> bytes:
        return msgspec.msgpack.encode(self._served())

    def meta(self) -> dict[str, Any]:
        return {"goals": {str(code): {"goal": one.goal, **one.meta()} for code, one in sorted(self.learners.items())}}

    def contests(self) -> dict[Task, Contest]:
        return {Task.of_goal(one.goal, code): one.contest for code, one in sorted(self.learners.items())}

    def health(self) -> dict[str, ScoreHealth]:
        return {one.goal: one.health() for _, one in sorted(self.learners.items())}

    def snapshot(self) -> dict[str, Any]:
        return {"learners": {str(code): one.snapshot() for code, one in self.learners.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        try:
            self.learners = {}
            for code, found in state["learners"].items():
                learner = self.learners[int(code)] = GoalLearner(found["goal"])
                learner.restore(found)
        except KeyError as error:
            raise IncompatibleSnapshotError(f"state of {goal_scores.NAME} without {error}") from error

    def _served(self) -> goal_scores.GoalsPayload:
        return goal_scores.GoalsPayload(goals={code: one.payload() for code, one in sorted(self.learners.items())})


MODEL: Final = GoalsModel
