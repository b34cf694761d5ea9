"""The contract of a lane's state, over both implementations; and what only a real Redis can show."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
import redis

from models.brain import Brain
from models.errors import FenceError, TransientError
from models.lane import decode_fence, decode_state
from services.state import keys
from services.state.counters import read_counters, read_lane_counters
from services.state.lane_dump import dump_lane
from services.state.lanes import read_fences, read_lanes, read_watermarks
from services.state.step import begin, open_lane, read_position, work
from services.state.store import Change, LaneStore, MemoryLaneStore
from support.lane import HOUR_MS, LaneRig, identify, ms, order, shipped, tick, track
from support.lane_store import BlockingLaneStore
from support.ports import LOOPBACK, wait_until
from support.redis import RedisServer

LANE = 3
NOON = ms("2010-03-01 12:00")


class Stores:
    """Makes stores that share one state: owners of the same lane."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._memory = MemoryLaneStore()
        self.made: list[BlockingLaneStore] = []

    def owner(self) -> LaneStore:
        if self._url is None:
            return self._memory
        store = BlockingLaneStore(self._url, LANE)
        self.made.append(store)
        return store


@pytest.fixture
def url(single_redis: RedisServer) -> str:
    with closing(redis.Redis.from_url(single_redis.url)) as client:
        client.flushall()
    return single_redis.url


@pytest.fixture(params=["memory", "redis"])
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    made = Stores(None if request.param == "memory" else request.getfixturevalue("url"))
    yield made
    for store in made.made:
        store.close()


Opened = Callable[..., BlockingLaneStore]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """`BlockingLaneStore`, closed at the end."""
    made: list[BlockingLaneStore] = []

    def make(address: str, lane: int = LANE, timeout_ms: int = 10_000) -> BlockingLaneStore:
        made.append(BlockingLaneStore(address, lane, timeout_ms))
        return made[-1]

    yield make
    for store in made:
        store.close()


def look(store: LaneStore, *users: str, due_until: int | None = None, limit: int = 1000) -> Any:
    return store.load(due_until, limit, lambda due: [*users, *due])


def change(seq: int, **parts: Any) -> Change:
    return Change(fence=b"fence-%d" % seq, state=b"state-%d" % seq, seq=seq, **parts)


# ------------------------------------------------------------------ the contract


def test_an_empty_lane(stores: Stores) -> None:
    store = stores.owner()
    loaded = look(store, "anna", due_until=5)
    assert (loaded.fence, loaded.state, loaded.profiles, loaded.due) == (None, None, [None], [])
    assert store.pending() == []


def test_what_was_written_is_read(stores: Stores) -> None:
    store = stores.owner()
    look(store)
    due = store.commit(
        change(
            1,
            profiles={"anna": b"A", "Bjørn {p0} *?[": b"B"},
            offers={"anna": b"[]"},
            counters={"exp:x": {"a": 2, "b": -1}, "camp:y": {"sent": 1}},
            due={"anna": 500, "ben": 300},
            outbox=b"decided",
        )
    )
    assert due == 300
    loaded = look(store, "anna", "nobody", "Bjørn {p0} *?[")
    assert (loaded.fence, loaded.state, loaded.profiles) == (b"fence-1", b"state-1", [b"A", None, b"B"])
    assert store.pending() == [(1, b"decided")]
    assert store.commit(change(2, counters={"exp:x": {"a": 3}}, due={"ben": 0, "carl": 0}, published=[1])) == 500
    assert store.pending() == []
    look(store)
    assert store.commit(change(3, due={"anna": 0})) is None


def test_due_users_come_earliest_first_and_not_more_than_asked(stores: Stores) -> None:
    store = stores.owner()
    look(store)
    store.commit(change(1, due={"d": 4, "b": 2, "z": 2, "é": 2, "c": 9, "a": 3}, profiles={"b": b"B"}))
    loaded = look(store, "x", due_until=4, limit=10)
    assert loaded.due == ["b", "z", "é", "a", "d"]
    assert loaded.profiles == [None, b"B", None, None, None, None]
    assert look(store, due_until=4, limit=2).due == ["b", "z"]
    assert look(store, due_until=1).due == []
    assert look(store, due_until=None).due == []


def test_outbox_entries_stay_in_order_until_they_are_deleted(stores: Stores) -> None:
    store = stores.owner()
    for seq in (1, 2, 9, 10, 11):
        look(store)
        store.commit(change(seq, outbox=b"%d" % seq, published=[2] if seq == 10 else ()))
    assert stores.owner().pending() == [(1, b"1"), (9, b"9"), (10, b"10"), (11, b"11")]


