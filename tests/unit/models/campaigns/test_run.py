"""From a trigger to a message, or to the reason why there is none."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.brain import Brain
from models.decisions import effect_id
from models.profile.state import SENDS
from support.lane import DAY_MS, HOUR_MS, MINUTE_MS, LaneRig, definitions, identify, ms, order, track

NOON = ms("2010-03-01 12:00")
CONSENT: dict[str, Any] = {"email": "u1@x.test", "consent": {"email": True}}
CART: dict[str, Any] = {
    "id": "cart",
    "trigger": {"on": "timer", "event": "Product Added", "after": "1h", "unless": ["Order Completed", "Cart Emptied"]},
    "channel": "email",
    "template": "cart",
    "items": "cart",
}
THANKS: dict[str, Any] = {
    "id": "thanks",
    "trigger": {"on": "event", "event": "Order Completed"},
    "channel": "email",
    "template": "thanks",
    "purpose": "transactional",
    "quiet_hours": "ignore",
}
HELLO: dict[str, Any] = {
    "id": "hello",
    "trigger": {"on": "event", "event": "Signed Up"},
    "channel": "email",
    "template": "hello",
}
NIGHT = {"quiet_hours": {"from": "21:00", "to": "08:00"}}


def rig(*campaigns: dict[str, Any], policy: dict[str, Any] | None = None, **parts: Any) -> LaneRig:
    lane = LaneRig(Brain(definitions(campaigns=campaigns, policy=policy or {}, **parts)))
    lane.feed("profiles", identify("u1", NOON - DAY_MS, **CONSENT))
    return lane


def add(at: int, item: str = "p1", user: str = "u1") -> bytes:
    return track("Product Added", user, at, f"add-{item}-{at}", product_id=item, name="Lantern", price=2.5)


def sent(found: Any) -> list[tuple[str, str | None]]:
    return [(command["type"], command["suppressed"]) for command in found.on("messages")]


SENT = [("SendEmail", None)]


# ------------------------------------------------------------------ the abandoned cart


def test_a_cart_left_behind() -> None:
    lane = rig(CART)
    assert sent(lane.feed("clickstream", add(NOON))) == []
    assert sent(lane.until(NOON + 59 * MINUTE_MS)) == []
    (command,) = lane.until(NOON + HOUR_MS).on("messages")
    assert (command["type"], command["to"], command["campaign"]) == ("SendEmail", "u1@x.test", "cart")
    assert command["data"]["items"] == [{"id": "p1", "name": "Lantern", "price": 2.5}]
    assert command["decided_at"] == NOON + HOUR_MS
    assert command["cause"]["kind"] == "timer"
    assert command["id"] == effect_id("cart", "1", "u1", f"add-p1-{NOON}@{NOON + HOUR_MS}")
    assert sent(lane.until(NOON + DAY_MS)) == []
    assert lane.counters("camp:cart") == {"decided": 1}


@pytest.mark.parametrize("name", ["Order Completed", "Cart Emptied"])
@pytest.mark.parametrize("after", [0, 1, HOUR_MS])
def test_what_answers_it_in_time(name: str, after: int) -> None:
    """On the very millisecond at which it was set, or at which it is due: answered."""
    lane = rig(CART)
    lane.feed("clickstream", add(NOON))
    lane.feed("purchases", track(name, "u1", NOON + after))
    assert sent(lane.until(NOON + DAY_MS)) == []
    assert lane.memory.timers == {} or lane.profile("u1").timers == []


@pytest.mark.parametrize("name", ["Order Completed", "Cart Emptied"])
def test_an_answer_from_another_topic_that_came_first(name: str) -> None:
    """The order's topic was read before the clicks that it followed: no reminder for who has ordered."""
    lane = rig(CART)
    lane.feed("purchases", track(name, "u1", NOON + 5 * MINUTE_MS))
    lane.feed("clickstream", add(NOON))
    assert sent(lane.until(NOON + DAY_MS)) == []
    lane.feed("clickstream", add(NOON + 2 * DAY_MS))
    assert sent(lane.until(NOON + 3 * DAY_MS)) == SENT  # but for what was added later


