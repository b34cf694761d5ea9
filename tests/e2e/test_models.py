"""The life of a batch model: trained, tried beside the champion, promoted, rolled back, with workers that go on."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from kafka import KafkaProducer
from typer.testing import CliRunner

from config.settings import Settings
from models.decisions import ChurnExample
from services.bus import Publisher, create_topics
from services.bus.reader import read_topic
from services.cli.main import app
from services.embedded.stack import EmbeddedStack
from services.jobs.audit import run_audit
from services.state.live import worker_figures
from services.state.redis_lane import connect
from services.state.registry import ModelRegistry
from support.any_redis import any_redis
from support.kafka import KafkaServer
from support.ports import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
HOUR_MS = 3_600_000
START_MS = 1_262_304_000_000  # 2010


@pytest.fixture
def stack(jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedStack]:
    """Decide and learn on Apache Kafka and the system's Redis."""
    with (
        KafkaServer(jars) as kafka,
        any_redis() as redis,
        EmbeddedStack(
            tmp_path / "data",
            create_topics,
            roles=("decide", "learn"),
            lanes=2,
            kafka=kafka.bootstrap,
            redis_url=redis.url,
            settings={"KAIROS_SNAPSHOT_POLL_MS": "200"},
        ) as made,
    ):
        for name, value in made.env().items():
            monkeypatch.setenv(name, value)
        yield made


def serving(stack: EmbeddedStack) -> dict[str, int]:
    with closing(connect(stack.env()["KAIROS_REDIS__URL"])) as client:
        figures = next((one for one in worker_figures(client) if one["role"] == "decide"), {})
    found: dict[str, int] = figures.get("snapshots", {})
    return found


def compared(stack: EmbeddedStack) -> int:
    with closing(connect(stack.env()["KAIROS_REDIS__URL"])) as client:
        found = ModelRegistry(client).comparison()
    return 0 if found is None else found.examples


def label(stack: EmbeddedStack, numbers: range) -> None:
    """Examples that no straight line tells apart: every other month of silence means a loss, nine times in ten."""
    rng = np.random.default_rng(numbers.start)
    producer = KafkaProducer(bootstrap_servers=stack.bootstrap)
    for number in numbers:
        silent, at = int(rng.integers(0, 120)), START_MS + number * HOUR_MS // 6
        lost = (silent // 30 % 2 == 1) == (rng.random() < 0.9)
        x = [silent, 2, 1000 + number, silent + 40, 150]
        due = at + HOUR_MS
        example = ChurnExample(f"e{number}", f"u{number % 300}", at, due, due, int(lost), x)
        producer.send("training", msgspec.json.encode(example), partition=0)
    producer.close()


def learned(stack: EmbeddedStack) -> int:
    found = kairos("models", "list", "--format", "json")["models"][0]
    return int(found.get("examples", 0))


def kairos(*words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == code, done.output + str(done.exception)
    return json.loads(done.stdout) if "json" in words else done.output


def shop(stack: EmbeddedStack, user: str) -> None:
    """A user who bought on New Year's Day and looks around after 59 days of silence."""
    lamp = {"product_id": "p1", "name": "Lamp", "price": 25.0, "quantity": 1}
    bought = {"order_id": user, "revenue": 25.0, "currency": "GBP", "products": [lamp]}
    with Publisher(stack.bootstrap) as bus:
        for event, properties, day in (("Order Completed", bought, "01-01"), ("Product Viewed", lamp, "03-01")):
            bus.publish_event(
                {
                    "type": "track",
                    "event": event,
                    "userId": user,
                    "messageId": f"{user}-{day}",
                    "timestamp": f"2010-{day}T10:00:00.000Z",
                    "properties": properties,
                }
            )


def values(stack: EmbeddedStack, topic: str) -> list[dict[str, Any]]:
    return [msgspec.json.decode(record.value or b"{}") for record in read_topic(stack.bootstrap, topic)]


def test_trained_tried_promoted_and_rolled_back(stack: EmbeddedStack, tmp_path: Path) -> None:
    wait_until(lambda: bool(serving(stack)), "decide runs", 60, 0.2)
    label(stack, range(1500))
    wait_until(lambda: learned(stack) == 1500, "all is learned", 60, 0.3)
    shop(stack, "ann")

    out = tmp_path / "report"
    told = kairos("train", "churn", "--models", "tree,logistic", "--search", "none", "--out", str(out))
    assert "Version 1 of the registry" in told
    report = json.loads((out / "report.json").read_text())
    assert (report["best"], report["version"], report["data"]["examples"]) == ("tree", 1, 1500)
    assert "has not compared these two yet" in kairos("models", "promote", code=1)
    assert {"churn", "churn-batch"} & set(serving(stack)) == {"churn"}, "a shadow serves nobody"

    label(stack, range(1500, 3000))
    wait_until(lambda: compared(stack) > 1400, "the labels are compared", 60, 0.3)
    wait_until(lambda: learned(stack) == 3000, "all is learned", 60, 0.3)
    found = kairos("models", "compare", "--format", "json")
    assert found["promote"], found
    assert found["low"] > 0.05
    assert found["of_shadow"]["auc"] > 0.8 > found["of_champion"]["auc"]
    assert "promote" in kairos("models", "compare")
    assert "batch 1 serves, shadow online" in kairos("models", "promote")

    wait_until(lambda: "churn-batch" in serving(stack), "decide swaps", 20, 0.1)
    shop(stack, "ben")
    wait_until(lambda: any(one["user"] == "ben" for one in values(stack, "churn-alerts")), "an alert", 30, 0.3)
    alert = next(one for one in values(stack, "churn-alerts") if one["user"] == "ben")
    assert (alert["model"], alert["snapshot"], alert["learned"]) == ("churn-batch", 1, True)
    assert alert["reasons"][0]["share"] > 0.0

    assert "online serves, shadow batch 1" in kairos("models", "rollback", "--reason", "a try")
    wait_until(lambda: "churn" in serving(stack), "decide goes back", 20, 0.1)
    shop(stack, "cem")
    versions = [entry["versions"] for entry in values(stack, "journal")]
    wait_until(
        lambda: "churn" in values(stack, "journal")[-1]["versions"] and len(values(stack, "journal")) > len(versions),
        "decisions by the online model",
        30,
        0.3,
    )
    listed = kairos("models", "list")
    assert "rollback: online serves, shadow batch 1 (a try)" in listed
    assert "shadow" in listed

    report = run_audit(Settings())
    assert report.ok, report.sentences()
    served = [{"churn", "churn-batch"} & set(entry["versions"]) for entry in values(stack, "journal")]
    assert {"churn"} in served
    assert {"churn-batch"} in served
    assert {"churn", "churn-batch"} not in served