def test_no_commit_without_a_load_nor_twice(stores: Stores) -> None:
    store = stores.owner()
    with pytest.raises(FenceError):
        store.commit(change(1))
    look(store)
    store.commit(change(1))
    with pytest.raises(FenceError):
        store.commit(change(2))
    assert look(store).fence == b"fence-1"


def test_the_owner_who_comes_second_writes_nothing(url: str, opened: Opened) -> None:
    """The fence moves between a load and its commit: every part of the transaction is left out."""
    zombie, owner = opened(url), opened(url)
    look(zombie, "anna")
    look(owner, "anna")
    owner.commit(change(1, profiles={"anna": b"new"}, outbox=b"new"))
    with pytest.raises(FenceError):
        zombie.commit(
            change(
                1,
                profiles={"anna": b"old", "ben": b"old"},
                offers={"ben": b"old"},
                counters={"exp:x": {"a": 1}},
                due={"ben": 5},
                outbox=b"old",
                published=[1],
            )
        )
    loaded = look(owner, "anna", "ben", due_until=10)
    assert (loaded.fence, loaded.profiles, loaded.due) == (b"fence-1", [b"new", None], [])
    assert owner.pending() == [(1, b"new")]
    with closing(redis.Redis.from_url(url)) as client:
        assert read_lane_counters(client, LANE) == {}
        assert client.get(keys.offers(LANE, "ben")) is None
    look(zombie, "anna")  # it loads again, and goes on from what is there
    zombie.commit(change(2))


def test_owners_in_a_race_never_lose_a_count(url: str) -> None:
    """Four owners, each adding one per transaction and loading again after a FenceError."""
    won: list[int] = []

    def own() -> None:
        store = BlockingLaneStore(url, LANE)
        mine = 0
        while mine < 40:
            loaded = look(store)
            seq = int((loaded.fence or b"fence-0").split(b"-")[1]) + 1
            try:
                store.commit(change(seq, counters={"exp:x": {"n": 1}}))
            except FenceError:
                continue
            mine += 1
            won.append(seq)
        store.close()

    threads = [threading.Thread(target=own) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(1, 161))
    with closing(redis.Redis.from_url(url)) as client:
        assert read_lane_counters(client, LANE) == {"exp:x": {"n": 160}}


def test_readers_from_outside(url: str, opened: Opened) -> None:
    rig = LaneRig(shipped(), opened(url, 0), lane=0, lanes=1)
    rig.feed("purchases", order("anna", NOON))
    rig.until(NOON + HOUR_MS)
    with closing(redis.Redis.from_url(url)) as client:
        assert read_lanes(client, 2)[0] == rig.state
        assert read_lanes(client, 2)[1].received == 0
        assert read_watermarks(client, 1) == {0: NOON + HOUR_MS}
        assert read_fences(client, [0, 1])[0].offsets == (1, 2, 1, 1)
        assert read_fences(client, [0, 1])[1].seq == 0
        assert read_fences(client, []) == {}
        assert read_counters(client, 2)["camp:order-thanks"]["decided"] == 1


# ------------------------------------------------------------------ memory and Redis say the same


def story(rig: LaneRig) -> None:
    for user in ("anna", "Bjørn", "u*?["):
        rig.feed("profiles", identify(user, NOON - HOUR_MS, email="a@x.test", consent={"email": True}))
        rig.feed("clickstream", track("Product Added", user, NOON, product_id="p1", name="Lantern"), b"broken")
    rig.feed("purchases", order("anna", NOON + 1), order("anna", NOON + 1), tick(NOON + 2))
    rig.until(NOON + 30 * 24 * HOUR_MS)


def test_a_lane_in_redis_equals_one_in_memory(url: str, opened: Opened) -> None:
    memory, real = LaneRig(shipped()), LaneRig(shipped(), opened(url, 0))
    for rig in (memory, real):
        story(rig)
    with closing(redis.Redis.from_url(url)) as client:
        dump = dump_lane(client, 0)
    store = memory.memory
    assert (dump.fence, dump.state, dump.profiles, dump.offers) == (
        store.fence,
        store.state,
        store.profiles,
        store.offers,
    )
    assert (dump.counters, dump.timers, dump.outbox) == (store.counters, store.timers, store.pending())
    assert memory.published.outputs == real.published.outputs


# ------------------------------------------------------------------ a connection that breaks


