"""Running counters against an exact recount in plain Python."""

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.brain import Brain
from models.experiments.count import sum_of_squares
from support.lane import DAY_MS, LaneRig, definitions, ms, order, track

START = ms("2010-03-01 10:00")
RULES = definitions(
    experiments=[
        {
            "id": "test",
            "variants": [{"id": "a", "weight": 0.5}, {"id": "b", "weight": 0.5}],
            "coverage": 0.8,
            "expose_on": {"event": "Product Viewed"},
            "metrics": [
                {"id": "ordered", "event": "Order Completed", "within": "10d"},
                {"id": "revenue", "event": "Order Completed", "within": "10d", "kind": "revenue"},
                {"id": "points", "event": "Game Won", "within": "5d", "kind": "revenue", "value": "points"},
                {"id": "mail", "event": "Email Opened", "within": "5d", "campaign": "welcome"},
            ],
        }
    ]
)
BRAIN = Brain(RULES)
TEST = RULES.experiments[0]
USERS = [f"user-{i}" for i in range(6)]

STEPS = st.lists(
    st.tuples(
        st.sampled_from(USERS),
        st.sampled_from(["Product Viewed", "Order Completed", "Game Won", "Email Opened", "Order Refunded", "Other"]),
        st.integers(0, 20 * 24 * 60).map(lambda minutes: START + minutes * 60_000),
        st.integers(-50_000, 50_000),
        st.sampled_from(["welcome", "win-back", None]),
        st.sampled_from(range(40)),
    ),
    max_size=40,
)
Step = tuple[str, str, int, int, str | None, int]


def recount(steps: list[Step]) -> dict[str, int]:
    """What the counters must be: dictionaries and loops, nothing of Kairos but the assignment."""
    seen: set[tuple[str, int]] = set()
    exposed: dict[str, tuple[str, int]] = {}
    values: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    window = {"ordered": 10, "revenue": 10, "points": 5, "mail": 5}
    for user, name, at, minor, campaign, message in steps:
        if (user, message) in seen:
            continue
        seen.add((user, message))
        if name == "Product Viewed" and user not in exposed:
            variant = BRAIN.assign(TEST, user)
            if variant is not None:
                exposed[user] = (variant, at // 1000 * 1000)  # kept to the second
        if user not in exposed:
            continue
        for metric, days in window.items():
            if not 0 <= at - exposed[user][1] <= days * DAY_MS:
                continue
            if (metric, name) == ("ordered", "Order Completed") or (
                (metric, name, campaign) == ("mail", "Email Opened", "welcome")
            ):
                values[user][metric] = 1
            elif (metric, name) in {("revenue", "Order Completed"), ("points", "Game Won")}:
                values[user][metric] += minor
    counts: dict[str, int] = defaultdict(int)
    for user, (variant, _) in exposed.items():
        counts[f"{variant}:exposed"] += 1
        for metric, value in values[user].items():
            counts[f"{variant}:{metric}:users"] += value != 0
            counts[f"{variant}:{metric}:sum"] += value
            counts[f"{variant}:{metric}:squares"] += value * value
    return {key: value for key, value in counts.items() if value}


def counted(rig: LaneRig) -> dict[str, int]:
    """The counters, squares put together."""
    held = rig.counters("exp:test")
    found = {key: value for key, value in held.items() if "sumsq" not in key}
    for variant in "ab":
        for metric in ("ordered", "revenue", "points", "mail"):
            found[f"{variant}:{metric}:squares"] = sum_of_squares(held, variant, metric)
    return {key: value for key, value in found.items() if value}


def event(step: Step) -> bytes:
    user, name, at, minor, campaign, message = step
    properties: dict[str, Any] = {"revenue": minor / 100, "points": minor / 100}
    if campaign is not None:
        properties["campaign_id"] = campaign
    return track(name, user, at, f"m{message}", **properties)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.integers(1, 12))
