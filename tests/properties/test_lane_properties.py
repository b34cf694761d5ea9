"""A lane over random histories: counts balance, redelivery changes nothing, a replay gives the same bytes."""

from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings import Settings
from config.topics import INPUT_NAMES
from models.brain import Brain
from models.decisions import JournalEntry
from models.profile.codec import encode_profile
from models.wire import Record, lane_of
from services.bus.reader import Record as LogRecord
from services.jobs.audit.compare import compare
from services.jobs.audit.replay import Inputs, replay_lane
from services.state.lane_dump import LaneDump
from services.state.store import MemoryLaneStore
from support.lane import BROKER_MS, HOUR_MS, MINUTE_MS, GapError, LaneRig, identify, ms, order, shipped, tick, track

START = ms("2010-03-01 06:00")
LANES = 2
USERS = [f"user-{i}" for i in range(8)]
BRAIN = Brain(shipped())
POSITION = [("kairos-lane", b"1"), ("kairos-epoch", b"1"), ("kairos-seq", b"2")]


@st.composite
def a_record(draw: st.DrawFn) -> tuple[str, Record]:
    """A record of any kind for any input: good, misrouted, forwarded, repeated, broken."""
    user = draw(st.sampled_from(USERS))
    at = START + draw(st.integers(0, 96 * 60)) * MINUTE_MS
    name = draw(
        st.sampled_from(["Product Viewed", "Product Added", "Order Completed", "Email Opened", "Signed Up", "Other"])
    )
    ident = f"m{draw(st.integers(0, 25))}" if draw(st.booleans()) else f"{name}{user}{at}"
    value: bytes | None = track(name, user, at, ident, product_id=f"p{at % 5}", revenue=at % 7, name="A thing")
    headers: list[tuple[str, bytes | None]] = []
    match draw(st.integers(0, 11)):
        case 0:
            value = draw(
                st.sampled_from([b"broken", b"", b"\xff", b'{"type":"track","event":"X"}', tick(BROKER_MS * 2)])
            )
        case 1:
            value = None
        case 2:
            value = tick(at)
        case 3:
            value = identify(user, at, ident, email=f"{user}@x.test", consent={"email": True})
        case 4:
            value = order(user, at, 12.5, ident)
        case 5:
            n = draw(st.integers(0, 9))
            headers = [*POSITION, ("kairos-n", str(n).encode()), ("kairos-origin", ident.encode())]
        case 6:
            headers = [("ce_specversion", None), ("kairos-origin", None), ("x", b"\xff")]
    return draw(st.sampled_from(INPUT_NAMES)), Record(0, 0, user.encode(), value, headers)


HISTORY = st.lists(a_record(), max_size=40)


def logs(rig: LaneRig, history: Sequence[tuple[str, Record]]) -> LaneRig:
    for topic, record in history:
        rig.write(topic, record)
    return rig


def deliver(rig: LaneRig, chunks: Sequence[tuple[str, int, int]]) -> None:
    for topic, start, end in chunks:
        rig.apply(topic, start, end)
        rig.settle()


def all_of(rig: LaneRig) -> list[tuple[str, int, int]]:
    return [(topic, 0, len(log)) for topic, log in rig.logs.items() if log]


def parts(draw: Any, rig: LaneRig) -> list[tuple[str, int, int]]:
    """Any way to cut the four logs into chunks, taken in any order."""
    left = {topic: 0 for topic, log in rig.logs.items() if log}
    found = []
    while left:
        topic = draw(st.sampled_from(sorted(left)))
        start, length = left[topic], len(rig.logs[topic])
        end = draw(st.integers(start + 1, length))
        found.append((topic, start, end))
        left[topic] = end
        if end == length:
            del left[topic]
    return found


def raw(store: MemoryLaneStore) -> dict[str, Any]:
    return {
        "fence": store.fence,
        "state": store.state,
        "profiles": store.profiles,
        "offers": store.offers,
        "counters": store.counters,
        "timers": store.timers,
    }


@settings(max_examples=80, deadline=None)
@given(HISTORY, st.data())
def test_counts_balance_however_it_is_cut(history: list[tuple[str, Record]], data: Any) -> None:
    rig = logs(LaneRig(BRAIN, lanes=LANES), history)
    for topic, start, end in parts(data.draw, rig):
        rig.apply(topic, start, end)
        rig.settle()
        assert rig.state.balances()
    assert rig.state.received == len(history)
    dead = len(rig.published.on("dead-letters"))
    moved = sum(output.topic in INPUT_NAMES for output in rig.published.outputs)
    assert (dead, moved) == (rig.state.rejected, rig.state.forwarded)
    assert sum(rig.profile(user).events for user in rig.memory.profiles) == rig.state.applied - rig.state.ticks
    assert all(lane_of(user, LANES) == 0 for user in rig.memory.profiles)