def test_an_order_after_the_due_time_in_the_same_chunk() -> None:
    """By event time the hour was over when the order came: the reminder stood, and finds an empty cart."""
    lane = rig(CART)
    lane.feed("clickstream", add(NOON), order("u1", NOON + HOUR_MS + 1))
    assert sent(lane.until(NOON + DAY_MS)) == [("MessageSuppressed", "empty_cart")]


def test_an_answer_from_before_the_cart_is_none() -> None:
    lane = rig(CART)
    lane.feed("clickstream", add(NOON))
    lane.feed("purchases", order("u1", NOON - 1))
    lane.feed("clickstream", add(NOON))  # the same again: a duplicate
    assert len(lane.profile("u1").timers) == 1


def test_an_order_that_comes_after_the_reminder() -> None:
    """Too late: the mail has been decided. Nothing is taken back, and nothing more is sent."""
    lane = rig(CART)
    lane.feed("clickstream", add(NOON))
    assert sent(lane.until(NOON + 2 * HOUR_MS)) == SENT
    assert sent(lane.feed("purchases", order("u1", NOON + 30 * MINUTE_MS))) == []
    assert sent(lane.until(NOON + DAY_MS)) == []


def test_the_wait_begins_anew() -> None:
    lane = rig(CART)
    lane.feed("clickstream", add(NOON), add(NOON + 30 * MINUTE_MS, "p2"))
    assert sent(lane.until(NOON + HOUR_MS)) == []
    (command,) = lane.until(NOON + 90 * MINUTE_MS).on("messages")
    assert [item["id"] for item in command["data"]["items"]] == ["p1", "p2"]


def test_a_late_start_does_not_shorten_the_wait() -> None:
    lane = rig(CART)
    lane.feed("clickstream", add(NOON + 30 * MINUTE_MS, "p2"), add(NOON))
    assert sent(lane.until(NOON + HOUR_MS)) == []
    assert sent(lane.until(NOON + 90 * MINUTE_MS)) == SENT


def test_a_start_whose_time_is_gone_fires_nothing() -> None:
    lane = rig(CART)
    lane.until(NOON + 2 * HOUR_MS)
    lane.feed("clickstream", add(NOON))
    assert lane.profile("u1").timers == []
    assert sent(lane.until(NOON + DAY_MS)) == []


def test_a_late_event_whose_moment_has_gone_fires_nothing() -> None:
    lane = rig(HELLO | {"expires_after": "2h"})
    lane.until(NOON + 2 * HOUR_MS)
    assert sent(lane.feed("clickstream", track("Signed Up", "u1", NOON - 1))) == []
    assert sent(lane.feed("clickstream", track("Signed Up", "u1", NOON))) == SENT


# ------------------------------------------------------------------ over night

EVENING = ms("2010-03-01 20:30")
MORNING = ms("2010-03-02 08:00")


def test_held_over_night_and_released_in_the_morning() -> None:
    lane = rig(CART, policy=NIGHT)
    lane.feed("clickstream", add(EVENING))
    assert sent(lane.until(EVENING + HOUR_MS)) == []
    assert lane.counters("camp:cart") == {"decided": 1, "held": 1}
    assert sent(lane.until(MORNING - 1)) == []
    (command,) = lane.until(MORNING).on("messages")
    assert (command["type"], command["decided_at"]) == ("SendEmail", MORNING)
    assert command["id"] == effect_id("cart", "1", "u1", f"add-p1-{EVENING}@{EVENING + HOUR_MS}")
    assert "held over quiet hours" in command["reason"]
    assert lane.counters("camp:cart") == {"decided": 1, "held": 1}


def test_answered_while_it_was_held() -> None:
    lane = rig(CART, policy=NIGHT)
    lane.feed("clickstream", add(EVENING))
    lane.until(EVENING + HOUR_MS)
    found = lane.feed("purchases", order("u1", ms("2010-03-02 03:00")))
    assert sent(found) == [("MessageSuppressed", "answered")]
    assert sent(lane.until(MORNING + DAY_MS)) == []
    assert lane.counters("camp:cart") == {"decided": 1, "held": 1, "suppressed:answered": 1}
    assert lane.profile("u1").sends == []  # its place under the caps is free again


