"""The state on a Redis Cluster of three nodes: lanes, models, the send ledger; slots that move, a node that fails."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from models.brain import Brain
from models.delivery import DeliverFence, is_same_run
from models.errors import TransientError
from models.lane import decode_fence, decode_state
from models.wire import lane_of
from services.state import keys
from services.state.counters import read_counters
from services.state.lane_dump import dump_lane
from services.state.lanes import read_fences
from services.state.learn_store import LearnStore
from services.state.ledger import Ledger
from services.state.live import LiveReader, publish_worker
from services.state.redis_lane import connect, run_id
from services.state.repartition import Repartition
from services.state.store import Change
from support.lane import LaneRig, ms, order, shipped, tick, track
from support.lane_store import BlockingLaneStore
from support.redis_cluster import RedisClusterServer

NOON = ms("2010-03-01 12:00")
LANES = 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisClusterServer]:
    with RedisClusterServer() as found:
        yield found


@pytest.fixture
def url(cluster: RedisClusterServer) -> str:
    for node in cluster.nodes:
        with node.client() as client:
            client.flushall()
    return cluster.url


def fed(store: BlockingLaneStore, lane: int, lanes: int = LANES) -> LaneRig:
    rig = LaneRig(Brain(shipped()), store, lane=lane, lanes=lanes)
    users = [user for user in (f"u{n}" for n in range(60)) if lane_of(user, lanes) == lane]
    rig.feed("clickstream", *(track("Product Viewed", user, NOON) for user in users))
    rig.feed("purchases", *(order(user, NOON + 1) for user in users))
    for topic in rig.logs:
        rig.apply(topic, *rig.write(topic, tick(NOON + 2)))
    return rig


def test_lanes_lie_on_all_nodes_and_are_read_together(url: str, cluster: RedisClusterServer) -> None:
    stores = [BlockingLaneStore(url, lane) for lane in range(LANES)]
    rigs = [fed(store, lane) for lane, store in enumerate(stores)]
    with closing(connect(url)) as client:
        fences = read_fences(client, range(LANES))
        assert [fences[lane] for lane in range(LANES)] == [rig.position.fence for rig in rigs]
        assert read_counters(client, LANES)
        dumps = [dump_lane(client, lane) for lane in range(LANES)]
        assert all(one.profiles and one.timers for one in dumps)
        Repartition(client, 2 * LANES, 7_000).freeze()
        work = Repartition(client, 2 * LANES, 7_000)
        work.copy(lambda _: None)
        work.remove(lambda _: None)
        work.free()
        after = [dump_lane(client, lane) for lane in range(2 * LANES)]
        assert {u for one in after for u in one.profiles} == {u for one in dumps for u in one.profiles}
        assert decode_state(after[-1].state, 4).lanes == 2 * LANES
    assert len({cluster.owner(keys.fence(lane)).port for lane in range(2 * LANES)}) > 1
    for store in stores:
        store.close()


def test_a_slot_moves_under_a_lane(url: str, cluster: RedisClusterServer) -> None:
    store = BlockingLaneStore(url, 1)
    rig = fed(store, 1)
    source = cluster.owner(keys.fence(1))
    store.load(None, 0, lambda due: due)
    target = cluster.move_slot(keys.fence(1))
    assert target.port != source.port
    with pytest.raises(TransientError):
        store.commit(rig.done[-1].change)
    loaded = store.load(None, 0, lambda due: due)  # at the new owner
    assert decode_fence(loaded.fence, 4) == rig.position.fence
    store.commit(Change(fence=b"\x92\x63\x94\x00\x00\x00\x00", state=loaded.state or b"", seq=99))
    with closing(connect(url)) as client:
        assert read_fences(client, [1])[1].seq == 99
    store.close()


def test_a_slot_in_the_middle_of_its_move_waits(url: str, cluster: RedisClusterServer) -> None:
    store = BlockingLaneStore(url, 2)
    rig = fed(store, 2)
    source = cluster.owner(keys.fence(2))
    target = cluster.move_slot(keys.fence(2), keys_too=False)
    with pytest.raises(TransientError):  # somebody whom the old node does not know may be at the new one
        store.load(None, 0, lambda due: ["a newcomer"])
    with source.client() as client:
        slot = int(client.execute_command("CLUSTER", "KEYSLOT", keys.fence(2)))
    cluster.finish_move(slot, source, target)
    deadline = time.monotonic() + 60
    while True:
        try:
            loaded = store.load(None, 0, lambda due: ["a newcomer"])
            break
        except TransientError:
            assert time.monotonic() < deadline
    assert decode_fence(loaded.fence, 4) == rig.position.fence
    store.close()


def test_learn_and_live_and_the_ledger(url: str) -> None:
    with closing(connect(url)) as client:
        learn = LearnStore(client)
        assert learn.commit("churn", None, 10, b"state", None)
        assert not learn.commit("churn", None, 11, b"other", None)
        assert learn.load("churn").offset == 10
        publish_worker(client, "decide", "w1", {"at": 1_000})
        run = run_id(client)
        assert run.count("+") == 2
    reader = LiveReader(url, LANES)
    assert reader.read_now((), ()).lanes.keys() == set(range(LANES))
    reader.close()
    asyncio.run(_ledger(url, run))


async def _ledger(url: str, run: str) -> None:
    ledger = Ledger(url)
    assert await ledger.run_id() == run
    assert not any(await asyncio.gather(*(ledger.handing(n % LANES, f"m{n}", "me", "t", 1) for n in range(50))))
    before, fence = await ledger.fence(3)
    assert fence is None
    assert await ledger.advance(3, before, DeliverFence(5, run))
    await ledger.require_run(run)
    await ledger.close()


def test_a_node_fails_over() -> None:
    with RedisClusterServer(replicas=True) as cluster:
        store = BlockingLaneStore(cluster.url, 1)
        rig = fed(store, 1)
        with closing(connect(cluster.url)) as client:
            before = run_id(client)
            cluster.owner(keys.fence(1)).kill()
            deadline, loaded = time.monotonic() + 90, None
            while loaded is None:
                try:
                    loaded = store.load(None, 0, lambda due: due)
                except TransientError:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            assert decode_fence(loaded.fence, 4).seq <= rig.position.fence.seq
            store.commit(Change(fence=loaded.fence or b"", state=loaded.state or b"", seq=99))
            after = ""
            while not after:
                try:
                    after = run_id(client)
                except TransientError:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            assert not is_same_run(before, after)
        store.close()
