"""Checkpoints in a real Redis: a crash between any two steps neither skips nor repeats an example."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
import redis
import redis.client

from models.decisions import ChurnExample
from models.errors import FenceError, IncompatibleSnapshotError, TransientError
from models.learners.envelope import pack_state
from models.learners.session import LearnSession
from services.state import keys
from services.state.learn_store import LearnStore
from services.state.redis_lane import connect
from services.state.snapshots import SnapshotReader
from streams.learn_lane import LearnLane, Pace
from streams.transport import Chunk
from support.any_redis import AnyRedis
from support.redis import RedisServer

COUNT, SIZE = 120, 20


@dataclass(frozen=True)
class Lying:
    """A record of `training`."""

    offset: int
    value: bytes
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    key: bytes | None = None
    timestamp: int = 0


def record(offset: int) -> Lying:
    x = [offset % 90, 1 + offset % 7, 100 + offset, offset % 90 + 30, 150]
    example = ChurnExample(
        id=str(offset), user="u", at=offset, due=offset, known_at=offset, label=int(offset % 3 == 0), x=x
    )
    headers = [
        ("kairos-lane", b"0"),
        ("kairos-epoch", b"0"),
        ("kairos-seq", str(offset).encode()),
        ("kairos-n", b"0"),
    ]
    return Lying(offset, msgspec.json.encode(example), headers)


RECORDS = [record(offset) for offset in range(COUNT)]


def chunk(start: int, end: int, sought: int = 0) -> Chunk:
    return Chunk("training", 0, start, end, RECORDS[start:end], COUNT, 0.0, 1, sought)


def uninterrupted() -> LearnSession:
    session = LearnSession("churn")
    session.apply(RECORDS, 0, COUNT)
    return session


@pytest.fixture
def client(redis_server: AnyRedis) -> Iterator[redis.Redis]:
    with connect(redis_server.url) as found:
        found.flushall()
        yield found


def lane_of(client: redis.Redis) -> LearnLane:
    return LearnLane("churn", LearnStore(client), lambda: 42, lambda: 0.0, Pace(0.0, 0.0))


class CrashError(BaseException):
    """The process ends here."""


class Steps:
    """Counts steps and ends the process at one of them; some lie inside the commit's round trips."""

    def __init__(self, crash_at: int | None) -> None:
        self.crash_at, self.taken = crash_at, 0

    def __call__(self) -> None:
        self.taken += 1
        if self.taken == self.crash_at:
            raise CrashError


def work(client: redis.Redis, step: Steps) -> None:
    """Do what the learn role does, from an assignment to the end of the log."""
    lane = lane_of(client)
    step()
    position = lane.load() or 0
    step()
    while position < COUNT:
        lane.apply(chunk(position, min(position + SIZE, COUNT)))
        step()
        lane.commit()
        step()
        position += SIZE


def stepping(monkeypatch: pytest.MonkeyPatch, step: Steps) -> None:
    """Make every round trip of a commit a step of its own: before it was sent, and after it was executed."""
    execute = redis.client.Pipeline.execute
    watch: Any = redis.client.Pipeline.watch

    def stepped_execute(self: Any, *arguments: Any, **options: Any) -> Any:
        step()
        result = execute(self, *arguments, **options)
        step()
        return result

    def stepped_watch(self: Any, *names: Any) -> Any:
        step()
        result = watch(self, *names)
        step()
        return result

    monkeypatch.setattr(redis.client.Pipeline, "execute", stepped_execute)
    monkeypatch.setattr(redis.client.Pipeline, "watch", stepped_watch)


