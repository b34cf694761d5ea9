"""A lane of the role decide: chunks in whatever order and however often they come, and faults at every step."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from aiokafka.errors import NotLeaderForPartitionError, OutOfOrderSequenceNumber

from config.settings import Settings
from config.topics import INPUT_NAMES
from models.profile.codec import decode_profile
from services.state import step
from services.state.store import Change
from streams import lane as lane_module
from streams.guard import DeadLetterGuard, DeadLetterPolicy
from support.lane import HOUR_MS, MINUTE_MS, identify, ms, order, tick, track
from support.running_lane import BRAIN, Rig, Store, running, until

NOON = ms("2010-03-01 12:00")


def views(count: int, at: int = NOON) -> list[bytes]:
    return [track("Product Viewed", "anna", at + i, f"v{i}", product_id="p1") for i in range(count)]


# ------------------------------------------------------------------ chunks


async def test_a_chunk_is_applied_acknowledged_and_published() -> None:
    async with running(Rig()) as rig:
        acks = rig.feed("clickstream", *views(3), b"broken")
        await until(lambda: acks.acked == 1)
        assert rig.fence == (4, -1, -1, -1)
        assert (rig.state.received, rig.state.applied, rig.state.rejected) == (4, 3, 1)
        await until(lambda: len(rig.outlet.entries) == 2)  # the opening, and the batch
        assert [letter["offset"] for letter in rig.on("dead-letters")] == [3]
        assert [entry["kind"] for entry in rig.on("journal")] == ["open", "batch"]
        acks = rig.feed("clickstream", *views(1, NOON + 99))
        await until(lambda: acks.acked == 1)
        assert len(rig.store.outbox) == 1  # what Kafka has is deleted by the next transaction


async def test_chunks_of_several_inputs_are_one_batch_in_the_order_of_event_time() -> None:
    rig = Rig()
    first = rig.feed("clickstream", track("Product Added", "anna", NOON, product_id="p1"))
    second = rig.feed("purchases", order("anna", NOON + 2), order("anna", NOON - 5))
    async with running(rig):
        await until(lambda: first.acked == second.acked == 1)
        await until(lambda: len(rig.outlet.entries) == 2)
        (entry,) = [entry for entry in rig.on("journal") if entry["kind"] == "batch"]
        assert entry["sources"] == [["clickstream", -1, 1], ["purchases", -1, 2]]
        assert decode_profile(rig.store.profiles["anna"]).cart == []


async def test_chunks_that_wait_together_are_one_transaction() -> None:
    rig = Rig()
    all_views = views(12)
    acks = [rig.feed("clickstream", *all_views[i : i + 3]) for i in range(0, 12, 3)]
    async with running(rig):
        await until(lambda: all(one.acked == 1 for one in acks))
        assert (rig.fence[0], rig.state.applied, rig.rewinds) == (12, 12, 0)
        await until(lambda: len(rig.outlet.entries) == 2)
        (entry,) = [entry for entry in rig.on("journal") if entry["kind"] == "batch"]
        assert entry["sources"] == [["clickstream", -1, 12]]


async def test_joined_chunks_are_no_larger_than_a_batch_may_be() -> None:
    rig = Rig()
    limit = Settings(lanes=1).batch_max
    all_views = views(limit + 1)
    parts = [all_views[: limit - 3], all_views[limit - 3 : limit], all_views[limit:]]
    acks = [rig.feed("clickstream", *part) for part in parts]
    async with running(rig):
        await until(lambda: all(one.acked == 1 for one in acks))
        await until(lambda: len(rig.outlet.entries) == 3)
        ends = [entry["sources"][0][2] for entry in rig.on("journal") if entry["kind"] == "batch"]
        assert ends == [limit, limit + 1]


async def test_redelivered_and_overlapping_chunks_are_applied_once() -> None:
    async with running(Rig()) as rig:
        rig.write("clickstream", *views(10))
        parts = [(0, 4), (0, 4), (2, 6), (0, 6), (5, 10), (0, 10)]
        acks = [rig.offer("clickstream", start, end) for start, end in parts]
        await until(lambda: all(one.acked == 1 for one in acks))
        assert (rig.state.received, rig.state.applied, rig.state.duplicate) == (10, 10, 0)
        assert rig.rewinds == 0


async def test_a_gap_is_never_jumped_over() -> None:
    """A chunk got lost between the transport and the lane: back to the fence, and everything is applied."""
    async with running(Rig()) as rig:
        rig.write("clickstream", *views(9))
        first = rig.offer("clickstream", 0, 3)
        await until(lambda: first.acked == 1)
        lost = rig.offer("clickstream", 6, 9)
        await until(lambda: rig.fence[0] == 9)
        assert (rig.rewinds, lost.acked) == (1, 0)
        assert (rig.state.received, rig.state.applied) == (9, 9)


async def test_the_first_chunk_may_not_be_lost_either() -> None:
    async with running(Rig()) as rig:
        rig.write("clickstream", *views(9))
        rig.offer("clickstream", 3, 9, sought=0)
        await until(lambda: rig.fence[0] == 9)
        assert (rig.rewinds, rig.state.applied) == (1, 9)


async def test_a_log_that_begins_later_is_no_gap() -> None:
    """Retention took the beginning before anything was ever applied."""
    async with running(Rig()) as rig:
        rig.write("clickstream", *views(9))
        acks = rig.offer("clickstream", 3, 9, sought=3)
        await until(lambda: acks.acked == 1)
        assert (rig.rewinds, rig.state.applied) == (0, 6)


async def test_stale_chunks_are_dropped() -> None:
    rig = Rig()
    stale = rig.feed("clickstream", *views(2))
    rig.generation += 1
    fresh = rig.feed("purchases", order("anna", NOON))
    async with running(rig):
        await until(lambda: fresh.acked == 1)
        assert stale.acked == 0
        assert rig.fence == (-1, 1, -1, -1)


# ------------------------------------------------------------------ faults


class RivalStore(Store):
    """Another worker opens the lane just after this one has, while this one reads what is left to publish."""

    rival = 0

    def pending(self) -> list[tuple[int, bytes]]:
        found = super().pending()
        if not self.rival:
            opened = step.open_lane(self, 0, 10**15, BRAIN)
            self.commit(opened.change)
            self.rival = opened.state.epoch
        return found


async def test_of_two_that_open_a_lane_at_once_the_first_does_not_go_on_as_the_second() -> None:
    """It would publish batches of the other's epoch before the other's opening, which consumers would drop."""
    store = RivalStore()
    async with running(Rig(store=store)) as rig:
        rig.feed("clickstream", *views(3))
        await until(lambda: rig.fence[0] == 3)
        await until(lambda: any(entry["kind"] == "batch" for entry in rig.on("journal")))
        assert store.rival not in {entry["epoch"] for entry in rig.on("journal") if entry["kind"] == "batch"}
        places = [(entry.epoch, entry.seq) for entry in rig.outlet.entries]
        assert places == sorted(places)


@pytest.mark.parametrize("fault", ["before", "after"])
async def test_a_transaction_of_unknown_end(fault: str) -> None:
    """Whether it was written or not, after reading the fence again every record was applied once."""
    async with running(Rig()) as rig:
        await until(lambda: rig.lane.position is not None)
        rig.store.breaks = [fault]
        rig.feed("purchases", order("anna", NOON), order("ben", NOON))
        await until(lambda: rig.rewinds == 1 and rig.lane.position is not None and rig.fence[1] == 2)
        assert rig.state.applied == 2
        assert rig.store.counters["camp:order-thanks"]["decided"] == 2
        assert rig.state.epoch > 1
        await until(lambda: len(rig.on("messages")) == 2)
        positions = [(entry.epoch, entry.seq) for entry in rig.outlet.entries]
        assert positions == sorted(positions)


async def test_another_owner_took_the_lane() -> None:
    """Somebody else committed in between: nothing of ours is written on top of it."""
    async with running(Rig()) as rig:
        await until(lambda: rig.lane.position is not None)
        rig.store.load(None, 0, lambda due: due)
        fence = msgspec.msgpack.decode(rig.store.fence or b"")
        other = Change(msgspec.msgpack.encode([fence[0] + 1, fence[1]]), rig.store.state or b"", fence[0] + 1)
        rig.store.commit(other)
        rig.feed("clickstream", *views(2))
        await until(lambda: rig.rewinds == 1 and rig.lane.position is not None and rig.fence[0] == 2)
        assert (rig.state.received, rig.state.applied) == (2, 2)


def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the core: it fails on events of this name."""
    right = step.work

    def work(loaded: Any, users: Any, batch: Any, brain: Any, published: Sequence[int]) -> Any:
        if any(event.name == "Poison" for event in batch.inputs):
            raise ZeroDivisionError("a fault of the core")
        return right(loaded, users, batch, brain, published)

    monkeypatch.setattr(lane_module, "work", work)


