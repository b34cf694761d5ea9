"""How each kind of event changes the profile."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import IncompatibleSnapshotError
from models.events import MAX_AMOUNT
from models.profile import decay, update
from models.profile.codec import decode_profile, encode_profile
from models.profile.state import (
    ATTRIBUTES,
    BOUGHT_ITEMS,
    CART_ITEMS,
    CATEGORIES,
    E4,
    RECENT_ITEMS,
    VERSION,
    Contact,
    Profile,
    Send,
    Timer,
    day_bought,
    fields_of,
    times_bought,
)
from models.wire import Product, Properties
from support.lane import DAY_MS, HOUR_MS, event_of, identify, ms, order, track

AT = ms("2010-03-01 10:00")
GAP = 30 * 60_000


def told(profile: Profile, *values: bytes) -> Profile:
    for value in values:
        event = event_of(value)
        update.HANDLERS[event.name](profile, event)
    return profile


# ------------------------------------------------------------------ sessions


def test_a_session_ends_after_half_an_hour_of_silence() -> None:
    profile = Profile()
    for at in (AT, AT + GAP, AT + 2 * GAP + 1, AT + 2 * GAP + 2):
        update.touch(profile, at, GAP)
    assert (profile.sessions, profile.session_events) == (2, 2)
    assert profile.session_start == (AT + 2 * GAP + 1) // 1000
    assert (profile.first_seen, profile.last_seen_ms) == (AT // 1000, AT + 2 * GAP + 2)


def test_a_late_event_moves_nothing() -> None:
    profile = Profile()
    update.touch(profile, AT, GAP)
    update.touch(profile, AT - HOUR_MS, GAP)
    assert (profile.sessions, profile.session_events) == (1, 1)
    assert (profile.first_seen, profile.last_seen_ms) == ((AT - HOUR_MS) // 1000, AT)


# ------------------------------------------------------------------ views and carts


def test_views_are_remembered_newest_last_each_once() -> None:
    profile = Profile()
    for number in (*range(RECENT_ITEMS + 2), RECENT_ITEMS, RECENT_ITEMS + 1, 5):
        told(profile, track("Product Viewed", "u1", AT, product_id=number, category="Lamps"))
    assert len(profile.recent) == RECENT_ITEMS
    assert profile.recent[-3:] == ["8", "9", "5"]
    assert len(set(profile.recent)) == RECENT_ITEMS
    assert profile.categories == {"Lamps": (RECENT_ITEMS + 5) * E4}
    assert decay.read(profile, decay.VIEWS, AT // 1000)[0] == RECENT_ITEMS + 5


@pytest.mark.parametrize("name", ["Product Viewed", "Product Clicked", "Product List Viewed"])
def test_every_look_is_a_view(name: str) -> None:
    profile = told(Profile(), track(name, "u1", AT))
    assert decay.read(profile, decay.VIEWS, AT // 1000)[0] == 1.0
    assert profile.recent == []


def test_only_the_strongest_categories_stay() -> None:
    profile = Profile()
    for number in range(CATEGORIES + 3):
        for _ in range(number + 1):
            told(profile, track("Product Viewed", "u1", AT, category=f"c{number}"))
    assert len(profile.categories) == CATEGORIES
    assert "c0" not in profile.categories


def test_categories_fade() -> None:
    profile = told(Profile(), track("Product Viewed", "u1", AT, category="Lamps"))
    told(profile, track("Product Viewed", "u1", AT + 30 * DAY_MS, category="Mugs"))
    assert profile.categories == {"Lamps": 5_000, "Mugs": 10_000}


def test_the_cart() -> None:
    profile = told(
        Profile(),
        track("Product Added", "u1", AT, product_id="p1", name="Lantern", price=2.55),
        track("Product Added", "u1", AT + 1, sku="p2"),
        track("Product Added", "u1", AT + 2, product_id="p1", name="Lantern", price=2.55),
        track("Product Added", "u1", AT + 3),
    )
    assert profile.cart == [("p1", "Lantern", 255), ("p2", "p2", 0)]
    assert decay.read(profile, decay.ADDS, AT // 1000)[0] == 4.0
    told(profile, track("Product Removed", "u1", AT + 4, product_id="p1"))
    assert profile.cart == [("p2", "p2", 0)]


def test_the_cart_keeps_the_newest_and_ends_with_the_order() -> None:
    profile = Profile()
    for number in range(CART_ITEMS + 2):
        told(profile, track("Product Added", "u1", AT + number, product_id=number))
    assert [line[0] for line in profile.cart] == ["2", "3", "4", "5"]
    told(profile, order("u1", AT + 100))
    assert profile.cart == []
    told(profile, track("Product Added", "u1", AT + 50, product_id="late"))
    assert profile.cart == []  # added before the order, arrived after it


# ------------------------------------------------------------------ orders


def test_the_value_of_an_order_is_revenue_else_total_else_the_sum() -> None:
    lines = [Product(price=2.5, quantity=2), Product(price=1.0), Product(quantity=3)]
    assert update.order_value_minor(Properties(revenue=1.0, total=2.0, products=lines)) == 100
    assert update.order_value_minor(Properties(total=2.0, products=lines)) == 200
    assert update.order_value_minor(Properties(products=lines)) == 600
    assert update.order_value_minor(Properties(revenue=0.0, total=2.0)) == 0
    assert update.order_value_minor(Properties()) == 0


@given(st.integers(-(10**9), 10**9))
def test_money_is_exact_in_minor_units(minor: int) -> None:
    assert update.to_minor(minor / 100) == minor


AMOUNTS = st.floats(-MAX_AMOUNT, MAX_AMOUNT)


@given(st.lists(st.builds(Product, price=AMOUNTS, quantity=AMOUNTS)))
def test_no_order_leaves_what_can_be_stored(lines: list[Product]) -> None:
    assert abs(update.order_value_minor(Properties(products=lines))) <= MAX_AMOUNT * 100


def test_orders_make_recency_frequency_and_money() -> None:
    profile = told(
        Profile(),
        order("u1", AT, 10.0),
        order("u1", AT + HOUR_MS, 5.0),
        order("u1", AT + 60 * DAY_MS, 2.5),
    )
    assert (profile.orders, profile.purchase_days, profile.money_minor) == (3, 2, 1750)
    assert (profile.first_order, profile.last_order_ms) == (AT // 1000, AT + 60 * DAY_MS)
    assert profile.recent_purchases == 1.5
    assert {item: times_bought(entry) for item, entry in profile.bought.items()} == {"p1": 3}
    assert day_bought(profile.bought["p1"]) == AT // DAY_MS + 60
    assert profile.mean_gap_days() == 60
    assert profile.expected_next_order_ms() == AT + 120 * DAY_MS


def test_a_late_order_counts_by_its_own_time() -> None:
    inorder = told(Profile(), order("u1", AT), order("u1", AT + 3 * DAY_MS), order("u1", AT + 9 * DAY_MS))
    late = told(Profile(), order("u1", AT), order("u1", AT + 9 * DAY_MS), order("u1", AT + 3 * DAY_MS))
    for name in ("orders", "purchase_days", "money_minor", "first_order", "last_order_ms", "bought"):
        assert getattr(inorder, name) == getattr(late, name), name
    assert late.recent_purchases == pytest.approx(inorder.recent_purchases, abs=2e-4)


def test_a_late_order_of_a_day_that_is_known_is_no_day_of_its_own() -> None:
    profile = told(Profile(), order("u1", AT), order("u1", AT + 9 * DAY_MS))
    told(profile, order("u1", AT - HOUR_MS), order("u1", AT + 9 * DAY_MS - HOUR_MS))
    assert (profile.orders, profile.purchase_days) == (4, 2)


def test_a_late_order_does_not_empty_the_cart_of_today() -> None:
    profile = told(Profile(), order("u1", AT), track("Product Added", "u1", AT + HOUR_MS, product_id="p1"))
    assert told(profile, order("u1", AT - HOUR_MS)).cart == [("p1", "p1", 0)]


def test_an_order_before_the_first_one_known() -> None:
    profile = told(Profile(), order("u1", AT), order("u1", AT - 5 * DAY_MS))
    assert (profile.purchase_days, profile.first_order, profile.last_order_ms) == (2, (AT - 5 * DAY_MS) // 1000, AT)


def test_what_was_bought_least_often_is_forgotten_first() -> None:
    profile = told(Profile(), order("u1", AT), order("u1", AT + 1))
    for number in range(BOUGHT_ITEMS):
        told(profile, order("u1", AT + 2 + number, products=[{"product_id": f"x{number}"}]))
    assert len(profile.bought) == BOUGHT_ITEMS
    assert times_bought(profile.bought["p1"]) == 2
    assert "x0" not in profile.bought
    assert list(profile.bought)[-1] == f"x{BOUGHT_ITEMS - 1}"


def test_money_back() -> None:
    profile = told(Profile(), order("u1", AT, 10.0))
    told(profile, track("Order Refunded", "u1", AT + 1, total=4.0), track("Order Cancelled", "u1", AT + 2, total=-2.0))
    assert (profile.money_minor, profile.refunds, profile.orders) == (400, 2, 1)


# ------------------------------------------------------------------ what users tell


def test_attributes_are_bounded_in_number_and_length() -> None:
    profile = told(Profile(), identify("u1", AT, email="a@x.test", age=7, vip=True, ratio=0.5, long="x" * 300))
    assert profile.attributes == {"email": "a@x.test", "age": 7, "vip": True, "ratio": 0.5, "long": "x" * 200}
    told(profile, identify("u1", AT, email=None, tags=["a"], nested={"a": 1}))
    assert set(profile.attributes) == {"age", "vip", "ratio", "long"}
    told(profile, identify("u1", AT, None, **{f"a{i:02}": i for i in range(40)}))
    assert len(profile.attributes) == ATTRIBUTES
    told(profile, identify("u1", AT, age=8))
    assert profile.attributes["age"] == 8


def test_a_long_name_can_be_changed_and_taken_back() -> None:
    name = "n" * 100
    profile = told(Profile(), identify("u1", AT, None, **{name: 1}), identify("u1", AT, None, **{name: 2}))
    assert profile.attributes == {"n" * 64: 2}
    assert told(profile, identify("u1", AT, None, **{name: None})).attributes == {}


def test_a_number_beyond_64_bits_can_be_stored() -> None:
    profile = told(Profile(), identify("u1", AT, big=10**30))
    assert decode_profile(encode_profile(profile)).attributes == {"big": "1" + "0" * 30}


def test_consent_in_the_order_of_event_time() -> None:
    """A grant from before the refusal that comes after it does not undo the refusal; one from after it does."""
    profile = told(Profile(), identify("u1", AT, consent={"email": True, "push": True}))
    told(profile, track("Unsubscribed", "u1", AT + HOUR_MS))
    assert profile.consent == {"email": False, "push": True}
    told(profile, identify("u1", AT + 1, consent={"email": True}))
    assert profile.consent == {"email": False, "push": True}
    told(profile, identify("u1", AT + 2 * HOUR_MS, consent={"email": True}))
    assert profile.consent == {"email": True, "push": True}
    told(profile, identify("u1", AT + 3, consent={"push": False}))
    assert profile.consent == {"email": True, "push": False}  # late, but a refusal


def test_unsubscribing_from_a_channel() -> None:
    profile = told(Profile(), track("Unsubscribed", "u1", AT, channel="push"))
    assert profile.consent == {"push": False}


@pytest.mark.parametrize("name", ["Email Bounced", "Email Marked as Spam"])
def test_a_complaint_blocks_the_address(name: str) -> None:
    assert told(Profile(), track(name, "u1", AT)).consent == {"suppressed": True}


# ------------------------------------------------------------------ feedback

MESSAGE = "0123456789abcdef" * 2


def answered(name: str, profile: Profile, message: str = MESSAGE) -> int:
    return update.feedback(profile, event_of(track(name, "u1", AT, message_id=message)))


def test_each_stage_of_a_message_counts_once() -> None:
    profile = Profile(contact=Contact([Send(AT, "win-back", bytes.fromhex(MESSAGE)[:8])]))
    stages = ["Email Delivered", "Email Opened", "Email Opened", "Email Link Clicked", "Message Delivered"]
    assert [answered(name, profile) for name in stages] == [1, 2, 0, 4, 0]
    assert profile.channels == {"email": [1, 1, 1]}
    assert profile.sends[0].flags == 7


@pytest.mark.parametrize("message", ["ff" * 16, "not hex", "", "a"])
def test_feedback_about_an_unknown_message_is_nothing(message: str) -> None:
    profile = Profile(contact=Contact([Send(AT, "win-back", bytes.fromhex(MESSAGE)[:8])]))
    assert answered("Email Opened", profile, message) == 0
    assert profile.channels == {}


# ------------------------------------------------------------------ handlers never fail, profiles are packed

VALUES = st.none() | st.integers(-(10**40), 10**40) | st.floats(-1e9, 1e9) | st.text(max_size=80) | st.booleans()
JUNK = st.fixed_dictionaries(
    {},
    optional={
        "product_id": st.text(max_size=80) | st.integers(-(2**70), 2**70),
        "price": st.floats(-1e9, 1e9),
        "quantity": st.floats(-1e9, 1e9),
        "revenue": st.floats(-1e9, 1e9),
        "category": st.text(max_size=80),
        "name": st.text(max_size=100),
        "message_id": st.text(max_size=40),
        "channel": VALUES,
    },
)


@given(st.lists(st.tuples(st.sampled_from(sorted(update.HANDLERS)), st.integers(0, (1 << 43) - 1), JUNK), max_size=6))
def test_no_handler_ever_fails_and_the_result_is_storable(events: list[tuple[str, int, dict[str, Any]]]) -> None:
    profile = Profile()
    for name, at, properties in events:
        kind = {"page": "page", "screen": "screen", "identify": "identify"}.get(name, "track")
        value = {"type": kind, "event": name, "userId": "u1", "timestamp": at}
        more = {"traits": properties} if kind == "identify" else {"properties": properties | {"products": [properties]}}
        event = event_of(msgspec.json.encode(value | more))
        update.touch(profile, event.at, GAP)
        update.HANDLERS[event.name](profile, event)
    assert encode_profile(decode_profile(encode_profile(profile))) == encode_profile(profile)
    assert not math.isnan(profile.recent_purchases)


def test_a_profile_of_a_newer_version_is_refused() -> None:
    newer = Profile(version=VERSION + 1, session_start=1)
    with pytest.raises(IncompatibleSnapshotError, match="version"):
        decode_profile(encode_profile(newer))
    with pytest.raises(IncompatibleSnapshotError, match="read"):
        decode_profile(b"\x01")


def test_a_profile_written_before_a_field_was_added_is_read_with_its_default() -> None:
    for start in (0, 1):  # at rest, active
        profile = Profile(orders=3, session_start=start)
        fields = msgspec.msgpack.decode(encode_profile(profile))
        older = msgspec.msgpack.encode(fields[:-2])
        assert fields_of(decode_profile(older)) == fields_of(profile)


def test_next_due() -> None:
    assert Profile().next_due_ms() == 0
    assert Profile(tick_due=9).next_due_ms() == 9_000
    timers = [Timer(7_000, "campaign", "a", 0, "m"), Timer(8_000, "campaign", "b", 0, "m")]
    assert Profile(tick_due=9, timers=timers).next_due_ms() == 7_000
    assert Profile(timers=timers).next_due_ms() == 7_000
