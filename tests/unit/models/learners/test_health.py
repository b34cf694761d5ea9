"""Whether a score can be trusted: states, alarms, and the rate that stands in for a model that went wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from config.topics import LEARNED_FROM
from models.decisions import GoalExample
from models.features.goals import RAW_NAMES, as_matrix
from models.learners.envelope import pack_state, unpack_state
from models.learners.goal_scores import GoalScores, GoalsPayload
from models.learners.health import DAY_MS, Doubt, ScoreHealth, Watch
from models.learners.session import LearnSession
from models.learners.streamed.goals import GoalLearner
from models.learners.streamed.uplift import UpliftModel

NOW = 1_000 * DAY_MS


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({}, "fine"),
        ({"learned": False, "newest_ms": 0}, "not learned yet"),
        ({"newest_ms": NOW - 22 * DAY_MS}, "stale"),
        ({"newest_ms": NOW - 20 * DAY_MS}, "fine"),
        ({"last_drift_ms": NOW - 13 * DAY_MS}, "drifting"),
        ({"last_drift_ms": NOW - 15 * DAY_MS}, "fine"),
        ({"log_loss": 0.7}, "worse than the rate"),
        ({"log_loss": 0.7, "judged": 199}, "fine"),
        ({"log_loss": None, "rate_log_loss": None}, "fine"),
    ],
)
def test_its_state_in_one_word(changed: dict[str, Any], state: str) -> None:
    known = {"learned": True, "examples": 900, "newest_ms": NOW, "judged": 900, "log_loss": 0.4, "rate_log_loss": 0.5}
    assert ScoreHealth(**(known | changed)).state(NOW) == state


def test_without_the_time_nothing_is_stale() -> None:
    assert ScoreHealth(learned=True, examples=5, newest_ms=1).state(None) == "fine"


def test_the_watch_and_the_doubt_go_on_bit_by_bit() -> None:
    for kind in (Watch, Doubt):
        first, second = kind(), kind()
        rng = np.random.default_rng(1)
        for n in range(400):
            told, label = float(rng.random()), int(rng.random() < 0.3)
            for one in (first, second):
                if isinstance(one, Watch):
                    one.add(told, label, n)
                else:
                    if n == 100:
                        one.begin()
                    one.add(told, label)
            restored = kind()
            restored.restore(unpack_state(pack_state(second.snapshot())))
            second = restored
        assert pack_state(first.snapshot()) == pack_state(second.snapshot())


def test_the_rate_is_served_while_it_loses_less_and_no_longer() -> None:
    doubt = Doubt()
    for n in range(300):
        doubt.add(None, int(n % 4 == 0))
    assert not doubt.fallback
    assert abs(1 / (1 + np.exp(-doubt.log_odds)) - 0.25) < 0.05
    doubt.begin()
    for n in range(60):
        doubt.add(3.0 if n % 4 else -3.0, int(n % 4 == 0))  # the model says the opposite
        assert doubt.fallback == (n >= Doubt.LEAST - 1)
    for n in range(400):
        doubt.add(-3.0 if n % 4 else 3.0, int(n % 4 == 0))
    assert not doubt.fallback, "the model is right again"
    for n in range(Doubt.OPEN):
        doubt.add(3.0 if n % 4 else -3.0, int(n % 4 == 0))
    assert not doubt.open, "without another alarm the doubt is over"


def test_a_goal_that_went_wrong_is_told_by_its_rate() -> None:
    learner, rng, served = GoalLearner("buy"), np.random.default_rng(2), GoalScores()
    told = []
    for n in range(4000):
        keen = int(rng.integers(0, 2))
        x = [0] * len(RAW_NAMES)
        x[3], x[5] = 1 + 30 * keen, 5 * keen
        if n % 20 == 0:
            served = GoalScores(GoalsPayload(goals={1: learner.payload()}))
        p_e4 = round(float(served.score(as_matrix([x]))[0, 0]) * 10_000) if served.codes else -1
        right = keen if n < 2500 else 1 - keen
        label = int(rng.random() < (0.9 if right else 0.05))
        at = DAY_MS + n * DAY_MS // 50
        learner.learn(GoalExample(str(n), "u", "buy", 1, at, at, at, label, x, p_e4))
        told.append((learner.doubt.fallback, p_e4, learner.watch.drifts))
    assert not any(fallback for fallback, _, _ in told[:2500])
    assert any(fallback for fallback, _, _ in told[2500:])
    first = next(place for place, (fallback, _, _) in enumerate(told) if fallback)
    after = {p_e4 for fallback, p_e4, _ in told[first + 20 : first + 40] if fallback}
    assert after
    assert all(2000 < p_e4 < 8000 for p_e4 in after), "one rate for everybody"
    assert learner.health().drifts >= 1


def test_every_session_tells_its_health() -> None:
    for name in LEARNED_FROM:
        for one in LearnSession(name).health().values():
            assert not one.learned
            assert one.state(NOW) == "not learned yet"
    assert UpliftModel().health() == {}
