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

from config.goal import Goal
from config.loader import load_definitions
from config.settings import Settings
from models.decisions import ChurnExample, GoalExample
from models.features import goals
from models.learners.task import CHURN, Task
from models.profile.awaited import GoalSample
from models.profile.state import Profile
from services.bus import Publisher, create_topics
from services.bus.reader import read_topic
from services.cli.main import app
from services.embedded.stack import EmbeddedStack
from services.jobs.audit import run_audit
from services.state.live import worker_figures
from services.state.people import find_person
from services.state.redis_lane import connect
from services.state.registry import ModelRegistry
from support.any_redis import any_redis
from support.kafka import KafkaServer
from support.ports import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LANES = 2
START_MS = 1_262_304_000_000  # 2010


@pytest.fixture
def stack(
    request: pytest.FixtureRequest, jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EmbeddedStack]:
    """Decide and learn on Apache Kafka and the system's Redis; the parameter: whether time passes without events."""
    with (
        KafkaServer(jars) as kafka,
        any_redis() as redis,
        EmbeddedStack(
            tmp_path / "data",
            create_topics,
            roles=("decide", "learn"),
            lanes=LANES,
            kafka=kafka.bootstrap,
            redis_url=redis.url,
            ticker=getattr(request, "param", True),
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


def compared(stack: EmbeddedStack, task: Task = CHURN) -> int:
    with closing(connect(stack.env()["KAIROS_REDIS__URL"])) as client:
        found = ModelRegistry(client, task).comparison()
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


def label_goal(stack: EmbeddedStack, goal: Goal, numbers: range) -> None:
    """The same for a goal: whoever looked at 7 to 14 products lately, or at 21 and more, reaches it."""
    rng = np.random.default_rng(numbers.start)
    producer = KafkaProducer(bootstrap_servers=stack.bootstrap)
    for number in numbers:
        views, at = int(rng.integers(0, 28)), START_MS + number * HOUR_MS // 6
        x = dict.fromkeys(goals.RAW_NAMES, 0) | {"views_7d": 100 * views, "views_30d": 100 * views, "order_hours": 900}
        x |= {"events": views + 1, "sessions": 2, "money_minor": 1000 + number, "purchase_days": 1, "orders_30d": 50}
        reached, due = (views // 7 % 2 == 1) == (rng.random() < 0.9), at + HOUR_MS
        example = GoalExample(
            f"g{number}", f"u{number % 300}", goal.id, goal.code, at, due, due, int(reached), list(x.values())
        )
        producer.send("training", msgspec.json.encode(example), partition=2)
    producer.close()


def goal_learned(stack: EmbeddedStack) -> int:
    found = next(one for one in kairos("models", "list", "--format", "json")["models"] if one["model"] == "goals")
    return sum(one["examples"] for one in found.get("goals", {}).values())


def look_around(stack: EmbeddedStack, user: str, day: str) -> None:
    """Forty products, one a minute: one event in eight may begin an example."""
    with Publisher(stack.bootstrap) as bus:
        for minute in range(40):
            bus.publish_event(
                {
                    "type": "track",
                    "event": "Product Viewed",
                    "userId": user,
                    "messageId": f"{user}-{day}-{minute}",
                    "timestamp": f"2010-{day}T12:{minute:02}:00.000Z",
                    "properties": {"product_id": f"p{minute}", "name": "Lamp", "price": 25.0},
                }
            )


def person(stack: EmbeddedStack, user: str) -> Profile | None:
    with closing(connect(stack.env()["KAIROS_REDIS__URL"])) as client:
        found = find_person(client, LANES, user)
    return None if found is None else found.profile


def learned(stack: EmbeddedStack) -> int:
    found = kairos("models", "list", "--format", "json")["models"][0]
    return int(found.get("examples", 0))


def kairos(*words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == code, done.output + str(done.exception)
    return json.loads(done.stdout) if {"json", "--json"} & set(words) else done.output


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
    versions = [entry["versions"] for entry in values(stack, "journal")]
    shop(stack, "cem")
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


# The time of 2026 would end the examples of 2010.
@pytest.mark.parametrize("stack", [False], indirect=True)
def test_a_goal_is_tried_promoted_served_and_rolled_back(stack: EmbeddedStack, tmp_path: Path) -> None:
    goal = load_definitions(Settings().config_dir).goals[0]
    task, name = Task.of_goal(goal.id, goal.code), f"goal:{goal.id}"
    wait_until(lambda: bool(serving(stack)), "decide runs", 60, 0.2)
    label_goal(stack, goal, range(1500))
    wait_until(lambda: goal_learned(stack) == 1500, "all is learned", 60, 0.3)
    shop(stack, "ann")

    out = tmp_path / "report"
    asked = ["--models", "tree,logistic", "--search", "none", "--out", str(out)]
    told = kairos("train", "goal", goal.id, *asked)
    assert f"kairos models compare {name}" in told
    assert json.loads((out / "report.json").read_text())["best"] == "tree"
    assert "has not compared these two yet" in kairos("models", "promote", name, code=1)
    assert "no shadow" in kairos("models", "compare"), "churn has none"

    label_goal(stack, goal, range(1500, 3000))
    wait_until(lambda: compared(stack, task) > 1400, "the labels are compared", 60, 0.3)
    found = kairos("models", "compare", name, "--format", "json")
    assert found["promote"], found
    assert found["of_shadow"]["auc"] > 0.8 > found["of_champion"]["auc"]
    assert "batch 1 serves, shadow online" in kairos("models", "promote", name)

    wait_until(lambda: serving(stack).get(task.batch) == 1, "decide swaps", 20, 0.1)
    look_around(stack, "ann", "05-02")  # what may have been begun in March is over by then

    def begun() -> list[GoalSample]:
        profile = person(stack, "ann")
        return (
            [] if profile is None else [one for one in profile.goal_samples if one.at * 1000 > START_MS + 80 * DAY_MS]
        )

    wait_until(lambda: bool(begun()), "an example is begun", 30, 0.3)
    with closing(connect(stack.env()["KAIROS_REDIS__URL"])) as client:
        model = ModelRegistry(client, task).load(1)
    sample = begun()[0]
    assert sample.p_e4 == round(float(model.score(goals.as_matrix([sample.x]))[0]) * 10_000)
    (one,) = kairos("propensity", "ann", "--json")["propensities"]
    assert one["model"] == "batch 1"
    shares = sum(reason["share"] for reason in one["reasons"]) + one["others"] + one["base"]
    assert 1 / (1 + np.exp(-shares)) == pytest.approx(one["probability"], abs=2e-3)

    assert "online serves, shadow batch 1" in kairos("models", "rollback", name, "--reason", "a try")
    wait_until(lambda: task.batch not in serving(stack), "decide goes back", 20, 0.1)
    assert kairos("propensity", "ann", "--json")["propensities"][0]["model"] == "online"
    look_around(stack, "ben", "05-03")
    wait_until(lambda: person(stack, "ben") is not None, "decisions by the online model", 30, 0.3)
    assert f"{name}: rollback: online serves, shadow batch 1 (a try)" in kairos("models", "list")
    report = run_audit(Settings())
    assert report.ok, report.sentences()
    versions = [entry["versions"] for entry in values(stack, "journal")]
    assert any(task.batch in one for one in versions)
    assert task.batch not in versions[-1]
