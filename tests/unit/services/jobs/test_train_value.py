"""Regressions of purchase value: judged later than what was learned, beside the stream and the mean."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from models.decisions import ChurnExample
from models.errors import ConfigurationError
from services.cli.main import app
from services.jobs.train.examples import Examples, from_file, from_records
from services.jobs.train.run import Plan
from services.jobs.train.value import REGRESSORS, train_value

DAY_MS = 86_400_000
PLAN = Plan(("linear", "forest"), search="none")


def examples(count: int, seed: int = 5) -> list[ChurnExample]:
    """Whoever ordered often and lately spends more; labels come 60 days later."""
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        at = int(number * 400 * DAY_MS / count)
        silent, days = int(rng.integers(0, 120)), int(rng.integers(1, 12))
        spent = max(0, int(100 * (40 * days - silent + rng.normal(0, 20))))
        due = at + 60 * DAY_MS
        x = [silent, days, 4000 * days, silent + 20 * days, 100 + 10 * days]
        next_days = None if not spent else 5
        found.append(ChurnExample(f"e{number}", f"u{number}", at, due, due, int(not spent), x, spent, next_days))
    return found


def made(count: int) -> Examples:
    return from_records(map(msgspec.json.encode, examples(count)))


def quiet(*_: object) -> None:
    """Progress that nobody watches."""


def test_every_model_beats_the_mean_and_the_report_is_written(tmp_path: Path) -> None:
    found = train_value(made(1500), Plan(tuple(REGRESSORS), search="random", trials=2), quiet)
    by_name = {one.name: one.metrics for one in found.found}
    assert list(by_name) == [*REGRESSORS, "online", "mean"]
    assert all(by_name[name]["rmse"] < 0.5 * by_name["mean"]["rmse"] for name in REGRESSORS)
    assert by_name["online"]["mae"] < by_name["mean"]["mae"]
    assert abs(by_name["mean"]["r2"]) < 0.05
    assert found.best.search_rmse == min(one.search_rmse for one in found.found[:-2])
    assert [path.name for path in found.write(tmp_path)] == ["report.json", "value.png"]
    assert (tmp_path / "value.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(found.document()))


def test_money_that_hangs_on_nothing_is_not_told() -> None:
    good = made(2000)
    mixed = replace(good, money=np.random.default_rng(1).permutation(good.money))
    assert all(one.metrics["r2"] < 0.05 for one in train_value(mixed, PLAN, quiet).found)


def test_nothing_known_after_the_cut_off_is_used() -> None:
    good = made(1500)
    until = int(np.quantile(good.known, 0.8))
    other = replace(good, money=np.where(good.known > until, 9e9, good.money))
    plan = replace(PLAN, until_ms=until)
    one, two = train_value(good, plan, quiet), train_value(other, plan, quiet)
    assert [found.metrics for found in one.found] == [found.metrics for found in two.found]


def test_examples_without_money_are_left_out_or_refused() -> None:
    good = made(1500)
    some = replace(good, money=np.where(np.arange(1500) % 5 == 0, np.nan, good.money))
    found = train_value(some, PLAN, quiet)
    assert found.data["examples"] == 1200
    assert "300 examples do not tell the money: left out" in found.notes
    with pytest.raises(ConfigurationError, match="no example tells the money"):
        train_value(replace(good, money=np.full(1500, np.nan)), PLAN, quiet)
    with pytest.raises(ConfigurationError, match="no model oak"):
        train_value(good, Plan(("oak",)), quiet)
    with pytest.raises(ConfigurationError, match="is infinite"):
        train_value(replace(good, money=np.where(np.arange(1500) == 3, np.inf, good.money)), PLAN, quiet)


def test_the_command_reads_a_file_as_it_lies_in_the_topic(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_bytes(b"\n".join(map(msgspec.json.encode, examples(1000))))
    assert from_file(path).money.tolist() == made(1000).money.tolist()
    usual = ["train", "value", "--file", str(path), "--models", "linear", "--search", "none", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, [*usual, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["score"] == "value"
    done = CliRunner().invoke(app, usual)
    assert "Chosen by the search: linear regression (ridge)" in done.output
    path.write_text("at,known_at,label,x\n")
    assert CliRunner().invoke(app, usual).exit_code == 2
