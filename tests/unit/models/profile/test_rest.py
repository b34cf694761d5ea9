"""Users at rest: what is forgotten, and that the small form loses nothing."""

import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.features.churn import raw_churn
from models.profile import decay, words
from models.profile.codec import decode_profile, encode_profile
from models.profile.dedupe import is_duplicate
from models.profile.person import Person, with_reviews
from models.profile.rest import rest
from models.profile.state import (
    Contact,
    Exposure,
    Goods,
    Order,
    Profile,
    Sample,
    Send,
    Timer,
    Trials,
    Visit,
    fields_of,
)
from models.profile.update import touch
from support.lane import DAY_MS, ms

AT = ms("2010-03-01 10:00")
GAP = 30 * 60_000
DAY_S = 86_400

SECONDS = st.just(0) | st.integers(1, 2**33)
MS = st.just(0) | st.integers(1, 2**43)
COUNTS = st.integers(0, 2**40)
MONEY = st.integers(-(2**62), 2**62)
ITEMS = st.sampled_from(["22423", "85123A", "007", "0", "", "٣", "9" * 18, "9" * 19, "9" * 64]) | st.text(max_size=12)
NAMES = st.sampled_from([*words.NAMES, *words.VALUES[:3]]) | st.text(max_size=12)
TEXT = st.text(max_size=5)
TOLD = st.sampled_from(words.VALUES) | st.text(max_size=12) | st.booleans() | MONEY | st.floats(allow_nan=False)
DECAYED = st.just(b"") | st.lists(st.sampled_from([b"\0\0\0\0", b"\0\0\0\x80", b"abcd"]), min_size=12, max_size=12).map(
    b"".join
)


@st.composite
def some_samples(draw: st.DrawFn) -> list[Sample]:
    """Now and then at a steady pace in the same state, as ticks of silence make them."""
    found: list[Sample] = []
    at, order, money = draw(st.integers(10**9, 2 * 10**9)), 10**9 // 2, 0
    for _ in range(draw(st.integers(0, 12))):
        at += draw(st.sampled_from([14 * DAY_S, 14 * DAY_S, 14 * DAY_S, 3600, 7, 0]))
        money += draw(st.sampled_from([0, 0, 0, 100]))
        x = raw_churn(order * 1000, order * 1000, 3, money, 1.25, at * 1000)
        found.append(Sample(at, x, draw(st.sampled_from([False, False, False, True]))))
    return found


PROFILES = st.builds(
    Profile,
    events=COUNTS,
    first_seen=SECONDS,
    last_seen_ms=MS,
    orders=COUNTS,
    purchase_days=COUNTS,
    money_minor=MONEY,
    refunds=COUNTS,
    first_order=SECONDS,
    last_order_ms=MS,
    recent_e4=COUNTS,
    decayed_at=SECONDS,
    decayed=DECAYED,
    sessions=COUNTS,
    session_start=st.sampled_from([0, 0, 1, 10**9]),
    session_events=COUNTS,
    categories_at=SECONDS,
    categories=st.dictionaries(st.text(max_size=8), COUNTS, max_size=6),
    recent=st.lists(ITEMS, max_size=8, unique=True),
    score_e6=st.integers(-1, 10**6),
    alerted=st.booleans(),
    last_alert=SECONDS,
    tick_due=SECONDS,
    timers=st.lists(
        st.builds(Timer, MS, st.text(max_size=5), st.text(max_size=5), MS, st.text(max_size=5)), max_size=2
    ),
    indexed_due_ms=MS,
    seen=st.binary(max_size=16),
    seen_before=st.binary(max_size=16),
    seen_since=SECONDS,
    goods=st.builds(Goods, st.dictionaries(ITEMS, st.integers(1, 2**33), max_size=12), some_samples()),
    person=st.builds(
        with_reviews,
        st.builds(
            Person, st.dictionaries(NAMES, TOLD, max_size=8), st.dictionaries(NAMES, st.booleans(), max_size=4), SECONDS
        ),
        st.one_of(st.just([]), st.lists(MONEY, min_size=4, max_size=4)),
    ),
    contact=st.builds(
        Contact,
        st.lists(st.builds(Send, MS, TEXT, st.binary(max_size=8), COUNTS, st.booleans()), max_size=2),
        st.dictionaries(NAMES, st.lists(COUNTS, min_size=3, max_size=3), max_size=3),
    ),
    trials=st.builds(
        Trials,
        st.dictionaries(
            st.integers(0, 2**32 - 1),
            st.builds(
                Exposure,
                *(st.integers(0, 65_535), MS, st.integers(0, 7), st.dictionaries(st.integers(0, 131_071), MONEY)),
                *(st.lists(MONEY, max_size=2), st.lists(st.integers(0, 50), max_size=3)),
            ),
            max_size=3,
        ),
        st.lists(
            st.builds(Order, *(SECONDS, MS, MONEY, MS), st.lists(st.tuples(MS, MONEY, MS), max_size=2)), max_size=2
        ),
    ),
    settled=st.lists(SECONDS, max_size=2),
    visit=st.builds(
        Visit,
        st.lists(st.tuples(ITEMS, TEXT, MONEY), max_size=2),
        st.dictionaries(st.text(max_size=8), MS, max_size=3),
    ),
)


def in_order(profile: Profile) -> list[Any]:
    """All that a profile holds, the order of its maps included: in `bought` it is recency."""
    return [(name, list(v.items()) if isinstance(v, dict) else v) for name, v in fields_of(profile).items()]


