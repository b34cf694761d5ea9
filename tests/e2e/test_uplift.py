"""A message that helps some and puts off others: learn finds whom, a campaign goes by it, and the audit agrees."""

import json
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from config.loader import load_definitions
from config.settings import Settings
from config.topics import INPUT_NAMES
from models.experiments.trial import Trial
from services.bus import Publisher, create_topics
from services.bus.reader import read_topic
from services.cli.main import app
from services.embedded.stack import EmbeddedStack
from services.jobs.audit import run_audit
from services.state.lanes import read_watermarks
from services.state.live import worker_figures
from services.state.redis_lane import connect
from services.state.snapshots import SnapshotReader
from support.kafka import KafkaServer
from support.lane import DAY_MS, HOUR_MS, MINUTE_MS, ms, tick, track
from support.ports import wait_until
from support.redis import RedisServer, redis_binary

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
LANES = 2
START = ms("2010-03-01 08:00")
USERS, DAYS = 300, 8
FILES = {
    "experiments/nudge-control.yaml": """
id: nudge-control
variants: [{id: none, weight: 0.5}, {id: message, weight: 0.5}]
expose_on: message
metrics: [{id: signed, event: Signed Up, within: 12h}]
""",
    "campaigns/nudge.yaml": """
id: nudge
trigger: {on: event, event: Product Added}
channel: log
template: nudge
control: nudge-control
conversion: {event: Signed Up, within: 12h}
""",
    "campaigns/ask.yaml": """
id: ask
trigger: {on: event, event: Asked}
when: user.uplift['nudge'] >= 0.1
channel: log
template: nudge
purpose: transactional
""",
    "templates/nudge.txt": "Come and join us.",
}


@pytest.fixture
def stack(jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedStack]:
    """Decide and learn on Apache Kafka and the system's Redis, with a campaign that has a control group."""
    folder = tmp_path / "config"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with (
        KafkaServer(jars) as kafka,
        RedisServer(redis_binary()) as redis,
        EmbeddedStack(
            tmp_path / "data",
            create_topics,
            roles=("decide", "learn"),
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


def day(bus: Publisher, number: int, rng: random.Random, trial: Trial) -> int:
    """A day of the shop: the message helps whoever looks at much, and puts off the others."""
    begin = START + number * DAY_MS
    for n in range(USERS):
        user, keen, at = f"u{n}", n % 2 == 0, begin + n * 1000
        for view in range(rng.randint(6, 9) if keen else rng.randint(1, 2)):
            bus.publish("clickstream", track("Product Viewed", user, at + view * MINUTE_MS), user)
        bus.publish("clickstream", track("Product Added", user, at + HOUR_MS, product_id="p1"), user)
        treated = trial.variant(user) == "message"
        chance = (0.6 if treated else 0.1) if keen else (0.1 if treated else 0.4)
        if rng.random() < chance:
            bus.publish("clickstream", track("Signed Up", user, at + 5 * HOUR_MS), user)
        if number == DAYS - 1:
            bus.publish("clickstream", track("Asked", user, at + 20 * HOUR_MS), user)
    end = begin + DAY_MS - 1
    for topic in INPUT_NAMES:
        for lane in range(LANES):
            bus.publish(topic, tick(end), None, lane)
    bus.flush()
    return end


def kairos(*words: str) -> Any:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) if "--json" in words else done.stdout


def values(stack: EmbeddedStack, topic: str) -> list[dict[str, Any]]:
    return [msgspec.json.decode(record.value or b"{}") for record in read_topic(stack.bootstrap, topic)]


def test_whom_a_message_changes_is_found(stack: EmbeddedStack) -> None:
    rng = random.Random(4)
    url = stack.env()["KAIROS_REDIS__URL"]
    trial = Trial(load_definitions(Settings().config_dir).experiment_by_id["nudge-control"])
    with closing(connect(url)) as client, Publisher(stack.bootstrap) as bus:

        def roles() -> set[str]:
            return {one["role"] for one in worker_figures(client)}

        def used() -> int:
            return next((one["snapshots"]["uplift"] for one in worker_figures(client) if one["role"] == "decide"), 0)

        def newest() -> int:
            return SnapshotReader(client).latest(["uplift"]).get("uplift", 0)

        def learned() -> int:
            meta = SnapshotReader(client).load("uplift", newest()).meta["campaigns"] if newest() else {}
            return sum(one["examples"] for one in meta.values())

        wait_until(lambda: roles() == {"decide", "learn"}, "both run", 60, 0.2)
        for number in range(DAYS):
            end = day(bus, number, rng, trial)
            wait_until(lambda: min(read_watermarks(client, LANES).values()) >= end, "the day is applied", 60, 0.05)  # noqa: B023
            told = sum(one["type"] == "uplift" for one in values(stack, "training"))
            wait_until(lambda: learned() >= told, "its outcomes are learned", 60, 0.2)  # noqa: B023
            wait_until(lambda: used() == newest(), "it is used", 30, 0.1)

    (found,) = kairos("uplift", "--json")["campaigns"]
    assert found["learned"]
    assert found["treated"] + found["held_out"] >= USERS * (DAYS - 2)
    assert found["effect_low"] < found["effect"] < found["effect_high"]
    assert found["judged"] > USERS
    assert found["qini"] > 0.15
    first, *_, last = found["groups"]
    assert first["effect"] > 0.2 > -0.1 > last["effect"]
    assert "nudge" in kairos("uplift")

    # A campaign goes by it.
    asked = {int(one["user"][1:]) for one in values(stack, "messages") if one["campaign"] == "ask"}
    assert len(asked) > USERS // 3
    assert sum(n % 2 == 0 for n in asked) > 0.9 * len(asked)

    # What anybody is told.
    (keen,) = kairos("uplift", "u0", "--json")["uplift"]
    (other,) = kairos("uplift", "u1", "--json")["uplift"]
    assert keen["uplift"] > 0.1
    assert other["uplift"] < 0.0
    assert "do not disturb" in kairos("uplift", "u1")
    assert CliRunner().invoke(app, ["uplift", "nobody"]).exit_code == 1

    report = run_audit(Settings())
    assert report.ok, report.sentences()
    versions = {one["versions"]["uplift"] for one in values(stack, "journal")}
    assert len(versions) > 2, "decisions were made with several versions, and the audit replayed each"