async def test_a_record_on_which_the_core_fails_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)
    rig = Rig()
    bad = track("Poison", "anna", NOON + 3)
    first = rig.feed("clickstream", *views(3), bad, *views(6)[3:])
    second = rig.feed("purchases", order("anna", NOON + 1), track("Poison", "ben", NOON), order("ben", NOON + 2))
    async with running(rig):
        await until(lambda: first.acked == second.acked == 1)
        assert (rig.state.received, rig.state.applied, rig.state.rejected) == (10, 8, 2)
        await until(lambda: len(rig.on("dead-letters")) == 2)
        letters = {(letter["topic"], letter["offset"], letter["reason"]) for letter in rig.on("dead-letters")}
        assert letters == {("clickstream", 3, "failed"), ("purchases", 1, "failed")}
        assert rig.rewinds == 0
        failed = [entry["sources"] for entry in rig.on("journal") if entry["failed"]]
        assert sorted(failed) == [[["clickstream", 3, 4]], [["purchases", 1, 2]]]
        assert rig.crashes == []


async def test_a_core_that_fails_on_many_users_stops_before_it_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)
    rig = Rig()
    rig.meter.guard = DeadLetterGuard(DeadLetterPolicy(users=5))
    rig.feed("clickstream", *views(3), *(track("Poison", f"u{number}", NOON + 10) for number in range(50)))
    async with running(rig):
        await until(lambda: bool(rig.crashes))
    assert "bad deploy" in str(rig.crashes[0])
    assert rig.fence[0] == 3 + 4  # the fifth stays where it is


