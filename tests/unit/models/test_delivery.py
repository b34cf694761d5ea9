"""Single steps of the send ledger; whole stories are in tests/properties/test_delivery.py."""

import pytest

from models import delivery
from models.delivery import Dedupe, DeliverFence, Do, Entry, State
from support.messages import message

CLAIMED = Entry(State.CLAIMED, owner="w1")
HANDING = Entry(State.HANDING, owner="w1", token="t1", attempts=1)


def test_a_claim_may_be_taken_over_until_the_provider_is_called() -> None:
    assert delivery.claim(None, "w1") == CLAIMED
    assert delivery.claim(CLAIMED, "w2").owner == "w2"
    assert delivery.claim(HANDING, "w2") == HANDING


def test_only_the_owner_may_call_the_provider_and_only_once() -> None:
    assert delivery.hand(CLAIMED, "w2", "t9") is None
    assert delivery.hand(None, "w1", "t1") is None
    assert delivery.hand(CLAIMED, "w1", "t1") == HANDING
    assert delivery.hand(HANDING, "w1", "t2") is None
    assert delivery.hand(HANDING, "w1", "t1") == HANDING  # the answer was lost: asked again


def test_after_a_release_the_same_owner_may_try_again() -> None:
    released = delivery.release(HANDING, "t1")
    assert released is not None
    assert delivery.hand(released, "w1", "t2") == Entry(State.HANDING, "w1", "t2", attempts=2)
    assert delivery.release(HANDING, "t2") is None


@pytest.mark.parametrize("state", sorted(delivery.OUTCOMES))
def test_an_outcome_is_final_but_a_fact_outweighs_a_guess(state: State) -> None:
    settled = Entry(state, token="t1")
    for later in sorted(delivery.OUTCOMES):
        after = delivery.settle(settled, later, owner="w1", token="t1")
        assert after is not None
        fact = later is State.DELIVERED or (state is State.UNKNOWN and later is not State.UNKNOWN)
        assert after.state == (later if fact else state)


def test_expired_needs_the_claim_and_unknown_the_call() -> None:
    assert delivery.settle(CLAIMED, State.EXPIRED, owner="w2") is None
    assert delivery.settle(HANDING, State.EXPIRED, owner="w1") is None
    assert delivery.settle(HANDING, State.UNKNOWN, token="t2") is None
    assert delivery.settle(HANDING, State.SUPPRESSED) is None


def test_what_to_do() -> None:
    command = message(expires_at=100)
    assert delivery.plan(command, None, now_ms=99).do is Do.SEND
    assert delivery.plan(command, CLAIMED, now_ms=99).do is Do.SEND
    assert delivery.plan(command, None, now_ms=100).state is State.EXPIRED
    assert delivery.plan(command, HANDING, now_ms=99).state is State.UNKNOWN
    assert delivery.plan(command, HANDING, now_ms=99, idempotent=True).do is Do.RETAKE
    # Doubt comes before expiry: what may have been sent is not called expired.
    assert delivery.plan(command, None, now_ms=100, doubtful=True).state is State.UNKNOWN
    assert delivery.plan(command, None, now_ms=99, doubtful=True, idempotent=True).do is Do.SEND
    again = delivery.plan(command, Entry(State.FAILED, reason="550"), now_ms=200, doubtful=True)
    assert (again.do, again.state, again.reason) == (Do.REPEAT, State.FAILED, "550")
    suppressed = delivery.plan(message(suppressed="cap"), None, now_ms=0)
    assert (suppressed.do, suppressed.state, suppressed.reason) == (Do.RECORD, State.SUPPRESSED, "cap")


def test_doubt_outlives_crashes_until_it_is_passed() -> None:
    fence = delivery.resume(DeliverFence(10, "a", 0, {0: (1, 1, 1)}), 25, "b")
    assert (fence.offset, fence.run_id, fence.doubt_until) == (10, "b", 25)
    half = delivery.advance(fence, 20, {})
    assert delivery.resume(half, 25, "b").doubt_until == 25
    assert delivery.resume(half, 30, "c").doubt_until == 30
    assert delivery.advance(half, 25, {}).doubt_until == 0
    assert delivery.resume(None, 7, "a") == DeliverFence(None, "a", 7)
    assert delivery.resume(None, None, "a") == DeliverFence(None, "a", 0)


def test_positions_of_lanes_are_kept_apart() -> None:
    seen = Dedupe({0: (5, 0, 0)})
    assert not seen.is_new(0, (4, 9, 9))
    assert seen.is_new(1, (4, 9, 9))
    assert seen.is_new(0, (5, 0, 1))


@pytest.mark.parametrize(
    ("channel", "state", "name"),
    [
        ("email", State.DELIVERED, "Email Delivered"),
        ("push", State.DELIVERED, "Message Delivered"),
        ("log", State.DELIVERED, "Message Delivered"),
        ("email", State.FAILED, "Message Failed"),
        ("email", State.UNKNOWN, "Message Unknown"),
        ("push", State.EXPIRED, "Message Expired"),
    ],
)
def test_outcomes_are_told_by_names_that_feedback_knows(channel: str, state: State, name: str) -> None:
    from models.events import FEEDBACK_EVENTS

    event = delivery.feedback(message(channel=channel), state, "why")
    assert event is not None
    assert event["event"] == name
    assert name in FEEDBACK_EVENTS
    assert event == delivery.feedback(message(channel=channel), state, "why")
    other = delivery.feedback(message(channel=channel, id=2), state, "why")
    assert other is not None
    assert other["messageId"] != event["messageId"]
    assert delivery.feedback(message(), State.SUPPRESSED) is None
