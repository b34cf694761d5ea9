"""Decayed counters: what they are, and that the order of arrival changes nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.profile.codec import decode_profile, encode_profile
from models.profile.decay import ADDS, HALF_LIVES_S, ORDERS, SPEND, VIEWS, bump, read
from models.profile.state import Profile

START = 1_262_304_000
EVENTS = st.lists(
    st.tuples(
        st.sampled_from([VIEWS, ADDS, ORDERS, SPEND]),
        st.floats(0.01, 1000.0),
        st.integers(START, START + 400 * 86_400),
    ),
    min_size=1,
    max_size=30,
)


def filled(events: list[tuple[int, float, int]]) -> Profile:
    profile = Profile()
    for kind, amount, at in events:
        bump(profile, kind, amount, at)
    return profile


def recount(events: list[tuple[int, float, int]], kind: int, at: int) -> list[float]:
    """The definition: every amount, halved once per half-life since it happened."""
    return [sum(amount * 0.5 ** ((at - t) / h) for k, amount, t in events if k == kind) for h in HALF_LIVES_S]


@given(EVENTS, st.integers(0, 40 * 86_400))
def test_equals_the_definition(events: list[tuple[int, float, int]], later: int) -> None:
    now = max(at for _, _, at in events) + later
    profile = filled(events)
    for kind in (VIEWS, ADDS, ORDERS, SPEND):
        assert read(profile, kind, now) == pytest.approx(recount(events, kind, now), rel=1e-5, abs=1e-30)


@given(EVENTS, st.data())
def test_the_order_of_arrival_changes_nothing(events: list[tuple[int, float, int]], data: Any) -> None:
    """Up to the rounding of 32-bit floats, at most once per arrival."""
    shuffled = data.draw(st.permutations(events))
    now = max(at for _, _, at in events)
    one, two = filled(events), filled(shuffled)
    assert one.decayed_at == two.decayed_at == now
    for kind in (VIEWS, ADDS, ORDERS, SPEND):
        assert read(one, kind, now) == pytest.approx(read(two, kind, now), rel=2e-7 * len(events), abs=1e-30)


def test_kinds_do_not_touch_each_other() -> None:
    profile = filled([(VIEWS, 1.0, START), (SPEND, 12.5, START)])
    assert read(profile, VIEWS, START) == (1.0, 1.0, 1.0)
    assert read(profile, SPEND, START) == (12.5, 12.5, 12.5)
    assert read(profile, ADDS, START) == (0.0, 0.0, 0.0)


def test_a_profile_without_any_reads_zero_and_stays_small() -> None:
    profile = Profile()
    assert read(profile, VIEWS, START) == (0.0, 0.0, 0.0)
    bump(profile, VIEWS, 1.0, START)
    assert len(profile.decayed) == 48
    assert read(decode_profile(encode_profile(profile)), VIEWS, START) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("years", [1, 60, 270])
def test_ages_beyond_every_range_are_zero_not_an_error(years: int) -> None:
    profile = filled([(VIEWS, 1.0, years * 31_557_600), (VIEWS, 1.0, 0)])
    assert read(profile, VIEWS, years * 31_557_600)[0] == pytest.approx(1.0)
    profile = filled([(VIEWS, 1.0, 0), (VIEWS, 1.0, years * 31_557_600)])
    assert read(profile, VIEWS, years * 31_557_600)[0] == pytest.approx(1.0)
