"""One YAML file: decide asks, learn learns, decide scores with it and a campaign goes by it; the audit agrees."""

import json
import random
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
from services.state.live import worker_figures
from services.state.redis_lane import connect
from services.state.snapshots import SnapshotReader
from support.kafka import KafkaServer
from support.lane import DAY_MS, HOUR_MS, MINUTE_MS, identify, ms, tick, track
from support.ports import wait_until
from support.redis import RedisServer, redis_binary

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
LANES = 2
GOAL = """
id: sign
description: Signs up within a day
event: Signed Up
horizon: 1d
"""
UPGRADE = """
id: upgrade
event: Upgraded
horizon: 1d
attributes: [plan, country]
"""
CAMPAIGN = """
id: nudge
trigger: {on: event, event: Product Viewed}
when: user.propensity['sign'] >= 0.5
channel: log
template: nudge
purpose: transactional
cap: {max: 1, per: 365d}
"""
START = ms("2010-03-01 08:00")
USERS, DAYS = 400, 8


@pytest.fixture
def stack(jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedStack]:
    """Decide and learn on Apache Kafka and the system's Redis, with two goals and one campaign."""
    folder = tmp_path / "config"
    for name, text in (
        ("goals/sign.yaml", GOAL),
        ("goals/upgrade.yaml", UPGRADE),
        ("campaigns/nudge.yaml", CAMPAIGN),
        ("templates/nudge.txt", "Come and join us."),
    ):
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


def day(bus: Publisher, number: int, rng: random.Random) -> int:
    """A day of the shop: whoever looks at much signs up in the evening, and only the plan tells who upgrades."""
    begin = START + number * DAY_MS
    for user in range(USERS):
        eager = user % 4 == 0
        at = begin + user * 1000
        for view in range(rng.randint(6, 9) if eager else rng.randint(1, 2)):
            bus.publish("clickstream", track("Product Viewed", f"u{user}", at + view * MINUTE_MS), f"u{user}")
        if rng.random() < (0.8 if eager else 0.05):
            bus.publish("clickstream", track("Signed Up", f"u{user}", at + 10 * HOUR_MS), f"u{user}")
        if rng.random() < (0.7 if plan_of(user) == "basic" else 0.1):
            bus.publish("clickstream", track("Upgraded", f"u{user}", at + 11 * HOUR_MS), f"u{user}")
    end = begin + DAY_MS - 1
    for topic in INPUT_NAMES:
        for lane in range(LANES):
            bus.publish(topic, tick(end), None, lane)
    bus.flush()
    return end


def plan_of(user: int) -> str:
    """What a user told of himself; it has nothing to do with who is eager."""
    return "basic" if user % 3 == 0 else "pro"


def kairos(*words: str) -> Any:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) if "--json" in words else done.stdout


def values(stack: EmbeddedStack, topic: str) -> list[dict[str, Any]]:
    return [msgspec.json.decode(record.value or b"{}") for record in read_topic(stack.bootstrap, topic)]


def test_from_a_file_to_a_decision(stack: EmbeddedStack) -> None:
    rng = random.Random(4)
    url = stack.env()["KAIROS_REDIS__URL"]
    with closing(connect(url)) as client, Publisher(stack.bootstrap) as bus:

        def roles() -> set[str]:
            return {one["role"] for one in worker_figures(client)}

        def used() -> int:
            return next((one["snapshots"]["goals"] for one in worker_figures(client) if one["role"] == "decide"), 0)

        def meta(goal: str = "sign") -> dict[str, Any]:
            reader = SnapshotReader(client)
            version = reader.latest(["goals"]).get("goals", 0)
            found = reader.load("goals", version).meta["goals"] if version else {}
            return next((one for one in found.values() if one["goal"] == goal), {})

        wait_until(lambda: roles() == {"decide", "learn"}, "both run", 60, 0.2)
        for user in range(USERS):
            told_of = identify(f"u{user}", START - DAY_MS, plan=plan_of(user), consent={"log": True})
            bus.publish("profiles", told_of, f"u{user}")
        for number in range(DAYS):
            end = day(bus, number, rng)
            wait_until(lambda: min(read_watermarks(client, LANES).values()) >= end, "the day is applied", 60, 0.05)  # noqa: B023
            told = [one for one in values(stack, "training") if one["type"] == "goal" and one["goal"] == "sign"]
            wait_until(lambda: meta().get("examples", 0) >= len(told), "its labels are learned", 30, 0.1)  # noqa: B023
            if meta().get("learned"):
                wait_until(lambda: used() == SnapshotReader(client).latest(["goals"])["goals"], "it is used", 30, 0.1)
        found, about = meta(), meta("upgrade")

    # What was learned, judged as it was served.
    assert found["learned"]
    assert found["judged"] > 100
    assert found["auc"] > 0.75
    assert found["log_loss"] < found["rate_log_loss"]
    told = [one for one in values(stack, "training") if one["type"] == "goal"]
    assert all(one["known_at"] >= one["due"] for one in told)

    # The campaign goes by it: nobody before it was learned, and the eager ones then.
    nudged = {int(one["user"][1:]) for one in values(stack, "messages")}
    assert len(nudged) > USERS // 8
    assert sum(user % 4 == 0 for user in nudged) > 0.8 * len(nudged)

    # What anybody is told.
    eager, upgrading = kairos("propensity", "u0", "--json")["propensities"]
    other, staying = kairos("propensity", "u1", "--json")["propensities"]
    assert eager["probability"] > other["probability"]
    odds = eager["base"] + eager["others"] + sum(one["share"] for one in eager["reasons"])
    assert abs(1 / (1 + 2.718281828459045**-odds) - eager["probability"]) < 0.001

    # What is known about a user counts for the goal that names it, and is told.
    assert about["auc"] > 0.7
    assert upgrading["probability"] > 2.0 * staying["probability"]
    assert (upgrading["reasons"][0]["text"], staying["reasons"][0]["text"]) == ("plan is basic", "plan is pro")
    assert "will sign" in kairos("story", "u0")
    assert CliRunner().invoke(app, ["propensity", "nobody"]).exit_code == 1

    report = run_audit(Settings())
    assert report.ok, report.sentences()
    versions = {one["versions"]["goals"] for one in values(stack, "journal")}
    assert len(versions) > 2, "decisions were made with several versions, and the audit replayed each"
