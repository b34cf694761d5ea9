"""`user.variant` in conditions: offers and campaigns that differ by the variant of an experiment."""

from typing import Any

import pytest

from config.overrides import Override, overlaid
from models.brain import Brain
from models.offers.recs import Recs
from support.lane import LaneRig, definitions, ms, order, track

NOON = ms("2010-03-01 12:00")
USERS = [f"u{number}" for number in range(24)]
TEST: dict[str, Any] = {
    "id": "deal",
    "variants": [{"id": "plain", "weight": 0.5}, {"id": "tenth", "weight": 0.5}],
    "expose_on": {"event": "Order Completed"},
    "metrics": [{"id": "ordered", "event": "Order Completed", "within": "7d"}],
}
OFFERS: list[dict[str, Any]] = [
    {"id": "usual", "kind": "item", "text": "{item}", "priority": 0},
    {
        "id": "ten-percent",
        "kind": "discount",
        "percent": 10,
        "text": "{item}",
        "priority": 5,
        "when": "user.variant['deal'] == 'tenth'",
    },
]
HELLO: dict[str, Any] = {
    "id": "hello",
    "trigger": {"on": "event", "event": "Signed Up"},
    "channel": "log",
    "template": "hello",
    "when": "user.variant['deal'] == 'tenth'",
}
RECS = Recs.of({"tea": ("Tea", 500)}, popular=[("tea", 1.0)], version=1)


def shop(override: Override | None = None) -> LaneRig:
    made = definitions(campaigns=[HELLO], experiments=[TEST], offers=OFFERS, policy={"offers": {"explore": 0.0}})
    brain = Brain(made if override is None else overlaid(made, {"deal": override}))
    return LaneRig(brain.with_models(brain.churn, RECS, brain.goals.scores))


def offers(lane: LaneRig) -> dict[str, str]:
    """The offer that each user got with an order."""
    found = lane.feed("purchases", *(order(user, NOON) for user in USERS)).on("offers")
    return {one["user"]: one["offers"][0]["offer"] for one in found}


def test_offers_follow_the_variant_from_the_exposing_event_on() -> None:
    lane = shop()
    assigned = {user: lane.brain.assign(lane.brain.definitions.experiments[0], user) for user in USERS}
    assert offers(lane) == {user: "ten-percent" if assigned[user] == "tenth" else "usual" for user in USERS}
    assert set(assigned.values()) == {"plain", "tenth"}
    told = lane.feed("clickstream", *(track("Signed Up", user, NOON + 1) for user in USERS)).on("messages")
    assert {one["user"] for one in told} == {user for user in USERS if assigned[user] == "tenth"}


def test_who_was_not_exposed_has_no_variant() -> None:
    lane = shop()
    assert lane.feed("clickstream", *(track("Signed Up", user, NOON) for user in USERS)).on("messages") == []


@pytest.mark.parametrize(
    ("override", "offer"),
    [
        (Override(experiment="deal", status="rolled_out", winner="tenth"), "ten-percent"),
        (Override(experiment="deal", status="stopped"), "usual"),
    ],
)
def test_a_decided_experiment_has_one_variant_for_all(override: Override, offer: str) -> None:
    assert set(offers(shop(override)).values()) == {offer}
