"""`kairos evaluate uplift`: Qini, the protocol, the document, and every file that cannot be used.

No public data of an experiment is at hand: the made-up ones here have a known truth and fixed seeds.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split
from typer.testing import CliRunner

from models.learners.qini import qini_auc
from services.jobs.evaluate import evaluate_app
from services.jobs.evaluate.uplift import read_trial


def lines(count: int = 1200, seed: int = 0) -> list[str]:
    """The treatment helps young customers of the web, and nobody else."""
    rng = np.random.default_rng(seed)
    found = ["treatment,age,source,bought"]
    for _ in range(count):
        treated, age, source = int(rng.integers(0, 2)), int(rng.integers(18, 70)), str(rng.choice(["web", "shop"]))
        helped = treated and age < 40 and source == "web"
        found.append(f"{treated},{age},{source},{int(rng.random() < (0.55 if helped else 0.2))}")
    return found


def written(tmp_path: Path, text: list[str]) -> Path:
    path = tmp_path / "trial.csv"
    path.write_text("\n".join(text) + "\n")
    return path


def said(path: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(evaluate_app, ["uplift", "--data", str(path), *options])
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.parametrize(
    ("count", "digits", "expected"),
    [
        (12, 1, -0.07777777777777778),
        (200, 1, 0.020996918834263342),
        (1000, 2, 0.12459906413649377),
        (5000, 0, 0.17411012179161942),
    ],
)
def test_qini_equals_scikit_uplift(count: int, digits: int, expected: float) -> None:
    """Expected: `qini_auc_score` of scikit-uplift 0.5.1, generator seeded once for all four, ties among the scores."""
    rng = np.random.default_rng(0)
    for size, places in ((12, 1), (200, 1), (1000, 2), (5000, 0)):
        y, t = rng.integers(0, 2, size), rng.integers(0, 2, size)
        scores = rng.normal(size=size).round(places) + 0.3 * (y * t - y * (1 - t)).round(1)
        if size == count:
            assert places == digits
            assert qini_auc(y, scores, t) == pytest.approx(expected, abs=1e-12)


cases = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(-50, 50)), min_size=8, max_size=60)


@settings(max_examples=150, deadline=None)
@given(cases)
def test_qini_is_one_at_best_zero_for_equal_scores_and_sees_ranks_only(rows: list[tuple[int, int, int]]) -> None:
    y, t, scores = (np.array(column) for column in zip(*rows, strict=True))
    found = qini_auc(y, scores.astype(float), t)
    if np.isnan(found):
        return
    assert qini_auc(y, np.zeros(len(y)), t) == pytest.approx(0.0, abs=1e-9)
    assert qini_auc(y, (y * t - y * (1 - t)).astype(float), t) == pytest.approx(1.0)
    assert qini_auc(y, np.exp(scores / 20.0), t) == pytest.approx(found, abs=1e-12)


def test_document_has_the_promised_shape_and_finds_who_is_helped(tmp_path: Path) -> None:
    path, out = written(tmp_path, lines(4000)), tmp_path / "out.json"
    code, output = said(path, "--columns", "outcome=bought", "--seeds", "2", "--json", str(out))
    assert code == 0, output
    result = json.loads(out.read_text())
    assert {"task", "protocol", "rows", "scored_rows", "metrics", "baselines", "cost"} <= set(result)
    assert (result["task"], result["rows"], result["scored_rows"]) == ("uplift", 4000, 2000)
    assert set(result["metrics"]) == {"qini"}
    assert all(set(figures) == {"qini"} for figures in result["baselines"].values())
    assert result["metrics"]["qini"] > 0.1
    assert result["metrics"]["qini"] >= max(figures["qini"] for figures in result["baselines"].values()) - 0.02
    assert abs(result["baselines"]["random"]["qini"]) < 0.06
    assert result["average_uplift"] == pytest.approx(0.35 / 2 * 22 / 52, abs=0.04)
    assert result["columns"] == {"age": "whole", "source": "category"}
    assert len(result["by_seed"]) == 2
    mean = np.mean([one["kairos"] for one in result["by_seed"]])
    assert result["metrics"]["qini"] == pytest.approx(mean)


def test_second_half_is_only_ranked(tmp_path: Path) -> None:
    """Outcomes of the half that is judged may change the figure, never the scores."""
    from services.jobs.evaluate import uplift

    trial = read_trial(written(tmp_path, lines(800)), "outcome=bought")
    seen: list[np.ndarray] = []

    def record(_labels: object, scores: np.ndarray, _treated: object) -> float:
        seen.append(scores)
        return 0.0

    treated, labels = np.array(trial.treated), np.array(trial.data.labels)
    taught, judged = train_test_split(np.arange(800), test_size=0.5, random_state=0, stratify=2 * treated + labels)
    assert set(taught) | set(judged) == set(range(800))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uplift, "qini_auc", record)
        uplift.evaluate_uplift(trial, uplift.UpliftProtocol(1))
        first, other = list(seen), trial.data.labels
        # Two outcomes of the judged half change places within their group: the cut in halves stays the same.
        cells = {y: next(i for i in sorted(judged) if treated[i] == 1 and labels[i] == y) for y in (0, 1)}
        seen.clear()
        patch.setattr(uplift, "train_test_split", lambda *_args, **_named: (np.sort(taught), np.sort(judged)))
        other[cells[0]], other[cells[1]] = 1, 0
        uplift.evaluate_uplift(trial, uplift.UpliftProtocol(1))
    for before, after in zip(first, seen, strict=True):
        assert before.tobytes() == after.tobytes()


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        (lines()[:1], "--columns outcome=bought", "too few"),
        (lines(10), "--columns outcome=bought", "10 rows with a label in column 'bought': too few"),
        (lines(), "", "no column 'outcome'"),
        (lines(), "--columns outcome=bought,treatment=mailed", "no column 'mailed'"),
        (lines(), "--columns outcome=bought,age=x", "--columns"),
        (lines(), "--columns outcome=bought --leave-out price", "no column 'price'"),
        (lines(), "--columns outcome=bought,treatment=age", "column 'age', row 1"),
        (lines(), "--columns outcome=source", "column 'source', row 1"),
        (["treatment,x,outcome", *(f"1,{i},{i % 2}" for i in range(60))], "", "all 60 rows are 1"),
        (["treatment,x,outcome", *(f"{i % 2},{i},0" for i in range(60))], "", "all 60 labels are 0"),
        (["treatment,outcome", *(f"{i % 2},{i // 2 % 2}" for i in range(60))], "", "no column to learn from"),
        (["treatment,x,outcome", *(f"{i % 2},{i},{int(i == 7)}" for i in range(60))], "", "cannot be divided"),
        (lines(), "--columns outcome=bought --seeds 0", "--seeds"),
    ],
)
def test_what_cannot_be_used_is_told_with_the_file_and_ends_with_2(
    tmp_path: Path, text: list[str], options: str, told: str
) -> None:
    code, output = said(written(tmp_path, text), *options.split())
    assert code == 2
    assert told in output
    assert "trial.csv" in output


@pytest.mark.parametrize("x", ["1", "nan", "inf", ""], ids=["constant", "nan", "infinite", "empty"])
def test_poor_columns_are_ranked_all_the_same(tmp_path: Path, x: str) -> None:
    text = ["treatment,x,z,outcome", *(f"{i % 2},{x if i % 3 else 5},{i % 7},{i // 2 % 2}" for i in range(80))]
    code, output = said(written(tmp_path, text), "--seeds", "1")
    assert code == 0, output


def test_rows_without_a_treatment_or_an_outcome_are_left_out_and_counted(tmp_path: Path) -> None:
    text = [*lines(300), ",30,web,1", "1,30,web,"]
    trial = read_trial(written(tmp_path, text), "outcome=bought")
    assert len(trial.treated) == len(trial.data.rows) == 300
    assert trial.data.skipped == {"without a treatment or an outcome": 2}
