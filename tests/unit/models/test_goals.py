"""Propensities in the stream: examples at their true delay, labels that are right, scores as they were learned."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from models.brain import Brain
from models.features.goals import FEATURE_NAMES, as_matrix, raw
from models.goals import Goals
from models.profile.merge import merge
from support.goals import goal_scores
from support.identities import Lanes, alias
from support.lane import DAY_MS, HOUR_MS, MINUTE_MS, LaneRig, definitions, ms, order, track

START = ms("2010-01-04 12:00")
BUY = {"id": "buy", "event": "Order Completed", "horizon": "30d"}
CAMPAIGN: dict[str, Any] = {
    "id": "nudge",
    "trigger": {"on": "event", "event": "Product Added"},
    "when": "user.propensity['buy'] >= 0.3",
    "channel": "log",
    "template": "welcome",
    "purpose": "transactional",
}


def rig(*goals: dict[str, Any], **parts: Any) -> LaneRig:
    return LaneRig(Brain(definitions(goals=list(goals or (BUY,)), **parts)))


def teach(lane: LaneRig, **weights: Any) -> None:
    brain = lane.brain
    lane.brain = brain.with_models(brain.churn, brain.recs, goal_scores(brain, **weights))


def sampled(lane: LaneRig, at: int, user: str = "u1") -> int:
    """Views, a minute apart, until one of them began an example; returns when."""
    for n in range(200):
        lane.feed("clickstream", track("Product Viewed", user, at + n * MINUTE_MS))
        samples = lane.profile(user).goal_samples
        if samples and samples[-1].at * 1000 >= at:
            return samples[-1].at * 1000
    raise AssertionError("no event of 200 began an example")


def told(lane: LaneRig, user: str = "u1") -> dict[str, float]:
    """Propensities of a user as of the last event."""
    profile = lane.profile(user)
    return lane.brain.goals.propensities(profile, profile.last_seen_ms // 1000)


def examples(lane: LaneRig) -> list[dict[str, Any]]:
    return [one for one in lane.published.on("training") if one["type"] == "goal"]


def test_a_negative_is_told_when_its_horizon_is_over() -> None:
    lane = rig()
    at = sampled(lane, START)
    lane.until(at + 30 * DAY_MS - 1000)
    assert examples(lane) == []
    lane.until(at + 30 * DAY_MS)
    (found,) = examples(lane)
    code = lane.brain.definitions.goals[0].code
    assert (found["label"], found["at"], found["due"], found["goal"], found["code"]) == (
        0,
        at,
        at + 30 * DAY_MS,
        "buy",
        code,
    )
    assert found["known_at"] >= found["due"]
    assert found["p_e4"] == -1, "nothing was learned when it began"


def test_a_positive_is_told_with_the_negatives_of_its_time() -> None:
    """Told at once it would come a month before them, and every score would be too high."""
    lane = rig()
    at = sampled(lane, START)
    lane.feed("purchases", order("u1", at + DAY_MS))
    lane.until(at + 29 * DAY_MS)
    assert examples(lane) == []
    lane.until(at + 60 * DAY_MS)
    assert [one["label"] for one in examples(lane)][:1] == [1]
    assert examples(lane)[0]["known_at"] >= examples(lane)[0]["due"]


@pytest.mark.parametrize(("after_ms", "label"), [(0, 0), (1000, 1), (30 * DAY_MS - 1000, 1), (30 * DAY_MS, 0)])
def test_what_counts_lies_after_the_moment_and_within_the_horizon(after_ms: int, label: int) -> None:
    lane = rig()
    at = sampled(lane, START)
    lane.feed("purchases", order("u1", at + after_ms))
    lane.until(at + 90 * DAY_MS)
    assert examples(lane)[0]["at"] == at
    assert examples(lane)[0]["label"] == label


def test_a_condition_says_which_events_count() -> None:
    lane = rig(BUY | {"when": "properties.revenue >= 50.0"})
    at = sampled(lane, START)
    other = sampled(lane, START, "u2")
    lane.feed("purchases", order("u1", at + DAY_MS, 49.0), order("u2", other + DAY_MS, 50.0))
    lane.until(at + 90 * DAY_MS)
    first = {one["user"]: one["label"] for one in reversed(examples(lane))}
    assert first == {"u1": 0, "u2": 1}


def test_any_event_may_be_a_goal() -> None:
    lane = rig({"id": "review", "event": "Review Written", "horizon": "7d"})
    at = sampled(lane, START)
    lane.feed("clickstream", track("Review Written", "u1", at + DAY_MS))
    lane.until(at + 8 * DAY_MS)
    assert [(one["goal"], one["label"]) for one in examples(lane)][:1] == [("review", 1)]


def test_at_most_one_example_of_a_goal_is_open() -> None:
    lane = rig(BUY, {"id": "soon", "event": "Order Completed", "horizon": "2d"})
    for n in range(300):
        lane.feed("clickstream", track("Product Viewed", "u1", START + n * HOUR_MS))
        codes = [sample.code for sample in lane.profile("u1").goal_samples]
        assert len(codes) == len(set(codes)) <= 2
    soon = [one for one in examples(lane) if one["goal"] == "soon"]
    assert len(soon) >= 3, "the shorter one is asked again as soon as it is answered"
    assert all(two["at"] >= one["due"] for one, two in pairwise(soon))


def test_a_late_event_begins_nothing() -> None:
    lane = rig()
    lane.feed("clickstream", track("Product Viewed", "u1", START + 40 * DAY_MS, "now"))
    begun = lane.profile("u1").goal_samples
    for n in range(100):
        lane.feed("clickstream", track("Product Viewed", "u1", START + n * MINUTE_MS))
    assert lane.profile("u1").goal_samples == begun


def test_who_has_ordered_too_little_is_not_asked() -> None:
    lane = rig(BUY | {"min_orders": 1})
    teach(lane, bias=1.0)
    for n in range(100):
        lane.feed("clickstream", track("Product Viewed", "u1", START + n * MINUTE_MS))
    assert lane.profile("u1").awaited == b""
    assert told(lane) == {}
    lane.feed("purchases", order("u1", START + DAY_MS))
    assert told(lane) == {"buy": 0.7311}


def test_a_goal_that_asks_something_else_begins_anew() -> None:
    lane = rig()
    at = sampled(lane, START)
    lane.brain = Brain(definitions(goals=[BUY | {"horizon": "31d"}]))
    lane.until(at + 100 * DAY_MS)
    assert all(one["code"] == lane.brain.definitions.goals[0].code for one in examples(lane))
    lane.brain = Brain(definitions())
    lane.until(at + 200 * DAY_MS)
    assert lane.profile("u1").awaited == b"", "what nobody asks any more is dropped"


def test_silence_is_learned_from_as_well_and_has_an_end() -> None:
    lane = rig()
    lane.feed("purchases", order("u1", START))
    for day in range(1, 500, 3):
        lane.until(START + day * DAY_MS)
    found = [one for one in examples(lane) if one["user"] == "u1"]
    assert 3 <= len(found) <= 8
    assert all(one["label"] == 0 for one in found)
    assert max(one["at"] for one in found) <= START + 180 * DAY_MS
    assert lane.profile("u1").tick_due == 0, "nobody waits for whoever is gone"


# ------------------------------------------------------------------ scores


def test_conditions_see_the_score_as_of_the_event_at_hand() -> None:
    lane = rig(campaigns=[CAMPAIGN])
    teach(lane, bias=-3.0, adds_1d=3.0)
    assert lane.feed("clickstream", track("Product Added", "u1", START)).on("messages") == []
    assert told(lane) == {"buy": 0.2848}  # -3 + 3 log 2
    found = lane.feed("clickstream", track("Product Added", "u1", START + MINUTE_MS)).on("messages")
    assert told(lane)["buy"] > 0.3
    assert [one["campaign"] for one in found] == ["nudge"]


def test_without_a_learned_model_a_condition_does_not_hold() -> None:
    lane = rig(campaigns=[CAMPAIGN | {"when": "user.propensity['buy'] >= 0.0"}])
    brain = lane.brain
    lane.brain = brain.with_models(brain.churn, brain.recs, goal_scores(brain, learned=False))
    assert lane.feed("clickstream", track("Product Added", "u1", START)).on("messages") == []
    assert told(lane) == {}


def test_examples_carry_the_score_that_was_served() -> None:
    lane = rig()
    teach(lane, bias=-1.0)
    at = sampled(lane, START)
    lane.until(at + 60 * DAY_MS)
    assert examples(lane)[0]["p_e4"] == 2689


def test_the_journal_names_the_version() -> None:
    lane = rig()
    teach(lane)
    lane.feed("clickstream", track("Product Viewed", "u1", START))
    assert lane.published.on("journal")[-1]["versions"]["goals"] == 7


def test_at_rest_scores_are_told_when_asked_for() -> None:
    lane = rig()
    lane.feed("purchases", order("u1", START))
    teach(lane, silence=-1.0)
    for day in range(1, 80, 3):
        lane.until(START + day * DAY_MS)
    profile = lane.profile("u1")
    assert profile.session_start == 0
    goals: Goals = lane.brain.goals
    (late,) = goals.propensities(profile, START // 1000 + 79 * 86_400).values()
    (later,) = goals.propensities(profile, START // 1000 + 179 * 86_400).values()
    assert later < late < 0.05


def test_one_goal_or_many_each_has_its_own_users() -> None:
    lane = rig(BUY, BUY | {"id": "again", "min_orders": 2})
    teach(lane)
    lane.feed("purchases", order("u1", START))
    assert list(told(lane)) == ["buy"]
    lane.feed("purchases", order("u1", START + DAY_MS))
    assert list(told(lane)) == ["buy", "again"]


def test_contributions_add_up_to_what_is_served() -> None:
    lane = rig()
    lane.feed("purchases", order("u1", START))
    weights: dict[str, Any] = {name: 0.1 * (place - 5) for place, name in enumerate(FEATURE_NAMES)}
    served = goal_scores(lane.brain, bias=-0.4, **weights)
    x = raw(lane.profile("u1"), START // 1000 + 3 * 86_400)
    (code,) = served.codes
    told = served.base_log_odds(code) + sum(share for _, share in served.contributions(code, x))
    assert served.score(as_matrix([x]))[0, 0] == pytest.approx(1.0 / (1.0 + np.exp(-told)), abs=1e-12)


# ------------------------------------------------------------------ two ids, one person


@pytest.mark.parametrize("number", [1, 4])
def test_an_open_example_goes_along_when_a_visitor_signs_in(number: int) -> None:
    """Else nobody who signs in would ever be a positive of what visitors do."""
    brain = Brain(definitions(goals=[BUY]))
    brain = brain.with_models(brain.churn, brain.recs, goal_scores(brain, bias=-1.0))
    lanes = Lanes(brain, number)
    for n in range(60):
        lanes.feed("clickstream", "anon", track("Product Viewed", "anon", START + n * MINUTE_MS))
    begun = lanes.profile("anon").goal_samples
    assert len(begun) == 1
    lanes.feed("profiles", "ben", alias("anon", "ben", START + 2 * HOUR_MS))
    lanes.settle()
    lanes.feed("purchases", "ben", order("ben", START + DAY_MS))
    lanes.settle()
    found = lanes.profile("ben")
    assert [(one.at, one.reached) for one in found.goal_samples] == [(begun[0].at, True)]
    assert brain.goals.propensities(found, found.last_seen_ms // 1000) == {"buy": 0.2689}


def test_of_two_open_examples_the_older_one_stays() -> None:
    lane = rig()
    sampled(lane, START + DAY_MS, "late")
    sampled(lane, START + 2 * DAY_MS, "later")
    lane.feed("purchases", order("later", START + 3 * DAY_MS))
    late, later = lane.profile("late"), lane.profile("later")
    for merged in (merge(late, later), merge(later, late)):
        assert [(one.at, one.reached, one.x) for one in merged.goal_samples] == [
            (late.goal_samples[0].at, True, late.goal_samples[0].x)
        ]
    assert not late.goal_samples[0].reached, "what is merged is not changed"
