"""Examples of goals at rest: small, and the same again."""

from hypothesis import given
from hypothesis import strategies as st

from models.features.goals import raw
from models.profile.awaited import Awaited, GoalSample
from models.profile.rest_goals import DAY_S, RAW, unwaited, waiting
from models.profile.state import Profile

NOON_S = 1_267_444_800
MOMENTS = st.one_of(
    st.integers(-400 * DAY_S, 400 * DAY_S),
    st.integers(-40, 400).map(lambda days: days * DAY_S),  # of ticks
)
TOLD = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(-9, 9), st.text(max_size=9))


@given(
    MOMENTS,
    MOMENTS,
    st.booleans(),
    st.integers(-1, 10_000),
    st.booleans(),
    st.lists(TOLD, max_size=8),
)
def test_an_example_comes_back_as_it_was(
    ahead: int, back: int, reached: bool, p_e4: int, told: bool, known: list[object]
) -> None:
    profile = Profile(orders=2, first_order=NOON_S - 9 * DAY_S, last_seen_ms=NOON_S * 1000, tick_due=NOON_S + ahead)
    at = profile.tick_due - back
    sample = GoalSample(4_000_000_000, at, reached, p_e4, (raw(profile, at) if told else [3] * RAW) + known)
    profile.awaited = Awaited([sample])
    assert unwaited(profile, NOON_S, waiting(profile, NOON_S)) == [sample]
    two = [sample, GoalSample(9, at + 1, not reached, p_e4, sample.x)]
    profile.awaited = Awaited(two)
    assert unwaited(profile, NOON_S, waiting(profile, NOON_S)) == two


def test_one_that_was_begun_at_a_tick_takes_few_bytes() -> None:
    profile = Profile(orders=2, last_seen_ms=NOON_S * 1000, tick_due=NOON_S + 90 * DAY_S + 77)
    at = profile.tick_due - 14 * DAY_S
    profile.awaited = Awaited([GoalSample(7, at, False, 2_500, raw(profile, at))])
    assert waiting(profile, NOON_S) == [7, -2_502, 28]
