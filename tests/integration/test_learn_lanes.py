"""Two models that learn from one partition, over a real Redis: each goes on where it was, neither learns twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import pytest
import redis
from typer.testing import CliRunner

from models.decisions import BasketExample
from models.errors import FenceError
from models.learners.streamed.demand import DAY_MS, DemandModel, payload_of
from models.learners.streamed.recs import RecsModel
from services.cli.main import app
from services.state import keys
from services.state.learn_store import LearnStore
from services.state.redis_lane import connect
from services.state.snapshots import SnapshotReader
from streams.learn_lane import LearnLane, Pace
from streams.learn_lanes import LearnLanes
from streams.transport import Chunk
from support.any_redis import AnyRedis

COUNT = 40


@dataclass(frozen=True)
class Lying:
    """A record of `training`."""

    offset: int
    value: bytes
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    key: bytes | None = None
    timestamp: int = 0


def record(offset: int) -> Lying:
    example = BasketExample(
        id=str(offset),
        user=f"u{offset % 5}",
        at=(4 + 2 * offset) * DAY_MS,  # from a Monday on, an order every other day
        order_id=str(offset),
        items=[("tea", "Green tea", 500, 2)],
        history=[],
        categories=["drinks"],
    )
    return Lying(offset, msgspec.json.encode(example))


RECORDS = [record(offset) for offset in range(COUNT)]


def chunk(start: int, end: int) -> Chunk:
    return Chunk("training", 1, start, end, RECORDS[start:end], COUNT, 0.0, 1, 0)


@pytest.fixture
def client(redis_server: AnyRedis) -> Iterator[redis.Redis]:
    with connect(redis_server.url) as found:
        found.flushall()
        yield found


def lanes_of(client: redis.Redis) -> tuple[LearnLanes, LearnLane, LearnLane]:
    both = [LearnLane(name, LearnStore(client), lambda: 1, lambda: 0.0, Pace(0.0, 0.0)) for name in ("recs", "demand")]
    return LearnLanes(both), both[0], both[1]


def learned(lane: LearnLane) -> tuple[int, int]:
    """Baskets and offset."""
    model = lane.session.model
    assert isinstance(model, RecsModel | DemandModel)
    count = model.items.count if isinstance(model, RecsModel) else lane.session.learned_total
    return count, lane.session.offset


def test_each_goes_on_where_it_was(client: redis.Redis) -> None:
    lanes, recs, demand = lanes_of(client)
    assert lanes.load() is None
    assert lanes.apply(chunk(0, 20)).learned == 20
    lanes.commit()
    assert (learned(recs), learned(demand)) == ((20, 20), (20, 20))
    lanes.apply(chunk(20, 30))
    recs.commit()  # the process ends between the two
    lanes, recs, demand = lanes_of(client)
    assert lanes.load() == 20
    lanes.apply(chunk(20, COUNT))
    assert (learned(recs), learned(demand)) == ((COUNT, COUNT), (COUNT, COUNT))
    assert lanes.offset == COUNT
    lanes.commit(last=True)
    assert not lanes.commit_due()
    assert set(lanes.versions) == {"recs", "demand"}


def test_a_model_that_is_new_reads_from_the_start(client: redis.Redis) -> None:
    lanes, recs, _ = lanes_of(client)
    recs.load()
    recs.apply(chunk(0, 20))
    recs.commit()
    lanes, recs, demand = lanes_of(client)
    assert lanes.load() is None
    lanes.apply(chunk(0, COUNT))
    assert (learned(recs), learned(demand)) == ((COUNT, COUNT), (COUNT, COUNT))


def test_a_gap_is_refused_by_all(client: redis.Redis) -> None:
    lanes, _, _ = lanes_of(client)
    lanes.load()
    lanes.apply(chunk(0, 5))
    with pytest.raises(FenceError):
        lanes.apply(chunk(10, 20))


def test_forecast_is_in_redis_and_the_command_shows_it(client: redis.Redis, redis_server: AnyRedis) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KAIROS_KAFKA__BOOTSTRAP", "127.0.0.1:9")
        patch.setenv("KAIROS_REDIS__URL", redis_server.url)
        empty = CliRunner().invoke(app, ["demand"])
        assert empty.exit_code == 1
        assert "No week of orders is over yet" in empty.output
        lanes, _, _ = lanes_of(client)
        lanes.load()
        lanes.apply(chunk(0, COUNT))
        lanes.commit()
        reader = SnapshotReader(client)
        envelope = reader.load("demand", reader.latest(["demand"])["demand"])
        known = payload_of(envelope.schema, envelope.payload)
        assert known.series["product:tea"].last == [6.0, 8.0, 6.0, 8.0]
        assert 6.0 <= known.series["category:drinks"].next_week <= 8.0
        shown = CliRunner().invoke(app, ["demand", "green"])
        assert shown.exit_code == 0, shown.output
        assert "Green tea (tea)" in shown.output
        assert CliRunner().invoke(app, ["demand", "coffee"]).exit_code == 1
    assert client.exists(keys.learn_checkpoint("demand"))
