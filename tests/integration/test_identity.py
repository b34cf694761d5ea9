"""Merges of users over a real Redis: it holds what memory holds, and the journal replays it."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest
import redis

from config.settings import Settings
from models.brain import Brain
from models.decisions import JournalEntry
from models.profile.moved import MovedError
from models.wire import lane_of
from services.bus.reader import Record as LogRecord
from services.jobs.audit.compare import compare
from services.jobs.audit.replay import Inputs, replay_lane
from services.state import keys
from services.state.lane_dump import LaneDump, dump_lane
from support.identities import Lanes, alias
from support.lane import DAY_MS, HOUR_MS, LaneRig, identify, ms, order, shipped, track
from support.lane_store import BlockingLaneStore
from support.redis import RedisServer

NOON = ms("2010-03-01 12:00")
LANES = 3
BRAIN = Brain(shipped())


@pytest.fixture
def client(single_redis: RedisServer) -> Iterator[redis.Redis]:
    with closing(redis.Redis.from_url(single_redis.url)) as found:
        found.flushall()
        yield found


def story(lanes: Lanes) -> None:
    """Visitors sign in, some of them all over; one is in a circle."""
    for number in range(12):
        visitor, user = f"anon-{number}", f"user-{number % 5}"
        at = NOON + number * HOUR_MS
        seen = track("Product Added", visitor, at, product_id="p1", name="Lantern", price=2.0)
        lanes.feed("clickstream", visitor, seen, track("Product Viewed", visitor, at + 1, product_id="p2"))
        lanes.feed("purchases", user, order(user, at + 2, 10.0 + number))
        lanes.feed("profiles", user, identify(user, at + 3, email=f"{user}@x.test", consent={"email": True}))
        lanes.feed("profiles", user, alias(visitor, user, at + 4))
        if number % 3:
            lanes.settle()
        lanes.feed("purchases", visitor, order(visitor, at + 5, 1.0))
    lanes.feed("profiles", "user-0", alias("user-0", "anon-0", NOON + DAY_MS))
    lanes.settle()
    lanes.until(NOON + 5 * DAY_MS)


def test_redis_holds_what_memory_holds(single_redis: RedisServer, client: redis.Redis) -> None:
    stores = [BlockingLaneStore(single_redis.url, lane) for lane in range(LANES)]
    real, memory = Lanes(BRAIN, LANES, stores=stores), Lanes(BRAIN, LANES, twice=False)
    story(real)
    story(memory)
    found: list[str] = []
    for lane, rig in enumerate(memory.rigs):
        found += compare(lane, dump_lane(client, lane), rig.memory)
    assert found == []
    assert memory.count("forwarded") > 12
    assert memory.balanced()
    for store in stores:
        store.close()
    packed: Any = client.get(keys.profile(lane_of("anon-1", LANES), "anon-1"))
    assert len(packed) < 100
    assert client.exists(keys.offers(lane_of("anon-1", LANES), "anon-1")) == 0


@pytest.mark.parametrize("lane", range(LANES))
def test_the_audit_replays_it(lane: int) -> None:
    lanes = Lanes(BRAIN, LANES, twice=True)
    story(lanes)
    rig = lanes.rigs[lane]
    entries = [msgspec.convert(entry, JournalEntry) for entry in rig.published.on("journal")]
    opened = JournalEntry(lane, 1, 1, "open", [], 0, 0, [], BRAIN.versions, BRAIN.policy_version)

    def reader(topic: str) -> Any:
        return iter(
            LogRecord(topic, lane, one.offset, one.broker_ms, one.key, one.value, tuple(one.headers))  # type: ignore[arg-type]
            for one in rig.logs[topic]
        )

    done = replay_lane(
        lane,
        iter([opened, *entries]),
        Inputs(reader),
        lambda policy, versions: BRAIN,
        Settings(lanes=LANES),
        lambda records: None,
    )
    assert done.differences == []
    assert done.store.profiles == rig.memory.profiles
    assert done.store.counters == rig.memory.counters
    assert done.store.timers == rig.memory.timers
    assert done.store.offers == rig.memory.offers


def test_the_comparison_sees_a_changed_redirect() -> None:
    lanes = Lanes(BRAIN, 1)
    lanes.feed("profiles", "anon", alias("anon", "ben", NOON))
    lanes.settle()
    other = LaneRig(BRAIN)
    other.memory.profiles["anon"] = lanes.rigs[0].memory.profiles["anon"].replace(b"ben", b"bea")
    held = lanes.rigs[0].memory
    other.memory.fence, other.memory.state, other.memory.timers = held.fence, held.state, held.timers
    found = compare(0, _dump(other), held)
    assert found == ["lane 0: user anon, to is 'bea', by the log 'ben'"]
    with pytest.raises(MovedError, match="merged into ben"):
        lanes.rigs[0].profile("anon")


def _dump(rig: LaneRig) -> Any:
    held = rig.memory
    return LaneDump(held.fence, held.state, held.profiles, held.offers, held.counters, held.timers)
