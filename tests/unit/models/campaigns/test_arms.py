"""Who gets no message, or always the same: holdout, control group, testers, start and end of an experiment."""

from typing import Any

import pytest

from support.lane import HOUR_MS, LaneRig, definitions, identify, ms, track

NOON = ms("2010-03-01 12:00")
USERS = [f"u{number}" for number in range(40)]
HELLO: dict[str, Any] = {
    "id": "hello",
    "trigger": {"on": "event", "event": "Signed Up"},
    "channel": "email",
    "template": "hello",
}
TEST: dict[str, Any] = {
    "id": "test",
    "variants": [{"id": "a", "weight": 0.5}, {"id": "b", "weight": 0.5}],
    "expose_on": "message",
    "metrics": [{"id": "clicked", "event": "Email Link Clicked", "within": "7d"}],
}


def sent(
    test: dict[str, Any], campaign: dict[str, Any], at: int = NOON, **policy: Any
) -> tuple[LaneRig, dict[str, tuple[str | None, str | None]]]:
    """Everybody signs up: why no message went out, and the variant of one that did, by user."""
    lane = LaneRig(definitions(campaigns=[HELLO | campaign], experiments=[TEST | test], policy=policy))
    traits: dict[str, Any] = {"consent": {"email": True}}
    lane.feed("profiles", *(identify(user, at - HOUR_MS, email=f"{user}@x.test", **traits) for user in USERS))
    found = lane.feed("clickstream", *(track("Signed Up", user, at) for user in USERS)).on("messages")
    assert len(found) == len(USERS)
    return lane, {one["user"]: (one["suppressed"], one["variant"]) for one in found}


def variants(lane: LaneRig) -> dict[str, str | None]:
    return {user: lane.brain.assign(lane.brain.definitions.experiments[0], user) for user in USERS}


def exposed(lane: LaneRig) -> int:
    return sum(value for name, value in lane.counters("exp:test").items() if name.endswith("|n"))


@pytest.mark.parametrize(
    ("reason", "campaign", "policy"),
    [("holdout", {}, {"holdout": "test"}), ("control_group", {"control": "test"}, {})],
)
def test_the_first_variant_gets_nothing_and_everybody_counts(
    reason: str, campaign: dict[str, Any], policy: dict[str, Any]
) -> None:
    lane, told = sent({}, campaign, **policy)
    expected = {user: (reason if variant == "a" else None, None) for user, variant in variants(lane).items()}
    assert told == expected
    assert {why for why, _ in told.values()} == {reason, None}
    assert exposed(lane) == len(USERS)


def test_a_holdout_is_for_marketing_and_a_control_group_for_its_campaign() -> None:
    _, told = sent({}, {"purpose": "transactional"}, holdout="test")
    assert set(told.values()) == {(None, None)}
    lane, told = sent({}, {})
    assert set(told.values()) == {(None, None)}
    assert exposed(lane) == 0


def test_a_tester_gets_the_variant_of_the_file_and_does_not_count() -> None:
    lane, told = sent({}, {"experiment": "test"})
    before = {user: variant for user, (_, variant) in told.items()}
    assert before == variants(lane)
    other = {user: "b" if before[user] == "a" else "a" for user in USERS[:5]}
    lane, told = sent({"testers": other}, {"experiment": "test"})
    assert {user: variant for user, (_, variant) in told.items()} == before | other
    assert exposed(lane) == len(USERS) - len(other)


def test_a_tester_of_the_first_variant_is_held_out() -> None:
    lane, _ = sent({}, {})
    inside = next(user for user, variant in variants(lane).items() if variant == "b")
    lane, told = sent({"testers": {inside: "a"}}, {"control": "test"})
    assert told[inside] == ("control_group", None)
    assert exposed(lane) == len(USERS) - 1


@pytest.mark.parametrize(
    ("at", "runs"),
    [
        (ms("2010-03-01 00:00") - 1, False),
        (ms("2010-03-01 00:00"), True),
        (ms("2010-03-06 00:00") - 1, True),  # the last day is part of it
        (ms("2010-03-06 00:00"), False),
    ],
)
def test_nobody_is_exposed_before_the_start_or_after_the_end(at: int, runs: bool) -> None:
    lane, told = sent({"start": "2010-03-01", "end": "2010-03-05"}, {"experiment": "test", "quiet_hours": "ignore"}, at)
    expected = variants(lane) if runs else dict.fromkeys(USERS)
    assert told == {user: (None, variant) for user, variant in expected.items()}
    assert exposed(lane) == (len(USERS) if runs else 0)
