"""Whole scenarios through the lane, with the definitions that Kairos comes with. Ids are permanent.

A case that changes is a change of behaviour: say so in the change that makes it.
"""

from typing import Any

from models.brain import Brain
from models.decisions import effect_id
from models.experiments.tally import tally
from models.offers.recs import Recs
from models.wire import Record, lane_of
from support.identities import Lanes, alias
from support.lane import DAY_MS, HOUR_MS, MINUTE_MS, LaneRig, Published, identify, ms, order, shipped, track

MONDAY = ms("2010-03-01 10:00")  # a winter's day: London keeps UTC


def rig(recs: Recs | None = None) -> LaneRig:
    lane = LaneRig(shipped())
    if recs is not None:
        lane.brain = lane.brain.with_models(lane.brain.churn, recs)
    return lane


def anna(lane: LaneRig, at: int) -> None:
    lane.feed("profiles", identify("anna", at, name="Anna", email="anna@x.test", consent={"email": True}))


def view(at: int, user: str = "anna") -> bytes:
    return track("Product Viewed", user, at, product_id="85123A", name="White lantern", price=2.55, category="Lanterns")


def add(at: int, user: str = "anna") -> bytes:
    return track("Product Added", user, at, product_id="85123A", name="White lantern", price=2.55, category="Lanterns")


def messages(published: Published) -> list[tuple[str, str, str | None]]:
    return [(one["campaign"], one["type"], one["suppressed"]) for one in published.on("messages")]


def effects(published: Published) -> list[tuple[str, str]]:
    """(topic, type) of everything but the journal, in order."""
    return [(one.topic, dict(one.headers)["ce_type"].decode()) for one in published.outputs if one.topic != "journal"]


def test_G001_abandoned_cart() -> None:  # noqa: N802 - ids stand as they are quoted
    """A cart that nobody orders is reminded of after an hour.

    ::

    10:00       10:01     10:05                    11:05
    identify    view      add ----------- 1 h ------ timer
                                                     SendEmail, exposed to cart-subject
    """
    lane = rig()
    anna(lane, MONDAY)
    assert effects(lane.feed("clickstream", view(MONDAY + MINUTE_MS))) == []
    assert effects(lane.feed("clickstream", add(MONDAY + 5 * MINUTE_MS))) == []
    assert effects(lane.until(MONDAY + HOUR_MS)) == []
    found = lane.until(MONDAY + HOUR_MS + 5 * MINUTE_MS)
    assert effects(found) == [("exposures", "ExperimentExposed"), ("messages", "SendEmail")]
    (command,), (exposure,) = found.on("messages"), found.on("exposures")
    occurrence = f"Product Added-anna-{MONDAY + 5 * MINUTE_MS}@{MONDAY + HOUR_MS + 5 * MINUTE_MS}"
    assert command == {
        "type": "SendEmail",
        "id": effect_id("abandoned-cart", "1", "anna", occurrence),
        "user": "anna",
        "campaign": "abandoned-cart",
        "step": "1",
        "channel": "email",
        "template": "abandoned-cart",
        "variant": exposure["variant"],
        "to": "anna@x.test",
        "purpose": "marketing",
        "decided_at": MONDAY + HOUR_MS + 5 * MINUTE_MS,
        "expires_at": lane.broker_ms + DAY_MS,
        "locale": "en-GB",
        "timezone": "Europe/London",
        "data": {
            "name": "Anna",
            "items": [{"id": "85123A", "name": "White lantern", "price": 2.55}],
            "currency": "GBP",
            "orders": 0,
        },
        "reason": "Remind of a cart that was left behind: 'Product Added' on 1 Mar 2010, 10:05 UTC and nothing for "
        "1 hour",
        "cause": {
            "kind": "timer",
            "message_id": occurrence,
            "event": "Product Added",
            "at": MONDAY + 5 * MINUTE_MS,
        },
        "suppressed": None,
        "experiment": "cart-subject",
    }
    assert lane.counters("camp:abandoned-cart") == {"decided": 1}
    arms = tally(lane.counters("exp:cart-subject"), lane.brain.definitions.experiment_by_id["cart-subject"]).arms
    assert {name: arm.exposed for name, arm in arms.items() if arm.exposed} == {exposure["variant"]: 1}


