from __future__ import annotations

from typing import Any

from config.definitions import Campaign, Cap, Definitions, Policy
from models.campaigns.index import CampaignIndex


def campaign(name: str, trigger: dict[str, Any], **more: Any) -> Campaign:
    return Campaign.model_validate({"id": name, "trigger": trigger, "channel": "log", "template": "t", **more})


def timer(event: str, *unless: str) -> dict[str, Any]:
    return {"on": "timer", "event": event, "after": "1h", "unless": list(unless)}


CAMPAIGNS = (
    campaign("a-thanks", {"on": "event", "event": "Order Completed"}),
    campaign("b-first", {"on": "event", "event": "Order Completed"}, priority=5),
    campaign("c-off", {"on": "event", "event": "Order Completed"}, enabled=False, cap={"max": 1, "per": "90d"}),
    campaign("d-cart", timer("Product Added", "Order Completed", "Product Removed"), cap={"max": 1, "per": "7d"}),
    campaign("e-again", timer("Order Completed", "Order Completed")),
    campaign("f-back", {"on": "alert"}),
)
INDEX = CampaignIndex(Definitions(campaigns=CAMPAIGNS))


def ids(campaigns: tuple[Campaign, ...]) -> list[str]:
    return [one.id for one in campaigns]


def test_campaigns_come_by_priority_then_id_and_only_if_enabled() -> None:
    assert ids(INDEX.on_event("Order Completed").every) == ["b-first", "a-thanks"]


def test_timers_begin_and_end() -> None:
    assert ids(INDEX.started_by("Product Added")) == ["d-cart"]
    assert ids(INDEX.started_by("Order Completed")) == ["e-again"]
    assert ids(INDEX.cancelled_by("Order Completed")) == ["d-cart", "e-again"]
    assert ids(INDEX.cancelled_by("Product Removed")) == ["d-cart"]


def test_alerts() -> None:
    assert ids(INDEX.on_alert) == ["f-back"]


def test_nobody_listens() -> None:
    name = "Product Viewed"
    assert not INDEX.listens(name)
    assert INDEX.on_event(name).every == INDEX.started_by(name) == INDEX.cancelled_by(name) == ()
    # An event that only cancels starts nothing.
    assert not INDEX.listens("Product Removed")


def test_the_longest_window_is_that_of_any_cap_in_force() -> None:
    week, month = 7 * 86_400_000, 30 * 86_400_000
    assert INDEX.longest_window_ms == week
    policy = Policy(frequency_caps=(Cap.model_validate({"max": 1, "per": "30d"}),))
    assert CampaignIndex(Definitions(campaigns=CAMPAIGNS, policy=policy)).longest_window_ms == month
    assert CampaignIndex(Definitions()).longest_window_ms == 0
