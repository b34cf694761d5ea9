"""Batch training: nobody sees the future, every model becomes arrays that score alike, bad input is told."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.decisions import ChurnExample
from models.errors import ConfigurationError
from models.features.churn import RAW_NAMES
from models.learners.batch import BatchModel
from services.jobs.train.candidates import CANDIDATES, Selection, fitted, pipeline_of
from services.jobs.train.examples import Examples, from_file, from_records, prepared, varying
from services.jobs.train.export import exported
from services.jobs.train.report import document_of, meta_of, write
from services.jobs.train.run import CHAMPION, Plan, folds_of, train
from services.jobs.train.search import Sampler, Search

DAY_MS = 86_400_000
HORIZON_MS = 90 * DAY_MS


def examples(count: int, seed: int = 7) -> list[ChurnExample]:
    """Customers whose chance to be lost grows with their silence; labels come 90 days later."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        at = int(i * 400 * DAY_MS / count)
        recency, days = int(rng.integers(0, 180)), int(rng.integers(1, 12))
        lost = rng.random() < 1 / (1 + np.exp(-(recency - 70) / 15))
        x = [recency, days, int(rng.integers(100, 90_000)), recency + 30 * days, int(100 * min(days, 2))]
        due = at + HORIZON_MS
        found.append(ChurnExample(f"e{i:05}", f"u{i}", at, due, due + i % 7, int(lost), x))
    return found


def made(count: int, seed: int = 7) -> Examples:
    return from_records(msgspec.json.encode(example) for example in examples(count, seed))


def quiet(*_: object) -> None:
    """Progress that nobody watches."""


