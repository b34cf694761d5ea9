"""From P to 2P lanes: everybody is where they belong, whatever interrupts it, and the audit follows through the cut."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from config.settings import KafkaSettings, RedisSettings, Settings
from models.brain import Brain
from models.errors import ConfigurationError, FenceError, TransientError
from models.lane import decode_fence, decode_state
from models.wire import lane_of
from services.bus import Publisher, create_topics, describe
from services.jobs.offline import NotReadyError
from services.jobs.repartition import repartition
from services.state import keys
from services.state import repartition as in_redis
from services.state.lane_dump import LaneDump, dump_lane
from services.state.live import publish_worker, retire_worker
from services.state.redis_lane import connect
from services.state.repartition import DamagedStateError, Repartition
from services.state.split import split_store
from services.state.step import decode_entry, open_lane
from services.state.store import MemoryLaneStore
from support.any_redis import AnyRedis
from support.kafka import KafkaServer
from support.lane import HOUR_MS, LaneRig, ms, order, shipped, tick, track
from support.lane_store import BlockingLaneStore

OLD, NEW = 2, 4
NOON = ms("2010-03-01 12:00")
USERS = [f"user {number}*" for number in range(20)]
BRAIN = Brain(shipped())


ADDRESS: list[str] = []
STORES: list[BlockingLaneStore] = []


@pytest.fixture
def client(redis_server: AnyRedis) -> Iterator[redis.Redis]:
    with closing(connect(redis_server.url)) as found:
        found.flushall()
        ADDRESS.append(redis_server.url)
        yield found


def feed(rig: LaneRig) -> None:
    """Profiles, offers, counters and timers for the users of a lane."""
    mine = [user for user in USERS if lane_of(user, rig.lanes) == rig.lane]
    rig.feed("clickstream", *(track("Product Viewed", user, NOON, product_id="p1") for user in mine))
    rig.feed("clickstream", *(track("Product Added", user, NOON + HOUR_MS, product_id="p1") for user in mine))
    rig.feed("purchases", *(order(user, NOON + 2 * HOUR_MS) for user in mine))
    for topic in rig.logs:
        rig.apply(topic, *rig.write(topic, tick(NOON + 2 * HOUR_MS)))


def store_of(lane: int) -> BlockingLaneStore:
    """The lane as a worker has it."""
    made = BlockingLaneStore(ADDRESS[-1], lane)
    STORES.append(made)
    return made


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while STORES:
        STORES.pop().close()


def lanes_of() -> list[LaneRig]:
    """Two lanes in Redis, with everything in them."""
    rigs = []
    for lane in range(OLD):
        rig = LaneRig(BRAIN, store_of(lane), lane=lane, lanes=OLD)
        feed(rig)
        rigs.append(rig)
    return rigs


def dumps(client: redis.Redis, lanes: int = NEW) -> list[LaneDump]:
    return [dump_lane(client, lane) for lane in range(lanes)]


def run(work: Repartition) -> None:
    work.freeze()
    work.copy(lambda _: None)
    work.remove(lambda _: None)
    work.free()


def told(found: list[LaneDump]) -> list[Any]:
    """All but the epochs, which are later in a second run."""
    states = [decode_state(one.state, 4) for one in found]
    for state in states:
        state.epoch = 0
    outboxes = [[decode_entry(packed).seq for _, packed in one.outbox] for one in found]
    return [
        (one.fence, state, one.profiles, one.offers, one.counters, one.timers, seqs)
        for one, state, seqs in zip(found, states, outboxes, strict=True)
    ]


def test_everybody_is_where_they_belong(client: redis.Redis) -> None:
    lanes_of()
    before = dumps(client, OLD)
    assert all(one.profiles and one.offers and one.timers and one.counters for one in before)
    run(Repartition(client, NEW, 7_000))
    after = dumps(client)
    for kind in ("profiles", "offers", "timers"):
        old = {user: value for one in before for user, value in getattr(one, kind).items()}
        assert {user: value for one in after for user, value in getattr(one, kind).items()} == old
        for lane, one in enumerate(after):
            assert all(lane_of(user, NEW) == lane for user in getattr(one, kind)), kind
            assert getattr(one, kind), f"lane {lane} got no {kind}"
    assert [one.counters for one in after] == [one.counters for one in before] + [{}] * OLD
    for lane in range(OLD):
        old_fence, fence = decode_fence(before[lane].fence, 4), decode_fence(after[lane].fence, 4)
        assert (fence.seq, fence.offsets) == (old_fence.seq + 1, old_fence.offsets)
        assert decode_fence(after[lane + OLD].fence, 4).offsets == (0, 0, 0, 0)
        mine, other = decode_state(after[lane].state, 4), decode_state(after[lane + OLD].state, 4)
        assert (mine.watermarks, mine.origins, mine.epoch) == (other.watermarks, other.origins, other.epoch)
        assert (mine.lanes, other.lanes, other.received) == (NEW, NEW, 0)
        assert mine.received == decode_state(before[lane].state, 4).received > 0


def test_memory_divides_as_redis_does(client: redis.Redis) -> None:
    lanes_of()
    run(Repartition(client, NEW, 7_000))
    held = dumps(client)
    for lane in range(OLD):
        rig = LaneRig(BRAIN, MemoryLaneStore(), lane=lane, lanes=OLD)
        feed(rig)
        other = split_store(rig.memory, lane, NEW, 7_000)
        for made, there in ((rig.memory, held[lane]), (other, held[lane + OLD])):
            assert (made.fence, made.state) == (there.fence, there.state)
            assert (made.profiles, made.offers, made.timers) == (there.profiles, there.offers, there.timers)


@pytest.mark.parametrize("arrived", [False, True], ids=["before it arrives", "after it arrived"])
def test_cut_off_at_every_command_and_run_again(
    client: redis.Redis, redis_server: AnyRedis, monkeypatch: pytest.MonkeyPatch, arrived: bool
) -> None:
    monkeypatch.setattr(in_redis, "AT_ONCE", 4)
    lanes_of()
    saved: Any = {name: client.dump(name) for name in client.scan_iter("*")}
    run(Repartition(client, NEW, 7_000))
    wanted = told(dumps(client))
    sent, cut_at = 0, 0
    plain: Any = redis.Connection.send_packed_command

    def cut(connection: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal sent
        sent += 1
        if sent == cut_at:
            if arrived:
                plain(connection, *args, **kwargs)
            connection.disconnect()  # as the real one does after an error
            raise redis.ConnectionError("cut off")
        return plain(connection, *args, **kwargs)

    whole = False
    while not whole:
        cut_at += 1
        client.flushall()
        for name, value in saved.items():
            client.restore(name, 0, value)
        with closing(connect(redis_server.url)) as broken, monkeypatch.context() as patched:
            sent = 0
            patched.setattr(redis.Connection, "send_packed_command", cut)
            try:
                run(Repartition(broken, NEW, 7_000))
                whole = True
            except TransientError:
                pass
        run(Repartition(client, NEW, 8_000))
        assert told(dumps(client)) == wanted, f"cut off at command {cut_at}"
    assert cut_at > 40


def test_nobody_opens_a_lane_that_is_divided(client: redis.Redis) -> None:
    rigs = lanes_of()
    asleep = rigs[0]
    asleep.store.load(None, 0, lambda due: due)
    work = Repartition(client, NEW, 7_000)
    work.freeze()
    with pytest.raises(FenceError):
        asleep.store.commit(replace(asleep.done[-1].change))
    for lanes in (OLD, NEW):
        for lane in range(NEW):
            with pytest.raises(ConfigurationError, match=f"being divided for {NEW} lanes"):
                open_lane(store_of(lane), lane, 9_000, BRAIN, lanes)
    assert work.begun()
    assert not work.finished()
    run(work)
    assert work.finished()
    for lane in range(NEW):
        with pytest.raises(ConfigurationError, match="dealt out"):
            open_lane(store_of(lane), lane, 9_000, BRAIN, OLD)
        store = store_of(lane)
        store.commit(open_lane(store, lane, 9_000, BRAIN, NEW).change)


def test_a_copy_that_differs_stops_the_removal(client: redis.Redis) -> None:
    lanes_of()
    work = Repartition(client, NEW, 7_000)
    work.freeze()
    work.copy(lambda _: None)
    user = next(user for user in USERS if lane_of(user, NEW) >= OLD)
    client.set(keys.profile(lane_of(user, NEW), user), b"damaged")
    with pytest.raises(DamagedStateError):
        work.remove(lambda _: None)
    assert client.exists(keys.profile(lane_of(user, OLD), user))


# ------------------------------------------------------------------ with Kafka


@pytest.fixture
def ready(jars: Any, client: redis.Redis, redis_server: AnyRedis) -> Iterator[Settings]:
    """A broker with the topics of two lanes, and two lanes without lag."""
    with KafkaServer(jars) as kafka:
        create_topics(kafka.bootstrap, OLD)
        made = Settings(
            kafka=KafkaSettings(bootstrap=kafka.bootstrap),
            redis=RedisSettings(url=SecretStr(redis_server.url)),
            lanes=OLD,
        )
        for lane in range(OLD):
            store = store_of(lane)
            store.commit(open_lane(store, lane, 1, BRAIN, OLD).change)
        yield made


def test_it_refuses_looks_and_is_done_once(ready: Settings, client: redis.Redis) -> None:
    bootstrap = ready.kafka.bootstrap
    publish_worker(client, "decide", "w1", {"at": 1_000})
    with pytest.raises(NotReadyError, match="decide w1"):
        repartition(ready, NEW, 7_000)
    retire_worker(client, "decide", "w1")
    with pytest.raises(ConfigurationError, match="KAIROS_LANES is 2"):
        repartition(ready, 8, 7_000)
    with pytest.raises(ConfigurationError, match="not twice"):
        repartition(ready, 5, 7_000)
    with Publisher(bootstrap) as bus:
        for lane in range(OLD):
            bus.publish("clickstream", b'{"type":"tick","timestamp":1}', partition=lane)
    plan = repartition(ready, NEW, 7_000, dry_run=True)
    assert (plan.old, plan.new, plan.keys, plan.finished) == (OLD, NEW, 0, False)
    assert len(plan.growing) == 10
    assert describe(bootstrap)["clickstream"].partitions == OLD
    with Publisher(bootstrap) as bus:
        bus.publish("clickstream", track("Product Viewed", "anna", NOON), "anna")
    with pytest.raises(NotReadyError, match="1 records wait"):
        repartition(ready, NEW, 7_000)
    assert not repartition(ready, NEW, 7_000, with_lag=True).finished
    there = describe(bootstrap)
    assert {info.partitions for name, info in there.items() if name not in {"training", "verdicts"}} == {NEW}
    assert there["training"].partitions == 3
    assert repartition(ready, NEW, 8_000).finished
    entries = [decode_entry(packed) for one in dumps(client) for _, packed in one.outbox]
    assert sum(b'"kind":"split"' in output.value for entry in entries for output in entry.outputs) == NEW
