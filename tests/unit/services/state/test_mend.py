"""Faults of the core: what is at fault goes alone, and a replay without the fault makes the same state."""

from typing import Any

import pytest

from config.topics import INPUT_NAMES
from models import decide
from models.chunk import Batch, fail
from models.decisions import JournalEntry
from services.state.mend import mend
from services.state.step import Done, Position, begin, decode_entry, work
from support.lane import HOUR_MS, LaneRig, ms, order, shipped, tick, track

NOON = ms("2010-03-01 12:00")
USERS = ["anna", "ben", *(f"u{number}" for number in range(9))]


class Mending(LaneRig):
    """A lane that mends as decide does; keeps its batches."""

    def __init__(self) -> None:
        super().__init__(shipped())
        self.batches: list[Batch] = []

    def _commit(self, batch: Batch) -> Done:
        self.batches.append(batch)
        loaded, users = begin(self.store, self.position, batch)
        try:
            done = work(loaded, users, batch, self.brain, ())
        except ZeroDivisionError as fault:
            if len(batch.inputs) > 1:
                raise
            done = mend(work, loaded, users, batch, self.brain, (), fault)
        next_due = self.store.commit(done.change)
        self.position = Position(done.fence, done.state, next_due, max(self.position.broker_ms, batch.broker_ms))
        assert done.change.outbox is not None
        self.published.outputs.extend(decode_entry(done.change.outbox).outputs)
        self.done.append(done)
        return done


@pytest.fixture
def unlucky(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Users on whose timers the core fails, after half the work; on events named Poison it fails, too."""
    names: set[str] = set()
    fire, apply = decide._fire, decide._apply

    def breaks(turn: Any, user: str, profile: Any, watermark: int) -> None:
        fire(turn, user, profile, watermark)
        if user in names:
            raise ZeroDivisionError(user)

    def poisoned(turn: Any, profile: Any, event: Any) -> None:
        apply(turn, profile, event)
        if event.name == "Poison" and names:
            raise ZeroDivisionError(event.name)

    monkeypatch.setattr(decide, "_fire", breaks)
    monkeypatch.setattr(decide, "_apply", poisoned)
    return names


def replayed(rig: Mending) -> LaneRig:
    """The same batches by a core without the fault, with what the journal says was left out."""
    other = LaneRig(rig.brain)
    other.logs = rig.logs
    entries = [JournalEntry(**entry) for entry in rig.published.on("journal")]
    for entry, batch in zip(entries, rig.batches, strict=True):
        again = Batch(0, 1, broker_ms=entry.broker_ms)
        for topic, start, end in entry.sources:
            again = other._read(topic, max(0, start), end)
        if entry.failed:
            fail(again, "")
        again.parked = tuple(entry.parked)
        assert again.received == batch.received
        other._commit(again)
    return other


def same(one: LaneRig, two: LaneRig) -> bool:
    held, made = one.memory, two.memory
    return (held.fence, held.state, held.profiles, held.timers, held.counters) == (
        made.fence,
        made.state,
        made.profiles,
        made.timers,
        made.counters,
    )


@pytest.mark.parametrize("names", [{"anna"}, {"anna", "u4", "u8"}, set(USERS)])
def test_the_timers_at_fault_are_put_aside_and_no_others(unlucky: set[str], names: set[str]) -> None:
    rig = Mending()
    rig.feed("clickstream", *(track("Product Added", user, NOON, product_id="p1", price=2.0) for user in USERS))
    rig.feed("purchases", *(order(user, NOON - HOUR_MS) for user in ("anna", "u8")))  # and a silence to tick
    unlucky |= names
    later = rig.until(NOON + 2 * HOUR_MS)
    assert {letter["key"] for letter in later.on("dead-letters")} == names
    assert {(one["topic"], one["reason"]) for one in later.on("dead-letters")} == {("timers", "timer_failed")}
    decided = {one["user"] for one in later.on("messages") if one["campaign"] == "abandoned-cart"}
    assert decided == set(USERS) - names
    assert rig.state.balances()
    assert rig.state.rejected == 0
    assert all(timer.due > NOON + 2 * HOUR_MS for user in names for timer in rig.profile(user).timers)
    unlucky.clear()
    assert same(rig, replayed(rig))


def test_the_next_event_of_the_user_begins_anew(unlucky: set[str]) -> None:
    rig = Mending()
    rig.feed("purchases", order("anna", NOON))
    due = rig.profile("anna").tick_due * 1000
    unlucky.add("anna")
    rig.until(due)
    assert (rig.profile("anna").tick_due, "anna" in rig.memory.timers) == (0, False)
    rig.feed("clickstream", track("Product Viewed", "anna", due + 1, product_id="p1"))
    assert rig.profile("anna").tick_due * 1000 > due
    assert "anna" in rig.memory.timers
    unlucky.clear()
    assert same(rig, replayed(rig))


def test_a_record_and_the_timers_that_fail_with_it_both_go(unlucky: set[str]) -> None:
    rig = Mending()
    rig.feed("clickstream", track("Product Added", "ben", NOON, product_id="p1", price=2.0))
    for topic in INPUT_NAMES[1:]:
        rig.feed(topic, tick(NOON + HOUR_MS))
    unlucky.add("ben")
    made = rig.feed("clickstream", track("Poison", "anna", NOON + HOUR_MS))
    assert {(one["topic"], one["reason"]) for one in made.on("dead-letters")} == {
        ("clickstream", "failed"),
        ("timers", "timer_failed"),
    }
    assert rig.state.rejected == 1
    assert "anna" not in rig.memory.profiles
    unlucky.clear()
    assert same(rig, replayed(rig))


def test_what_fails_without_records_and_timers_is_raised(unlucky: set[str]) -> None:
    rig = Mending()
    batch = Batch(0, 1)
    loaded, users = begin(rig.store, rig.position, batch)

    def never(*_: object) -> Done:
        raise ZeroDivisionError("state of the lane")

    with pytest.raises(ZeroDivisionError, match="state of the lane"):
        mend(never, loaded, users, batch, rig.brain, (), ZeroDivisionError("state of the lane"))