async def test_what_cannot_be_mended_by_trying_again_ends_the_worker() -> None:
    rig = Rig()
    rig.store.state = b"\xc1"  # not a state of a lane
    async with running(rig):
        await until(lambda: bool(rig.crashes))
    assert "cannot be read" in str(rig.crashes[0])


# ------------------------------------------------------------------ publishing


async def test_kafka_comes_back() -> None:
    rig = Rig()
    rig.outlet.faults = [NotLeaderForPartitionError(), NotLeaderForPartitionError()]
    async with running(rig):
        acks = rig.feed("purchases", order("anna", NOON))
        await until(lambda: acks.acked == 1)
        await until(lambda: len(rig.outlet.entries) == 2)
        assert [entry.seq for entry in rig.outlet.entries] == [1, 2]


async def test_a_producer_out_of_step_ends_the_worker() -> None:
    rig = Rig()
    rig.outlet.faults = [OutOfOrderSequenceNumber()]
    async with running(rig):
        await until(lambda: bool(rig.crashes))
    assert isinstance(rig.crashes[0], OutOfOrderSequenceNumber)
    assert len(rig.store.outbox) == 1  # its successor publishes it


async def test_what_an_earlier_owner_left_is_published_first() -> None:
    earlier = Rig()
    earlier.outlet.faults = [NotLeaderForPartitionError() for _ in range(100)]
    async with running(earlier):
        acks = earlier.feed("purchases", order("anna", NOON))
        await until(lambda: acks.acked == 1)
    assert earlier.outlet.entries == []
    async with running(Rig(store=earlier.store)) as rig:
        await until(lambda: len(rig.outlet.entries) == 3)
        assert [entry.seq for entry in rig.outlet.entries] == [1, 2, 3]
        assert [entry["kind"] for entry in rig.on("journal")] == ["open", "batch", "open"]
        assert [command["user"] for command in rig.on("messages")] == ["anna"]


