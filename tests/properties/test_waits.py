"""Waits that one event begins for several campaigns at once: as if each were begun by itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.campaigns.run import begin
from models.profile.state import Profile, Timer

RULES = ("a", "b", "c", "d")
TIMERS = st.builds(
    Timer,
    st.integers(5, 9),
    st.sampled_from(["campaign", "release"]),
    st.sampled_from(RULES),
    st.integers(0, 4),
    st.just("m0"),
)


def one_by_one(timers: list[Timer], waits: dict[str, Timer]) -> list[Timer]:
    for rule, wait in waits.items():
        mine = [timer for timer in timers if timer.kind == "campaign" and timer.rule == rule]
        if not any(timer.set_at > wait.set_at for timer in mine):
            timers = [timer for timer in timers if timer not in mine] + [wait]
    return timers


@given(st.lists(TIMERS, max_size=8), st.lists(st.sampled_from(RULES), unique=True), st.integers(0, 4))
def test_waits_begin_together_as_they_do_one_by_one(timers: list[Timer], rules: list[str], at: int) -> None:
    waits = {rule: Timer(at + 5, "campaign", rule, at, "m1") for rule in rules}
    profile = Profile(timers=list(timers))
    wanted = one_by_one(timers, waits)
    begin(profile, waits, at)
    assert profile.timers == wanted
