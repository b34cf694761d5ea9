"""`kairos evaluate propensity`: the protocol, the document, and every file that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from models.errors import ConfigurationError
from services.jobs.evaluate import evaluate_app
from services.jobs.evaluate.propensity import PropensityProtocol, evaluate_propensity
from services.jobs.evaluate.rows import Labelled, read_labelled


def lines(count: int = 400, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    found = ["pages,source,spent,bought"]
    for _ in range(count):
        pages, source = int(rng.integers(0, 40)), str(rng.choice(["ad", "mail"]))
        y = int(rng.random() < 1 / (1 + np.exp(2.5 - pages / 8 - (source == "mail"))))
        found.append(f"{pages},{source},{rng.gamma(2.0):.2f},{y}")
    return found


def written(tmp_path: Path, text: list[str]) -> Path:
    path = tmp_path / "visits.csv"
    path.write_text("\n".join(text) + "\n")
    return path


def said(path: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(evaluate_app, ["propensity", "--data", str(path), *options])
    return result.exit_code, " ".join(result.output.split())


def test_document_has_the_promised_shape(tmp_path: Path) -> None:
    path, out = written(tmp_path, lines(700)), tmp_path / "out.json"
    code, output = said(path, "--label", "bought", "--json", str(out))
    assert code == 0, output
    result = json.loads(out.read_text())
    assert {"task", "protocol", "rows", "scored_rows", "metrics", "baselines", "cost"} <= set(result)
    names = {"auc", "average_precision", "log_loss", "brier", "calibration_error"}
    assert set(result["metrics"]) == names
    assert all(set(figures) == names for figures in result["baselines"].values())
    assert (result["rows"], result["scored_rows"]) == (700, 630)
    assert result["metrics"]["auc"] > max(figures["auc"] for figures in result["baselines"].values()) - 0.02
    assert result["cost"]["us_per_event"] > 0
    assert result["columns"] == {"pages": "whole", "source": "category", "spent": "number"}


def test_labels_after_the_delay_change_no_score_before(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []

    def record(_labels: object, scores: np.ndarray) -> dict[str, float]:
        seen.append(scores)
        return {"auc": 0.0}

    monkeypatch.setattr("services.jobs.evaluate.propensity.classification_metrics", record)
    rows = [(float(index % 7), "a" if index % 3 else "b") for index in range(800)]
    labels = [int(index % 7 > 4) for index in range(800)]
    turned = [*labels[:550], *(1 - y for y in labels[550:])]
    served = []
    for y in (labels, turned):
        seen.clear()
        data = Labelled(["n", "c"], ["whole", "category"], list(rows), y, 800, {}, [])
        evaluate_propensity(data, PropensityProtocol(delay=50, score_from=0.0))
        served.append(list(seen))
    for first, second in zip(*served, strict=True):
        # Label 550 may be used from the scoring of row 601 on.
        assert first[:601].tobytes() == second[:601].tobytes()
    assert served[0][0][601:].tobytes() != served[1][0][601:].tobytes()


@pytest.mark.parametrize(
    ("label", "positive"), [("1 0", ""), ("true false", ""), ("Yes No", ""), ("won lost", "won"), ("1.0 0.0", "")]
)
def test_labels_as_people_write_them(tmp_path: Path, label: str, positive: str) -> None:
    yes, no = label.split()
    path = written(tmp_path, ["x,y", *(f"{i},{yes if i % 3 else no}" for i in range(60))])
    assert read_labelled(path, "y", positive).labels == [int(i % 3 > 0) for i in range(60)]


def test_columns_get_their_types(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    count = 40
    table = pa.table(
        {
            "flag": [bool(i % 2) for i in range(count)],
            "blank": [" " if i == 3 else f"{i}.5" for i in range(count)],
            "word": [None if i == 4 else "a" for i in range(count)],
            "when": np.arange("2026-01-01", "2026-02-10", dtype="datetime64[D]"),
            "endless": [float("inf") if i == 5 else float("nan") if i == 6 else 1.0 for i in range(count)],
            "empty": pa.nulls(count),
            "y": [None if i == 7 else i % 2 for i in range(count)],
        }
    )
    parquet.write_table(table, path)
    data = read_labelled(path, "y")
    kinds = dict(zip(data.names, data.kinds, strict=True))
    assert kinds["flag"] == kinds["when weekday"] == kinds["when hour"] == "whole"
    assert kinds["blank"] == kinds["when"] == kinds["endless"] == "number"
    assert kinds["word"] == "category"
    assert data.rows[3][data.names.index("blank")] is None
    assert data.rows[5][data.names.index("endless")] is data.rows[6][data.names.index("endless")] is None
    assert data.skipped == {"without a label": 1}
    assert "empty: empty, left out" in data.notes
    assert any("infinite" in note for note in data.notes)
    assert evaluate_propensity(data, PropensityProtocol())["scored_rows"] == 36


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        (lines()[:1], "--label bought", "too few"),
        (lines(10), "--label bought", "10 rows with a label in column 'bought': too few"),
        (lines(), "--label sold", "no column 'sold'"),
        (lines(), "--label bought --leave-out price", "no column 'price'"),
        (lines(), "--label source", "column 'source', row 1"),
        (lines(), "--label source --positive web", "never 'web'"),
        (["x,y", *(f"{i},1" for i in range(50))], "--label y", "all 50 labels are 1"),
        (["x,y", *(f"{i},{int(i < 4)}" for i in range(50))], "--label y", "the same label"),
        (["y", *("01"[i % 2] for i in range(50))], "--label y", "no column to learn from"),
        (["x,x,y", *(f"1,2,{i % 2}" for i in range(50))], "--label y", "columns of the same name: x"),
        (["x,y", "1,0", "1,2,3,4"], "--label y", "cannot read it"),
        (["x,y", *(f"{i},{i % 2}" for i in range(50))], "--label y --delay -1", "--delay"),
        (["x,y", *(f"{i},{i % 2}" for i in range(50))], "--label y --score-from 1", "--score-from"),
    ],
)
def test_what_cannot_be_used_is_told_with_the_file_and_ends_with_2(
    tmp_path: Path, text: list[str], options: str, told: str
) -> None:
    code, output = said(written(tmp_path, text), *options.split())
    assert code == 2
    assert told in output
    assert "visits.csv" in output


@pytest.mark.parametrize(
    "text",
    [
        ["x,c,y", *(f"1,same,{i % 2}" for i in range(60))],
        ["x,c,y", *(f"{'nan' if i % 2 else 'inf'},,{i % 2}" for i in range(60))],
        ["x,c,y", *("1,a,0" if i % 2 else "1,a,1" for i in range(60))],
        ["x,c,y", *(f"{i},{'a' if i < 40 else f'new {i}'},{i % 2}" for i in range(60))],
    ],
    ids=["constant", "nan and inf", "duplicates", "unseen categories"],
)
def test_poor_columns_are_scored_all_the_same(tmp_path: Path, text: list[str]) -> None:
    code, output = said(written(tmp_path, text), "--label", "y")
    assert code == 0, output


def test_missing_file_is_told(tmp_path: Path) -> None:
    assert said(tmp_path / "none.csv", "--label", "y")[0] == 2
    with pytest.raises(ConfigurationError, match="unknown format"):
        read_labelled(tmp_path / "none.xls", "y")
