"""Attributes of goals in decide: kept as of the moment, scored as they are learned, told as reasons."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from config.goal import Goal
from models.brain import Brain
from models.decisions import GoalExample
from models.features.attributes import Told
from models.features.goals import as_matrix, reasons
from models.learners.batch import BatchModel, state_of
from models.learners.goal_scores import GoalScores
from models.learners.streamed.goals import GoalsModel
from models.learners.task import Task
from models.profile.codec import decode_profile, encode_profile
from models.profile.merge import merge
from services.state.propensities import told
from support.lane import DAY_MS, HOUR_MS, MINUTE_MS, LaneRig, definitions, identify, ms, order, track

START = ms("2010-01-04 12:00")
PLAIN: dict[str, Any] = {"id": "buy", "event": "Order Completed", "horizon": "30d"}
GOAL = PLAIN | {"attributes": ["plan", "age"]}


def rig(*goals: dict[str, Any], **parts: Any) -> LaneRig:
    return LaneRig(Brain(definitions(goals=list(goals or (GOAL,)), **parts)))


def begun(lane: LaneRig, at: int, user: str = "u1") -> int:
    """Views until one of them began an example; returns when."""
    for n in range(200):
        lane.feed("clickstream", track("Product Viewed", user, at + n * MINUTE_MS))
        if lane.profile(user).goal_samples:
            return lane.profile(user).goal_samples[0].at * 1000
    raise AssertionError("no event of 200 began an example")


def examples(lane: LaneRig, goal: str = "buy") -> list[dict[str, Any]]:
    return [one for one in lane.published.on("training") if one["type"] == "goal" and one["goal"] == goal]


def learned(lane: LaneRig, *, seed: int = 1) -> None:
    """A model by which pro users buy and the young ones do not."""
    model, rng, (code, *_) = GoalsModel(), np.random.default_rng(seed), lane.brain.goals.by_code
    x = [0] * 21
    for n in range(600):
        age, plan = int(rng.integers(18, 70)), ["pro", "basic", None][int(rng.integers(3))]
        about: dict[str, Told] = {"age": age, "plan": plan}
        odds = (2.0 if plan == "pro" else -1.0) + (age - 44) / 20
        label = int(rng.random() < 1 / (1 + np.exp(-odds)))
        at = START - 90 * DAY_MS + n * HOUR_MS
        model.learn_example(GoalExample(str(n), "u", "buy", code, at, at, at, label, x, -1, about))
    brain = lane.brain
    lane.brain = brain.with_models(brain.churn, brain.recs, model.scores())


def test_an_example_carries_what_was_known_when_it_began() -> None:
    """A trait that changes before the label is known must not leak into what is learned."""
    lane = rig()
    lane.feed("profiles", identify("u1", START - DAY_MS, plan="basic", age=41, country="France"))
    at = begun(lane, START)
    lane.feed("profiles", identify("u1", at + DAY_MS, plan="pro", age=None))
    lane.until(at + 31 * DAY_MS)
    assert examples(lane)[0]["attributes"] == {"age": 41, "plan": "basic"}, "only what the file names"
    begun(lane, at + 40 * DAY_MS)
    lane.until(at + 90 * DAY_MS)
    assert examples(lane)[1]["attributes"] == {"age": None, "plan": "pro"}


def test_what_was_told_at_rest_stays_as_well() -> None:
    lane = rig(GOAL | {"horizon": "60d"})
    lane.feed("purchases", order("u1", START - HOUR_MS))
    at = begun(lane, START)
    for day in range(1, 50, 3):
        lane.until(at + day * DAY_MS)
    profile = lane.profile("u1")
    assert profile.session_start == 0
    assert profile.goal_samples[0].x[-2:] == [None, None]
    lane.feed("profiles", identify("u1", at + 50 * DAY_MS, plan="pro", age=20))
    assert decode_profile(encode_profile(lane.profile("u1"))).goal_samples[0].x[-2:] == [None, None]
    lane.until(at + 90 * DAY_MS)
    assert examples(lane)[0]["attributes"] == {"age": None, "plan": None}


def test_goals_without_attributes_take_not_one_byte_more() -> None:
    with_it, without = rig(PLAIN, GOAL | {"id": "again"}), rig(PLAIN)
    for lane in (with_it, without):
        lane.feed("profiles", identify("u1", START - DAY_MS, plan="basic", age=41))
        at = begun(lane, START)
        assert len(lane.profile("u1").goal_samples[0].x) == 21
        lane.until(at + 31 * DAY_MS)
    assert examples(with_it) == examples(without)
    assert "attributes" not in examples(without)[0]
    assert "attributes" in examples(with_it, "again")[0]


def test_examples_of_before_are_read() -> None:
    old = b'{"id":"","user":"","goal":"","code":5,"at":1,"due":2,"known_at":2,"label":1,"x":[1],"p_e4":7,"type":"goal"}'
    found = msgspec.json.decode(old, type=GoalExample)
    assert found.attributes is msgspec.UNSET
    assert msgspec.json.encode(found) == old


def test_what_is_asked_hangs_on_the_attributes_but_not_on_their_order() -> None:
    assert Goal.model_validate(PLAIN).code == 1768, "profiles and models of before stay those of the goal"
    assert Goal.model_validate(PLAIN | {"attributes": []}).code == 1768
    one, other = (Goal.model_validate(GOAL | {"attributes": names}) for names in (["plan", "age"], ["age", "plan"]))
    assert one.code == other.code != 1768
    assert one.attributes == ("age", "plan")
    assert Goal.model_validate(GOAL | {"attributes": ["plan"]}).code not in {one.code, 1768}


def test_conditions_see_the_score_of_what_is_told_now() -> None:
    campaign = {
        "id": "nudge", "trigger": {"on": "event", "event": "Product Added"}, "when": "user.propensity['buy'] >= 0.5",
        "channel": "log", "template": "welcome", "purpose": "transactional",
    }  # fmt: skip
    lane = rig(campaigns=[campaign])
    learned(lane)
    said = {}
    for user, plan in (("a", "basic"), ("b", "pro"), ("c", "never heard of"), ("d", None)):
        lane.feed("profiles", identify(user, START - DAY_MS, plan=plan, age=44))
        told_of = lane.feed("clickstream", track("Product Added", user, START)).on("messages")
        said[user] = [one["user"] for one in told_of]
    assert said == {"a": [], "b": ["b"], "c": [], "d": []}


def test_an_example_is_judged_by_what_was_served_to_whoever_asked() -> None:
    lane = rig()
    learned(lane)
    lane.feed("profiles", identify("u1", START - DAY_MS, plan="pro", age=60))
    lane.feed("profiles", identify("u2", START - DAY_MS, plan="basic", age=20))
    said = {}
    for user in ("u1", "u2"):
        at = begun(lane, START, user)
        sample = lane.profile(user).goal_samples[0]
        about = dict(zip(("age", "plan"), sample.x[21:], strict=True))
        (p,) = lane.brain.goals.served.score(as_matrix([sample.x[:21]]), [about])[0].tolist()
        assert sample.p_e4 == round(p * 10_000)
        assert sample.at * 1000 == at
        said[user] = p
    assert said["u1"] > 0.8
    assert said["u2"] < 0.2


def test_reasons_name_the_attribute_with_its_exact_share() -> None:
    lane = rig()
    learned(lane)
    for user, plan in (("u1", "pro"), ("u2", None)):
        lane.feed("profiles", identify(user, START - DAY_MS, plan=plan, age=41))
    goals = lane.brain.goals
    (one,) = told(lane.profile("u1"), START // 1000, goals)
    assert one.probability is not None
    assert one.reasons[0].text == "plan is pro"
    assert one.reasons[0].share > 1.0
    odds = one.base + one.others + sum(reason.share for reason in one.reasons)
    assert one.probability == pytest.approx(1 / (1 + np.exp(-odds)), abs=2e-4)
    (other,) = told(lane.profile("u2"), START // 1000, goals)
    texts = {reason.text: reason.share for reason in other.reasons}
    assert texts["no plan told"] < 0.0
    assert "age is 41" in texts


def test_shares_add_up_to_what_is_served() -> None:
    lane = rig()
    learned(lane)
    served, x = lane.brain.goals.served, list(range(21))
    (code,) = served.codes
    abouts: list[dict[str, Told]] = [{"plan": "pro", "age": 30}, {"plan": "trial", "age": "no number"}, {}]
    for about in abouts:
        shares = served.contributions(code, x, about)
        odds = served.base_log_odds(code) + sum(share for _, share in shares)
        assert served.score(as_matrix([x]), [about])[0, 0] == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-12)
        assert len(reasons(shares, x, 20, about)) >= 2


def test_of_two_open_examples_the_older_one_stays_whatever_they_hold() -> None:
    lane = rig()
    lane.feed("profiles", identify("u1", START - DAY_MS, plan="pro", age="unknown"))
    at = begun(lane, START, "u1")
    lane.feed("profiles", identify("u2", START - DAY_MS, plan=3, age=None))
    begun(lane, START, "u2")
    first, second = lane.profile("u1"), lane.profile("u2")
    second.goal_samples[0].at = at // 1000
    second.goal_samples[0].x[:21] = first.goal_samples[0].x[:21]
    one, other = merge(first, second).goal_samples, merge(second, first).goal_samples
    assert one == other
    assert len(one) == 1


@pytest.mark.parametrize("promoted", ["buy", "plain"])
def test_a_batch_model_goes_by_the_numbers_whatever_is_kept_beside_them(promoted: str) -> None:
    """Only one of two goals is served; the example of the one with attributes is longer."""
    lane = rig(GOAL, PLAIN | {"id": "plain"})
    goal = next(one for one in lane.brain.goals.goals if one.id == promoted)
    task = Task.of_goal(goal.id, goal.code)
    linear = {"kind": "linear", "w": [1.0], "b": 0.5}
    model = BatchModel(state_of([3], [0.0], ([0.0], [1.0]), np.zeros(20), 0, linear, task), 1, task)
    brain = lane.brain
    lane.brain = brain.with_models(brain.churn, brain.recs, GoalScores().with_batch({goal.code: model}))
    lane.feed("profiles", identify("u1", START - DAY_MS, plan="pro", age=41))
    begun(lane, START)
    samples = {sample.code: sample for sample in lane.profile("u1").goal_samples}
    assert sorted(len(sample.x) for sample in samples.values()) == [21, 23]
    wanted = round(float(model.score(as_matrix([samples[goal.code].x[:21]]))[0]) * 10_000)
    assert {code: sample.p_e4 for code, sample in samples.items()} == dict.fromkeys(samples, -1) | {goal.code: wanted}
    profile = lane.profile("u1")
    assert lane.brain.goals.propensities(profile, profile.last_seen_ms // 1000).keys() == {promoted}
