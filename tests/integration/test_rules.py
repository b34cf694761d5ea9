"""What is bought together, from the learn role's snapshot in a real Redis to the terminal, HTTP and the page."""

import json
from collections.abc import Iterator

import msgspec
import pytest
import redis
from typer.testing import CliRunner

from models.decisions import BasketExample
from models.learners.session import LearnSession
from services.cli.main import app
from services.state import keys
from services.state.redis_lane import connect
from support.page import PageServer
from support.redis import RedisServer


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    found = connect(redis_server.url)
    found.flushdb()
    yield found
    found.flushdb()
    found.close()


def published(client: redis.Redis) -> None:
    session = LearnSession("rules")
    for number in range(20):
        items = [("t", "Tea pot", 100, 1)] + ([("c", "Tea cup", 100, 1)] if number < 8 else [("x", "Lamp", 100, 1)])
        example = BasketExample(id=str(number), user="u", at=number, order_id=str(number), items=items, history=[])
        session.model.learn(msgspec.json.encode(example))
    session.model.learn(
        msgspec.json.encode(
            BasketExample(id="z", user="u", at=0, order_id="z", items=[("y", "Other", 1, 1)], history=[])
        )
    )
    session.changed = True
    envelope = session.snapshot(0)
    assert envelope is not None
    client.set(keys.snapshot("rules", envelope.version), envelope.to_bytes())
    client.set(keys.snapshot_latest("rules"), envelope.version)


def test_people_and_services_read_the_rules(
    client: redis.Redis, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAIROS_REDIS__URL", redis_server.url)
    monkeypatch.setenv("KAIROS_KAFKA__BOOTSTRAP", "127.0.0.1:9")
    nothing = CliRunner().invoke(app, ["rules"])
    assert (nothing.exit_code, "too little was bought" in nothing.output) == (1, True)
    published(client)
    found = CliRunner().invoke(app, ["rules", "c"])
    assert found.exit_code == 0, found.output
    for told in ("Tea cup (c)", "Tea pot (t)", "100.0%", "21 baskets", "counts are exact"):
        assert told in " ".join(found.output.split())
    every = json.loads(CliRunner().invoke(app, ["rules", "--json"]).output)
    assert {(one["given"], one["then"], one["baskets"]) for one in every} == {
        ("c", "t", 8), ("t", "c", 8), ("x", "t", 12), ("t", "x", 12),
    }  # fmt: skip
    with PageServer(redis_server.url) as page:
        answer = json.loads(page.get("/v1/rules?product=t&top=1"))
        assert (answer["of"], answer["rules"][0]["then"]) == (2, "x")
        assert json.loads(page.get("/v1/rules"))["of"] == 4
        assert len(json.loads(page.get("/api/live"))["together"]) == 4


def test_rules_of_another_version_are_told(client: redis.Redis, redis_server: RedisServer) -> None:
    client.set(keys.snapshot("rules", 1), b"no envelope")
    client.set(keys.snapshot_latest("rules"), 1)
    with PageServer(redis_server.url) as page:
        assert json.loads(page.get("/healthz")) == {"status": "ok"}