def test_G002_cart_ordered_in_time() -> None:  # noqa: N802
    """An order within the hour: thanks and offers, no reminder.

    ::

    10:00    10:40              11:00
    add ---- order ------------ (nothing due)
             exposed to aa-check, thanks, offers
    """
    recs = Recs.of(
        items={"85123A": ("White lantern", 255), "p2": ("Candle", 99)},
        popular=[("p2", 2.0), ("85123A", 1.0)],
        version=4,
    )
    lane = rig(recs)
    anna(lane, MONDAY - HOUR_MS)
    lane.feed("clickstream", add(MONDAY))
    bought = [{"product_id": "85123A", "name": "White lantern", "price": 2.55, "quantity": 6}]
    at = MONDAY + 40 * MINUTE_MS
    found = lane.feed("purchases", order("anna", at, 15.3, mid="order-1", order_id=536365, products=bought))
    assert effects(found) == [
        ("training", "basket"),
        ("exposures", "ExperimentExposed"),
        ("messages", "SendEmail"),
        ("offers", "OffersRanked"),
    ]
    (command,), (offers,), (basket,) = found.on("messages"), found.on("offers"), found.on("training")
    assert (command["campaign"], command["purpose"]) == ("order-thanks", "transactional")
    assert [item["name"] for item in command["data"]["items"]] == ["White lantern", "Candle"]
    assert {key: basket[key] for key in ("order_id", "items", "history")} == {
        "order_id": "536365",
        "items": [["85123A", "White lantern", 255, 6]],
        "history": [],
    }
    assert offers["snapshot"] == 4
    assert offers["cause"] == {
        "kind": "event",
        "message_id": "order-1",
        "event": "Order Completed",
        "at": command["decided_at"],
    }
    assert [(one["offer"], one["item"], one["reason"], one["propensity"]) for one in offers["offers"]] == [
        ("for-you", "85123A", "bought before", 0.975),
        ("for-you", "p2", "popular right now", 0.975),
        ("free-delivery", None, "Free delivery for newcomers", 1.0),
    ]
    assert offers["offers"][2]["name"] == "Your next order travels free, for example with White lantern"
    assert messages(lane.until(MONDAY + 6 * DAY_MS)) == []


def test_G003_cart_in_the_evening() -> None:  # noqa: N802
    """What falls due at night is held until morning.

    ::

    20:30   21:30                         08:00
    add --- due, quiet: held ------------ SendEmail
    """
    lane = rig()
    evening = ms("2010-03-01 20:30")
    anna(lane, evening - HOUR_MS)
    lane.feed("clickstream", add(evening))
    assert messages(lane.until(evening + 2 * HOUR_MS)) == []
    assert lane.counters("camp:abandoned-cart") == {"decided": 1, "held": 1}
    assert messages(lane.until(ms("2010-03-02 07:59"))) == []
    assert messages(lane.until(ms("2010-03-02 08:00"))) == [("abandoned-cart", "SendEmail", None)]


def test_G004_held_reminder_answered_at_night() -> None:  # noqa: N802
    """A held reminder that an order answers is not sent, and says so.

    ::

    20:30   21:30        23:10                       08:00
    add --- held ------- order: suppressed(answered)  (nothing)
                         thanks
    """
    lane = rig()
    evening = ms("2010-03-01 20:30")
    anna(lane, evening - HOUR_MS)
    lane.feed("clickstream", add(evening))
    lane.until(evening + HOUR_MS)
    found = lane.feed("purchases", order("anna", ms("2010-03-01 23:10")))
    assert messages(found) == [("abandoned-cart", "MessageSuppressed", "answered"), ("order-thanks", "SendEmail", None)]
    assert messages(lane.until(ms("2010-03-02 09:00"))) == []


