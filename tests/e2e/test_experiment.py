"""One YAML file: users flow, the judge stops what harms within seconds, and everybody can see why; the audit agrees."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from config.settings import Settings
from services.bus import Publisher, create_topics
from services.bus.reader import read_topic
from services.cli.main import app
from services.embedded.stack import EmbeddedStack
from services.jobs.audit import run_audit
from services.state.experiments import ExperimentStore
from services.state.live import worker_figures
from services.state.redis_lane import connect
from support.kafka import KafkaServer
from support.ports import wait_until
from support.redis import RedisServer, redis_binary

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
BUTTON = """
id: button
description: A larger button
hypothesis: More people order.
variants:
  - {id: small, weight: 0.5}
  - {id: large, weight: 0.5}
expose_on: {event: Product Viewed}
metrics:
  - {id: ordered, event: Order Completed, within: 7d}
  - {id: complained, event: Complained, within: 7d, role: guardrail, less_is_better: true, margin: 0.01}
plan: {users: 4000}
on_verdict: stop
"""
CALM = BUTTON.replace("id: button", "id: calm").replace("on_verdict: stop\n", "")
STOPPED_S = 5.0


@pytest.fixture
def stack(jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedStack]:
    """Decide and judge on Apache Kafka and the system's Redis, with two experiments and nothing else."""
    folder = tmp_path / "config" / "experiments"
    folder.mkdir(parents=True)
    (folder / "button.yaml").write_text(BUTTON)
    (folder / "calm.yaml").write_text(CALM)
    with (
        KafkaServer(jars) as kafka,
        RedisServer(redis_binary()) as redis,
        EmbeddedStack(
            tmp_path / "data",
            create_topics,
            roles=("decide", "judge"),
            lanes=2,
            kafka=kafka.bootstrap,
            redis_url=redis.url,
            config_dir=folder.parent,
        ) as made,
    ):
        for name, value in made.env().items():
            monkeypatch.setenv(name, value)
        yield made


def figures(stack: EmbeddedStack, role: str) -> dict[str, Any]:
    with closing(connect(stack.env()["KAIROS_REDIS__URL"])) as client:
        return next((one for one in worker_figures(client) if one["role"] == role), {})


def kairos(*words: str) -> Any:
    done = CliRunner().invoke(app, ["experiments", *words])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) if "json" in words else done.stdout


def exposures(stack: EmbeddedStack) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for record in read_topic(stack.bootstrap, "exposures"):
        value = msgspec.json.decode(record.value or b"{}")
        found.setdefault(value["experiment"], {})[value["user"]] = value["variant"]
    return found


def verdicts(stack: EmbeddedStack, experiment: str) -> list[dict[str, Any]]:
    values = (msgspec.json.decode(record.value or b"{}") for record in read_topic(stack.bootstrap, "verdicts"))
    return list({one["id"]: one for one in values if one["experiment"] == experiment}.values())


def come(bus: Publisher, users: range) -> None:
    for number in users:
        bus.publish_event({"type": "track", "event": "Product Viewed", "userId": f"u{number}"})
    bus.flush()


def test_harm_stops_it_within_seconds(stack: EmbeddedStack) -> None:
    wait_until(lambda: bool(figures(stack, "decide")) and bool(figures(stack, "judge")), "both run", 60, 0.2)
    before = figures(stack, "decide")["policy"]
    with Publisher(stack.bootstrap) as bus:
        come(bus, range(600))
        wait_until(lambda: len(exposures(stack).get("button", {})) == 600, "all are exposed", 30, 0.3)
        wait_until(lambda: bool(verdicts(stack, "button")), "the first verdict", 20, 0.2)
        assert kairos("results", "button", "--format", "json")["verdict"] in {"not_enough_data", "undecided"}
        # The large button makes people complain.
        arms = exposures(stack)["button"]
        harmed = [user for user, arm in arms.items() if arm == "large" and int(user[1:]) % 3 == 0]
        complaints = len(harmed)
        for user in harmed:
            bus.publish_event({"type": "track", "event": "Complained", "userId": user})
        bus.flush()
        began_s = time.monotonic()
        wait_until(lambda: figures(stack, "decide")["policy"] != before, "decide goes by the stop", 30, 0.05)
        took_s = time.monotonic() - began_s
        print(f"from the last complaint to the stop in force: {took_s:.1f} s")
        assert took_s < STOPPED_S

        # Why, wherever somebody looks.
        card = kairos("results", "button", "--format", "json")
        assert (card["verdict"], card["status"], card["variant"]) == ("harm", "stopped", "large")
        assert "large harms complained" in card["reason"]
        assert "large harms complained" in kairos("show", "button")
        listed = {one["experiment"]: one for one in kairos("list", "--format", "json")["experiments"]}
        assert listed["button"]["status"] == "stopped"
        assert listed["calm"]["status"] == "running"  # the same harm, and a file that does not ask for anything
        told = verdicts(stack, "button")
        assert [one["number"] for one in told] == list(range(1, len(told) + 1))
        assert (told[-1]["verdict"], told[-1]["status"]) == ("harm", "stopped")
        assert told[-1]["override"]["by"] == "judge"

        # Nobody new takes part in the one, and somebody in the other.
        come(bus, range(600, 700))
        wait_until(lambda: len(exposures(stack)["calm"]) == 700, "the others are exposed", 30, 0.3)
        assert len(exposures(stack)["button"]) == 600

        # A person stops the other one; once.
        said = kairos("stop", "calm", "--reason", "it annoys people")
        assert "calm: stopped; everybody gets the control." in said
        wait_until(lambda: verdicts(stack, "calm")[-1]["status"] == "stopped", "it is told", 20, 0.2)
        again = CliRunner().invoke(app, ["experiments", "stop", "calm", "--reason", "once more"])
        assert again.exit_code == 2
        assert "already_decided: calm is stopped (it annoys people)" in again.output
        wait_until(lambda: stopped_in(stack) == {"button", "calm"}, "decide goes by both", 20, 0.1)
        come(bus, range(700, 800))
        bus.publish_event({"type": "track", "event": "Order Completed", "userId": "u1"})
        bus.flush()
    wait_until(lambda: figures(stack, "decide")["events_total"] >= 801 + complaints, "all is applied", 30, 0.2)
    time.sleep(1.0)
    assert {name: len(users) for name, users in exposures(stack).items()} == {"button": 600, "calm": 700}
    report = run_audit(Settings())
    assert report.ok, report.sentences()
    entries = (msgspec.json.decode(record.value or b"{}") for record in read_topic(stack.bootstrap, "journal"))
    assert len({entry["policy"] for entry in entries}) == 3


def stopped_in(stack: EmbeddedStack) -> set[str]:
    """Experiments that the rules in force call stopped."""
    with closing(connect(stack.env()["KAIROS_REDIS__URL"])) as client:
        packed = client.get(f"snapshot:policy:{figures(stack, 'decide')['policy']}")
        rules = json.loads(packed if isinstance(packed, bytes) else b"{}")
        assert set(ExperimentStore(client).overrides()) <= {"button", "calm"}
    return {one["id"] for one in rules["experiments"] if (one["ruling"] or {}).get("status") == "stopped"}
