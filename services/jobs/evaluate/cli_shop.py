"""The `kairos evaluate` commands over a shop's history: segments, rules, forecast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.jobs.evaluate.churn import ChurnProtocol
from services.jobs.evaluate.cli import evaluate_app
from services.jobs.evaluate.forecast import ForecastProtocol, evaluate_forecast, horizons_of, read_weeks
from services.jobs.evaluate.present import finish, watched
from services.jobs.evaluate.rules import evaluate_rules, read_baskets
from services.jobs.evaluate.segments import SegmentsProtocol, evaluate_segments
from services.jobs.evaluate.tables import read_purchases
from services.jobs.evaluate.value import evaluate_value

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


@evaluate_app.command()
def forecast(
    data: Annotated[Path, typer.Option(help="CSV, Parquet or JSON lines with date, value and maybe series.")],
    json_path: Json = None,
    columns: Annotated[str, typer.Option(help="Column mapping, e.g. date=day,value=quantity*price,series=shop.")] = "",
    where: Where = None,
    horizon: Annotated[str, typer.Option(help="Weeks ahead.")] = "1,4",
    score_last: Annotated[int, typer.Option(help="The last so many weeks are forecast.")] = 26,
) -> None:
    """Forecast: demand by week, each week forecast from what was known some weeks before."""
    with watched("forecast", "week", data) as told:
        protocol = ForecastProtocol(horizons_of(horizon), score_last)
        result = evaluate_forecast(read_weeks(data, columns, where or []), protocol, told)
    finish(result, json_path)


@evaluate_app.command()
def value(  # noqa: PLR0913, PLR0917 - one parameter per option
    data: Annotated[Path, typer.Option(help="CSV, Parquet or JSON lines with customer_id, date, value.")],
    json_path: Json = None,
    columns: Columns = "",
    where: Where = None,
    horizon_days: Annotated[int, typer.Option(help="Money within this many days.")] = 90,
    snapshot_days: Annotated[int, typer.Option(help="Days between two snapshots.")] = 14,
    first_snapshot_day: Annotated[int, typer.Option(help="Day of the first snapshot.")] = 90,
    eligible_days: Annotated[int, typer.Option(help="Scored: bought within so many days before; 0 = all.")] = 180,
    score_from_day: Annotated[int, typer.Option(help="Snapshots before this day only teach.")] = 200,
    end_date: Annotated[str | None, typer.Option(help="Last observed date; default: the last in the file.")] = None,
) -> None:
    """Value: what will a customer spend within the horizon, and when comes the next order? Labels come late."""
    with watched("value", "day", data) as told:
        protocol = ChurnProtocol(
            horizon_days, snapshot_days, first_snapshot_day, eligible_days, score_from_day, end_date
        )
        result = evaluate_value(read_purchases(data, columns, where or []), protocol, told)
    finish(result, json_path)
