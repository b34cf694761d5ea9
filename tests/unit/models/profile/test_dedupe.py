"""MessageIds seen: two generations, remembered for 24 to 48 hours, at most 4,096 each."""

from typing import Any

import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from models.profile.dedupe import ROTATE_S, is_duplicate, overflow, rotate
from models.profile.state import SEEN_IDS, Profile

DAY_MS = ROTATE_S * 1000
START = 1_700_000_000_000


def digest(name: object) -> bytes:
    return xxhash.xxh3_64_digest(str(name).encode())


def fresh(at: int = START) -> Profile:
    return Profile(seen_since=at // 1000)


def test_the_second_is_a_duplicate() -> None:
    profile = fresh()
    assert [is_duplicate(profile, digest(i % 3), START) for i in range(6)] == [False] * 3 + [True] * 3
    assert len(profile.seen) == 24


def test_a_match_across_two_ids_is_none() -> None:
    """Alignment: eight bytes that lie in the middle of two ids."""
    profile = fresh()
    for known in (b"abcdefgh", b"ijklmnop"):
        assert not is_duplicate(profile, known, START)
    assert not is_duplicate(profile, b"efghijkl", START)
    assert is_duplicate(profile, b"ijklmnop", START)
    assert is_duplicate(profile, b"efghijkl", START)


def test_the_aligned_match_behind_an_unaligned_one_is_found() -> None:
    profile = fresh()
    profile.seen = b"xxxxxxxx" + b"xaaaaaaa" + b"aaaaaaaa"  # bytes 9..16 match, but lie across two ids
    assert is_duplicate(profile, b"aaaaaaaa", START)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30 * 3600)), max_size=40),
)
def test_remembered_for_a_day_at_least(steps: list[tuple[int, int]]) -> None:
    """Against a plain dictionary of when each id was first seen: within 24 h it must be known."""
    profile, now = fresh(), START
    taken: dict[int, int] = {}
    for name, later_s in steps:
        now += later_s * 1000
        known = is_duplicate(profile, digest(name), now)
        age = None if name not in taken else now - taken[name]
        if age is not None and age < DAY_MS:
            assert known
        if age is None or age >= 3 * DAY_MS:  # two rotations at the latest
            assert not known
        if not known:
            taken[name] = now


def test_two_generations() -> None:
    profile = fresh()
    assert not is_duplicate(profile, digest("a"), START)
    assert is_duplicate(profile, digest("a"), START + DAY_MS)  # rotated: lies in the older generation
    assert profile.seen == b""
    assert not is_duplicate(profile, digest("a"), START + 2 * DAY_MS)


def test_a_silent_user_forgets_both_at_once() -> None:
    profile = fresh()
    is_duplicate(profile, digest("a"), START)
    rotate(profile, START + 2 * DAY_MS)
    assert profile.seen == profile.seen_before == b""


def test_a_clock_that_goes_back_forgets_nothing() -> None:
    profile = fresh()
    is_duplicate(profile, digest("a"), START)
    assert is_duplicate(profile, digest("a"), START - 10 * DAY_MS)


@settings(max_examples=10)
@given(st.integers(0, 3), st.data())
def test_the_limit_drops_the_oldest(extra: int, data: Any) -> None:
    profile = fresh()
    for i in range(SEEN_IDS + extra):
        assert not is_duplicate(profile, digest(i), START)
    assert overflow(profile) == extra
    assert len(profile.seen) == 8 * SEEN_IDS
    assert not is_duplicate(profile, digest("new"), START)
    assert is_duplicate(profile, digest(data.draw(st.integers(extra, SEEN_IDS + extra - 1))), START)
    if extra:
        assert not is_duplicate(profile, digest(0), START)


def test_a_generation_that_ends_above_the_limit_is_cut_too() -> None:
    """One batch may fill a generation beyond the limit and then end it."""
    profile = fresh()
    for i in range(SEEN_IDS + 100):
        is_duplicate(profile, digest(i), START)
    is_duplicate(profile, digest("next day"), START + DAY_MS)
    assert overflow(profile) == 100
    assert len(profile.seen_before) == 8 * SEEN_IDS
    assert is_duplicate(profile, digest(SEEN_IDS + 99), START + DAY_MS)
