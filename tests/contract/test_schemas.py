"""The schemas and pages that others rely on say what the code does."""

import inspect
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest

from config.overrides import Override
from config.topics import INPUT_NAMES, OUTPUTS, TOPICS, VERDICTS
from models import fairness, reviews
from models.events import ALIASES, REASONS, Envelope, Product, Properties
from models.experiments.fields import counter_key
from models.experiments.watch import look
from models.offers import rankings
from services.jobs import schemas
from services.state import keys, ledger, live
from support.experiment_shop import ExperimentShop, experiment
from support.lane import DAY_MS, HOUR_MS, LaneRig, identify, ms, order, shipped, track

ROOT = Path(__file__).resolve().parents[2]
EVENTS_PAGE = (ROOT / "docs" / "events.md").read_text()
REDIS_PAGE = (ROOT / "docs" / "redis.md").read_text()
NOON = ms("2010-03-01 12:00")


# ------------------------------------------------------------------ schemas


def test_the_files_are_current() -> None:
    """`python -m services.jobs.schemas` writes them."""
    held = {path.name: path.read_text() for path in schemas.FOLDER.glob("*.json")}
    assert held == schemas.schemas()


def test_every_topic_has_one() -> None:
    assert set(schemas.schemas()) == {f"{topic.name}.json" for topic in TOPICS}
    assert set(schemas.VALUES) == {topic.name for topic in OUTPUTS}


def test_the_command_writes_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "services.jobs.schemas", str(tmp_path)]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert len(first.stdout.splitlines()) == len(TOPICS)
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert again.stdout == ""
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == schemas.schemas()


@pytest.mark.parametrize("name", sorted(schemas.schemas()))
def test_it_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(schemas.schemas()[name]))


@cache
def validator(topic: str) -> Any:
    return jsonschema.Draft202012Validator(json.loads(schemas.schemas()[f"{topic}.json"]))


def test_what_a_lane_publishes_fits() -> None:
    """A month in the life of a few users, all of it against the schemas."""
    rig = LaneRig(shipped())
    for user in ("anna", "ben"):
        rig.feed("profiles", identify(user, NOON - DAY_MS, email=f"{user}@x.test", consent={"email": True}))
    view = track("Product Added", "anna", NOON, product_id="p1", name="Lantern", price=2.5)
    rig.feed("clickstream", view, b"broken", None, b"\xff")
    rig.feed("purchases", order("ben", NOON), order("ben", NOON + 1, 3.0))
    for day in range(200):
        rig.until(NOON + HOUR_MS + day * DAY_MS)
    seen = set()
    for output in rig.published.outputs:
        validator(output.topic).validate(json.loads(output.value))
        seen.add(output.topic)
    assert seen == {topic.name for topic in OUTPUTS} - {VERDICTS.name}  # the judge's


def test_what_the_judge_publishes_fits() -> None:
    shop = ExperimentShop(experiment())
    shop.day(300, Order_Completed={"a": 0.2, "b": 0.5})
    shop.pass_time(3)
    stopped = Override(experiment="test", status="stopped", by="person", reason="enough")
    for override in (None, stopped):
        (event,) = look(None, shop.experiments[0], shop.counts(), shop.watermark, override).record.outbox
        validator("verdicts").validate(json.loads(msgspec.json.encode(event)))


@pytest.mark.parametrize("topic", INPUT_NAMES)
def test_events_fit_and_broken_ones_do_not(topic: str) -> None:
    check = validator(topic)
    for value in (track("Product Viewed", "u1", NOON, price=2.5), identify("u1", NOON), b'{"type":"tick"}'):
        check.validate(json.loads(value))
    refused: list[Any] = [{}, [], {"type": "purchase"}, {"type": "track", "properties": {"price": "2.50"}}]
    for broken in refused:
        assert not check.is_valid(broken)


def test_inputs_only_ever_demand_the_type() -> None:
    """Backward compatible: what a publisher sends today is accepted tomorrow."""
    for model, required in ((Envelope, ["type"]), (Properties, []), (Product, [])):
        schema = model.model_json_schema()
        assert schema.get("required", []) == required
        assert schema["additionalProperties"] is True


def test_outputs_keep_their_fields() -> None:
    """What a consumer reads today is there tomorrow: fields are added with a default, never taken away."""
    promised = {
        "churn-alerts": "id user at score learned horizon_ms reasons action cause snapshot type",
        "offers": "id user at offers cause snapshot type",
        "messages": "type id user campaign step channel template variant to purpose decided_at expires_at locale "
        "timezone data reason cause suppressed experiment",
        "exposures": "id user at experiment variant cause type",
        "dead-letters": "topic partition offset reason detail broker_ms key value truncated headers",
        "verdicts": "id experiment version number at verdict before variant sentence action status reason override "
        "final result type",
    }
    for topic, names in promised.items():
        (struct,) = schemas.VALUES[topic]
        assert set(names.split()) <= {field.encode_name for field in msgspec.structs.fields(struct)}, topic


