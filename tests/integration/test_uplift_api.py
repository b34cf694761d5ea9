"""Other services ask for uplift by HTTP: of every campaign with a control group, and of a user."""

import json
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis

from models.brain import Brain
from models.features.goals import raw
from models.learners.envelope import Envelope
from models.wire import lane_of
from services.state import keys
from services.state.redis_lane import connect
from support.lane import DAY_MS, LaneRig, definitions, ms, order
from support.page import PageServer
from support.ports import wait_until
from support.redis import RedisServer
from support.uplift import uplift_scores

LANES = 4
START = ms("2010-03-01 08:00")
CONTROL = {
    "id": "nudge-control",
    "variants": [{"id": "none", "weight": 0.5}, {"id": "message", "weight": 0.5}],
    "expose_on": "message",
    "metrics": [{"id": "ordered", "event": "Order Completed", "within": "7d"}],
}
NUDGE = {
    "id": "nudge",
    "description": "Comes back",
    "trigger": {"on": "event", "event": "Product Added"},
    "channel": "log",
    "template": "nudge",
    "control": "nudge-control",
}


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    found = connect(redis_server.url)
    found.flushdb()
    yield found
    found.flushdb()
    found.close()


@pytest.fixture
def page(redis_server: RedisServer, client: redis.Redis, tmp_path: Path) -> Iterator[PageServer]:
    for kind, made in (("campaigns", NUDGE), ("experiments", CONTROL)):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "one.yaml").write_text(json.dumps(made))
    with PageServer(redis_server.url, KAIROS_CONFIG_DIR=str(tmp_path), KAIROS_LANES=str(LANES)) as server:
        yield server


def test_it_tells_campaigns_and_users(client: redis.Redis, page: PageServer) -> None:
    rig = LaneRig(Brain(definitions(campaigns=[NUDGE], experiments=[CONTROL])))
    rig.feed("purchases", order("anna", START))
    at = START + 3 * DAY_MS
    rig.until(at)
    lane = lane_of("anna", LANES)
    client.set(keys.profile(lane, "anna"), rig.memory.profiles["anna"])
    client.set(keys.state(lane), rig.memory.state or b"")
    before = json.loads(page.get("/v1/uplift?user=anna"))
    (one,) = before["uplift"]
    assert (before["snapshot"], one["uplift"], one["note"]) == (0, None, "not learned yet")
    (young,) = json.loads(page.get("/v1/uplift"))["campaigns"]
    assert (young["campaign"], young["learned"], young["effect"]) == ("nudge", False, None)

    scores = uplift_scores(rig.brain, effect=0.4, purchases=1.0, version=4)
    code = rig.brain.uplift.subjects[0].code
    found = {"campaign": "nudge", "learned": True, "treated": 900, "held_out": 800, "effect": 0.03, "effect_low": 0.01}
    envelope = Envelope(
        name="uplift",
        schema=1,
        library="",
        version=4,
        created_ms=0,
        meta={"campaigns": {str(code): found | {"effect_high": 0.05, "groups": [{"users": 20, "told": 0.1}]}}},
        payload=msgspec.msgpack.encode(scores.payload),
    )
    client.set(keys.snapshot("uplift", 4), envelope.to_bytes())
    client.set(keys.snapshot_latest("uplift"), 4)
    (one,) = json.loads(page.get("/v1/uplift"))["campaigns"]
    assert {name: one[name] for name in found} == found
    assert (one["conversion"], one["control"]) == ("Order Completed", "nudge-control")
    told = json.loads(page.get("/v1/uplift?user=anna"))
    assert (told["user"], told["snapshot"], told["at"]) == ("anna", 4, at)
    x = raw(rig.profile("anna"), at // 1000)
    assert told["uplift"][0]["uplift"] == rig.brain.uplift.with_scores(scores).of("nudge", x, {})
    assert told["uplift"][0]["uplift"] > 0.1


def test_health_and_fairness_are_told(client: redis.Redis, page: PageServer, tmp_path: Path) -> None:
    client.hset(keys.model_health("uplift"), "nudge", b'{"learned":true,"examples":700,"newest_ms":9,"drifts":1}')
    client.hset(keys.model_health("goals"), "broken", b"{")
    rows = {(one["model"], one["score"]): one for one in json.loads(page.get("/v1/models"))["models"]}
    assert rows["uplift", "nudge"]["state"] == "fine"
    assert rows["uplift", "nudge"]["health"]["examples"] == 700
    assert rows["goals", "broken"]["state"] == rows["churn", "churn"]["state"] == "not learned yet"
    assert json.loads(page.get("/v1/fairness")) == {"fairness": []}
    client.hset(keys.counters(1, "fair:sex"), mapping={"messages|f|n": 500, "messages|f|yes": 400, "messages|m|n": 300})
    (tmp_path / "policy.yaml").write_text("fairness: {attribute: sex, values: [f, m], what: [messages]}")
    wait_until(lambda: bool(json.loads(page.get("/v1/fairness"))["fairness"]), "the file is taken", 20, 0.2)
    (one,) = json.loads(page.get("/v1/fairness"))["fairness"]
    assert (one["verdict"], [group["value"] for group in one["groups"]]) == ("uneven", ["f", "m"])


def test_nobody_is_nobody(page: PageServer) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        page.get("/v1/uplift?user=nobody")
    assert caught.value.code == 404
    assert json.loads(caught.value.read()) == {"error": "unknown_user", "user": "nobody"}
