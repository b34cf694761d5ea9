"""A bandit on running processes: shares move by day, decide takes them, a killed worker too; the audit agrees."""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from config.experiment import Experiment
from config.settings import Settings
from models.experiments.allocation import ledger
from models.experiments.fields import DAY_MS
from services.bus import Publisher, create_topics
from services.bus.reader import read_topic
from services.cli.main import app
from services.embedded.stack import EmbeddedStack
from services.jobs.audit import run_audit
from services.state.counters import read_some_counters
from services.state.experiments import ExperimentStore
from services.state.lanes import read_watermarks
from services.state.live import worker_figures
from services.state.redis_lane import Client, connect
from support.lane import HOUR_MS, ms, tick, track
from support.ports import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
LANES = 2
START = ms("2010-03-01 00:00")
TOPICS = ("clickstream", "purchases", "profiles", "feedback")
BANDIT = """
id: subject
description: Two subjects
variants:
  - {id: plain, weight: 0.5}
  - {id: named, weight: 0.5}
allocation: bandit
expose_on: {event: Product Viewed}
metrics:
  - {id: ordered, event: Order Completed, within: 1d}
lateness: 1h
"""


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedStack]:
    """Decide and judge; time is what the events say."""
    folder = tmp_path / "config" / "experiments"
    folder.mkdir(parents=True)
    (folder / "subject.yaml").write_text(BANDIT)
    with EmbeddedStack(
        tmp_path / "data",
        create_topics,
        roles=("decide", "judge"),
        lanes=LANES,
        ticker=False,
        config_dir=folder.parent,
        settings={"KAIROS_STRICT_ORDER": "true"},
    ) as made:
        for name, value in made.env().items():
            monkeypatch.setenv(name, value)
        yield made


def exposures(stack: EmbeddedStack) -> list[dict[str, Any]]:
    """Each exposure once."""
    values = (msgspec.json.decode(record.value or b"{}") for record in read_topic(stack.bootstrap, "exposures"))
    return list({one["id"]: one for one in values}.values())


def in_force(redis: Client) -> tuple[int, ...]:
    """Version of the shares by which each worker of decide decides."""
    found = []
    for one in worker_figures(redis):
        packed = redis.get(f"snapshot:policy:{one['policy']}") if one["role"] == "decide" else None
        if isinstance(packed, bytes):
            (experiment,) = json.loads(packed)["experiments"]
            found.append((experiment["ruling"] or {}).get("step", 0))
    return tuple(found)


def judged(redis: Client) -> int:
    """Watermark of the judge's last look."""
    return max((one["watermark"] for one in worker_figures(redis) if one["role"] == "judge"), default=0)


def a_day(stack: EmbeddedStack, bus: Publisher, redis: Client, day: int) -> None:
    """A hundred and fifty new users; half of those with `named` order, and a tenth of the others."""
    at = START + day * DAY_MS
    users = [f"u{day}-{number}" for number in range(150)]
    for user in users:
        bus.publish("clickstream", track("Product Viewed", user, at + HOUR_MS), user)
    ticks(bus, at + 2 * HOUR_MS)
    wait_until(lambda: min(read_watermarks(redis, LANES).values(), default=0) >= at + 2 * HOUR_MS, "they came", 60, 0.1)
    wait_until(lambda: len(exposures(stack)) >= 150 * (day + 1), "they are exposed", 30, 0.2)
    arms = {one["user"]: one["variant"] for one in exposures(stack)}
    for number, user in enumerate(users):
        if number % (2 if arms[user] == "named" else 10) == 0:
            bus.publish("purchases", track("Order Completed", user, at + 3 * HOUR_MS, revenue=5.0), user)
    ticks(bus, at + DAY_MS)
    wait_until(lambda: judged(redis) >= at + DAY_MS, "the judge has looked", 60, 0.1)


def one_of(text: str) -> Experiment:
    """The experiment of a file."""
    return Experiment.model_validate(YAML(typ="safe").load(text))


def ticks(bus: Publisher, at: int) -> None:
    """Let time pass in every input."""
    for topic in TOPICS:
        for lane in range(LANES):
            bus.publish(topic, tick(at), None, lane)
    bus.flush()


def off_policy(folder: Path) -> None:
    """What a policy would have earned, from what was recorded: more than the log's for always `named`."""
    out = folder / "bandit.json"
    command = ["evaluate", "bandit", "--experiment", "subject", "--json", str(out), "--seeds", "3"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    assert found["rows"] == 600  # the last two days are inside their window
    assert found["protocol"]["best_fixed_action"] == "named"
    assert found["baselines"]["best_fixed_action"]["snips"] == pytest.approx(0.5, abs=0.06)
    assert found["metrics"]["dr"] == pytest.approx(0.5, abs=0.1)
    unknown = CliRunner().invoke(app, [*command, "--metric", "ordred"])
    assert unknown.exit_code == 2
    assert "one of ordered" in unknown.output


def test_shares_move_and_the_audit_agrees(stack: EmbeddedStack, tmp_path: Path) -> None:
    with closing(connect(stack.env()["KAIROS_REDIS__URL"])) as redis, Publisher(stack.bootstrap) as bus:
        for day in range(6):
            a_day(stack, bus, redis, day)
            if day == 3:
                os.kill(stack.supervisor.pids()["decide"], signal.SIGKILL)
            override = ExperimentStore(redis).overrides().get("subject")
            step = override.step if override is not None else 0
            assert step >= (1 if day >= 3 else 0)
            wait_until(lambda step=step: set(in_force(redis)) == {step}, "decide goes by it", 60, 0.1)  # type: ignore[misc]
        counts = read_some_counters(redis, LANES, ["exp:subject"])["exp:subject"]
        card = ExperimentStore(redis).result("subject")
    found = exposures(stack)
    assert len(found) == 900
    wanted: Counter[float] = Counter()
    for epoch in ledger(counts).epochs(one_of(BANDIT)):
        wanted[epoch.weights[1]] += sum(epoch.counts)
    assert len(wanted) >= 2
    told: Counter[float] = Counter()
    for one in found:
        named = one["propensity"] if one["variant"] == "named" else round(1.0 - one["propensity"], 3)
        told[named] += 1
    assert told == wanted
    assert card is not None
    assert card["allocation"]["shares"]["named"] > 0.9
    assert not card["sample_ratio"]["alarm"]
    off_policy(tmp_path)
    report = run_audit(Settings())
    assert report.ok, report.sentences()