# ------------------------------------------------------------------ docs/events.md


def rows(page: str) -> dict[str, str]:
    """First cell (without backticks) -> the rest of the row, of every table."""
    found = {}
    for line in page.splitlines():
        if line.startswith("| `"):
            first, _, rest = line[2:].partition(" | ")
            for name in re.findall(r"`([^`]+)`", first):
                found[name] = rest
    return found


def test_every_reason_is_explained_and_no_other() -> None:
    table = EVENTS_PAGE[EVENTS_PAGE.index("## What is refused") :]
    assert set(rows(table)) == set(REASONS)


def test_every_topic_is_explained() -> None:
    table = EVENTS_PAGE[EVENTS_PAGE.index("## Topics") : EVENTS_PAGE.index("## What is refused")]
    directions = {name: rest.split(" | ")[0] for name, rest in rows(table).items()}
    assert directions == {topic.name: "in" if topic.name in INPUT_NAMES else "out" for topic in TOPICS}


def test_the_names_of_the_page_are_known() -> None:
    assert ALIASES["Viewed Product"] == "Product Viewed"
    example = re.search(r"```json\n(.*?)```", EVENTS_PAGE, re.DOTALL)
    assert example is not None
    Envelope.model_validate_json(example[1])


# ------------------------------------------------------------------ docs/redis.md

LANE_KEYS = {
    keys.fence(7),
    keys.state(7),
    keys.profile(7, "<user>"),
    keys.offers(7, "<user>"),
    keys.timers(7),
    keys.outbox_index(7),
    keys.counters(7, counter_key("<id>")),
    keys.counters(7, "camp:<id>"),
    keys.counters(7, "offer:<id>"),
    keys.counters(7, rankings.counter_key("<list>")),
    keys.counters(7, rankings.PRODUCTS),
    keys.counters(7, reviews.KEY),
    keys.counters(7, fairness.counter_key("<attribute>")),
    keys.counter_names(7),
    keys.alert(7, "<alert>"),
    keys.newest_alerts(7),
    keys.webhook_due(7, "<webhook>"),
    keys.alert_fence(7),
}
SHARED_KEYS = {
    keys.policy("<version>"),
    keys.snapshot_latest("<model>"),
    keys.learn_checkpoint("<model>"),
    keys.registry("<model>"),
    keys.comparison("<model>"),
    keys.comparison("goals", "<id>:<code>"),
    keys.model_health("<model>"),
    keys.REDRIVEN,
    keys.experiment("<id>"),
    keys.OVERRIDES,
    keys.FROZEN,
    live.WORKERS_KEY,
    live.DEMO_KEY,
    live.worker_key("<role>", "<worker>"),
    *(live.tail_key(kind) for kind in live.TAIL_KINDS),
}


def test_every_key_is_explained() -> None:
    written = set(rows(REDIS_PAGE))
    assert written >= LANE_KEYS | SHARED_KEYS
    # Those that hold a number, which the page names.
    assert keys.outbox(7, 5).startswith("{p7}:outbox:0")
    assert keys.snapshot("churn", 3) == "snapshot:{churn}:3"
    assert ledger.fence_key(7) == "deliver:{p7}:fence"
    assert ledger.ledger_key(7, "<message>") == "ledger:{p7}:<message>"
    numbered = {"{p7}:outbox:<seq>", "snapshot:{<model>}:<version>", "deliver:{p7}:fence", "ledger:{p7}:<message>"}
    assert written == LANE_KEYS | SHARED_KEYS | numbered


def test_no_key_function_was_forgotten() -> None:
    made = {name for name, _ in inspect.getmembers(keys, inspect.isfunction)}
    assert made == {
        "lane", "fence", "state", "profile", "offers", "timers", "outbox", "outbox_index", "counters", "counter_names",
        "policy", "snapshot_latest", "snapshot", "learn_checkpoint", "experiment", "registry", "comparison",
        "model_health", "alert", "newest_alerts", "webhook_due", "alert_fence",
    }  # fmt: skip
    assert {name for name, _ in inspect.getmembers(ledger, inspect.isfunction) if name.endswith("_key")} == {
        "ledger_key",
        "fence_key",
    }
    assert {name for name, _ in inspect.getmembers(live, inspect.isfunction) if name.endswith("_key")} == {
        "worker_key",
        "tail_key",
    }