@settings(max_examples=60, deadline=None)
@given(HISTORY, st.data())
def test_redelivered_chunks_change_nothing(history: list[tuple[str, Record]], data: Any) -> None:
    """By the from/to rule: again from an earlier start, with an end further on, and gaps are refused."""
    once, again = (logs(LaneRig(BRAIN, lanes=LANES), history) for _ in range(2))
    chunks = parts(data.draw, once)
    deliver(once, chunks)
    for topic, start, end in chunks:
        if data.draw(st.booleans()):
            earlier = data.draw(st.integers(0, start))
            again.apply(topic, earlier, end)
        else:
            again.apply(topic, start, end)
        again.settle()
        for repeated in data.draw(st.lists(st.sampled_from(chunks), max_size=2)):
            applied = again.position.fence.offsets[INPUT_NAMES.index(repeated[0])]
            if applied >= repeated[2]:
                assert again.apply(*repeated) is None
            elif applied >= 0 and applied < repeated[1]:
                before = raw(again.memory)
                try:
                    again.apply(*repeated)
                except GapError:
                    assert raw(again.memory) == before
                else:
                    raise AssertionError("a gap was applied")
    assert raw(once.memory) == raw(again.memory)


@settings(max_examples=60, deadline=None)
@given(HISTORY, st.integers(0, 5))
def test_a_duplicate_changes_its_count_and_nothing_else(history: list[tuple[str, Record]], hours: int) -> None:
    """Everything published a second time, by clients that retry, within the hours in which ids are remembered."""
    rig = logs(LaneRig(BRAIN, lanes=LANES), history)
    deliver(rig, all_of(rig))
    before = rig.state
    profiles, counters, timers = dict(rig.memory.profiles), repr(rig.memory.counters), dict(rig.memory.timers)
    effects = [
        output for output in rig.published.outputs if output.topic not in (*INPUT_NAMES, "journal", "dead-letters")
    ]
    rig.broker_ms += hours * HOUR_MS
    repeated = [
        (topic, record)
        for topic, record in history
        if record.value is not None and b"messageId" in record.value and not record.headers
    ]
    first = {topic: len(log) for topic, log in rig.logs.items()}
    logs(rig, repeated)
    deliver(rig, [(topic, first[topic], len(log)) for topic, log in rig.logs.items() if len(log) > first[topic]])
    after = rig.state
    assert (after.applied, after.rejected) == (before.applied, before.rejected)
    assert after.duplicate + after.forwarded == before.duplicate + before.forwarded + len(repeated)
    assert (rig.memory.profiles, repr(rig.memory.counters), rig.memory.timers) == (profiles, counters, timers)
    assert effects == [
        output for output in rig.published.outputs if output.topic not in (*INPUT_NAMES, "journal", "dead-letters")
    ]


@settings(max_examples=60, deadline=None)
@given(HISTORY, st.data())
def test_a_replay_of_the_journal_gives_the_same_bytes(history: list[tuple[str, Record]], data: Any) -> None:
    """Chunks one by one, or those of several inputs merged."""
    rig = logs(LaneRig(BRAIN, lanes=LANES), history)
    chunks = parts(data.draw, rig)
    while chunks:
        heads: dict[str, tuple[str, int, int]] = {}
        for chunk in chunks:
            heads.setdefault(chunk[0], chunk)
        taken = [head for head in heads.values() if head is chunks[0] or data.draw(st.booleans())]
        rig.merged(taken)
        rig.settle()
        chunks = [chunk for chunk in chunks if chunk not in taken]
    entries = [msgspec.convert(entry, JournalEntry) for entry in rig.published.on("journal")]
    opened = JournalEntry(0, 1, 1, "open", [], 0, 0, [], BRAIN.versions, BRAIN.policy_version)

    def reader(topic: str) -> Any:
        return iter(
            LogRecord(topic, 0, one.offset, one.broker_ms, one.key, one.value, tuple(one.headers))  # type: ignore[arg-type]
            for one in rig.logs[topic]
        )

    done = replay_lane(
        0,
        iter([opened, *entries]),
        Inputs(reader),
        lambda policy, versions: BRAIN,
        Settings(lanes=LANES),
        lambda records: None,
    )
    assert done.differences == []
    assert raw(done.store) == raw(rig.memory)
    held = LaneDump(
        rig.memory.fence,
        rig.memory.state,
        rig.memory.profiles,
        rig.memory.offers,
        rig.memory.counters,
        rig.memory.timers,
    )
    assert compare(0, held, done.store) == []
    assert done.commands == {command["id"] for command in rig.published.on("messages")}


@settings(max_examples=40, deadline=None)
@given(HISTORY.filter(lambda history: len(history) > 2), st.data())
def test_the_comparison_sees_every_change(history: list[tuple[str, Record]], data: Any) -> None:
    """The audit's own test: whatever is altered in Redis, it is named."""
    rig = logs(LaneRig(BRAIN, lanes=LANES), history)
    deliver(rig, all_of(rig))
    store = rig.memory
    held = LaneDump(
        store.fence,
        store.state,
        dict(store.profiles),
        dict(store.offers),
        {key: dict(fields) for key, fields in store.counters.items()},
        dict(store.timers),
    )
    assert compare(0, held, store) == []
    which = data.draw(st.sampled_from(["state", "profile", "lost", "counter", "timer"]))
    if which == "state":
        state = rig.state
        state.applied += 1
        held.state = msgspec.msgpack.encode(state)
    elif which == "counter":
        held.counters.setdefault("camp:abandoned-cart", {})["decided"] = 10**6
    elif which == "timer":
        held.timers["nobody"] = 5
    elif held.profiles:
        user = data.draw(st.sampled_from(sorted(held.profiles)))
        if which == "lost":
            del held.profiles[user]
        else:
            profile = rig.profile(user)
            profile.events += 1
            held.profiles[user] = encode_profile(profile)
    else:
        return
    assert len(compare(0, held, store)) == 1
