"""The limit that a bad deploy runs into, and that a bad producer does not."""

import pytest

from models.errors import DeadLetterLimitError
from streams.guard import DeadLetterGuard, DeadLetterPolicy

POLICY = DeadLetterPolicy(share=0.01, window=1_000, users=5, in_a_row=100)


def letters_until_stop(guard: DeadLetterGuard, every: int, most: int = 10_000) -> int:
    """Letters of as many users, one after each `every` good records, until the worker would stop."""
    for number in range(most):
        guard.committed(every, [])
        try:
            guard.failed([f"u{number}"])
        except DeadLetterLimitError:
            return number
        guard.committed(0, [f"u{number}"])
    return most


@pytest.mark.parametrize("every", [0, 1, 20])
def test_a_bad_deploy_stops_at_once_however_large_its_share(every: int) -> None:
    assert letters_until_stop(DeadLetterGuard(POLICY), every) == POLICY.users - 1


def test_a_fault_that_comes_while_running_stops_it_within_the_window() -> None:
    guard = DeadLetterGuard(POLICY)
    guard.committed(1_000_000, [])
    assert letters_until_stop(guard, 0) <= 1.1 * POLICY.window
    guard = DeadLetterGuard(POLICY)
    for _ in range(1_000):
        guard.committed(100, [])
    assert 5 <= letters_until_stop(guard, 9) <= 20  # one in ten fails


def test_a_rare_fault_stops_nothing() -> None:
    assert letters_until_stop(DeadLetterGuard(POLICY), 150, most=500) == 500


def test_one_broken_client_stops_nothing() -> None:
    guard = DeadLetterGuard(POLICY)
    for _ in range(5_000):
        guard.failed(["mallory"])
        guard.committed(0, ["mallory"])
    assert not guard.refuses_everything()


def test_a_bad_producer_among_good_ones_stops_nothing() -> None:
    guard = DeadLetterGuard(POLICY)
    for number in range(5_000):
        guard.committed(0 if number % 10 else 1, [f"u{number}"])
    assert not guard.refuses_everything()


def test_where_nothing_is_accepted_any_more_something_is_wrong() -> None:
    guard = DeadLetterGuard(POLICY)
    for number in range(POLICY.in_a_row + 1):
        assert not guard.refuses_everything()
        guard.committed(0, [f"u{number}"])
    assert "kairos dead-letters" in guard.refuses_everything()
    guard.committed(1, [])
    assert not guard.refuses_everything()