def test_G005_second_order() -> None:  # noqa: N802
    """A week after a first order without a second one.

    ::

    day 0                 day 7
    first order --------- one order: SendEmail, exposed to second-order-voucher     (anna)
    first order - second  two orders: nothing                                       (ben)
    """
    lane = rig()
    anna(lane, MONDAY - HOUR_MS)
    lane.feed("profiles", identify("ben", MONDAY - HOUR_MS, email="ben@x.test", consent={"email": True}))
    lane.feed("purchases", order("anna", MONDAY), order("ben", MONDAY))
    lane.feed("purchases", order("ben", MONDAY + 3 * DAY_MS))
    found = lane.until(MONDAY + 11 * DAY_MS)
    assert [(one["user"], one["campaign"]) for one in found.on("messages")] == [("anna", "second-order")]
    assert [one["experiment"] for one in found.on("exposures")] == ["second-order-voucher"]
    assert found.on("messages")[0]["decided_at"] == MONDAY + 7 * DAY_MS


def test_G006_churn_alert_and_win_back() -> None:  # noqa: N802
    """Silence raises one alert, which starts the campaign that churn.yaml names.

    ::

    day 0                                    day 78..92
    order ---------- silence --------------- alert -> win-back (at night: held until 08:00)
    """
    lane = rig()
    anna(lane, MONDAY - HOUR_MS)
    lane.feed("purchases", order("anna", MONDAY))
    published: list[dict[str, Any]] = []
    for day in range(1, 100):
        published += lane.until(MONDAY + day * DAY_MS).on("messages")
    (alert,) = lane.published.on("churn-alerts")
    assert 78 <= (alert["at"] - MONDAY) / DAY_MS <= 92
    assert alert["learned"] is False
    assert alert["action"] == {"campaign": "win-back"}
    assert [one["campaign"] for one in published] == ["second-order", "win-back"]
    assert published[1]["variant"] is None
    assert published[1]["purpose"] == "marketing"


def test_G007_manners() -> None:  # noqa: N802
    """One marketing message a day, three a week, over all campaigns; receipts are not counted.

    ::

        day   0     0 +2h    1     2     3     4
              cart  cart     cart  cart  cart  order
              mail  (own cap: one in 7 d .........)  thanks
    """
    lane = rig()
    anna(lane, MONDAY - HOUR_MS)
    found = []
    for at in (MONDAY, MONDAY + 2 * HOUR_MS, MONDAY + DAY_MS, MONDAY + 2 * DAY_MS, MONDAY + 3 * DAY_MS):
        lane.feed("clickstream", add(at))
        found += messages(lane.until(at + HOUR_MS))
    assert (
        found == [("abandoned-cart", "SendEmail", None)] + [("abandoned-cart", "MessageSuppressed", "campaign_cap")] * 4
    )
    assert messages(lane.feed("purchases", order("anna", MONDAY + 4 * DAY_MS))) == [("order-thanks", "SendEmail", None)]


def test_G008_no_consent() -> None:  # noqa: N802
    """Nobody who did not say yes is written to; the receipt comes all the same, and an address is needed for both."""
    lane = rig()
    lane.feed("profiles", identify("carl", MONDAY - 1, email="carl@x.test"))
    lane.feed("clickstream", add(MONDAY, "carl"), add(MONDAY, "dora"))
    found = lane.until(MONDAY + HOUR_MS)
    assert sorted(messages(found)) == [("abandoned-cart", "MessageSuppressed", "no_consent")] * 2
    found = lane.feed("purchases", order("carl", MONDAY + 2 * HOUR_MS), order("dora", MONDAY + 2 * HOUR_MS))
    assert messages(found) == [("order-thanks", "SendEmail", None), ("order-thanks", "MessageSuppressed", "no_address")]


def test_G009_bad_input() -> None:  # noqa: N802
    """Each refused record with topic, partition, offset and reason; the events between them are applied."""
    lane = rig()
    found = lane.feed(
        "clickstream",
        view(MONDAY),
        b"not json",
        view(MONDAY),
        b'{"type":"track","event":"X"}',
        None,
        view(lane.broker_ms + 600_000),
        view(MONDAY + 1),
    )
    letters = [(one["topic"], one["partition"], one["offset"], one["reason"]) for one in found.on("dead-letters")]
    assert letters == [
        ("clickstream", 0, 1, "unreadable"),
        ("clickstream", 0, 3, "missing_user"),
        ("clickstream", 0, 4, "unreadable"),
        ("clickstream", 0, 5, "far_future"),
    ]
    state = lane.state
    assert (state.received, state.applied, state.duplicate, state.rejected) == (7, 2, 1, 4)
    assert state.balances()


