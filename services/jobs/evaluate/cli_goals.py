"""The `kairos evaluate` commands for goals that are learned from rows: propensity, sentiment, uplift."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.jobs.evaluate.cli import evaluate_app
from services.jobs.evaluate.present import finish, watched
from services.jobs.evaluate.propensity import PropensityProtocol, evaluate_propensity
from services.jobs.evaluate.rows import read_labelled

Json = Annotated[Path | None, typer.Option("--json", help="Write the result here, too.")]


@evaluate_app.command()
def propensity(
    data: Annotated[Path, typer.Option(help="CSV, Parquet or JSON lines: any columns and a label.")],
    label: Annotated[str, typer.Option(help="Column with the label.")],
    json_path: Json = None,
    positive: Annotated[str, typer.Option(help="Its value that is predicted; 0/1, true/false, yes/no need none.")] = "",
    delay: Annotated[int, typer.Option(help="Labels come so many rows late.")] = 0,
    score_from: Annotated[float, typer.Option(help="Share of the rows, from the first, that only teach.")] = 0.1,
    leave_out: Annotated[str, typer.Option(help="Columns a,b that must not be learned from.")] = "",
) -> None:
    """Propensity: how likely is a goal? Rows are scored in file order before their labels are learned."""
    with watched("propensity", "row", data) as told:
        protocol = PropensityProtocol(delay, score_from)
        rows = read_labelled(data, label, positive, [name.strip() for name in leave_out.split(",") if name.strip()])
        result = evaluate_propensity(rows, protocol, told)
    finish(result, json_path)