@given(PROFILES)
def test_what_was_stored_comes_back_in_either_form(profile: Profile) -> None:
    before = in_order(profile)
    packed = encode_profile(profile)
    found = decode_profile(packed)
    assert in_order(found) == before
    assert encode_profile(found) == packed


@given(PROFILES)
def test_sections_that_nobody_opens_are_written_as_they_were(profile: Profile) -> None:
    packed = encode_profile(profile)
    assert encode_profile(decode_profile(packed)) == packed


CHANNELS = {"email": [1, 1, 0]}


def customer() -> Profile:
    profile = Profile(
        recent=["85123A", "22423"],
        tick_due=AT // 1000 + 14 * DAY_S,
        seen_since=AT // 1000,
        goods=Goods({"22423": 2, "85123A": 1, "20725": 1}),
        person=Person({"email": "a@x.test", "country": "United Kingdom", "timezone": "Europe/London"}, {"email": True}),
        contact=Contact([Send(AT, "win-back", b"12345678")], {"email": [1, 1, 0]}),
        trials=Trials({77: Exposure(5, AT, values={9: 1})}, [Order(1, AT, 250)]),
        visit=Visit([("22423", "Lantern", 255)]),
    )
    touch(profile, AT, GAP)
    for kind in (decay.VIEWS, decay.ADDS, decay.ORDERS, decay.SPEND):
        decay.bump(profile, kind, 3.0, AT // 1000)
    return profile


def test_nothing_is_forgotten_within_a_month() -> None:
    profile = customer()
    before = in_order(profile)
    rest(profile, AT + 30 * DAY_MS, 0)
    assert in_order(profile) == before


def test_after_a_month_the_cart_and_the_session_are_over_and_the_taste_stays() -> None:
    profile = customer()
    rest(profile, AT + 31 * DAY_MS, 0)
    assert (profile.cart, profile.session_start, profile.session_events, profile.seen_since) == ([], 0, 0, 0)
    assert profile.recent == ["85123A", "22423"]
    assert list(profile.bought.items()) == [("22423", 2), ("85123A", 1), ("20725", 1)]
    assert len(profile.sends) == 1
    assert profile.exposures == customer().exposures
    assert profile.attributes == customer().attributes
    assert profile.open_trials().purchases == []
    rest(profile, AT + 180 * DAY_MS, 0)
    assert len(profile.sends) == 1  # nothing was heard of it yet
    profile.sends[0].flags = 1
    rest(profile, AT + 60 * DAY_MS, 0)
    assert len(profile.sends) == 1
    rest(profile, AT + 61 * DAY_MS, 0)
    assert profile.sends == []


def test_a_send_that_nothing_is_heard_of_is_forgotten_in_the_end() -> None:
    profile = customer()
    rest(profile, AT + 181 * DAY_MS, 0)
    assert profile.sends == []


def test_orders_are_kept_for_as_long_as_they_may_be_refunded() -> None:
    profile = customer()
    rest(profile, AT + 31 * DAY_MS, 0, 40 * DAY_MS)
    assert [order.value for order in profile.open_trials().purchases] == [250]


def test_sends_are_kept_for_as_long_as_a_cap_counts_them() -> None:
    profile = customer()
    profile.sends[0].flags = 1
    rest(profile, AT + 100 * DAY_MS, 120 * DAY_MS)
    assert len(profile.sends) == 1


@pytest.mark.parametrize(("days", "left"), [(31, 2), (69, 2), (70, 1), (299, 1), (300, 0)])
def test_counters_end_after_ten_half_lives(days: int, left: int) -> None:
    profile = customer()
    before = {kind: decay.read(profile, kind, AT // 1000 + days * DAY_S) for kind in range(4)}
    rest(profile, AT + days * DAY_MS, 0)
    for kind in range(4):
        found = decay.read(profile, kind, AT // 1000 + days * DAY_S)
        assert found[3 - left :] == before[kind][3 - left :]
        assert found[: 3 - left] == (0.0,) * (3 - left)
        assert all(gone <= 3.0 / 1024 for gone in before[kind][: 3 - left])
    assert (profile.decayed == b"") == (left == 0)


def test_who_returns_begins_a_session_and_is_active_again() -> None:
    profile = customer()
    rest(profile, AT + 31 * DAY_MS, 0)
    small = encode_profile(profile)
    back = decode_profile(small)
    at = AT + 40 * DAY_MS
    assert not is_duplicate(back, b"abcdefgh", at)
    assert is_duplicate(back, b"abcdefgh", at + 1)
    touch(back, at, GAP)
    assert (back.sessions, back.session_start, back.session_events) == (2, at // 1000, 1)
    assert (back.recent, back.bought) == (profile.recent, profile.bought)
    assert len(encode_profile(back)) > len(small)


def test_a_sleepers_late_event_does_not_wake() -> None:
    profile = customer()
    rest(profile, AT + 31 * DAY_MS, 0)
    touch(profile, AT - DAY_MS, GAP)
    assert profile.session_start == 0


def test_the_words_are_appended_only() -> None:
    """Numbers are stored: whoever moves a word breaks every profile at rest."""
    assert len(set(words.NAMES)) == len(words.NAMES) <= 32
    assert len(set(words.VALUES)) == len(words.VALUES)
    assert zlib.crc32("\n".join([*words.NAMES[:24], *words.VALUES[:111]]).encode()) == 2705646826
