"""Other services ask for value and segments by HTTP, people by commands: the answer is what conditions see."""

import json
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from typer.testing import CliRunner

from config.definitions import Definitions
from models.brain import Brain
from models.facts import Facts
from models.learners.envelope import Envelope
from models.learners.portraits import Portraits
from models.wire import lane_of
from services.cli.main import app
from services.state import keys
from services.state.redis_lane import connect
from services.state.snapshots import SnapshotReader
from support.facts import segments_of, value_of
from support.lane import DAY_MS, LaneRig, identify, ms, order
from support.page import PageServer
from support.redis import RedisServer

LANES = 4
START = ms("2010-03-01 08:00")


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    found = connect(redis_server.url)
    found.flushdb()
    yield found
    found.flushdb()
    found.close()


@pytest.fixture
def page(redis_server: RedisServer, client: redis.Redis, tmp_path: Path) -> Iterator[PageServer]:
    with PageServer(redis_server.url, KAIROS_CONFIG_DIR=str(tmp_path), KAIROS_LANES=str(LANES)) as server:
        yield server


def publish(client: redis.Redis, name: str, version: int, payload: Any) -> None:
    packed = msgspec.msgpack.encode(payload)
    envelope = Envelope(name=name, schema=1, library="", version=version, created_ms=0, meta={}, payload=packed)
    client.set(keys.snapshot(name, version), envelope.to_bytes())
    client.set(keys.snapshot_latest(name), version)


def test_it_tells_what_conditions_see(client: redis.Redis, page: PageServer) -> None:
    rig = LaneRig(Brain(Definitions()))
    rig.feed("purchases", order("anna", START, 20.0), order("anna", START + 10 * DAY_MS, 30.0))
    rig.until(START + 13 * DAY_MS)
    lane, at = lane_of("anna", LANES), START + 13 * DAY_MS
    client.set(keys.profile(lane, "anna"), rig.memory.profiles["anna"])
    client.set(keys.state(lane), rig.memory.state or b"")
    before = json.loads(page.get("/v1/value?user=anna"))
    assert (before["learned"], before["probability"], before["segment"]) == (False, None, "")
    assert before["basis"].startswith("not learned yet: by the customer's own")
    assert before["expected_value"] == before["own_pace"] > 0
    assert (before["expected_next_order_days"], before["next_order_at"]) == (7.0, at + 7 * DAY_MS)
    assert json.loads(page.get("/v1/segments"))["segments"] == []

    facts = Facts(value=value_of(80.0, 9.0), segments=segments_of())
    publish(client, "value", 5, facts.value.payload)
    publish(client, "segments", 3, facts.segments.payload)
    found = json.loads(page.get("/v1/value?user=anna"))
    profile = rig.profile("anna")
    assert (found["user"], found["at"], found["learned"]) == ("anna", at, True)
    assert found["expected_value"] == facts.tell("expected_value", profile, at)
    assert found["expected_next_order_days"] == facts.tell("expected_next_order_days", profile, at) == 9.0
    assert found["segment"] == facts.tell("segment", profile, at) == "new"
    assert found["snapshots"] == {"value": 5, "segments": 3, "portraits": 0}
    groups = json.loads(page.get("/v1/segments"))
    assert [one["name"] for one in groups["segments"]] == ["lapsed", "new"]
    client.set(keys.snapshot_latest("value"), 6)
    with pytest.raises(urllib.error.HTTPError) as caught:
        page.get("/v1/value?user=anna")
    assert (caught.value.code, json.loads(caught.value.read())) == (503, {"error": "not_readable"})


def test_nobody_is_nobody(page: PageServer) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        page.get("/v1/value?user=nobody")
    assert caught.value.code == 404
    assert json.loads(caught.value.read()) == {"error": "unknown_user", "user": "nobody"}


def test_portraits_from_profiles_to_what_a_user_is_told(
    client: redis.Redis, redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAIROS_REDIS__URL", redis_server.url)
    monkeypatch.setenv("KAIROS_LANES", str(LANES))
    rig = LaneRig(Brain(Definitions()))
    for number in range(90):
        kind = number % 3
        region = ("north", "south", "west")[kind]
        rig.feed("profiles", identify(f"u{number}", START, age=20 + 20 * kind + number % 5, region=region))
    for user, packed in rig.memory.profiles.items():
        client.set(keys.profile(lane_of(user, LANES), user), packed)

    def kairos(*words: str) -> Any:
        return CliRunner().invoke(app, [*words, "--data-dir", str(tmp_path)])

    assert kairos("segments").exit_code == 1, "nothing was learned of behaviour"
    done = kairos("segments", "--by", "attributes", "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "portraits.json").exists()
    read = Portraits.from_envelope(SnapshotReader(client).load("portraits", 1))
    assert read.payload is not None
    assert (len(read.payload.names), read.payload.users) == (3, 90)
    told = json.loads(kairos("value", "u1", "--json").stdout)
    assert "region south" in told["portrait"]
    assert told["segment"] == "prospect"
    assert "no order yet" in told["basis"]
    again = kairos(
        "segments", "--by", "attributes", "--attributes", "region", "--k", "2", "--out", str(tmp_path / "out")
    )
    assert again.exit_code == 0, again.output
    assert client.get(keys.snapshot_latest("portraits")) == b"2"
    assert kairos("segments", "--by", "attributes", "--attributes", "plan").exit_code == 2
    assert kairos("value", "nobody").exit_code == 1