def test_all_models_learn_and_the_best_becomes_arrays(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    trained = train(made(4000), Plan(search="none"), lambda *progress: told.append(progress))
    assert [one.name for one in trained.found] == [*CANDIDATES, CHAMPION]
    assert all(one.metrics["auc"] > 0.85 for one in trained.found)
    assert trained.best.name in CANDIDATES
    assert trained.best.search_loss == min(one.search_loss for one in trained.found[:-1])
    assert {title for title, _, _ in told} >= {one.title for one in CANDIDATES.values()}
    assert next(iter(trained.importance)) in {"recency", "recency_squared", "overdue"}
    assert BatchModel(trained.state).until_ms == trained.data["known_until_ms"]
    meta = meta_of(trained)
    assert set(meta) == {"kind", "title", "settings", "features", "metrics", "data", "score_us", "curves"}
    names = [path.name for path in write(trained, tmp_path / "out", 3)]
    assert names == ["report.json", "roc.png", "calibration.png", "importance.png"]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report == json.loads(json.dumps(document_of(trained) | {"version": 3}))
    wanted = {"accuracy", "precision", "recall", "f1", "auc", "log_loss", "brier", "calibration_error"}
    assert wanted <= set(report["models"][trained.best.name])
    for name in names[1:]:
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("select", ["none", "chi2", "mutual-information", "rfe"])
@pytest.mark.parametrize("name", CANDIDATES)
def test_arrays_score_as_the_pipeline_does(name: str, select: Selection) -> None:
    found = prepared(made(1200))
    columns, kept = found.columns, [0, 1, 2, 3, 4, 5, 7]
    pipeline = pipeline_of(CANDIDATES[name], CANDIDATES[name].usual | {"features": 4}, select, len(kept), 0)
    fitted(pipeline, columns[:, kept], found.labels)
    model = BatchModel(exported(pipeline, kept, np.zeros(8), 5, len(found)))
    holes = columns.copy()
    holes[::9, 3] = np.nan
    expected = np.clip(pipeline.predict_proba(holes[:, kept])[:, 1], 0.002, 0.998)
    odds = model.log_odds_of(holes)
    assert np.clip(1.0 / (1.0 + np.exp(-odds)), 0.002, 0.998) == pytest.approx(expected, abs=1e-6)


def test_labels_that_say_nothing_teach_nothing() -> None:
    """With shuffled labels an honest protocol finds about one half; a leak would find more."""
    found = made(3000)
    mixed = replace(found, labels=np.random.default_rng(1).permutation(found.labels))
    trained = train(mixed, Plan(("logistic", "tree", "boosting"), search="none"), quiet)
    assert all(0.44 < one.metrics["auc"] < 0.56 for one in trained.found)


def test_what_is_judged_was_scored_after_all_that_was_learned_was_known() -> None:
    found = prepared(made(2000))
    folds = folds_of(found)
    assert len(folds) == 5
    for train_rows, test_rows in folds:
        assert found.known[train_rows].max() < found.at[test_rows].min()
    for (_, before), (_, after) in pairwise(folds):
        assert found.at[before].max() < found.at[after].min()


def test_nothing_known_after_the_cut_off_is_used() -> None:
    """Labels after it are turned round: nothing may change but their number."""
    found = made(2500)
    until = int(np.quantile(found.known, 0.8))
    turned = replace(found, labels=np.where(found.known > until, 1 - found.labels, found.labels))
    plan = Plan(("logistic",), search="none", until_ms=until)
    one, other = train(found, plan, quiet), train(turned, plan, quiet)
    assert one.best.metrics == other.best.metrics
    assert one.state["model"]["w"].tolist() == other.state["model"]["w"].tolist()
    assert one.data["known_until_ms"] <= until
    assert any("later than the cut-off" in note for note in one.notes)


@pytest.mark.parametrize(("how", "most"), [("none", 1), ("grid", 9), ("random", 5), ("bayes", 5)])
def test_every_search_proposes_within_the_space(how: Search, most: int) -> None:
    sampler, seen = Sampler(CANDIDATES["tree"], how, 5, 3, 0), []
    for settings in sampler:
        seen.append(settings)
        sampler.tell(abs(settings["max_depth"] - 8))
    assert len(seen) == len(sampler) == most
    assert all(3 <= one["max_depth"] <= 10 and 10 <= one["min_samples_leaf"] <= 300 for one in seen)
    again = Sampler(CANDIDATES["tree"], how, 5, 3, 0)
    assert next(iter(again)) == seen[0]


def test_a_search_is_not_worse_than_none_on_what_it_searches() -> None:
    found = made(1500)
    usual = train(found, Plan(("tree",), search="none"), quiet).best.search_loss
    for how in ("random", "bayes"):
        assert train(found, Plan(("tree",), search=how, trials=4), quiet).best.search_loss <= usual


def test_each_example_counts_once() -> None:
    values = [msgspec.json.encode(example) for example in examples(10)]
    assert len(from_records([*values, *values])) == 10


@pytest.mark.parametrize("count", [0, 10])
def test_too_few_examples_say_what_to_do(count: int) -> None:
    with pytest.raises(ConfigurationError, match=f"{count} labelled examples, 500 are needed"):
        train(made(count), Plan(), quiet)


def test_bad_examples_are_told() -> None:
    good = made(800)
    cases = {
        "labels are 1 and 800 are 0": replace(good, labels=np.zeros(800, dtype=np.int64)),
        "example e00003: its features": replace(good, at=np.where(np.arange(800) == 3, good.known, good.at)),
        "example e00004: its label was known before it was due": replace(
            good, due=np.where(np.arange(800) == 4, good.known + 1, good.due)
        ),
        "example e00002: money_minor is infinite": replace(good, raw=_changed(good.raw, 2, 2, np.inf)),
        "every feature is constant": replace(good, raw=np.tile(good.raw[0], (800, 1))),
        "nothing to judge yet": replace(good, at=good.at // 400),
    }
    for message, bad in cases.items():
        with pytest.raises(ConfigurationError, match=message):
            train(bad, Plan(("logistic",), search="none"), quiet)
    with pytest.raises(ConfigurationError, match="no model forrest"):
        train(good, Plan(("forrest",)), quiet)


def test_missing_values_are_filled_and_constant_features_left_out() -> None:
    good = made(1500)
    holes = replace(good, raw=_changed(good.raw, slice(None, None, 5), 2, np.nan))
    trained = train(holes, Plan(("logistic", "boosting"), search="none"), quiet)
    assert any("300 missing values" in note for note in trained.notes)
    assert trained.best.metrics["auc"] > 0.85
    flat = replace(good, raw=_changed(good.raw, slice(None), 4, 0.0))
    assert varying(flat)[1] == ["recent"]
    trained = train(flat, Plan(("logistic",), search="none"), quiet)
    assert "constant, left out: recent" in trained.notes
    assert len(trained.state["columns"]) == 7


def test_a_file_is_read_or_refused_with_its_place(tmp_path: Path) -> None:
    found = examples(600)
    lines = [msgspec.json.encode(one).decode() for one in found]
    topic = tmp_path / "topic.jsonl"
    topic.write_text("\n".join([*lines, lines[0]]))
    read = from_file(topic)
    assert len(read) == 600
    assert any("1 rows whose id came before" in note for note in read.notes)
    assert prepared(read).raw.tolist() == prepared(made(600)).raw.tolist()
    header = ",".join(["at", "known_at", "label", *RAW_NAMES])
    table = tmp_path / "table.csv"
    rows = [",".join(str(v) for v in (one.at, one.known_at, one.label, *one.x)) for one in found]
    table.write_text("\n".join([header, *rows]))
    assert prepared(from_file(table)).labels.tolist() == prepared(made(600)).labels.tolist()
    for bad, message in (
        (header.replace("label,", ""), "there is no column label"),
        (f"{header}\n1,2,1,5,2,abc,40,100", "row 1, column money_minor: 'abc' is no number"),
        (f"{header}\n1.5,2,1,5,2,3,40,100", "row 1, column at: 1.5 is no whole number"),
    ):
        table.write_text(bad + "\n")
        with pytest.raises(ConfigurationError, match=message):
            from_file(table)
    table.write_text(f"{header}\n{rows[0]}\n" + rows[1].replace(f",{found[1].label},", ",7,", 1) + "\n")
    with pytest.raises(ConfigurationError, match="row 2, column label: 7 is neither 0 nor 1"):
        from_file(table)


def _changed(raw: np.ndarray, rows: int | slice, column: int, value: float) -> np.ndarray:
    copy = raw.copy()
    copy[rows, column] = value
    return copy
