"""`kairos experiments plan` and `results` as a person calls them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.experiments import experiments_app

RUNNER = CliRunner()
# Cookie Cats: retention after seven days, as in the test of the formulas.
SUMS = "variant,n,successes\ngate_30,44700,8502\ngate_40,45489,8279\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sums.csv"
    path.write_text(SUMS)
    return path


def test_results_as_json(file: Path) -> None:
    done = RUNNER.invoke(experiments_app, ["results", str(file), "--format", "json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    fixed = found["comparisons"][0]["fixed"]
    assert fixed["z"] == pytest.approx(-3.16435891, abs=1e-8)
    assert fixed["p"] == pytest.approx(0.0015542500, abs=1e-10)
    assert fixed["interval"] == pytest.approx([-0.0132819409, -0.0031213027], abs=1e-10)
    assert found["sample_ratio"]["p"] == pytest.approx(0.0086, abs=5e-5)
    assert (found["sample_ratio"]["alarm"], found["verdict"]) == (True, "sample_ratio_alarm")


def test_results_as_csv(file: Path) -> None:
    done = RUNNER.invoke(experiments_app, ["results", str(file), "--format", "csv"])
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert (rows[0]["variant"], rows[0]["sample_ratio_alarm"]) == ("gate_40", "True")
    assert float(rows[0]["fixed_p"]) == pytest.approx(0.0015542500, abs=1e-10)


def test_results_as_a_table(file: Path) -> None:
    planned = ["--method", "always-valid", "--planned", "90000", "--running"]
    done = RUNNER.invoke(experiments_app, ["results", str(file), *planned])
    assert done.exit_code == 0, done.output
    for shown in ("gate_40", "-4.3%", "0.0016", "sample ratio: evidence"):
        assert shown in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--control", "nobody"], "unknown_control"),
        (["--weights", "gate_30=half"], "bad_option"),
        (["--method", "pocock"], "bad_option"),
    ],
)
def test_mistakes_end_with_a_code_and_two(file: Path, arguments: list[str], code: str) -> None:
    done = RUNNER.invoke(experiments_app, ["results", str(file), *arguments])
    assert done.exit_code == 2
    assert code in done.output


def test_plan_as_json() -> None:
    arguments = [
        "plan",
        "--rate",
        "0.1",
        "--lift",
        "0.1",
        "--users",
        "40000",
        "--per-day",
        "2000",
        "--window-days",
        "7",
    ]
    done = RUNNER.invoke(experiments_app, [*arguments, "--format", "json"])
    methods = {line["method"]: line for line in json.loads(done.stdout)["methods"]}
    assert methods["fixed"]["users"] == 2 * 14_749
    assert methods["fixed"]["days"] == 22
    assert methods["always-valid"]["power_with_users"] >= 0.68
    assert methods["obrien-fleming"]["power_with_users"] >= 0.87
    table = RUNNER.invoke(experiments_app, arguments)
    assert "29,498" in table.stdout
    assert "valid at every look" in table.stdout


def test_plan_shares_the_error_among_comparisons() -> None:
    arguments = ["plan", "--deviation", "3", "--effect", "0.2", "--variants", "3", "--metrics", "2", "--format", "json"]
    found = json.loads(RUNNER.invoke(experiments_app, arguments).stdout)
    assert (found["comparisons"], found["alpha_each"]) == (4, 0.0125)


@pytest.mark.parametrize(
    "arguments", [[], ["--rate", "0.1"], ["--rate", "2", "--effect", "0.1"], ["--deviation", "1", "--lift", "0.1"]]
)
def test_plan_says_what_is_missing(arguments: list[str]) -> None:
    done = RUNNER.invoke(experiments_app, ["plan", *arguments])
    assert done.exit_code == 2
    assert "bad_option" in done.output
