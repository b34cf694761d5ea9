"""The `kairos evaluate` commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from models.errors import ConfigurationError
from services.jobs.evaluate.churn import ChurnProtocol, evaluate_churn
from services.jobs.evaluate.tables import read_purchases

evaluate_app = typer.Typer(
    name="evaluate", help="Judge Kairos on your own history before going live.", no_args_is_help=True
)


@evaluate_app.callback()
def tasks() -> None:
    """Judge Kairos on your own history before going live (docs/evaluate.md)."""


@evaluate_app.command()
def churn(  # noqa: PLR0913, PLR0917 - one parameter per option
    data: Annotated[Path, typer.Option(help="CSV, Parquet or JSON lines with customer_id, date, value.")],
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the result here, too.")] = None,
    columns: Annotated[str, typer.Option(help="Column mapping, e.g. customer_id=client,value=quantity*price.")] = "",
    where: Annotated[list[str] | None, typer.Option(help="Keep rows that satisfy this, e.g. 'quantity>0'.")] = None,
    horizon_days: Annotated[int, typer.Option(help="Churned: no purchase within this many days.")] = 90,
    snapshot_days: Annotated[int, typer.Option(help="Days between two snapshots.")] = 14,
    first_snapshot_day: Annotated[int, typer.Option(help="Day of the first snapshot.")] = 90,
    eligible_days: Annotated[int, typer.Option(help="Scored: bought within so many days before; 0 = all.")] = 180,
    score_from_day: Annotated[int, typer.Option(help="Snapshots before this day only teach.")] = 200,
    end_date: Annotated[str | None, typer.Option(help="Last observed date; default: the last in the file.")] = None,
) -> None:
    """Churn: who will not buy again within the horizon? Labels are used only once they are due."""
    console = Console()
    try:
        protocol = ChurnProtocol(
            horizon_days, snapshot_days, first_snapshot_day, eligible_days, score_from_day, end_date
        )
        bar = Progress(
            TextColumn("[bold]churn"),
            BarColumn(),
            TextColumn("day {task.completed:.0f} of {task.total:.0f}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        with bar:
            purchases = read_purchases(data, columns, where or [])
            task = bar.add_task("churn", total=int(purchases.days[-1] - purchases.days[0]))
            result = evaluate_churn(purchases, protocol, lambda day, last: bar.update(task, completed=day, total=last))
    except ConfigurationError as error:
        Console(stderr=True).print(f"[red]{error}[/red]", markup=True, highlight=False)
        raise typer.Exit(2) from error
    if json_path is not None:
        json_path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    show(console, result)


def show(console: Console, result: dict[str, Any]) -> None:
    """Print Kairos and the baselines as a table."""
    names = list(result["metrics"])
    table = Table(title=f"kairos evaluate {result['task']}: {result['scored_rows']:,} scored rows")
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(name.replace("_", " "), justify="right", min_width=7)
    rows = {"kairos": result["metrics"], **result["baselines"]}
    for label, metrics in rows.items():
        style = "bold" if label == "kairos" else ""
        table.add_row(label.replace("_", " "), *(f"{metrics[name]:.4f}" for name in names), style=style)
    console.print(table)
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in result["rows_skipped"].items())
    console.print(
        f"{result['rows']:,} rows, {result['customers']:,} customers" + (f"; left out: {skipped}" if skipped else "")
    )
    if result["first_learned_day"] is None:
        console.print("No label matured before the last score: every score is the rule, not learned yet.")
    else:
        console.print(f"Learned scores from day {result['first_learned_day']} on; the rule before.")
    console.print(f"{result['cost']['us_per_event']:.1f} us per event, learning and scoring included.")
