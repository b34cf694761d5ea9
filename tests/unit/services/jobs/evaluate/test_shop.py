"""`kairos evaluate segments` and `rules`: documents, protocol and what cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from services.jobs.evaluate import evaluate_app


def sales(customers: int = 90, days: int = 80, seed: int = 0) -> list[str]:
    """Regulars who spend much, and people who came once."""
    rng = np.random.default_rng(seed)
    found = []
    for customer in range(customers):
        regular = customer % 3 == 0
        for day in sorted(rng.integers(0, days, 12 if regular else 1).tolist()):
            value = round(float(rng.gamma(3.0, 30.0 if regular else 5.0)), 2)
            found.append((day, f"{customer},{np.datetime64('2026-01-01') + day},{value}"))
    return ["customer_id,date,value", *(line for _, line in sorted(found))]


def said(tmp_path: Path, task: str, text: list[str], *options: str) -> tuple[int, str]:
    path = tmp_path / ("shop.csv" if task == "segments" else "baskets.jsonl")
    path.write_text("".join(f"{line}\n" for line in text))
    result = CliRunner().invoke(evaluate_app, [task, "--data", str(path), *options])
    return result.exit_code, " ".join(result.output.split())


def test_segments_are_close_to_a_full_fit(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    code, output = said(tmp_path, "segments", sales(), "-k", "2", "--json", str(out))
    assert code == 0, output
    result = json.loads(out.read_text())
    assert set(result["metrics"]) == {"inertia_ratio", "ari", "silhouette"}
    assert result["metrics"]["inertia_ratio"] < 1.05
    assert result["baselines"]["batch_kmeans"]["inertia_ratio"] == pytest.approx(1.0)
    assert result["protocol"]["last_full_fit_days_before_end"] >= 7
    assert sum(group["customers"] for group in result["segments"]) == result["scored_rows"] == 90


def test_dates_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    header, *rows = sales()
    figures: list[dict[str, float]] = []
    for lines in (rows, rows[::-1]):
        out = tmp_path / "out.json"
        assert said(tmp_path, "segments", [header, *lines], "--json", str(out))[0] == 0
        figures.append(json.loads(out.read_text())["metrics"])
    # Rows of one day keep the file's order, and centres differ by the order of moves; nothing else may.
    assert figures[0] == pytest.approx(figures[1], abs=0.02)


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        (sales()[:1], "", "no row has a customer and a date"),
        (sales()[:11], "", "too few"),
        (sales(), "-k 1", "-k must be at least 2"),
        (sales(), "--refit-days 0", "--refit-days"),
        (["customer_id,date", "1,2026-01-01"], "", "no column 'value'"),
        (["customer_id,date,value", "1,soon,3"], "", "soon"),
    ],
)
def test_segments_tell_what_is_wrong(tmp_path: Path, text: list[str], options: str, told: str) -> None:
    code, output = said(tmp_path, "segments", text, *options.split())
    assert code == 2
    assert told in output
    assert "shop.csv" in output


def test_rules_document(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    text = ['["tea", "milk"]', '["tea", "milk", 7]', "", '["jam"]', "[]"]
    code, output = said(tmp_path, "rules", text, "--min-support", "0.5", "--json", str(out))
    assert code == 0, output
    result = json.loads(out.read_text())
    assert (result["rows"], result["metrics"]["rules"]) == (4, 2)
    assert result["rules"][0] == {
        "given": "milk",
        "then": "tea",
        "baskets": 2,
        "support": 0.5,
        "confidence": 1.0,
        "lift": 2.0,
    }


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ([], "", "no basket"),
        (['["a"]', '["a", "b"'], "", "baskets.jsonl:2"),
        (['{"a": 1}'], "", "not a list of items"),
        (['[["a"]]'], "", "not a list of items"),
        (['["a"]'], "--min-support 2", "--min-support"),
    ],
)
def test_rules_tell_what_is_wrong(tmp_path: Path, text: list[str], options: str, told: str) -> None:
    code, output = said(tmp_path, "rules", text, *options.split())
    assert code == 2
    assert told in output
