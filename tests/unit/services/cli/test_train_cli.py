"""`kairos train churn` over a file: a report, or a sentence that says what to do; never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from models.decisions import ChurnExample
from services.cli.main import app

DAY_MS = 86_400_000


@pytest.fixture
def history(tmp_path: Path) -> Path:
    rng, lines = np.random.default_rng(2), []
    for number in range(900):
        silent, at = int(rng.integers(0, 200)), number * DAY_MS // 4
        due, label = at + 20 * DAY_MS, int(rng.random() < silent / 200)
        x = [silent, 3, int(rng.integers(100, 9000)), silent + 90, 150]
        lines.append(msgspec.json.encode(ChurnExample(f"e{number}", f"u{number}", at, due, due, label, x)))
    path = tmp_path / "examples.jsonl"
    path.write_bytes(b"\n".join(lines))
    return path


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["train", "churn", "--no-register", *words])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.output if done.exit_code else done.stdout


def test_a_file_gives_a_report(history: Path, tmp_path: Path) -> None:
    usual = ["--file", str(history), "--models", "tree,logistic", "--search", "none", "--out", str(tmp_path / "out")]
    code, said = run(*usual, "--json")
    assert code == 0
    assert json.loads(said) == json.loads((tmp_path / "out" / "report.json").read_text())
    code, said = run(*usual, "--select", "chi2", "--until", "1970-07-01")
    assert code == 0
    assert "Chosen by the search: " in said
    assert "later than the cut-off" in said


def test_mistakes_are_told_in_a_sentence(history: Path, tmp_path: Path) -> None:
    lines = history.read_bytes().split(b"\n")
    ten, none, one_kind = (tmp_path / f"{name}.jsonl" for name in ("ten", "none", "one-kind"))
    ten.write_bytes(b"\n".join(lines[:10]))
    none.write_bytes(b"")
    one_kind.write_bytes(b"\n".join(line.replace(b'"label":1', b'"label":0') for line in lines))
    cases = {
        "10 labelled examples, 500 are needed": ["--file", str(ten)],
        "cannot read it": ["--file", str(none)],
        "nothing to tell apart": ["--file", str(one_kind)],
        "no model oak": ["--file", str(history), "--models", "oak"],
        "is no day": ["--file", str(history), "--until", "soon"],
        "unknown format": ["--file", str(tmp_path / "examples.xls")],
    }
    for message, words in cases.items():
        code, said = run(*words)
        assert (code, message in said) == (2, True), said
