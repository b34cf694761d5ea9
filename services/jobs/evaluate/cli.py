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
from services.jobs.evaluate.ab import evaluate_ab
from services.jobs.evaluate.churn import ChurnProtocol, evaluate_churn
from services.jobs.evaluate.tables import read_purchases
from services.jobs.experiments.trial import Options, names_of, pairs_of

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
        told = error if error.where else ConfigurationError(error.message, where=str(data), remedy=error.remedy)
        Console(stderr=True).print(str(told), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error
    if json_path is not None:
        json_path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    show(console, result)


@evaluate_app.command()
def ab(  # noqa: PLR0913, PLR0917 - one parameter per option
    data: Annotated[Path, typer.Option(help="CSV, Parquet or JSON lines with a variant per user, or with sums.")],
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the result here, too.")] = None,
    variant: Annotated[str, typer.Option(help="Column with the variant.")] = "variant",
    control: Annotated[str, typer.Option(help="The control; without it, the alphabetically first variant.")] = "",
    unit: Annotated[str, typer.Option(help="Column with the user, when a user has several rows.")] = "",
    metrics: Annotated[str, typer.Option(help="Columns a,b; without it, every column of numbers.")] = "",
    weights: Annotated[str, typer.Option(help="Planned shares a=0.5,b=0.5; without it, equal ones.")] = "",
    covariate: Annotated[str, typer.Option(help="Column known before the test, for CUPED.")] = "",
    planned: Annotated[int | None, typer.Option(min=2, help="Planned users: tunes the always-valid test.")] = None,
) -> None:
    """A/B test: z, p, intervals, always-valid p, sample ratio. `kairos experiments results` can do more."""
    try:
        options = Options(
            variant=variant,
            control=control,
            metrics=names_of(metrics),
            unit=unit,
            covariate=covariate,
            weights=pairs_of("--weights", weights),
        )
        result = evaluate_ab(data, options, planned)
    except ConfigurationError as error:
        Console(stderr=True).print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2) from error
    if json_path is not None:
        json_path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    console = Console()
    console.print(result["sentence"], style="bold", markup=False, highlight=False)
    console.print(f"control: {result['protocol']['control']}", highlight=False)
    table = Table(title=f"kairos evaluate ab: {result['scored_rows']:,} users")
    table.add_column("", no_wrap=True)
    table.add_column("kairos", justify="right")
    for name, value in result["metrics"].items():
        table.add_row(name, "" if value is None else f"{value:.10g}")
    console.print(table)
    for caution in result["cautions"]:
        console.print(f"- {caution}", markup=False, highlight=False)


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