def test_G010_misrouted() -> None:  # noqa: N802
    """A record in another's partition goes on to its own once; if it is wrong there too, it is a dead letter."""
    here, there = LaneRig(shipped(), lane=0, lanes=2), LaneRig(shipped(), lane=1, lanes=2)
    stranger = next(user for user in (f"u{i}" for i in range(9)) if lane_of(user, 2) == 1)
    found = here.feed("clickstream", view(MONDAY, stranger))
    (moved,) = [one for one in found.outputs if one.topic == "clickstream"]
    assert (moved.partition, moved.key) == (1, stranger.encode())
    assert here.memory.profiles == {}
    assert (here.state.received, here.state.forwarded) == (1, 1)

    def arrives(lane: LaneRig) -> Published:
        position = [("kairos-lane", b"0"), ("kairos-epoch", b"1"), ("kairos-seq", b"2"), ("kairos-n", b"0")]
        return lane.feed("clickstream", Record(0, 0, moved.key, moved.value, [*moved.headers, *position]))

    arrives(there)
    assert there.profile(stranger).events == 1
    arrives(there)  # published twice after a crash
    assert there.profile(stranger).events == 1
    assert (there.state.applied, there.state.duplicate) == (1, 1)
    lost = LaneRig(shipped(), lane=2, lanes=4)
    assert [one["reason"] for one in arrives(lost).on("dead-letters")] == ["misrouted"]
    assert lost.state.balances()


def test_G011_inputs_merged_by_event_time() -> None:  # noqa: N802
    """One batch of two inputs: the order at 10:30 is between the two adds, whatever the topics.

    ::

        clickstream   10:00 add                 10:50 add
        purchases                 10:30 order
        due                                                 11:50 (the second cart)
    """
    lane = rig()
    anna(lane, MONDAY - HOUR_MS)
    lane.together(
        [
            ("clickstream", [add(MONDAY), add(MONDAY + 50 * MINUTE_MS)]),
            ("purchases", [order("anna", MONDAY + 30 * MINUTE_MS)]),
        ]
    )
    profile = lane.profile("anna")
    assert [(timer.rule, timer.due) for timer in profile.timers if timer.rule == "abandoned-cart"] == [
        ("abandoned-cart", MONDAY + 110 * MINUTE_MS)
    ]
    assert profile.cart == [("85123A", "White lantern", 255)]
    assert messages(lane.until(MONDAY + 2 * HOUR_MS)) == [("abandoned-cart", "SendEmail", None)]


def test_G012_a_visitor_signs_in() -> None:  # noqa: N802
    """A cart without a name, then an alias: the reminder goes to who it is.

    ::

    10:00 anna       10:05 cookie     10:20          10:40         11:05
    identify         add              alias          view cookie   timer: SendEmail to anna
    """
    lanes = Lanes(Brain(shipped()), 2, twice=True)
    told = identify("anna", MONDAY, name="Anna", email="anna@x.test", consent={"email": True})
    lanes.feed("profiles", "anna", told)
    lanes.feed("clickstream", "cookie", add(MONDAY + 5 * MINUTE_MS, "cookie"))
    lanes.feed("profiles", "anna", alias("cookie", "anna", MONDAY + 20 * MINUTE_MS))
    lanes.settle()
    lanes.feed("clickstream", "cookie", view(MONDAY + 40 * MINUTE_MS, "cookie"))
    lanes.settle()
    lanes.until(MONDAY + 2 * HOUR_MS)
    (sent,) = lanes.on("messages")
    assert (sent["campaign"], sent["type"], sent["user"], sent["to"]) == (
        "abandoned-cart",
        "SendEmail",
        "anna",
        "anna@x.test",
    )
    assert [item["name"] for item in sent["data"]["items"]] == ["White lantern"]
    assert [(seen["user"], seen["experiment"]) for seen in lanes.on("exposures")] == [("anna", "cart-subject")]
    assert (lanes.profile("anna").events, lanes.who("cookie")) == (3, "anna")
