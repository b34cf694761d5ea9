"""What all evaluations share towards a person: a table, notes, the JSON file, and errors that say what to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from models.errors import ConfigurationError

NARROWEST = 100
SHORT = {"average_precision": "avg. prec.", "calibration_error": "calibr."}

Told = Callable[[int, int], None]


@contextmanager
def watched(task: str, unit: str, path: Path) -> Iterator[Told]:
    """Show progress on stderr; an error of the user's becomes its message and exit code 2."""
    bar = Progress(
        TextColumn(f"[bold]{task}"),
        BarColumn(),
        TextColumn(unit + " {task.completed:,.0f} of {task.total:,.0f}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    try:
        with bar:
            line = bar.add_task(task, total=1)
            yield lambda done, total: bar.update(line, completed=done, total=total)
    except ConfigurationError as error:
        told = error if error.where else ConfigurationError(error.message, where=str(path), remedy=error.remedy)
        Console(stderr=True).print(str(told), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error


def finish(result: dict[str, Any], json_path: Path | None) -> None:
    """Write the JSON and print the table: Kairos, and the baselines below."""
    if json_path is not None:
        json_path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    console = Console()
    console = Console(width=max(console.width, NARROWEST))
    table = Table(title=f"kairos evaluate {result['task']}: {result['scored_rows']:,} scored")
    table.add_column("", no_wrap=True)
    for name in result["metrics"]:
        table.add_column(SHORT.get(name, name.replace("_", " ")), justify="right", min_width=6)
    for label, figures in {"kairos": result["metrics"], **result["baselines"]}.items():
        cells = (_number(figures.get(name)) for name in result["metrics"])
        table.add_row(label.replace("_", " "), *cells, style="bold" if label == "kairos" else "")
    console.print(table)
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in result.get("rows_skipped", {}).items())
    console.print(f"{result['rows']:,} rows" + (f"; left out: {skipped}" if skipped else ""), highlight=False)
    for note in result.get("notes", []):
        console.print(f"- {note}", markup=False, highlight=False)
    console.print(f"{result['cost']['us_per_event']:.1f} us per event, learning and scoring included.", highlight=False)


def _number(value: float | int | str | None) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
