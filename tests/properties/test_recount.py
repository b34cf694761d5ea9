"""The core beside the recount of the chaos suite: two programs that share no code, over the same events in memory."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from chaos.faults import plan
from chaos.recount.lane import Counted
from chaos.shop import TOPICS, Shop, lane_of, read_input, value_of, write_input
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.state.step import OutboxEntry, decode_entry, open_lane
from services.state.store import MemoryLaneStore
from support.lane import LaneRig, shipped
from support.recounted import BROKER_MS, differences, recounted


def applied(seed: int, events: int) -> tuple[LaneRig, list[OutboxEntry]]:
    """The shop's events through the core: chunks of random size, of one input or merged, timers in between."""
    rig, draw = LaneRig(shipped()), Random(seed)
    opened = open_lane(MemoryLaneStore(), 0, 1, rig.brain)
    rig.broker_ms = BROKER_MS
    waiting: dict[str, list[bytes]] = {topic: [] for topic in TOPICS}
    for line in Shop(seed, events, 1).lines():
        if line[4] == "poison:failed":
            continue  # breaks the worker of the chaos suite, and nothing else
        waiting[line[0]].append(value_of(line))
        if draw.random() < 0.02:
            some = draw.sample(TOPICS, draw.randrange(1, 5))
            chunks = [(topic, *rig.write(topic, *waiting[topic])) for topic in some if waiting[topic]]
            for topic in some:
                waiting[topic] = []
            if chunks:
                rig.merged(chunks)
            if draw.random() < 0.5:
                rig.settle()
    for topic, values in waiting.items():
        if values:
            rig.merged([(topic, *rig.write(topic, *values))])
    rig.settle()
    entries = [decode_entry(done.change.outbox) for done in [opened, *rig.done] if done.change.outbox]
    return rig, entries


def recount(rig: LaneRig, entries: list[OutboxEntry]) -> Counted:
    return recounted(rig.memory, rig.logs, entries)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1_000_000))
@example(25234)  # a mail held until the morning, and a tick of silence of a month later, in one leap of the watermark
def test_the_core_and_the_recount_agree(seed: int) -> None:
    rig, entries = applied(seed, 1_500)
    assert differences(rig.memory, entries, recount(rig, entries)) == []


@pytest.mark.parametrize("what", ["profile", "counter", "experiment", "message", "timer"])
def test_the_recount_finds_what_is_wrong(what: str) -> None:
    rig, entries = applied(3, 2_000)
    counted = recount(rig, entries)
    assert differences(rig.memory, entries, counted) == []
    who = next(who for who in counted.customers.values() if who.orders and who.timers)
    match what:
        case "profile":
            who.money += 1
        case "counter":
            counted.tally.counts["camp:order-thanks", "decided"] -= 1
        case "experiment":
            place = next(place for place in counted.tally.counts if place[1].endswith("|revenue|aa"))
            counted.tally.counts[place] += 1
        case "message":
            counted.tally.messages.popitem()
        case "timer":
            who.timers[0].due += 1
    assert len(differences(rig.memory, entries, counted)) == 1


def test_the_same_seed_writes_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_input(tmp_path / name, 5, 20_000, 4)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    lines = list(read_input(tmp_path / "one"))
    kinds = Counter(line[4] for line in lines)
    assert kinds.keys() >= {"event", "again", "stray", "nameless", "tick", "poison:failed", "poison:far_future"}
    assert kinds.total() - kinds["tick"] == 20_000
    for topic, lane, user, value, kind in lines:
        if kind == "stray":
            assert lane_of(user or "", 4) != lane
        elif kind in {"event", "again", "nameless"}:
            assert lane_of(user or "", 4) == lane, (topic, value)


def test_every_kind_of_fault_comes() -> None:
    faults = plan(1, 100_000, 60)
    assert [one.number for one in faults] == list(range(1, 61))
    assert len({one.fault.name for one in faults}) == len({one.fault.name for one in plan(2, 100_000, 22)}) == 22
    assert plan(1, 100_000, 60) == faults != plan(2, 100_000, 60)
