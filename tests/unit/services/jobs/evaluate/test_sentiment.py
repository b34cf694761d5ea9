"""`kairos evaluate sentiment`: the document, across sources, and what cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from services.jobs.evaluate import evaluate_app

GOOD, BAD = ["great", "love it", "excellent", "works well"], ["awful", "hate it", "broken", "poor quality"]


def reviews(count: int = 120, sources: int = 2) -> list[str]:
    rng = np.random.default_rng(0)
    found = ["text,label,source"]
    for index in range(count):
        y = int(rng.integers(2))
        word = str(rng.choice((BAD, GOOD)[y]))
        found.append(f'"the item {index % 7}, {word}",{y},shop{index % sources}')
    return found


def said(tmp_path: Path, text: list[str], *options: str) -> tuple[int, str]:
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(text) + "\n")
    result = CliRunner().invoke(evaluate_app, ["sentiment", "--data", str(path), "--orders", "2", *options])
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.parametrize("options", [[], ["--test-source", "shop1"]])
def test_document_has_the_promised_shape(tmp_path: Path, options: list[str]) -> None:
    out = tmp_path / "out.json"
    code, output = said(tmp_path, reviews(), *options, "--json", str(out))
    assert code == 0, output
    result = json.loads(out.read_text())
    assert {"accuracy", "f1", "auc", "log_loss", "brier", "calibration_error"} <= set(result["metrics"])
    assert set(result["baselines"]) == {"words_alone", "batch_tfidf_retrained", "lexicon_alone"}
    assert result["scored_rows"] == (60 if options else 108)
    assert result["metrics"]["accuracy"] > 0.9
    assert result["cost"]["us_per_event"] > 0


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        (reviews(0), "", "0 texts with a label: too few"),
        (reviews(10), "", "10 texts with a label: too few"),
        (["text,label", *("good,1" for _ in range(40))], "", "all labels are 1"),
        (["comment,label", "good,1"], "", "no column 'text'"),
        (["text,label", "good,1", "bad,maybe"], "", "column 'label', row 2: 'maybe'"),
        (["text,label", *reviews()[1:]], "", "cannot read it"),
        (reviews(), "--test-source shop9", "no text has source 'shop9'"),
        (reviews(sources=1), "--test-source shop0", "every text has source"),
        (reviews(), "--score-from 1.5", "--score-from"),
        (reviews(), "--orders 0", "--orders"),
    ],
)
def test_what_cannot_be_used_is_told_and_ends_with_2(tmp_path: Path, text: list[str], options: str, told: str) -> None:
    code, output = said(tmp_path, text, *options.split())
    assert code == 2
    assert told in output
    assert "reviews.csv" in output


def test_empty_texts_and_missing_labels_are_left_out(tmp_path: Path) -> None:
    code, output = said(tmp_path, [*reviews(), '"  ",1,shop0', '"good",,shop0'])
    assert code == 0, output
    assert "2 without a text or a label" in output