def test_consent_taken_back_while_it_was_held() -> None:
    lane = rig(CART, policy=NIGHT)
    lane.feed("clickstream", add(EVENING))
    lane.until(EVENING + HOUR_MS)
    lane.feed("feedback", track("Unsubscribed", "u1", ms("2010-03-02 03:00")))
    assert sent(lane.until(MORNING)) == [("MessageSuppressed", "no_consent")]


def test_a_night_that_passes_in_one_step() -> None:
    """A replay may jump over the whole night: held and released one after the other, all the same."""
    lane = rig(CART, policy=NIGHT)
    lane.feed("clickstream", add(EVENING))
    assert sent(lane.until(MORNING + DAY_MS)) == SENT


def test_night_is_where_the_user_is() -> None:
    lane = rig(HELLO, policy=NIGHT | {"default_timezone": "Europe/London"})
    lane.feed("profiles", identify("u1", NOON, timezone="Asia/Tokyo"))
    assert sent(lane.feed("clickstream", track("Signed Up", "u1", ms("2010-03-01 13:00")))) == []  # 22:00 there
    assert sent(lane.until(ms("2010-03-01 23:00"))) == SENT  # 08:00 there


def test_dropped_or_sent_all_the_same() -> None:
    for choice, expected in (("drop", [("MessageSuppressed", "quiet_hours")]), ("ignore", SENT)):
        lane = rig(HELLO | {"quiet_hours": choice}, policy=NIGHT)
        assert sent(lane.feed("clickstream", track("Signed Up", "u1", ms("2010-03-01 22:00")))) == expected


# ------------------------------------------------------------------ who may be written to


def test_marketing_needs_consent_and_an_address() -> None:
    hello = track("Signed Up", "u2", NOON)
    lane = rig(HELLO)
    assert sent(lane.feed("clickstream", hello)) == [("MessageSuppressed", "no_consent")]
    lane = rig(HELLO)
    lane.feed("profiles", identify("u2", NOON - 1, consent={"email": True}))
    (command,) = lane.feed("clickstream", hello).on("messages")
    assert (command["suppressed"], command["to"], command["data"]) == ("no_address", None, {})
    assert lane.counters("camp:hello") == {"decided": 1, "suppressed:no_address": 1}


def test_the_log_needs_neither() -> None:
    lane = rig(HELLO | {"channel": "log"})
    assert sent(lane.feed("clickstream", track("Signed Up", "u2", NOON))) == [("SendLog", None)]


def test_transactional_needs_an_address_only() -> None:
    lane = rig(THANKS)
    lane.feed("profiles", identify("u2", NOON - 1, email="u2@x.test"))
    assert sent(lane.feed("purchases", order("u2", NOON), order("u3", NOON))) == [
        *SENT,
        ("MessageSuppressed", "no_address"),
    ]


def test_a_blocked_address_gets_nothing_at_all() -> None:
    lane = rig(THANKS, HELLO)
    lane.feed("feedback", track("Email Bounced", "u1", NOON))
    found = lane.feed("clickstream", order("u1", NOON + 1), track("Signed Up", "u1", NOON + 2))
    assert sent(found) == [("MessageSuppressed", "suppressed_address")] * 2


def test_conditions() -> None:
    lane = rig(HELLO | {"when": "properties.plan == 'gold' && user.orders == 0"})
    assert sent(lane.feed("clickstream", track("Signed Up", "u1", NOON, "a", plan="tin"))) == []
    assert sent(lane.feed("clickstream", track("Signed Up", "u1", NOON, "b"))) == []
    assert lane.counters("camp:hello") == {}
    assert sent(lane.feed("clickstream", track("Signed Up", "u1", NOON, "c", plan="gold"))) == SENT


def test_conditions_see_the_data_of_a_cloud_event() -> None:
    from models.wire import Record

    lane = rig(HELLO | {"when": "properties.plan == 'gold'"})
    value = b'{"id":"e1","type":"Signed Up","subject":"u1","time":"2010-03-01T12:00:00Z","data":{"plan":"gold"}}'
    record = Record(0, 0, b"u1", value, [("content-type", b"application/cloudevents+json")])
    assert sent(lane.feed("clickstream", record)) == SENT


