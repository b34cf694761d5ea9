"""Recommended lists through the real stack: shown, clicked, bought; a worker dies, and the audit agrees."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from config.settings import Settings
from config.topics import INPUT_NAMES
from services.bus import Publisher, create_topics
from services.bus.reader import read_topic
from services.cli.main import app
from services.embedded.stack import EmbeddedStack
from services.jobs.audit import run_audit
from services.state.lanes import read_watermarks
from services.state.redis_lane import connect
from support.kafka import KafkaServer
from support.lane import DAY_MS, HOUR_MS, ms, order, tick, track
from support.ports import wait_until
from support.redis import RedisServer, redis_binary

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
LANES = 2
START = ms("2010-03-01 08:00")
USERS = 120


@pytest.fixture
def stack(jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedStack]:
    """Decide on Apache Kafka and the system's Redis, with one offer."""
    folder = tmp_path / "config"
    (folder / "offers").mkdir(parents=True)
    (folder / "offers" / "plain.yaml").write_text("id: plain\nkind: item\ntext: '{item}'\n")
    (folder / "policy.yaml").write_text("recommendations: {within: 2d}\n")
    with (
        KafkaServer(jars) as kafka,
        RedisServer(redis_binary()) as redis,
        EmbeddedStack(
            tmp_path / "data",
            create_topics,
            roles=("decide",),
            lanes=LANES,
            kafka=kafka.bootstrap,
            redis_url=redis.url,
            config_dir=folder,
            ticker=False,
            settings={"KAIROS_STRICT_ORDER": "true"},
        ) as made,
    ):
        for name, value in made.env().items():
            monkeypatch.setenv(name, value)
        yield made


def decided(stack: EmbeddedStack) -> list[dict[str, Any]]:
    """Each decision once."""
    values = (msgspec.json.decode(record.value or b"{}") for record in read_topic(stack.bootstrap, "offers"))
    return list({one["id"]: one for one in values}.values())


def basket(user: int) -> list[dict[str, Any]]:
    return [{"product_id": f"p{user % 7 + each}", "name": "Thing", "price": 2.0} for each in range(4)]


def test_what_was_shown_is_counted_once(stack: EmbeddedStack) -> None:
    with closing(connect(stack.env()["KAIROS_REDIS__URL"])) as client, Publisher(stack.bootstrap) as bus:

        def until(at: int) -> None:
            for topic in INPUT_NAMES:
                for lane in range(LANES):
                    bus.publish(topic, tick(at), None, lane)
            bus.flush()
            wait_until(lambda: min(read_watermarks(client, LANES).values(), default=0) >= at, "time has come", 120, 0.1)

        for user in range(USERS):
            bus.publish("purchases", order(f"u{user}", START + user, products=basket(user)), f"u{user}")
        until(START + HOUR_MS)
        wait_until(lambda: len(decided(stack)) == USERS, "all have a list", 60, 0.2)
        at = START + 2 * HOUR_MS
        for one in decided(stack):
            user, items = one["user"], [offer["item"] for offer in one["offers"]]
            number = int(user[1:])
            products = [{"product_id": item, "position": place} for place, item in enumerate(items, 1)]
            view = track("Product List Viewed", user, at, list_id=one["id"], products=products)
            click = track("Product Clicked", user, at + 1, list_id=one["id"], product_id=items[number % 2])
            for value in (view, view, *([click, click] if number % 4 < 2 else [])):
                bus.publish("clickstream", value, user)
            if number == USERS // 2:
                bus.flush()
                os.kill(stack.supervisor.pids()["decide"], signal.SIGKILL)
        until(at + HOUR_MS)
        for one in decided(stack):
            number, item = int(one["user"][1:]), one["offers"][0]["item"]
            if number % 3 == 0:
                again = order(
                    one["user"], at + 2 * HOUR_MS, products=[{"product_id": item, "price": 3.0, "quantity": 2}]
                )
                bus.publish("purchases", again, one["user"])
        until(at + DAY_MS)
        done = CliRunner().invoke(app, ["recommendations", "--json"])
        assert done.exit_code == 0, done.output
        (told,) = json.loads(done.stdout)["lists"]
        places, total = told["places"], told["total"]
        assert (told["name"], told["rankings"], told["clicked_rankings"], told["stray"]) == (
            "offers",
            USERS,
            USERS // 2,
            0,
        )
        assert [places[str(place)]["shown"] for place in range(1, 5)] == [USERS] * 4
        assert [places[str(place)]["clicked"] for place in range(1, 5)] == [USERS // 4, USERS // 4, 0, 0]
        assert (places["1"]["bought"], total["units"], total["money_minor"]) == (
            USERS // 3,
            2 * USERS // 3,
            200 * USERS,
        )
        until(at + 4 * DAY_MS)  # windows end: nobody carries anything any more
        report = run_audit(Settings())
        assert report.ok, report.sentences()
    text = CliRunner().invoke(app, ["recommendations"]).stdout
    assert "shown 120 times" in text
    assert "Attributed, not caused" in text
