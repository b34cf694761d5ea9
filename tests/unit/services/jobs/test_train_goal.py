"""Batch models of goals go through the same training as churn: own features, own examples, the same refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from models.decisions import ChurnExample, GoalExample, UpliftExample
from models.errors import ConfigurationError
from models.features import churn
from models.features.goals import FEATURE_NAMES, RAW_NAMES
from models.learners.batch import BatchModel
from models.learners.task import Task
from services.cli.main import app
from services.jobs.train.candidates import CANDIDATES, fitted, pipeline_of
from services.jobs.train.examples import Examples, from_file, from_records, prepared
from services.jobs.train.export import exported
from services.jobs.train.report import document_of, meta_of, write
from services.jobs.train.run import CHAMPION, Plan, train

DAY_MS = 86_400_000
BUY = Task.of_goal("buy", 5)


def examples(count: int, goal: str = "buy", code: int = 5, seed: int = 3) -> list[GoalExample]:
    """Who looked at much lately and ordered not long ago is likely to buy; labels come 30 days later."""
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        at = int(number * 300 * DAY_MS / count)
        x = dict.fromkeys(RAW_NAMES, 0)
        views, hours = int(rng.integers(0, 2000)), int(rng.integers(0, 2000))
        x |= {"views_7d": views, "views_30d": 2 * views, "order_hours": hours, "silence_hours": hours // 3}
        x |= {"tenure_days": int(rng.integers(100, 400)), "purchase_days": int(rng.integers(1, 9)), "events": 9}
        x |= {"sessions": int(rng.integers(1, 50)), "money_minor": int(rng.integers(0, 90_000)), "customer_days": 80}
        label = int(rng.random() < 1 / (1 + np.exp(-(views - hours) / 250)))
        due = at + 30 * DAY_MS
        values = [x[name] for name in RAW_NAMES]
        found.append(GoalExample(f"{goal}{number:05}", f"u{number}", goal, code, at, due, due, label, values))
    return found


def made(count: int) -> Examples:
    return from_records((msgspec.json.encode(one) for one in examples(count)), BUY)


def quiet(*_: object) -> None:
    """Progress that nobody watches."""


def test_the_models_learn_a_goal_and_the_best_becomes_arrays(tmp_path: Path) -> None:
    trained = train(made(2500), Plan(("logistic", "boosting"), search="random", trials=2), quiet)
    assert [one.name for one in trained.found] == ["logistic", "boosting", CHAMPION]
    assert all(one.metrics["auc"] > 0.8 for one in trained.found)
    assert trained.importance.keys() == set(FEATURE_NAMES)
    assert next(iter(trained.importance)) in {
        "views_7d",
        "views_30d",
        "order_recency",
        "order_recency_squared",
        "silence",
    }
    model = BatchModel(trained.state, 4, trained.task)
    assert (model.name, model.until_ms) == ("goal-batch:buy:5", trained.data["known_until_ms"])
    assert set(meta_of(trained)["features"]) <= set(FEATURE_NAMES)
    names = [path.name for path in write(trained, tmp_path, 4)]
    assert names == ["report.json", "roc.png", "calibration.png", "importance.png"]
    assert document_of(trained)["score"] == "goal:buy"


@pytest.mark.parametrize("name", CANDIDATES)
def test_arrays_score_as_the_pipeline_does(name: str) -> None:
    found = prepared(made(1000))
    kept = list(range(len(FEATURE_NAMES)))
    pipeline = pipeline_of(CANDIDATES[name], CANDIDATES[name].usual | {"features": 7}, "chi2", len(kept), 0)
    fitted(pipeline, found.columns, found.labels)
    model = BatchModel(exported(pipeline, kept, np.zeros(len(kept)), 5, len(found), BUY), 1, BUY)
    expected = np.clip(pipeline.predict_proba(found.columns)[:, 1], 0.002, 0.998)
    assert np.clip(model.score(found.raw), 0.002, 0.998) == pytest.approx(expected, abs=1e-6)


def test_labels_that_say_nothing_teach_nothing() -> None:
    found = made(2500)
    mixed = replace(found, labels=np.random.default_rng(1).permutation(found.labels))
    trained = train(mixed, Plan(("logistic", "tree"), search="none"), quiet)
    assert all(0.44 < one.metrics["auc"] < 0.56 for one in trained.found)


def test_examples_of_others_are_left_out() -> None:
    """The partition also holds those of other goals, of what the goal asked before, and of campaigns."""
    own = examples(20)
    strange = [
        *examples(20, "other", 6),
        *examples(20, "buy", 9, seed=4),
        UpliftExample("c1", "u", "buy", 5, 1, 2, 3, True, 1, own[0].x),
        ChurnExample("e1", "u", 1, 2, 3, 1, [1] * len(churn.RAW_NAMES)),
        msgspec.structs.replace(own[0], id="older", x=own[0].x[:-1]),
    ]
    found = from_records(map(msgspec.json.encode, [*own, *strange, *own]), BUY)
    assert found.ids == [one.id for one in own]
    assert found.notes == ("1 examples of another version of the features: left out",)


def test_a_file_is_read_as_the_topic_is_or_refused_with_its_place(tmp_path: Path) -> None:
    own, path = examples(600), tmp_path / "examples.jsonl"
    path.write_bytes(b"\n".join(map(msgspec.json.encode, [*own, *examples(50, "other", 6)])))
    found = from_file(path, BUY)
    assert (found.raw.tolist(), found.labels.tolist()) == (made(600).raw.tolist(), made(600).labels.tolist())
    assert found.notes == ("50 examples of other goals: left out",)
    path.write_bytes(b"\n".join(map(msgspec.json.encode, [msgspec.structs.replace(own[0], x=[1, 2, 3])])))
    with pytest.raises(ConfigurationError, match=f"row 1, column x: not {len(RAW_NAMES)} numbers"):
        from_file(path, BUY)
    leak = prepared(made(700))
    with pytest.raises(ConfigurationError, match="that is a leak"):
        train(replace(leak, at=leak.known), Plan(), quiet)


def test_the_command_trains_from_a_file_and_tells_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_bytes(b"\n".join(map(msgspec.json.encode, examples(1200))))
    usual = ["--file", str(path), "--models", "tree", "--search", "none", "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, ["train", "goal", "buy", "--no-register", *usual])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads((tmp_path / "out" / "report.json").read_text())
    for words, message in (
        (["train", "goal", "nothing"], "no score 'goal:nothing' has batch models"),
        (["models", "promote", "goal:nothing"], "one of churn, goal:buy-again"),
        (["models", "compare", "recs"], "no score 'recs' has batch models"),
    ):
        done = CliRunner().invoke(app, words)
        assert (done.exit_code, message in done.output) == (2, True), done.output
