"""What was learned about users, in the stream: labels that are right, facts that conditions see, versions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.definitions import Definitions
from models.brain import Brain
from models.facts import NAMES, READERS, Facts
from models.profile.state import Profile
from support.facts import portraits, segments_of, value_of
from support.lane import DAY_MS, LaneRig, definitions, identify, ms, order, track

START = ms("2010-01-04 12:00")
CAMPAIGN: dict[str, Any] = {
    "id": "nudge",
    "trigger": {"on": "event", "event": "Product Added"},
    "channel": "log",
    "template": "welcome",
    "purpose": "transactional",
}


def rig(when: str, facts: Facts | None = None) -> LaneRig:
    return LaneRig(Brain(definitions(campaigns=[CAMPAIGN | {"when": when}]), facts=facts))


def fires(lane: LaneRig, at: int) -> bool:
    before = len(lane.published.on("messages"))
    lane.feed("clickstream", track("Product Added", "u1", at, product_id="p1", name="Lantern", price=3.0))
    return any(one["suppressed"] is None for one in lane.published.on("messages")[before:])


def consenting(lane: LaneRig, *, orders: int = 1) -> LaneRig:
    lane.feed("profiles", identify("u1", START - DAY_MS, consent={"log": True}, age=30))
    for number in range(orders):
        lane.feed("purchases", order("u1", START + number * 10 * DAY_MS, 40.0))
    return lane


@pytest.mark.parametrize(
    ("when", "facts", "fired"),
    [
        ("user.expected_value > 70.0", Facts(value=value_of(75.0)), True),
        ("user.expected_value > 70.0", Facts(value=value_of(65.0)), False),
        ("user.expected_next_order_days < 10.0", Facts(value=value_of(1.0, 9.0)), True),
        ("user.expected_next_order_days < 9.0", Facts(value=value_of(1.0, 9.0)), False),
        ("user.segment == 'new'", Facts(segments=segments_of()), True),
        ("user.segment == 'lapsed'", Facts(segments=segments_of()), False),
        ("user.segment == ''", Facts(), True),
        ("user.portrait == 'age about 28'", Facts(portraits=portraits()), True),
        ("user.portrait == ''", Facts(), True),
    ],
)
def test_a_campaign_goes_by_what_was_learned(when: str, facts: Facts, fired: bool) -> None:
    assert fires(consenting(rig(when, facts)), START + DAY_MS) is fired


def test_time_moves_a_customer_from_one_segment_to_another() -> None:
    lane = consenting(rig("user.segment == 'lapsed'", Facts(segments=segments_of())))
    assert not fires(lane, START + DAY_MS)
    assert fires(lane, START + 100 * DAY_MS)


def test_before_anything_is_learned_the_own_pace_and_gap_are_told() -> None:
    lane = consenting(rig("true"), orders=3)
    facts, profile = lane.brain.facts, lane.profile("u1")
    at = profile.last_order_ms + 4 * DAY_MS
    told = facts.expected(profile, at)
    assert told.days == 6.0, "every ten days, and four are over"
    assert told.money == told.own > 0
    assert told.returns is None
    once = consenting(rig("true"))
    assert once.brain.facts.expected(once.profile("u1"), START + DAY_MS).days == -1.0


def test_whoever_never_ordered_is_a_prospect() -> None:
    facts = Facts(value=value_of(50.0), segments=segments_of(), portraits=portraits())
    assert (facts.expected(Profile(), 0).money, facts.expected(Profile(), 0).days) == (0.0, -1.0)
    assert facts.segment(Profile(), 0) == "prospect"
    assert facts.tell("portrait", Profile(), 0) == ""


def test_versions_stand_in_the_journal() -> None:
    facts = Facts(value=value_of(1.0), segments=segments_of(), portraits=portraits())
    brain = Brain(Definitions(), facts=facts)
    assert {name: brain.versions[name] for name in NAMES} == {"value": 5, "segments": 3, "portraits": 2}
    assert tuple(READERS) == NAMES
    other = brain.with_models(brain.churn, brain.recs, facts=Facts())
    assert (other.versions["value"], brain.versions["value"]) == (0, 5)
    assert brain.with_models(brain.churn, brain.recs).facts is facts


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 170), st.integers(0, 1000)), min_size=1, max_size=9, unique_by=lambda one: one[0])
)
def test_labels_of_money_and_days_are_those_of_a_recount(bought: list[tuple[int, int]]) -> None:
    """Money is exact; days are exact where one purchase day lies between two examples, near where there are two."""
    lane = LaneRig(Brain(definitions(churn={"horizon": "90d", "sample_every": "14d"})))
    orders = sorted((START + day * DAY_MS, minor) for day, minor in bought)
    for at, minor in orders:
        lane.feed("purchases", order("u1", at, minor / 100))
    lane.until(START + 500 * DAY_MS)
    found = [one for one in lane.published.on("training") if one["type"] == "churn"]
    assert found
    for one in found:
        inside = [(at, minor) for at, minor in orders if one["at"] <= at < one["due"]]
        assert one["spent_minor"] == sum(minor for _, minor in inside)
        assert (one["next_order_days"] is None) == (not inside)
        if inside:
            first = inside[0][0] // DAY_MS - one["at"] // DAY_MS
            near = [at for at, _ in inside if at < inside[0][0] + 14 * DAY_MS]
            assert abs(one["next_order_days"] - first) <= {1: 0, 2: 2}.get(len(near), 14)


def test_a_refund_of_more_than_was_spent_since_is_no_debt() -> None:
    lane = LaneRig(Brain(definitions(churn={"horizon": "90d", "sample_every": "14d"})))
    lane.feed("purchases", order("u1", START, 50.0))
    lane.feed("purchases", order("u1", START + 30 * DAY_MS, 10.0))
    lane.feed("purchases", track("Order Refunded", "u1", START + 31 * DAY_MS, total=50.0, order_id="o1"))
    lane.until(START + 200 * DAY_MS)
    money = [one["spent_minor"] for one in lane.published.on("training") if one["type"] == "churn"]
    assert money
    assert min(money) >= 0


def test_examples_of_before_are_read() -> None:
    from models.decisions import ChurnExample

    old = b'{"id":"1","user":"u","at":1,"due":2,"known_at":2,"label":1,"x":[1,1,1,1,1],"type":"churn"}'
    assert msgspec.json.decode(old, type=ChurnExample).spent_minor is None
