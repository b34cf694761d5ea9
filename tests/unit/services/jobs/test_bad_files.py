"""Whatever a file is like, `kairos evaluate` and `kairos train` answer in a sentence, never with a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.cli.main import app
from support.bad_files import TASKS, Case, Task, cases, write

# What every task refuses before it begins to work: (part of the case, what the message says).
REFUSED = {
    "without": "column",
    "two columns of one name": "columns of the same name",
    "a row too short": "Row #",
    "empty file": "cannot read it",
    "blank lines": "cannot read it",
    "not a table": "",
    "wrong encoding": "not UTF-8",
    "latin-1": "not UTF-8",
    "no parquet": "cannot read it",
    "no gzip": "cannot read it",
    "no JSON": "cannot read it",
    "JSON of mixed kinds": "",
    "unknown format": "unknown format",
    "0 rows": "",
    "1 row": "",
    "unknown label": "perhaps",
    "soon as date": "'soon'",
    "2010-13-45 as date": "row 10",
}
every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.command[0]} {task.name}")


def answer(task: Task, case: Case, folder: Path) -> Result:
    path = write(folder, case)
    out = ["--out", str(folder / "out")] if task.command == ("train",) else []
    words = [*task.command, task.name, task.option, str(path), *task.options, *out]
    found = CliRunner(env={"COLUMNS": "400"}).invoke(app, words)
    unforeseen = found.exception is not None and not isinstance(found.exception, SystemExit)
    assert not unforeseen, f"{case.what}: {found.exception!r}"
    if found.exit_code:
        assert path.name in found.output, f"{case.what} does not name the file: {found.output}"
    return found


@every_task
def test_what_cannot_be_used_is_refused_in_a_sentence(task: Task, tmp_path: Path) -> None:
    for case in cases(task):
        told = next((said for what, said in REFUSED.items() if case.what.startswith(what)), None)
        if told is None:
            continue
        found = answer(task, case, tmp_path)
        text = " ".join(found.output.split())
        assert found.exit_code in {1, 2}, f"{case.what}: {text}"
        assert told in text, f"{case.what}: {text}"
        assert case.column in text, f"{case.what}: {text}"


@every_task
def test_everything_else_is_treated_or_refused(task: Task, tmp_path: Path) -> None:
    if task.slow or task.name in {"uplift", "sentiment"}:
        chosen = {"one class only", "inf in value", "text in value", "9999-12-31 as date", "10 rows", "constant date"}
    else:
        chosen = None
    tried = 0
    for case in cases(task):
        refused = any(case.what.startswith(what) for what in REFUSED)
        if refused or (chosen is not None and case.what not in chosen):
            continue
        found = answer(task, case, tmp_path)
        tried += 1
        if case.what.startswith(("text in", "inf in")) and found.exit_code:
            assert "row 7" in found.output, found.output
    assert tried
