"""Value and segments from the stream's own labels to a campaign that goes by them; the audit agrees."""

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
from support.lane import DAY_MS, HOUR_MS, identify, ms, order, tick, track
from support.ports import wait_until
from support.redis import RedisServer, redis_binary

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
LANES = 2
START = ms("2010-03-01 08:00")
USERS, WEEKS, STEP_WEEKS = 240, 14, 2
CHURN = "horizon: 21d\nsample_every: 7d\neligible_within: 120d\nmin_orders: 1\n"
CAMPAIGN = """
id: {0}
trigger: {{on: event, event: Product Viewed}}
when: {1}
channel: log
template: {0}
purpose: transactional
cap: {{max: 1, per: 365d}}
"""
CAMPAIGNS = {"rich": "user.expected_value > 150.0", "gone": "user.segment.startsWith('lapsed')"}


@pytest.fixture
def stack(jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedStack]:
    """Decide and learn on Apache Kafka and the system's Redis, with a campaign for each fact."""
    folder = tmp_path / "config"
    files = {"churn.yaml": CHURN}
    for name, when in CAMPAIGNS.items():
        files |= {f"campaigns/{name}.yaml": CAMPAIGN.format(name, when), f"templates/{name}.txt": "Hello."}
    for name, text in files.items():
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


def weeks(bus: Publisher, first: int, rng: random.Random) -> int:
    """Two weeks of the shop: one in four spends much every week, one in four little, and the others ordered once."""
    for week in range(first, first + STEP_WEEKS):
        for user in range(USERS):
            at = START + week * 7 * DAY_MS + user * 60_000 + rng.randrange(HOUR_MS)
            rich = user % 4 == 0
            if user % 4 < 2 or week == user % 3:
                money = rng.uniform(80, 120) if rich else rng.uniform(5, 15)
                bus.publish("purchases", order(f"u{user}", at, round(money, 2)), f"u{user}")
            bus.publish("clickstream", track("Product Viewed", f"u{user}", at + HOUR_MS), f"u{user}")
    end = START + (first + STEP_WEEKS) * 7 * DAY_MS - 1
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


def test_from_labels_to_a_campaign(stack: EmbeddedStack) -> None:
    rng, names = random.Random(7), ("value", "segments")
    url = stack.env()["KAIROS_REDIS__URL"]
    with closing(connect(url)) as client, Publisher(stack.bootstrap) as bus:
        reader = SnapshotReader(client)

        def latest() -> dict[str, int]:
            return {name: reader.latest(names).get(name, 0) for name in names}

        def used() -> dict[str, int]:
            for one in worker_figures(client):
                if one["role"] == "decide":
                    return {name: one["snapshots"].get(name, 0) for name in names}
            return {}

        def learned() -> int:
            version = latest()["value"]
            return int(reader.load("value", version).meta["examples"]) if version else 0

        running = lambda: {one["role"] for one in worker_figures(client)} == {"decide", "learn"}  # noqa: E731
        wait_until(running, "both run", 120, 0.2)
        for user in range(USERS):
            bus.publish("profiles", identify(f"u{user}", START - DAY_MS, consent={"log": True}), f"u{user}")
        for first in range(0, WEEKS, STEP_WEEKS):
            end = weeks(bus, first, rng)
            wait_until(lambda: min(read_watermarks(client, LANES).values()) >= end, "time has come", 120, 0.1)  # noqa: B023
            told = sum(one["type"] == "churn" for one in values(stack, "training"))
            wait_until(lambda: learned() >= told, "its labels are learned", 120, 0.1)  # noqa: B023
            wait_until(lambda: used() == latest(), "decisions are made with them", 120, 0.1)
        assert min(latest().values()) > 0

    # The campaigns go by what was learned, and by nothing before that.
    told_to: dict[str, set[int]] = {name: set() for name in CAMPAIGNS}
    for one in values(stack, "messages"):
        told_to[one["campaign"]].add(int(one["user"][1:]))
    rich, gone = told_to["rich"], told_to["gone"]
    assert len(rich) >= USERS // 8
    assert all(user % 4 == 0 for user in rich)
    assert gone
    assert not {user for user in gone if user % 4 < 2}, "whoever orders every week has not lapsed"

    # What anybody is told.
    much, once = kairos("value", "u0", "--json"), kairos("value", "u2", "--json")
    assert much["learned"]
    assert much["expected_value"] > 150
    assert once["expected_value"] < 30
    assert much["probability"] > 0.9
    assert once["probability"] < 0.5
    assert much["segment"].startswith("high-value")
    assert once["segment"].startswith("lapsed")
    assert sum(one["share"] for one in kairos("segments", "--json")["segments"]) == pytest.approx(1.0, abs=0.01)
    assert "expected value" in kairos("story", "u0")

    report = run_audit(Settings())
    assert report.ok, report.sentences()
    journal = values(stack, "journal")
    for name in names:
        assert len({one["versions"].get(name, 0) for one in journal}) > 2, "decided with several, and each was replayed"
