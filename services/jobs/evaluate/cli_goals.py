"""The `kairos evaluate` commands for goals that are learned from rows: propensity, sentiment, uplift."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.jobs.evaluate.cli import evaluate_app
from services.jobs.evaluate.present import finish, watched
from services.jobs.evaluate.propensity import PropensityProtocol, evaluate_propensity
from services.jobs.evaluate.rows import read_labelled
from services.jobs.evaluate.sentiment import SentimentProtocol, evaluate_sentiment, read_texts
from services.jobs.evaluate.uplift import UpliftProtocol, evaluate_uplift, read_trial

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


@evaluate_app.command()
def sentiment(
    data: Annotated[Path, typer.Option(help="CSV, Parquet or JSON lines with text, label and maybe source.")],
    json_path: Json = None,
    columns: Annotated[str, typer.Option(help="Column mapping, e.g. text=comment,label=stars.")] = "",
    positive: Annotated[
        str, typer.Option(help="Value of the label that is positive; 0/1 and the like need none.")
    ] = "",
    test_source: Annotated[str, typer.Option(help="Learn all other sources, score this one.")] = "",
    score_from: Annotated[float, typer.Option(help="Share of the texts that only teach.")] = 0.1,
    orders: Annotated[int, typer.Option(help="Seeded shuffles over which figures are averaged.")] = 5,
) -> None:
    """Sentiment: is a text positive? Each text is scored before it is learned."""
    with watched("sentiment", "order", data) as told:
        protocol = SentimentProtocol(score_from, orders, test_source)
        texts = read_texts(data, columns, positive, with_source=bool(test_source))
        result = evaluate_sentiment(texts, protocol, told)
    finish(result, json_path)


@evaluate_app.command()
def uplift(
    data: Annotated[Path, typer.Option(help="CSV, Parquet or JSON lines: treatment, outcome and features.")],
    json_path: Json = None,
    columns: Annotated[str, typer.Option(help="Column mapping, e.g. treatment=mailed,outcome=bought.")] = "",
    positive: Annotated[str, typer.Option(help="Value of the outcome that counts; 0/1 and the like need none.")] = "",
    leave_out: Annotated[str, typer.Option(help="Columns a,b that must not be learned from.")] = "",
    seeds: Annotated[int, typer.Option(help="Seeded cuts in half over which figures are averaged.")] = 5,
) -> None:
    """Uplift: whom does a treatment change? Half of an experiment is learned, the other half ranked."""
    with watched("uplift", "row", data) as told:
        protocol = UpliftProtocol(seeds)
        trial = read_trial(data, columns, positive, [name.strip() for name in leave_out.split(",") if name.strip()])
        result = evaluate_uplift(trial, protocol, told)
    finish(result, json_path)
