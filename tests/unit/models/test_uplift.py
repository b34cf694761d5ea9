"""Uplift in the stream: who becomes an example, what is told of them, and what conditions and limits make of it."""

from __future__ import annotations

from typing import Any

import pytest

from models.brain import Brain
from models.features.goals import raw
from models.uplift import FIRST_CODE, uplifts_of
from support.lane import DAY_MS, HOUR_MS, MINUTE_MS, LaneRig, definitions, identify, ms, order, track
from support.uplift import uplift_scores

START = ms("2010-01-04 12:00")
CONTROL: dict[str, Any] = {
    "id": "nudge-control",
    "variants": [{"id": "none", "weight": 0.5}, {"id": "message", "weight": 0.5}],
    "expose_on": "message",
    "metrics": [{"id": "ordered", "event": "Order Completed", "within": "7d"}],
}
NUDGE: dict[str, Any] = {
    "id": "nudge",
    "trigger": {"on": "event", "event": "Product Added"},
    "channel": "log",
    "template": "welcome",
    "control": "nudge-control",
    "conversion": {"event": "Order Completed", "within": "3d"},
}
CODE_OF_NUDGE = 1523497448  # what profiles and models of before know it by


def rig(campaign: dict[str, Any] = NUDGE, **parts: Any) -> LaneRig:
    made = {"campaigns": [campaign], "experiments": [CONTROL]} | parts
    return LaneRig(Brain(definitions(**made)))


def teach(lane: LaneRig, **weights: Any) -> None:
    brain = lane.brain
    lane.brain = brain.with_models(brain.churn, brain.recs, uplift=uplift_scores(brain, **weights))


def add(user: str, at: int) -> bytes:
    return track("Product Added", user, at, product_id="p1")


def examples(lane: LaneRig) -> list[dict[str, Any]]:
    return [one for one in lane.published.on("training") if one["type"] == "uplift"]


def users(lane: LaneRig, variant: str, count: int = 1) -> list[str]:
    """Users whom the control experiment puts there."""
    trial = lane.brain.trials["nudge-control"]
    return [name for name in (f"u{n}" for n in range(500)) if trial.variant(name) == variant][:count]


def test_what_is_known_about_a_user_is_kept_as_of_the_decision() -> None:
    lane = rig(NUDGE | {"conversion": NUDGE["conversion"] | {"attributes": ["plan", "age"]}})
    assert lane.brain.uplift.subjects[0].code != rig().brain.uplift.subjects[0].code, "it asks something else"
    (user,), (held,) = users(lane, "message"), users(lane, "none")
    for one in (user, held):
        lane.feed("profiles", identify(one, START - DAY_MS, plan="pro"))
        lane.feed("clickstream", add(one, START))
        lane.feed("profiles", identify(one, START + HOUR_MS, plan="basic", age=30))
    lane.until(START + 40 * DAY_MS)
    found = examples(lane)
    assert sorted(one["treated"] for one in found) == [0, 1]
    assert [one["attributes"] for one in found] == [{"age": None, "plan": "pro"}] * 2
    assert all(len(one["x"]) == 21 for one in found)


def test_without_attributes_an_example_is_as_it_was() -> None:
    lane = rig()
    lane.feed("clickstream", add(users(lane, "message")[0], START))
    lane.until(START + 40 * DAY_MS)
    assert "attributes" not in examples(lane)[0]
    assert lane.brain.uplift.subjects[0].code == CODE_OF_NUDGE


@pytest.mark.parametrize(("variant", "treated"), [("message", 1), ("none", 0)])
@pytest.mark.parametrize(("after_ms", "label"), [(0, 0), (HOUR_MS, 1), (3 * DAY_MS - 1000, 1), (3 * DAY_MS, 0)])
def test_the_treated_and_the_held_out_are_told(variant: str, treated: int, after_ms: int, label: int) -> None:
    lane = rig()
    (user,) = users(lane, variant)
    lane.feed("clickstream", add(user, START))
    (sample,) = lane.profile(user).goal_samples
    assert sample.code == lane.brain.uplift.subjects[0].code + treated
    lane.feed("purchases", order(user, START + after_ms))
    if after_ms < 2 * DAY_MS:
        lane.until(START + 3 * DAY_MS - 2000)
        assert examples(lane) == []
    lane.until(START + 40 * DAY_MS)
    (found,) = examples(lane)
    assert (found["treated"], found["label"], found["campaign"]) == (treated, label, "nudge")
    assert (found["at"], found["due"]) == (START, START + 3 * DAY_MS)
    assert found["known_at"] >= found["due"]
    assert found["uplift_e4"] is None, "nothing was learned when it began"
    assert lane.profile(user).awaited == b""


