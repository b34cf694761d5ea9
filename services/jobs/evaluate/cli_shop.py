"""The `kairos evaluate` commands over a shop's history: segments, rules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.jobs.evaluate.cli import evaluate_app
from services.jobs.evaluate.present import finish, watched
from services.jobs.evaluate.rules import evaluate_rules, read_baskets
from services.jobs.evaluate.segments import SegmentsProtocol, evaluate_segments
from services.jobs.evaluate.tables import read_purchases

Json = Annotated[Path | None, typer.Option("--json", help="Write the result here, too.")]
Columns = Annotated[str, typer.Option(help="Column mapping, e.g. customer_id=client,value=quantity*price.")]
Where = Annotated[list[str] | None, typer.Option(help="Keep rows that satisfy this, e.g. 'quantity>0'.")]


@evaluate_app.command()
def segments(
    data: Annotated[Path, typer.Option(help="CSV, Parquet or JSON lines with customer_id, date, value.")],
    json_path: Json = None,
    columns: Columns = "",
    where: Where = None,
    k: Annotated[int, typer.Option("-k", "--segments", help="How many segments.")] = 4,
    refit_days: Annotated[int, typer.Option(help="Days between full fits; none in the last seven.")] = 28,
    end_date: Annotated[str | None, typer.Option(help="Last date that counts; default: the last in the file.")] = None,
) -> None:
    """Segments: groups of customers by recency, purchase days and money, kept up as they buy and as days pass."""
    with watched("segments", "day", data) as told:
        protocol = SegmentsProtocol(k, refit_days, end_date)
        result = evaluate_segments(read_purchases(data, columns, where or []), protocol, told)
    finish(result, json_path)


@evaluate_app.command()
def rules(
    data: Annotated[Path, typer.Option(help='JSON lines, one basket a line: ["tea", "milk"].')],
    json_path: Json = None,
    min_support: Annotated[float, typer.Option(help="Least share of all baskets that hold both items.")] = 0.01,
    min_confidence: Annotated[float, typer.Option(help="Least share among baskets with the first item.")] = 0.0,
) -> None:
    """Association rules: what is bought together, with exact support, confidence and lift."""
    with watched("rules", "basket", data) as told:
        result = evaluate_rules(read_baskets(data), min_support, min_confidence, told)
    finish(result, json_path)
