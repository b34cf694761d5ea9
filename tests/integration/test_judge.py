"""The judge on a real Redis: killed between any two lines, two at once, and with a Redis that goes back in time."""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
import redis

import services.judge
from config.overrides import Override
from models.experiments.document import Document
from models.experiments.record import Record, VerdictChanged
from services.judge import Judge
from services.state import keys
from services.state.experiments import ExperimentStore
from services.state.redis_lane import connect
from support.experiment_shop import ExperimentShop, experiment
from support.redis import RedisServer, redis_binary


class KilledError(BaseException):
    """The process ends here: nothing after it runs, no handler either."""


class Fuse:
    """Ends the process at one of the places that it is led through."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise KilledError


class MortalStore(ExperimentStore):
    """May end before and after each write."""

    def __init__(self, client: redis.Redis, fuse: Fuse) -> None:
        super().__init__(client)
        self._fuse = fuse

    def commit(self, before: bytes | None, record: Record, document: Document | None) -> bytes | None:
        self._fuse()
        found = super().commit(before, record, document)
        self._fuse()
        return found

    def decide(self, override: Override) -> bool:
        self._fuse()
        found = super().decide(override)
        self._fuse()
        return found


class Topic:
    """The topic `verdicts`: whatever was published, as often as it was."""

    def __init__(self) -> None:
        self.events: list[VerdictChanged] = []

    def publisher(self, fuse: Callable[[], None]) -> Callable[[Sequence[VerdictChanged]], None]:
        def publish(events: Sequence[VerdictChanged]) -> None:
            fuse()
            for event in events:
                self.events.append(event)
                fuse()

        return publish

    def read(self) -> Iterable[VerdictChanged]:
        return list(self.events)

    def once(self) -> list[VerdictChanged]:
        """Each event once, by id, as a consumer keeps them."""
        return list({event.id: event for event in self.events}.values())


@pytest.fixture
def client(redis_server: RedisServer) -> Iterable[redis.Redis]:
    found = connect(redis_server.url)
    found.flushdb()
    yield found
    found.flushdb()
    found.close()


def phases() -> list[ExperimentShop]:
    """The same shop at four moments: undecided, better, over, and over with all windows closed."""
    shops = []
    for late in range(4):
        shop = ExperimentShop(experiment(on_verdict="roll_out", metrics=[ORDERED]))
        shop.day(300, Order_Completed={"a": 0.2, "b": 0.2})
        shop.pass_time(3)
        if late:
            for _ in range(3):
                shop.day(300, Order_Completed={"a": 0.2, "b": 0.6})
            shop.pass_time(3 if late < 3 else 6)
        shops.append(shop)
    return shops


ORDERED = {"id": "ordered", "event": "Order Completed", "within": "1d"}
SHOPS = phases()


def a_life(client: redis.Redis, monkeypatch: pytest.MonkeyPatch, topic: Topic, die_at: int) -> int:
    """Judge all phases; a judge that ends is followed by another one. How often one ended."""
    fuse, ended = Fuse(die_at), 0
    monkeypatch.setattr(services.judge, "ExperimentStore", lambda one: MortalStore(one, fuse))
    judge = Judge(client, 1, topic.publisher(fuse), topic.read)
    for shop in SHOPS:
        shop.put(client)
        for _ in range(3):
            try:
                judge.turn(shop.experiments)
            except KilledError:
                ended += 1
                judge = Judge(client, 1, topic.publisher(fuse), topic.read)
    return ended


def left(client: redis.Redis) -> tuple[Any, Any, Any]:
    store = ExperimentStore(client)
    return store.load("test")[1], store.overrides(), store.result("test")


def test_killed_between_any_two_lines(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = Topic()
    assert a_life(client, monkeypatch, undisturbed, 0) == 0
    wanted, events = left(client), undisturbed.once()
    told = [(event.number, event.verdict, event.status, event.final) for event in events]
    assert told == [
        (1, "undecided", "running", 0),
        (2, "better", "rolled_out", 0),
        (3, "better", "rolled_out", 1),
    ]
    assert undisturbed.events == events
    places = 0
    for die_at in range(1, 100):
        client.flushdb()
        topic = Topic()
        if not a_life(client, monkeypatch, topic, die_at):
            break
        places += 1
        assert topic.once() == events, f"killed at {die_at}"
        assert left(client) == wanted, f"killed at {die_at}"
    assert places > 12


def test_two_at_once(client: redis.Redis) -> None:
    topic = Topic()
    lock = threading.Lock()
    failed: list[BaseException] = []

    def publish(events: Sequence[VerdictChanged]) -> None:
        with lock:
            topic.events.extend(events)

    def work(shop: ExperimentShop) -> None:
        own = client_of(client)
        judge = Judge(own, 1, publish, topic.read)
        try:
            for _ in range(8):
                judge.turn(shop.experiments)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failed.append(error)
        finally:
            own.close()

    for shop in SHOPS:
        shop.put(client)
        threads = [threading.Thread(target=work, args=(shop,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []
    assert [event.number for event in topic.once()] == [1, 2, 3]
    record, overrides, _ = left(client)
    assert (record.number, record.outbox, record.final) == (3, [], 1)
    assert overrides["test"].winner == "b"


def client_of(client: redis.Redis) -> redis.Redis:
    place = client.connection_pool.connection_kwargs
    return connect(f"redis://{place['host']}:{place['port']}/0")


def test_redis_goes_back_in_time() -> None:
    """It forgets the verdict, the roll-out and the final result; what was published stands."""
    topic = Topic()
    with RedisServer(redis_binary()) as server:
        client = connect(server.url)
        SHOPS[0].put(client)
        judge = Judge(client, 1, topic.publisher(lambda: None), topic.read)
        judge.turn(SHOPS[0].experiments)
        size = server.aof().stat().st_size
        for shop in SHOPS[1:]:
            shop.put(client)
            judge.turn(shop.experiments)
            judge.turn(shop.experiments)
        before, events = left(client), list(topic.events)
        assert [event.number for event in events] == [1, 2, 3]
        server.stop()
        with server.aof().open("rb+") as log:
            log.truncate(size)
        server.start()
        client.close()
        assert left(client)[1] == {}
        # The same judge goes on, with counters that are older than what was published.
        judge.turn(SHOPS[0].experiments)
        record, overrides, card = left(client)
        assert overrides == before[1]
        assert card == before[2]
        assert (record.number, record.told, record.final) == (3, before[0].told, 1)
        # The counters catch up; nothing is told twice, nothing is contradicted.
        for shop in SHOPS[1:]:
            shop.put(client)
            judge.turn(shop.experiments)
        assert topic.events == events
        assert left(client)[2] == before[2]
        client.close()


def test_one_that_cannot_be_judged_does_not_keep_the_others(client: redis.Redis) -> None:
    shop = ExperimentShop(experiment(), experiment(id="other"))
    shop.day(300, Order_Completed={"a": 0.2, "b": 0.2})
    shop.pass_time(3)
    shop.put(client)
    client.hset(keys.experiment("test"), "record", b"\x00nonsense")
    topic = Topic()
    done = Judge(client, 1, topic.publisher(lambda: None), topic.read).turn(shop.experiments)
    assert list(done.faults) == ["test"]
    assert "cannot be read" in done.faults["test"]
    assert [event.experiment for event in topic.events] == ["other"]


def test_a_decision_only_moves_on(client: redis.Redis) -> None:
    store = ExperimentStore(client)
    step = Override(experiment="x", step=2)
    assert store.decide(step)
    assert store.decide(step)
    assert not store.decide(Override(experiment="x", step=1))
    stop = Override(experiment="x", status="stopped", by="person", reason="enough")
    assert store.decide(stop)
    assert not store.decide(Override(experiment="x", step=3))
    assert store.overrides() == {"x": stop}
    client.hset(keys.OVERRIDES, "y", b"{")
    assert store.overrides() == {"x": stop}