# ------------------------------------------------------------------ how often


def test_the_campaign_s_own_cap() -> None:
    lane = rig(HELLO | {"cap": {"max": 1, "per": "7d"}})
    assert sent(lane.feed("clickstream", track("Signed Up", "u1", NOON))) == SENT
    again = lane.feed("clickstream", track("Signed Up", "u1", NOON + 7 * DAY_MS - 1))
    assert sent(again) == [("MessageSuppressed", "campaign_cap")]
    assert sent(lane.feed("clickstream", track("Signed Up", "u1", NOON + 7 * DAY_MS))) == SENT


def test_a_held_message_takes_its_place_under_the_cap() -> None:
    policy = NIGHT | {"frequency_caps": [{"max": 1, "per": "24h"}]}
    lane = rig(CART, HELLO, policy=policy)
    lane.feed("clickstream", add(EVENING))
    lane.until(EVENING + HOUR_MS)
    found = lane.feed("clickstream", track("Signed Up", "u1", MORNING - 12 * HOUR_MS))
    assert sent(found) == [("MessageSuppressed", "frequency_cap")]
    assert sent(lane.until(MORNING)) == SENT


def test_many_receipts_do_not_make_a_cap_forget() -> None:
    """What a cap still counts is kept, however many uncapped messages come between."""
    lane = rig(THANKS, HELLO, policy={"frequency_caps": [{"max": 1, "per": "7d"}]})
    assert sent(lane.feed("clickstream", track("Signed Up", "u1", NOON))) == SENT
    for number in range(2 * SENDS):
        assert sent(lane.feed("purchases", order("u1", NOON + 1 + number))) == SENT
    assert len(lane.profile("u1").sends) == SENDS
    again = lane.feed("clickstream", track("Signed Up", "u1", NOON + DAY_MS))
    assert sent(again) == [("MessageSuppressed", "frequency_cap")]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["Signed Up", "Product Added", "Order Completed"]), st.integers(0, 6 * 24 * 60)),
        max_size=30,
    ),
    st.integers(1, 3),
)
def test_no_order_of_events_breaks_a_cap(steps: list[tuple[str, int]], most: int) -> None:
    """With three campaigns, a night, and late events: never more marketing in any 24 hours than the cap."""
    policy = NIGHT | {"frequency_caps": [{"max": most, "per": "24h"}]}
    lane = rig(CART, THANKS, HELLO, policy=policy)
    for name, minute in steps:
        lane.feed("clickstream", track(name, "u1", NOON + minute * MINUTE_MS, product_id="p1"))
    lane.until(NOON + 9 * DAY_MS)
    times = sorted(
        command["decided_at"]
        for command in lane.published.on("messages")
        if command["suppressed"] is None and command["purpose"] == "marketing"
    )
    assert all(later - earlier >= DAY_MS for earlier, later in zip(times, times[most:], strict=False))
    ids = [command["id"] for command in lane.published.on("messages")]
    assert len(ids) == len(set(ids))


# ------------------------------------------------------------------ variants, alerts, feedback

EXPERIMENT = {
    "id": "subject",
    "variants": [{"id": "a", "weight": 0.5}, {"id": "b", "weight": 0.5}],
    "expose_on": "message",
    "metrics": [{"id": "clicked", "event": "Email Link Clicked", "within": "7d", "campaign": "hello"}],
}


def test_a_message_exposes_and_a_suppressed_one_does_not() -> None:
    lane = rig(HELLO | {"experiment": "subject"}, experiments=[EXPERIMENT])
    suppressed = lane.feed("clickstream", track("Signed Up", "u2", NOON))
    assert suppressed.on("exposures") == []
    assert suppressed.on("messages")[0]["variant"] is None
    found = lane.feed("clickstream", track("Signed Up", "u1", NOON))
    (command,), (exposure,) = found.on("messages"), found.on("exposures")
    assert command["variant"] == exposure["variant"] in {"a", "b"}
    assert command["experiment"] == exposure["experiment"] == "subject"


def feedback(name: str, at: int, command: dict[str, Any]) -> bytes:
    return track(name, "u1", at, message_id=command["id"], campaign_id=command["campaign"])