class CuttingProxy:
    """Between a client and Redis; on demand it passes a transaction on and cuts the connection before the answer."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut_after = b""
        self.cuts = 0
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((LOOPBACK, self._target))
                self._sockets += [client, server]
                stop = threading.Event()
                threading.Thread(target=self._forward, args=(client, server, stop), daemon=True).start()
                threading.Thread(target=self._back, args=(server, client, stop), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket, stop: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if self.cut_after and self.cut_after in data:
                    stop.set()  # before it is sent on: the answer must not get through
                    self.cut_after = b""
                server.sendall(data)

    def _back(self, server: socket.socket, client: socket.socket, stop: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if stop.is_set():
                    self.cuts += 1
                    client.shutdown(socket.SHUT_RDWR)
                    break
                client.sendall(data)

    def close(self) -> None:
        self._listener.close()
        for one in self._sockets:
            one.close()


@pytest.fixture
def proxy(single_redis: RedisServer, url: str) -> Iterator[CuttingProxy]:
    made = CuttingProxy(single_redis.port)
    yield made
    made.close()


def test_a_reply_cut_off_after_exec_was_applied_once(proxy: CuttingProxy, url: str, opened: Opened) -> None:
    store = opened(proxy.url)
    look(store)
    store.commit(change(1, counters={"exp:x": {"n": 1}}))
    look(store)
    proxy.cut_after = b"EXEC"
    with pytest.raises(TransientError):
        store.commit(change(2, counters={"exp:x": {"n": 1}}, outbox=b"decided"))
    assert proxy.cuts == 1
    loaded = look(store)  # the same store, on a new connection
    assert loaded.fence == b"fence-2"
    assert store.pending() == [(2, b"decided")]
    with closing(redis.Redis.from_url(url)) as client:
        assert read_lane_counters(client, LANE) == {"exp:x": {"n": 2}}
    store.commit(change(3))


def test_a_command_cut_off_before_exec_was_not_applied(proxy: CuttingProxy, url: str, opened: Opened) -> None:
    """Nothing may be committed on a load that broke off, nor on the one before it."""
    store = opened(proxy.url)
    look(store)
    proxy.cut_after = b"MGET"
    with pytest.raises(TransientError):
        look(store)
    with pytest.raises((FenceError, TransientError)):
        store.commit(change(1, counters={"exp:x": {"n": 1}}))
    assert look(store).fence is None


def test_a_worker_goes_on_after_a_cut(proxy: CuttingProxy, url: str, opened: Opened) -> None:
    """By the rule of a lane: whatever fails, open again, read the fence, and go on from there. Nothing counts twice."""
    brain = Brain(shipped())
    rig = LaneRig(brain, opened(proxy.url, 0))
    start, end = rig.write("purchases", *(order(f"u{i}", NOON + i) for i in range(10)))
    proxy.cut_after = b"EXEC"
    with pytest.raises(TransientError):
        rig.apply("purchases", start, end)
    rig.store.commit(open_lane(rig.store, 0, 2, brain).change)
    rig.position = read_position(rig.store)
    assert rig.apply("purchases", start, end) is None  # the fence says that it is done
    assert rig.state.applied == rig.state.received == 10
    with closing(redis.Redis.from_url(url)) as client:
        assert read_lane_counters(client, 0)["camp:order-thanks"]["decided"] == 10


def test_a_zombie_s_batch_is_refused_by_the_next_owner_s_opening(url: str, opened: Opened) -> None:
    """A worker that was paused between its load and its commit, while another took the lane over."""
    brain = Brain(shipped())
    zombie = LaneRig(brain, opened(url, 0))
    start, end = zombie.write("purchases", order("anna", NOON))
    batch = zombie._read("purchases", start, end)
    loaded, users = begin(zombie.store, zombie.position, batch)
    late = work(loaded, users, batch, brain, ())
    owner = opened(url, 0)
    owner.commit(open_lane(owner, 0, 7, brain).change)
    with pytest.raises(FenceError):
        zombie.store.commit(late.change)
    loaded = look(owner)
    assert decode_fence(loaded.fence, 4).offsets == (-1, -1, -1, -1)
    assert decode_state(loaded.state, 4).epoch == 7


def test_no_redis_is_a_transient_error(opened: Opened) -> None:
    store = opened(f"redis://{LOOPBACK}:1/0", timeout_ms=200)
    with pytest.raises(TransientError):
        look(store)
    with pytest.raises(TransientError):
        store.pending()


def test_redis_that_does_not_answer_is_a_transient_error(opened: Opened) -> None:
    with RedisServer() as server:
        store = opened(server.url, timeout_ms=300)
        look(store)
        server.pause()
        with pytest.raises(TransientError):
            store.commit(change(1, counters={"exp:x": {"n": 1}}))
        server.resume()
        # Whether it was applied, only the fence says: here the server woke up and ran what lay in its socket.
        wait_until(lambda: _fence(server.url) is not None, "the paused transaction", 5)
        assert look(store).fence == b"fence-1"
        with closing(redis.Redis.from_url(server.url)) as client:
            assert read_lane_counters(client, LANE) == {"exp:x": {"n": 1}}


def _fence(address: str) -> bytes | None:
    with closing(redis.Redis.from_url(address)) as client:
        found: Any = client.get(keys.fence(LANE))
    return None if found is None else bytes(found)