async def test_a_full_outbox_holds_the_lane_back() -> None:
    """While Kafka is away, decisions do not pile up without end."""
    rig = Rig()
    async with running(rig):
        await until(lambda: len(rig.outlet.entries) == 1)
        rig.outlet.faults = [NotLeaderForPartitionError() for _ in range(10_000)]
        for number in range(3 * lane_module.OUTBOX_LIMIT):
            acks = rig.feed("clickstream", *views(1, NOON + number))
            if number < lane_module.OUTBOX_LIMIT:
                await until(lambda acks=acks: acks.acked == 1)  # type: ignore[misc]
        await asyncio.sleep(0.1)
        assert len(rig.outbox) <= lane_module.OUTBOX_LIMIT + 1
        rig.outlet.faults.clear()
        await until(lambda: rig.fence[0] == 3 * lane_module.OUTBOX_LIMIT)


# ------------------------------------------------------------------ time


async def test_timers_fire_when_every_input_has_come_so_far() -> None:
    rig = Rig()
    rig.feed("profiles", identify("anna", NOON - 1, email="a@x.test", consent={"email": True}))
    async with running(rig):
        acks = rig.feed("clickstream", track("Product Added", "anna", NOON, product_id="p1"))
        await until(lambda: acks.acked == 1)
        for name in INPUT_NAMES[:3]:
            rig.feed(name, tick(NOON + 2 * HOUR_MS))
        await until(lambda: rig.fence == (2, 1, 2, -1))
        assert rig.on("messages") == []
        rig.feed("feedback", tick(NOON + 2 * HOUR_MS))
        await until(lambda: len(rig.on("messages")) == 1)
        assert rig.on("messages")[0]["decided_at"] == NOON + HOUR_MS


async def test_strict_order_waits_for_the_other_inputs() -> None:
    """In a replay: nothing is applied before every input is known up to it."""
    rig = Rig(Settings(lanes=1, strict_order=True))
    async with running(rig):
        await until(lambda: rig.lane.position is not None)
        carts = [
            track("Product Added", "anna", NOON + i * MINUTE_MS, f"a{i}", product_id="p1") for i in range(0, 60, 10)
        ]
        rig.feed("clickstream", *carts)
        for name in INPUT_NAMES[2:]:
            rig.feed(name, tick(NOON + HOUR_MS))
        await asyncio.sleep(0.05)
        assert rig.fence[0] == -1
        rig.feed("purchases", order("anna", NOON + 25 * MINUTE_MS))
        await until(lambda: rig.fence[0] == 3 and rig.fence[1] == 1)  # 12:00, 12:10, 12:20, and the order
        assert [timer.rule for timer in decode_profile(rig.store.profiles["anna"]).timers] == ["second-order"]
        rig.feed("purchases", tick(NOON + HOUR_MS))
        await until(lambda: rig.fence[0] == 6)
        assert rig.fence[1] == 1  # the clicks may still bring something from before 13:00
        rig.feed("clickstream", tick(NOON + HOUR_MS))
        await until(lambda: rig.fence[0] == 7 and rig.fence[1] == 2)
        assert decode_profile(rig.store.profiles["anna"]).cart != []
        assert rig.state.balances()


# ------------------------------------------------------------------ what the page is told


async def test_the_meter_counts_what_was_committed() -> None:
    async with running(Rig()) as rig:
        acks = rig.feed("purchases", order("anna", NOON), b"broken", order("ben", NOON + 1))
        await until(lambda: acks.acked == 1)
        payload = rig.meter.payload({"purchases-0": 0}, {"churn": 3}, 1.5)
        assert (payload["events_total"], payload["messages_total"], payload["dead_total"]) == (2, 2, 1)
        assert payload["latency_ms"]["n"] == 3
        tails = rig.meter.take_tails()
        assert [item["user"] for item in tails["events"]] == ["anna", "ben"]
        assert tails["messages"][0]["tag"].startswith("suppressed")
        assert rig.meter.take_tails() == {}