def test_one_example_at_a_time() -> None:
    lane = rig()
    (user,) = users(lane, "message")
    for hour in range(100):
        lane.feed("clickstream", add(user, START + hour * HOUR_MS))
        assert len(lane.profile(user).goal_samples) == 1
    assert len(lane.published.on("messages")) == 100
    lane.until(START + 40 * DAY_MS)
    told = [one["at"] for one in examples(lane)]
    assert told == sorted(set(told))
    assert 1 <= len(told) <= 3


def test_the_features_are_those_of_the_decision() -> None:
    lane = rig()
    (user,) = users(lane, "none")
    lane.feed("clickstream", track("Product Viewed", user, START - DAY_MS), add(user, START))
    now = raw(lane.profile(user), START // 1000)
    lane.feed("clickstream", *(track("Product Viewed", user, START + n * MINUTE_MS) for n in range(1, 20)))
    lane.until(START + 20 * DAY_MS)
    assert examples(lane)[0]["x"] == now


def test_an_example_outlasts_a_month_of_silence() -> None:
    lane = rig(NUDGE | {"conversion": {"within": "100d"}})
    teach(lane, effect=-1.0)
    (user,) = users(lane, "none")
    lane.feed("purchases", order(user, START - 3 * DAY_MS))
    lane.feed("clickstream", add(user, START))
    (begun,) = lane.profile(user).goal_samples
    assert 0 <= begun.p_e4 < 10_000, "an uplift below 0"
    lane.until(START + 70 * DAY_MS)
    assert lane.profile(user).session_start == 0, "at rest"
    assert lane.profile(user).goal_samples == [begun]
    lane.until(START + 130 * DAY_MS)
    (found,) = examples(lane)
    assert (found["x"], found["label"], found["uplift_e4"]) == (begun.x, 0, begun.p_e4 - 10_000)


def test_who_is_stopped_by_something_else_is_no_example() -> None:
    """Consent, caps and conditions stop treated and held-out users alike; neither says what the message does."""
    lane = rig(NUDGE | {"channel": "email"})
    for user in users(lane, "message", 3) + users(lane, "none", 3):
        lane.feed("clickstream", add(user, START))
        assert lane.profile(user).awaited == b""
    assert {one["suppressed"] for one in lane.published.on("messages")} == {"no_consent"}


def test_who_takes_no_part_and_testers_are_no_examples() -> None:
    control = CONTROL | {"coverage": 0.5, "testers": {"anna": "message", "ben": "none"}}
    lane = rig(experiments=[control])
    outside = [f"u{n}" for n in range(60) if lane.brain.trials["nudge-control"].variant(f"u{n}") is None]
    assert len(outside) > 10
    for user in ("anna", "ben", *outside):
        lane.feed("clickstream", add(user, START))
        assert lane.profile(user).awaited == b"", user


def test_the_holdout_is_the_control_of_campaigns_without_one() -> None:
    plain = {name: value for name, value in NUDGE.items() if name != "control"}
    lane = rig(plain, policy={"holdout": "nudge-control"})
    (held,), (written,) = users(lane, "none"), users(lane, "message")
    lane.feed("clickstream", add(held, START), add(written, START))
    assert [one["suppressed"] for one in lane.published.on("messages")] == ["holdout", None]
    lane.until(START + 40 * DAY_MS)
    assert {(one["user"], one["treated"]) for one in examples(lane)} == {(held, 0), (written, 1)}
    transactional = rig(plain | {"purpose": "transactional"}, policy={"holdout": "nudge-control"})
    assert transactional.brain.uplift.subjects == ()


def test_who_is_in_the_holdout_says_nothing_of_the_control_group() -> None:
    holdout = CONTROL | {"id": "holdout", "seed": "other"}
    lane = rig(experiments=[CONTROL, holdout], policy={"holdout": "holdout"})
    for n in range(60):
        lane.feed("clickstream", add(f"u{n}", START + n))
    told = {one["user"]: one["suppressed"] for one in lane.published.on("messages")}
    assert set(told.values()) == {"holdout", "control_group", None}
    for user, why in told.items():
        codes = [sample.code & 1 for sample in lane.profile(user).goal_samples]
        assert codes == {"holdout": [], "control_group": [0], None: [1]}[why], user


def test_a_stopped_experiment_begins_no_examples() -> None:
    lane = rig(experiments=[CONTROL | {"ruling": {"status": "stopped"}}])
    lane.feed("clickstream", *(add(f"u{n}", START) for n in range(20)))
    assert len(lane.published.on("messages")) == 20
    assert all(lane.profile(f"u{n}").awaited == b"" for n in range(20))


def test_a_campaign_that_asks_something_else_is_learned_anew() -> None:
    codes = {
        rig(NUDGE | {"conversion": conversion}).brain.uplift.subjects[0].code
        for conversion in ({}, {"within": "3d"}, {"event": "Signed Up"}, {"event": "Signed Up", "within": "3d"})
    }
    assert len(codes) == 4
    assert all(code >= FIRST_CODE and code % 2 == 0 for code in codes)
    lane = rig()
    (user,) = users(lane, "message")
    lane.feed("clickstream", add(user, START))
    lane.brain = Brain(definitions(campaigns=[NUDGE | {"conversion": {"within": "4d"}}], experiments=[CONTROL]))
    lane.until(START + 60 * DAY_MS)
    assert examples(lane) == []
    assert lane.profile(user).awaited == b"", "what nobody asks any more is dropped"


# ------------------------------------------------------------------ what is made of it


def asking(text: str) -> dict[str, Any]:
    return {
        "id": "asks",
        "trigger": {"on": "event", "event": "Product Viewed"},
        "when": text,
        "channel": "log",
        "template": "welcome",
        "purpose": "transactional",
    }


@pytest.mark.parametrize(
    ("text", "unlearned", "small", "large"),
    [
        ("user.uplift['nudge'] >= 0.1", False, False, True),
        ("user.uplift['nudge'] < 0.1", False, True, False),
        ("has(user.uplift.nudge)", False, True, True),
        ("user.uplift['other'] >= 0.0", False, False, False),
    ],
)
def test_conditions_know_it(text: str, unlearned: bool, small: bool, large: bool) -> None:
    """Conditions of campaigns; while nothing is learned, none holds."""
    for told, wanted in ((None, unlearned), (0.2, small), (2.0, large)):
        lane = rig(campaigns=[NUDGE, asking(text)])
        if told is not None:
            teach(lane, effect=told)
        lane.feed("clickstream", track("Product Viewed", "u1", START))
        assert bool(lane.published.on("messages")) == wanted, (text, told)


def test_min_uplift_holds_back_whom_the_message_would_not_change() -> None:
    lane = rig(NUDGE | {"min_uplift": 0.1})
    people = [f"u{n}" for n in range(200)]
    lane.feed("clickstream", *(add(user, START) for user in people))
    assert {one["suppressed"] for one in lane.published.on("messages")} == {None, "control_group"}

    for effect, held in ((2.0, False), (0.2, True), (-2.0, True)):
        lane = rig(NUDGE | {"min_uplift": 0.1})
        teach(lane, effect=effect)
        lane.feed("clickstream", *(add(user, START) for user in people))
        told = [one["suppressed"] for one in lane.published.on("messages")]
        kept = told.count("low_uplift")
        assert (180 <= kept < 200) if held else kept == 0, effect
        assert lane.counters("camp:nudge").get("suppressed:low_uplift", 0) == kept
        # The few that are decided all the same are how Kairos notices that people change.
        assert sum(len(lane.profile(user).goal_samples) for user in people) == 200 - kept


def test_an_example_keeps_what_was_served() -> None:
    lane = rig()
    teach(lane, effect=-1.0)
    (user,) = users(lane, "message")
    lane.feed("clickstream", add(user, START))
    told = lane.brain.uplift.of("nudge", lane.profile(user).goal_samples[0].x, {})
    assert told is not None
    assert told < -0.2
    lane.until(START + 40 * DAY_MS)
    assert [one["uplift_e4"] for one in examples(lane)] == [round(told * 10_000)]


def test_only_campaigns_that_conditions_name_are_computed() -> None:
    other = NUDGE | {"id": "other"}
    made = definitions(campaigns=[NUDGE, other], experiments=[CONTROL])
    assert uplifts_of(made, ["user.orders > 1"]).asked == frozenset()
    assert uplifts_of(made, ["user.orders > 1", "user.uplift['nudge'] > 0.0"]).asked == {"nudge"}
    assert uplifts_of(made, ["user.uplift.exists(name, user.uplift[name] > 0.0)"]).asked == {"nudge", "other"}