def test_only_who_follows_a_link_was_there() -> None:
    lane = rig(HELLO)
    (command,) = lane.feed("clickstream", track("Signed Up", "u1", NOON)).on("messages")
    for hours, name in enumerate(("Email Delivered", "Email Opened", "Message Failed", "Unsubscribed"), start=1):
        lane.feed("feedback", feedback(name, NOON + hours * HOUR_MS, command))
    profile = lane.profile("u1")
    assert (profile.events, profile.sessions, profile.last_seen_ms) == (6, 2, NOON)
    lane.feed("feedback", feedback("Email Link Clicked", NOON + 5 * HOUR_MS, command))
    profile = lane.profile("u1")
    assert (profile.events, profile.sessions, profile.last_seen_ms) == (7, 3, NOON + 5 * HOUR_MS)


def test_what_became_of_a_message() -> None:
    lane = rig(HELLO | {"experiment": "subject"}, experiments=[EXPERIMENT])
    (command,) = lane.feed("clickstream", track("Signed Up", "u1", NOON)).on("messages")
    lane.feed("purchases", order("u1", NOON + 1))  # before it was delivered: followed nothing
    for number, name in enumerate(
        ("Email Delivered", "Email Opened", "Email Opened", "Email Link Clicked", "Message Failed", "Message Unknown")
    ):
        lane.feed("feedback", feedback(name, NOON + 2 + number, command))
    lane.feed("purchases", order("u1", NOON + DAY_MS), order("u1", NOON + 2 * DAY_MS))
    assert lane.counters("camp:hello") == {
        "decided": 1,
        "sent": 1,
        "opened": 1,
        "clicked": 1,
        "failed": 1,
        "unknown": 1,
        "ordered": 1,
    }
    assert lane.counters("exp:subject")[f"{NOON // DAY_MS}||{command['variant']}|clicked|a"] == 1


def test_feedback_about_a_campaign_that_is_gone_is_nothing() -> None:
    lane = rig(HELLO)
    lane.feed("feedback", track("Email Opened", "u1", NOON, message_id="00" * 16, campaign_id="gone"))
    assert set(lane.memory.counters) == set()


WIN_BACK: dict[str, Any] = {"id": "win-back", "trigger": {"on": "alert"}, "channel": "email", "template": "win-back"}


def test_an_alert_starts_the_campaign_that_churn_names() -> None:
    other = WIN_BACK | {"id": "other"}
    lane = rig(WIN_BACK, other, churn={"action": {"campaign": "win-back"}})
    lane.feed("purchases", order("u1", NOON))
    found: list[dict[str, Any]] = []
    for day in range(1, 120):
        found += lane.until(NOON + day * DAY_MS).on("messages")
    (command,) = found
    (alert,) = lane.published.on("churn-alerts")
    assert command["campaign"] == "win-back"
    assert command["cause"] == {"kind": "alert", "message_id": alert["id"], "event": "Churn Alert", "at": alert["at"]}
    assert command["data"]["score"] == round(alert["score"], 3)
    assert alert["action"] == {"campaign": "win-back"}


def test_a_campaign_that_was_switched_off_meanwhile() -> None:
    lane = rig(CART)
    lane.feed("clickstream", add(NOON))
    lane.brain = Brain(definitions(campaigns=[CART | {"enabled": False}]))
    assert sent(lane.until(NOON + DAY_MS)) == []
    assert lane.memory.timers == {}


def test_ids_do_not_hang_on_positions() -> None:
    """The same history at other offsets and in other chunks decides the same messages."""
    one, two = rig(CART, THANKS), rig(CART, THANKS)
    two.feed("clickstream", track("Other", "u9", NOON - 1), b"broken")
    events = [add(NOON), add(NOON + MINUTE_MS, "p2"), order("u1", NOON + 2 * MINUTE_MS), add(NOON + HOUR_MS, "p3")]
    one.feed("clickstream", *events)
    for event in events:
        two.feed("clickstream", event)
    for lane in (one, two):
        lane.until(NOON + DAY_MS)
    ids = [[command["id"] for command in lane.published.on("messages")] for lane in (one, two)]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 2
