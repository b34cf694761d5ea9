"""What lanes counted of reviews, as people and other services read it from a real Redis."""

import json
import urllib.error
from collections.abc import Iterator

import pytest
import redis
from typer.testing import CliRunner

from models.reviews import KEY
from services.cli.main import app
from services.dashboard.build import build_reviews
from services.state import keys
from services.state.redis_lane import connect
from services.state.reviews import Reviewed, ReviewReader
from support.page import PageServer
from support.redis import RedisServer

LANES = 4


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    found = connect(redis_server.url)
    found.flushdb()
    yield found
    found.flushdb()
    found.close()


def counted(client: redis.Redis) -> None:
    """Reviews of three products in two lanes; the id of one looks like a field."""
    lanes = (
        {"n|p1": 3, "sum_e4|p1": 27_000, "positive|p1": 3, "n|a|b": 1, "sum_e4|a|b": 10_000, "positive|a|b": 1},
        {"n|p1": 1, "sum_e4|p1": -7_000, "negative|p1": 1, "n|p2": 20, "sum_e4|p2": -150_000, "negative|p2": 20},
    )
    for lane, fields in enumerate(lanes):
        for name, value in fields.items():
            client.hincrby(keys.counters(lane, KEY), name, value)


def test_lanes_are_added_and_products_ranked(client: redis.Redis) -> None:
    reader = ReviewReader(client, LANES)
    assert reader.ranked() == []
    counted(client)
    assert reader.ranked() == [
        Reviewed("p1", "", 4, 0.5, 3, 1, 0.2222),
        Reviewed("a|b", "", 1, 1.0, 1, 0, 0.1667),
        Reviewed("p2", "", 20, -0.75, 0, 20, -0.6),
    ]
    assert reader.of("p2") == reader.ranked()[2]
    assert reader.of("p9") is None


def test_services_ask_by_http(client: redis.Redis, redis_server: RedisServer) -> None:
    counted(client)
    with PageServer(redis_server.url, KAIROS_LANES=str(LANES)) as page:
        found = json.loads(page.get("/v1/reviews?top=1"))
        assert (found["products"], found["best"][0]["product"], found["worst"][0]["product"]) == (3, "p1", "p2")
        assert json.loads(page.get("/v1/reviews?product=a%7Cb"))["reviews"] == 1
        with pytest.raises(urllib.error.HTTPError) as caught:
            page.get("/v1/reviews?product=p9")
        assert caught.value.code == 404
        assert json.loads(caught.value.read())["error"] == "not_reviewed"
        live = json.loads(page.get("/api/live"))["reviews"]
        assert (live["products"], live["reviews"], live["worst"][0]["product"]) == (3, 25, "p2")


def test_the_command_tells(client: redis.Redis, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAIROS_REDIS__URL", redis_server.url)
    monkeypatch.setenv("KAIROS_KAFKA__BOOTSTRAP", "127.0.0.1:9")
    monkeypatch.setenv("KAIROS_LANES", str(LANES))
    nothing = CliRunner().invoke(app, ["reviews"])
    assert (nothing.exit_code, "Nobody reviewed a product yet" in nothing.output) == (1, True)
    counted(client)
    found = CliRunner().invoke(app, ["reviews"])
    assert found.exit_code == 0, found.output
    assert "+0.50" in found.output
    assert "lexicon" in found.output
    (one,) = json.loads(CliRunner().invoke(app, ["reviews", "p2", "--json"]).output)
    assert (one["reviews"], one["negative"]) == (20, 20)


def test_no_product_stands_in_both_lists() -> None:
    ranked = [Reviewed(f"p{n}", "", 1, 0.0, 0, 0, 0.0) for n in range(20)]
    for count in range(20):
        shown = build_reviews(ranked[:count])
        names = [one.product for one in (*shown.best, *shown.worst)]
        assert len(set(names)) == len(names) == min(count, 10)
