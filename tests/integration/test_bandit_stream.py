"""A bandit through a real Redis: lanes count, the judge sets shares, decide takes them, lanes count by them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from config.overrides import overlaid
from models.brain import Brain
from models.experiments.allocation import ledger
from models.experiments.record import VerdictChanged
from services.cli.main import app
from services.judge import Judge
from services.state.counters import read_some_counters
from services.state.experiments import ExperimentStore
from services.state.redis_lane import connect
from support.experiment_shop import ExperimentShop, experiment
from support.redis import RedisServer

# kafka-python leaves sockets open to a broker that does not answer.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
ARMS = [{"id": "plain", "weight": 0.4}, {"id": "named", "weight": 0.3}, {"id": "question", "weight": 0.3}]
RATES = {"plain": 0.1, "named": 0.4, "question": 0.1}


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    found = connect(redis_server.url)
    found.flushdb()
    yield found
    found.flushdb()
    found.close()


def test_judge_to_decide_to_counters(
    client: redis.Redis, redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = experiment(variants=ARMS, allocation="bandit")
    shop, store = ExperimentShop(made), ExperimentStore(client)
    told: list[VerdictChanged] = []
    judges = [Judge(client, 1, told.extend, list) for _ in range(2)]
    for day in range(10):
        shop.day(400, Order_Completed=RATES)
        shop.pass_time(0)
        shop.put(client)
        for judge in judges:  # two at once, and looks that find nothing new
            judge.turn(shop.experiments)
            judge.turn(shop.experiments)
        if day == 5:
            judges[0] = Judge(client, 1, told.extend, lambda: list(told))
        # What decide does between two batches.
        shop.rig.brain = Brain(overlaid(shop.definitions, store.overrides()))
    decided = store.overrides()["test"]
    assert decided.weights[1] == pytest.approx(0.9)
    assert decided.step == len({one.id for one in told if one.override is not None})
    counts = read_some_counters(client, 1, ["exp:test"])["exp:test"]
    epochs = ledger(counts).epochs(shop.experiments[0])
    assert [epoch.weights for epoch in epochs][:2] == [(0.4, 0.3, 0.3), (0.05, 0.9, 0.05)]
    assert sum(sum(epoch.counts) for epoch in epochs) == 4000
    exposed = [json.loads(one.value) for one in shop.rig.published.outputs if one.topic == "exposures"]
    assert {(one["variant"], one["propensity"]) for one in exposed} == {
        (variant, share) for epoch in epochs for variant, share in zip(RATES, epoch.weights, strict=True)
    }

    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "test.yaml").write_text(json.dumps(made))
    for name, value in {"REDIS__URL": redis_server.url, "CONFIG_DIR": str(tmp_path), "LANES": "1"}.items():
        monkeypatch.setenv(f"KAIROS_{name}", value)
    monkeypatch.setenv("KAIROS_KAFKA__BOOTSTRAP", "127.0.0.1:9")
    monkeypatch.setenv("COLUMNS", "200")
    runner = CliRunner()
    card = json.loads(runner.invoke(app, ["experiments", "results", "test", "--format", "json"]).stdout)
    assert card["verdict"] == "better"
    assert card["allocation"]["shares"]["named"] == pytest.approx(0.9)
    assert not card["sample_ratio"]["alarm"]
    named = next(one for one in card["comparisons"] if (one["metric"], one["variant"]) == ("ordered", "named"))
    assert named["interval"][0] <= 0.3 <= named["interval"][1]
    assert card["segments"] == []
    shown = runner.invoke(app, ["experiments", "results", "test"]).stdout
    assert "bandit: shares follow ordered" in shown
    assert "sample means are biased" in shown
    assert "ordered, biased" in shown
    assert "bandit on ordered, at least 5% each" in runner.invoke(app, ["experiments", "show", "test"]).stdout
    page = tmp_path / "report.html"
    assert runner.invoke(app, ["experiments", "report", "test", "--out", str(page)]).exit_code == 0
    assert "named 90.0%" in page.read_text()
