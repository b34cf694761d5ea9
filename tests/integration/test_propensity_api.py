"""Other services ask for propensities by HTTP: the answer is what the profile and the newest snapshot say."""

import json
import math
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis

from models.brain import Brain
from models.learners.envelope import Envelope
from models.wire import lane_of
from services.state import keys
from services.state.propensities import told
from services.state.redis_lane import connect
from support.goals import goal_scores
from support.lane import DAY_MS, LaneRig, definitions, ms, order
from support.page import PageServer
from support.redis import RedisServer

LANES = 4
START = ms("2010-03-01 08:00")
GOAL = {"id": "buy", "event": "Order Completed", "horizon": "30d", "description": "Orders again", "min_orders": 1}
FILE = "id: buy\nevent: Order Completed\nhorizon: 30d\ndescription: Orders again\nmin_orders: 1\n"


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    found = connect(redis_server.url)
    found.flushdb()
    yield found
    found.flushdb()
    found.close()


@pytest.fixture
def page(redis_server: RedisServer, client: redis.Redis, tmp_path: Path) -> Iterator[PageServer]:
    (tmp_path / "goals").mkdir()
    (tmp_path / "goals" / "buy.yaml").write_text(FILE)
    with PageServer(redis_server.url, KAIROS_CONFIG_DIR=str(tmp_path), KAIROS_LANES=str(LANES)) as server:
        yield server


def test_it_tells_the_score_and_why(client: redis.Redis, page: PageServer) -> None:
    rig = LaneRig(Brain(definitions(goals=[GOAL])))
    rig.feed("purchases", order("anna", START, 20.0))
    rig.until(START + 3 * DAY_MS)
    lane = lane_of("anna", LANES)
    client.set(keys.profile(lane, "anna"), rig.memory.profiles["anna"])
    client.set(keys.state(lane), rig.memory.state or b"")
    before = json.loads(page.get("/v1/propensities?user=anna"))
    assert before["snapshot"] == 0
    assert [(one["probability"], one["note"]) for one in before["propensities"]] == [(None, "not learned yet")]

    scores = goal_scores(rig.brain, bias=-0.3, order_recency=-0.5, purchases=1.0, version=4)
    packed = msgspec.msgpack.encode(scores.payload)
    envelope = Envelope(
        name="goals", schema=1, library="", version=4, created_ms=0, meta={}, payload=packed
    )  # fmt: skip
    client.set(keys.snapshot("goals", 4), envelope.to_bytes())
    client.set(keys.snapshot_latest("goals"), 4)
    found = json.loads(page.get("/v1/propensities?user=anna"))
    at = START + 3 * DAY_MS
    assert (found["user"], found["snapshot"], found["at"]) == ("anna", 4, at)
    (one,) = found["propensities"]
    (expected,) = told(rig.profile("anna"), at // 1000, rig.brain.goals.with_scores(scores))
    assert one == msgspec.to_builtins(expected)
    odds = one["base"] + one["others"] + sum(reason["share"] for reason in one["reasons"])
    assert one["probability"] == pytest.approx(1 / (1 + math.exp(-odds)), abs=2e-4)
    assert {reason["text"] for reason in one["reasons"]} == {"last order 3 days ago", "ordered on 1 day so far"}


def test_nobody_is_nobody(page: PageServer) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        page.get("/v1/propensities?user=nobody")
    assert caught.value.code == 404
    assert json.loads(caught.value.read()) == {"error": "unknown_user", "user": "nobody"}
