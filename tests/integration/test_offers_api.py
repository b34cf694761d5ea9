"""Other services ask for products by HTTP: of all, or of candidates that they name."""

import json
import urllib.error
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis

from models.brain import Brain
from models.learners.envelope import Envelope
from models.learners.recommender import DAY_MS, Recommender
from models.offers.past import Past
from models.offers.recs import NAME, SCHEMA
from models.offers.stock import NAME as STOCK
from models.offers.stock import StockPayload
from models.profile.moved import Moved, encode_moved
from models.wire import lane_of
from services.state import keys
from services.state.redis_lane import connect
from support.lane import LaneRig, definitions, ms, order, track
from support.page import PageServer
from support.ports import wait_until
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
def page(redis_server: RedisServer, client: redis.Redis) -> Iterator[PageServer]:
    with PageServer(redis_server.url, KAIROS_LANES=str(LANES)) as server:
        yield server


def publish(client: redis.Redis, name: str, schema: int, version: int, payload: bytes) -> None:
    envelope = Envelope(
        name=name, schema=schema, library="", version=version, created_ms=0, meta={}, payload=payload
    )  # fmt: skip
    client.set(keys.snapshot(name, version), envelope.to_bytes())
    client.set(keys.snapshot_latest(name), version)


def shop() -> bytes:
    model = Recommender()
    for day in range(30):
        basket = [("p1", "Lantern", 2000, 1), ("oil", "Oil", 300, 1)] if day % 2 else [("tea", "Tea", 500, 1)]
        model.learn_basket(basket, Past.of(), START - (30 - day) * DAY_MS)
    return model.payload()


def ask(page: PageServer, user: str, **more: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(page.get(f"/v1/offers?{urllib.parse.urlencode({'user': user} | more)}"))
    return found


def items(found: dict[str, object]) -> list[str]:
    assert isinstance(found["items"], list)
    return [one["item"] for one in found["items"]]


def test_products_for_a_user(client: redis.Redis, page: PageServer) -> None:
    assert ask(page, "nobody")["items"] == []
    publish(client, NAME, SCHEMA, 3, shop())
    wait_until(lambda: ask(page, "nobody")["snapshot"] == 3, "the snapshot is taken", 30, 0.1)
    assert set(items(ask(page, "nobody"))) == {"p1", "oil", "tea"}  # what is popular
    assert ask(page, "nobody")["known"] is False

    rig = LaneRig(Brain(definitions()))
    rig.feed("purchases", order("anna", START))
    rig.feed("clickstream", track("Product Viewed", "anna", START + 60_000, product_id="tea"))
    lane = lane_of("anna", LANES)
    client.set(keys.profile(lane, "anna"), rig.memory.profiles["anna"])
    found = ask(page, "anna")
    assert found["known"] is True
    reasons = {one["item"]: one["reason"] for one in found["items"]}  # type: ignore[attr-defined]
    assert reasons["p1"] == "bought before"
    assert reasons["oil"] == "often bought with Lantern"

    chosen = ask(page, "anna", candidates="tea,oil,unheard-of")
    assert set(items(chosen)) == {"tea", "oil"}
    assert chosen["left_out"] == ["unheard-of"]
    assert items(ask(page, "anna", candidates="tea,oil", size="1")) == items(chosen)[:1]

    assert str(found["ranking"]).startswith("asked:")
    assert found["ranking"] == ask(page, "anna")["ranking"] != chosen["ranking"]

    moved = Moved(to="anna", at=START)
    client.set(keys.profile(lane_of("ann", LANES), "ann"), encode_moved(moved))
    assert ask(page, "ann")["user"] == "anna"

    publish(client, STOCK, 1, 2, msgspec.msgpack.encode(StockPayload(["oil"])))
    wait_until(lambda: ask(page, "anna")["stock"] == 2, "the stock is taken", 30, 0.1)
    assert "oil" not in items(ask(page, "anna"))
    assert ask(page, "anna", candidates="oil")["left_out"] == ["oil"]

    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(page, "anna", candidates=",".join(f"item-{number}" for number in range(501)))
    assert caught.value.code == 400
    assert json.loads(caught.value.read()) == {"error": "too_many_candidates", "most": 500}
    caught.value.close()


def test_a_list_comes_back_and_is_counted(redis_server: RedisServer, client: redis.Redis, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("recommendations: {lists: [home]}\n")
    publish(client, NAME, SCHEMA, 3, shop())
    with PageServer(redis_server.url, KAIROS_LANES=str(LANES), KAIROS_CONFIG_DIR=str(tmp_path)) as page:
        wait_until(lambda: ask(page, "bea")["snapshot"] == 3, "the snapshot is taken", 30, 0.1)
        found = ask(page, "bea", list="home")
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(page, "bea", list="cart")
        assert caught.value.code == 400
        assert json.loads(caught.value.read())["detail"].endswith("recommendations: {lists: [home, cart]}")
        caught.value.close()

        rig = LaneRig(Brain(definitions(policy={"recommendations": {"lists": ["home"]}})))
        products = [{"product_id": item, "position": place} for place, item in enumerate(items(found), 1)]
        rig.feed("clickstream", track("Product List Viewed", "bea", START, list_id=found["ranking"], products=products))
        rig.feed("clickstream", track("Product Clicked", "bea", START + 1, product_id=items(found)[1]))
        for name, counts in rig.memory.counters.items():
            client.hset(keys.counters(2, name), mapping={field: str(n) for field, n in counts.items()})
            client.sadd(keys.counter_names(2), name)
        told = json.loads(page.get("/v1/recommendations"))
        (one,) = told["lists"]
        assert (one["name"], one["rankings"], one["places"]["2"]["clicked"]) == ("home", 1, 1)
        assert one["places"]["1"]["click_rate"]["share"] == 0.0
        assert told["catalogue"] == 3
        assert "Attributed, not caused" in told["caution"][0]
