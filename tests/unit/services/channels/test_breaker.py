"""The circuit breaker, with time as an argument."""

from hypothesis import given
from hypothesis import strategies as st

from services.channels.breaker import Breaker, BreakerPolicy

POLICY = BreakerPolicy(failures=3, open_s=1.0, open_max_s=4.0)


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(POLICY)
    for _ in range(5):
        breaker.failed(0.0)
        breaker.failed(0.0)
        breaker.succeeded()
    assert breaker.wait_s(0.0) == 0.0
    for _ in range(3):
        breaker.failed(10.0)
    assert breaker.is_open
    assert breaker.wait_s(10.25) == 0.75


def test_one_probe_at_a_time_and_longer_pauses_up_to_the_limit() -> None:
    breaker, now = Breaker(POLICY), 0.0
    for _ in range(3):
        breaker.failed(now)
    pauses = []
    for _ in range(5):
        pauses.append(breaker.wait_s(now))
        now += pauses[-1]
        assert breaker.wait_s(now) == 0.0  # the probe
        assert breaker.wait_s(now) > 0.0  # everybody else
        breaker.failed(now)
    assert pauses == [1.0, 2.0, 4.0, 4.0, 4.0]
    now += 4.0
    assert breaker.wait_s(now) == 0.0
    breaker.succeeded()
    assert not breaker.is_open
    assert breaker.opened_total == 1


def test_a_probe_that_never_reports_back_does_not_keep_it_open() -> None:
    breaker = Breaker(POLICY)
    for _ in range(3):
        breaker.failed(0.0)
    assert breaker.wait_s(1.0) == 0.0  # its task is cancelled
    assert breaker.wait_s(2.0) == 0.0


@given(st.lists(st.tuples(st.sampled_from(["ok", "bad", "ask"]), st.floats(0, 5)), max_size=60))
def test_the_wait_is_never_longer_than_the_limit(steps: list[tuple[str, float]]) -> None:
    breaker, now = Breaker(POLICY), 0.0
    for what, pause in steps:
        now += pause
        if what == "ok":
            breaker.succeeded()
            assert breaker.wait_s(now) == 0.0
        elif what == "bad":
            breaker.failed(now)
        assert 0.0 <= breaker.wait_s(now) <= POLICY.open_max_s