def test_counters_equal_the_recount(steps: list[Step], chunk: int) -> None:
    """Whatever the order of event times, however it is cut into chunks; a refund takes nothing back here."""
    rig = LaneRig(BRAIN)
    for first in range(0, len(steps), chunk):
        rig.feed("clickstream", *(event(step) for step in steps[first : first + chunk]))
    assert counted(rig) == recount(steps)


def exposed_user() -> str:
    return next(user for user in USERS if BRAIN.assign(TEST, user) is not None)


def test_an_exposure_is_told_once() -> None:
    rig, user = LaneRig(BRAIN), exposed_user()
    first = rig.feed("clickstream", track("Product Viewed", user, START)).on("exposures")
    again = rig.feed("clickstream", track("Product Viewed", user, START + 1)).on("exposures")
    assert [(one["user"], one["variant"], one["at"]) for one in first] == [(user, BRAIN.assign(TEST, user), START)]
    assert again == []


def test_users_outside_take_no_part() -> None:
    outside = next(f"x{i}" for i in range(100) if BRAIN.assign(TEST, f"x{i}") is None)
    rig = LaneRig(BRAIN)
    rig.feed("clickstream", track("Product Viewed", outside, START), order(outside, START + 1))
    assert rig.counters("exp:test") == {}


@pytest.mark.parametrize("value", ["nan", "inf", [], {}, True, None, 10**400, "many"])
def test_a_value_that_is_no_amount_counts_nothing(value: Any) -> None:
    rig, user = LaneRig(BRAIN), exposed_user()
    rig.feed("clickstream", track("Product Viewed", user, START))
    rig.feed("clickstream", track("Game Won", user, START + 1, points=value))
    assert {key for key in rig.counters("exp:test") if "points" in key} <= {
        f"{BRAIN.assign(TEST, user)}:points:{part}" for part in ("users", "sum", "sumsq")
    }
    assert sum(value for key, value in rig.counters("exp:test").items() if key.endswith("points:sum")) in {0, 100}
    assert rig.state.rejected == 0


def test_no_increment_leaves_64_bits() -> None:
    """Redis refuses such a one in the middle of a transaction, with the rest of it done."""
    rig, user = LaneRig(BRAIN), exposed_user()
    rig.feed("clickstream", track("Product Viewed", user, START))
    total = 0
    for number in range(12):
        rig.feed("purchases", order(user, START + 1 + number, 1e9))
        total += 10**11
    variant = BRAIN.assign(TEST, user)
    assert variant is not None
    held = rig.counters("exp:test")
    assert held[f"{variant}:revenue:sum"] == min(total, 10**12)
    assert sum_of_squares(held, variant, "revenue") == min(total, 10**12) ** 2
    for done in rig.done:
        assert all(abs(by) < 2**63 for fields in done.change.counters.values() for by in fields.values())


def test_an_event_without_properties_is_no_fault() -> None:
    rig, user = LaneRig(BRAIN), exposed_user()
    rig.feed("clickstream", track("Product Viewed", user, START))
    bare = b'{"type":"track","event":"Game Won","userId":"%s","properties":null,"timestamp":%d}' % (
        user.encode(),
        START,
    )
    rig.feed("clickstream", bare)
    assert (rig.state.applied, rig.state.rejected) == (2, 0)


def test_a_variant_that_was_taken_out_counts_no_more_and_stops_nothing() -> None:
    """The profile knows it by its code only."""
    rig = LaneRig(BRAIN)
    user = next(user for user in USERS if BRAIN.assign(TEST, user) == "a")
    rig.feed("clickstream", track("Product Viewed", user, START))
    before = rig.counters("exp:test")
    variants = [{"id": "b", "weight": 0.5}, {"id": "c", "weight": 0.5}]
    found = RULES.model_dump(mode="json", by_alias=True)["experiments"][0] | {"variants": variants}
    rig.brain = Brain(definitions(experiments=[found]))
    rig.feed("purchases", order(user, START + DAY_MS))
    assert rig.counters("exp:test") == before
    assert rig.profile(user).orders == 1