def test_crash_between_any_two_steps(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = pack_state(uninterrupted().model.snapshot())
    counter = Steps(None)
    with monkeypatch.context() as patch:
        stepping(patch, counter)
        work(client, counter)
    assert counter.taken >= 40, "steps inside the commits must be among them"
    for crash_at in range(1, counter.taken + 1):
        client.flushall()
        with monkeypatch.context() as patch:
            step = Steps(crash_at)
            stepping(patch, step)
            with pytest.raises(CrashError):
                work(client, step)
        work(client, Steps(None))
        survivor = lane_of(client)
        assert survivor.load() == COUNT
        assert survivor.session.learned_total == COUNT
        assert survivor.session.duplicates_total == 0
        assert pack_state(survivor.session.model.snapshot()) == expected, f"crash at step {crash_at}"
        version = survivor.session.version
        reader = SnapshotReader(client)
        assert reader.latest(["churn"]) == {"churn": version}
        assert reader.load("churn", version).meta["examples"] == COUNT


def test_zombie_cannot_overwrite_a_newer_checkpoint(client: redis.Redis) -> None:
    zombie, owner = lane_of(client), lane_of(client)
    for lane in (zombie, owner):
        lane.load()
    zombie.apply(chunk(0, 20))
    owner.apply(chunk(0, 20))
    owner.commit()
    owner.apply(chunk(20, 40))
    owner.commit()
    stored = client.hgetall(keys.learn_checkpoint("churn"))
    snapshots = {name: client.get(name) for name in client.scan_iter("snapshot:*")}
    with pytest.raises(FenceError, match="another learner"):
        zombie.commit()
    with pytest.raises(FenceError, match="not loaded"):
        zombie.apply(chunk(20, 40))
    assert not zombie.commit(last=True), "what it learned is void"
    assert client.hgetall(keys.learn_checkpoint("churn")) == stored
    assert {name: client.get(name) for name in client.scan_iter("snapshot:*")} == snapshots
    assert zombie.load() == 40
    zombie.apply(chunk(40, 60))
    assert zombie.commit(), "after loading it may go on"


def test_zombie_between_watch_and_exec(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    zombie, owner = lane_of(client), lane_of(client)
    for lane in (zombie, owner):
        lane.load()
        lane.apply(chunk(0, 20))
    hget = redis.client.Pipeline.hget
    moved: list[bool] = []

    def overtaken(self: Any, name: str, key: str) -> Any:
        found = hget(self, name, key)
        if not moved:
            moved.append(True)
            owner.commit()
        return found

    monkeypatch.setattr(redis.client.Pipeline, "hget", overtaken)
    with pytest.raises(FenceError):
        zombie.commit()
    assert SnapshotReader(client).latest(["churn"]) == {"churn": 1}


def test_redis_away_is_transient_and_nothing_is_trusted_after() -> None:
    with RedisServer() as server, connect(server.url, timeout_ms=500) as client:
        lane = lane_of(client)
        lane.load()
        lane.apply(chunk(0, 20))
        server.kill()
        with pytest.raises(TransientError):
            lane.commit()
        with pytest.raises(FenceError):
            lane.apply(chunk(20, 40))
        with pytest.raises(TransientError):
            lane.load()
        server.start()
        assert lane.load() is None
        lane.apply(chunk(0, 40))
        assert lane.commit()
        assert lane.load() == 40


def test_versions_count_up_and_old_ones_stay(client: redis.Redis) -> None:
    lane = lane_of(client)
    lane.load()
    for start in range(0, 60, 20):
        lane.apply(chunk(start, start + 20))
        lane.commit()
    reader = SnapshotReader(client)
    assert reader.latest(["churn", "recs"]) == {"churn": 3}
    assert [reader.load("churn", version).meta["examples"] for version in (1, 2, 3)] == [20, 40, 60]
    assert not lane.commit(), "nothing new"
    with pytest.raises(IncompatibleSnapshotError, match="not in Redis"):
        reader.load("churn", 9)
    client.delete(keys.learn_checkpoint("churn"))
    assert lane.load() is None
    lane.apply(chunk(0, 20))
    lane.commit()
    assert reader.latest(["churn"]) == {"churn": 4}, "a lost checkpoint must not rewrite versions that decisions name"


def test_pace_of_checkpoints_and_snapshots(client: redis.Redis) -> None:
    now = [0.0]
    lane = LearnLane("churn", LearnStore(client), lambda: 1, lambda: now[0], Pace(1.0, 2.0))
    lane.load()
    assert not lane.commit_due(), "nothing learned"
    reader = SnapshotReader(client)
    versions = []
    for place, second in enumerate((10.0, 10.5, 11.5, 12.4)):
        now[0] = second
        lane.apply(chunk(place * 20, place * 20 + 20))
        if lane.commit_due():
            lane.commit()
        versions.append((client.hget(keys.learn_checkpoint("churn"), "offset"), reader.latest(["churn"])["churn"]))
    assert versions == [(b"20", 1), (b"20", 1), (b"60", 1), (b"60", 1)]
    now[0] = 12.6
    assert lane.commit_due()
    lane.commit()
    assert reader.latest(["churn"]) == {"churn": 2}


def test_changed_model_is_published_without_a_new_example(client: redis.Redis) -> None:
    now = [0.0]
    lane = LearnLane("churn", LearnStore(client), lambda: 1, lambda: now[0], Pace(1.0, 5.0))
    lane.load()
    lane.apply(chunk(0, 20))
    lane.commit()
    now[0] = 2.0
    lane.apply(chunk(20, 40))
    lane.commit()
    reader = SnapshotReader(client)
    assert reader.latest(["churn"]) == {"churn": 1}
    now[0] = 7.0
    assert lane.commit_due()
    lane.commit()
    assert reader.load("churn", 2).meta["examples"] == 40
    assert not lane.commit_due()


def test_first_chunk_of_a_log_whose_start_is_gone(client: redis.Redis) -> None:
    lane = lane_of(client)
    lane.load()
    with pytest.raises(FenceError):  # read from 40 on, and the first chunk got lost
        lane.apply(chunk(50, 60, sought=40))
    lane.load()
    lane.apply(chunk(40, 60, sought=40))
    lane.commit()
    assert lane.load() == 60
    with pytest.raises(FenceError):
        lane.apply(chunk(80, 100))


def test_crash_in_the_middle_of_a_chunk_is_not_committed(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    lane = lane_of(client)
    lane.load()
    learn = lane.session.model.learn_many

    def broken(values: Sequence[bytes]) -> None:
        learn(values[:5])
        raise MemoryError

    monkeypatch.setattr(lane.session.model, "learn_many", broken)
    with pytest.raises(MemoryError):
        lane.apply(chunk(0, 20))
    assert not lane.commit(last=True)
    assert lane.load() is None
