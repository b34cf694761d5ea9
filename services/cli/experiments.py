"""``kairos experiments``: plan a test, read the results of any test, see what the methods are worth."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from models.errors import ConfigurationError
from models.experiments.power import (
    METHODS,
    Design,
    Method,
    days_to_decide,
    detectable,
    inflation,
    power_of,
    users_needed,
)
from services.bootstrap import DATA_DIR
from services.cards import show_card
from services.jobs.experiments.running import result_of
from services.jobs.experiments.trial import Options, names_of, pairs_of

if TYPE_CHECKING:
    from services.jobs.experiments.simulation.figures import Figure

experiments_app = typer.Typer(
    name="experiments",
    help="A/B tests: plan them, watch and stop them, read results, see what the methods are worth.",
    no_args_is_help=True,
)
Format = Literal["table", "json", "csv"]
DataDir = Annotated[Path, typer.Option(help="Folder of the running stack.")]


def emit(document: Mapping[str, Any], lines: list[dict[str, Any]], form: Format) -> bool:
    """Write JSON or CSV to standard output; False for a table, which the caller draws."""
    if form == "json":
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    elif form == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        sys.stdout.write(text.getvalue())
    return form != "table"


@experiments_app.command()
def plan(  # noqa: PLR0913, PLR0917 - one parameter per option
    rate: Annotated[float | None, typer.Option(help="Share of users that convert today, e.g. 0.10.")] = None,
    deviation: Annotated[float | None, typer.Option(help="For money or counts: standard deviation per user.")] = None,
    effect: Annotated[
        float | None, typer.Option(help="Smallest difference that matters, in the metric's unit.")
    ] = None,
    lift: Annotated[float | None, typer.Option(help="The same relative to today's value: 0.05 is +5 %.")] = None,
    mean: Annotated[float | None, typer.Option(help="Today's value per user, for --lift with --deviation.")] = None,
    users: Annotated[int | None, typer.Option(help="Users of all arms that you have: what can they find?")] = None,
    variants: Annotated[int, typer.Option(min=2, help="Number of arms, all of one size.")] = 2,
    metrics: Annotated[int, typer.Option(min=1, help="Primary metrics.")] = 1,
    power: Annotated[float, typer.Option(help="Chance to find the effect.")] = 0.8,
    alpha: Annotated[float, typer.Option(help="Error, both sides together, of all comparisons.")] = 0.05,
    per_day: Annotated[float | None, typer.Option(help="Newly exposed users a day, all arms.")] = None,
    window_days: Annotated[float, typer.Option(help="Conversion window: users decide only when it has closed.")] = 0.0,
    form: Annotated[Format, typer.Option("--format", help="How to print it.")] = "table",
) -> None:
    """How many users a test needs by each method, what it can find, and how many days that takes."""
    try:
        family = (variants - 1) * metrics
        design = _design(rate, deviation, effect, lift, mean, alpha / family, power)
    except (ValueError, ConfigurationError) as error:
        Console(stderr=True).print(f"bad_option: {error}", style="red", markup=False)
        raise typer.Exit(2) from error
    lines = []
    for method in METHODS:
        needed = users_needed(design, method)[0] * variants
        line: dict[str, Any] = {"method": method, "users": needed, "of_fixed": inflation(method, design.alpha, power)}
        line["days"] = None if not per_day else days_to_decide(needed, 0, 0, per_day, window_days)
        each = None if users is None else users // variants
        line["power_with_users"] = None if not each else power_of(design, each, each, method)
        line["detectable_with_users"] = None if not each else detectable(design, each, each, method)
        lines.append(line)
    document = {
        "effect": design.effect,
        "alpha_each": design.alpha,
        "power": power,
        "comparisons": family,
        "variance_per_user": [design.variance_control, design.variance_treatment],
        "methods": lines,
    }
    if not emit(document, lines, form):
        _show_plan(document, users)


def _design(
    rate: float | None,
    deviation: float | None,
    effect: float | None,
    lift: float | None,
    mean: float | None,
    alpha: float,
    power: float,
) -> Design:
    base = rate if rate is not None else mean
    if (rate is None) == (deviation is None):
        raise ConfigurationError("give either --rate or --deviation", remedy="--rate 0.10 --effect 0.01")
    if (effect is None) == (lift is None) or (lift is not None and base is None):
        raise ConfigurationError("give --effect, or --lift with --rate or --mean", remedy="--rate 0.10 --lift 0.10")
    size = effect if effect is not None else (lift or 0.0) * (base or 0.0)
    if rate is not None:
        return Design.of_shares(rate, size, alpha, power)
    assert deviation is not None
    return Design(deviation**2, deviation**2, size, alpha, power)


WHEN: Mapping[Method, str] = {
    "fixed": "valid for one look, at the end",
    "always-valid": "valid at every look, whenever you like, without an end",
    "obrien-fleming": "valid at up to 100 looks until the planned end",
    "pocock": "the same; stops large effects earlier, finds small ones less often",
}


def _show_plan(document: Mapping[str, Any], users: int | None) -> None:
    table = Table(
        title=f"to find a difference of {document['effect']:g} with {document['power']:.0%} power", box=SIMPLE
    )
    table.add_column("method", no_wrap=True)
    for name in ("users, all arms", "of fixed", "days", "power", "can find"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in document["methods"]:
        days = "" if line["days"] is None else str(line["days"])
        has = ("", "") if users is None else (f"{line['power_with_users']:.2f}", f"{line['detectable_with_users']:.3g}")
        row = (line["method"], f"{line['users']:,}", f"{line['of_fixed']:.2f}x", days)
        table.add_row(*row, *has)
    console = Console()
    console.print(table)
    if users is not None:
        console.print(f"The last two columns are for the {users:,} users that you have.", highlight=False)
    for method, when in WHEN.items():
        console.print(f"- {method}: {when}", highlight=False)
    if document["comparisons"] > 1:
        text = f"{document['comparisons']} comparisons share the error: {document['alpha_each']:.4g} each."
        console.print(text, highlight=False)


@experiments_app.command()
def results(  # noqa: PLR0913, PLR0917
    what: Annotated[
        str,
        typer.Argument(
            metavar="FILE|ID", help="CSV, Parquet or JSON lines with rows per user or sums; or a running experiment."
        ),
    ],
    form: Annotated[Format, typer.Option("--format", help="How to print it.")] = "table",
    variant: Annotated[str, typer.Option(help="Column with the variant.")] = "variant",
    control: Annotated[str, typer.Option(help="The control; without it, the alphabetically first variant.")] = "",
    metrics: Annotated[str, typer.Option(help="Columns a,b or ratios a/b; without it, every column of numbers.")] = "",
    unit: Annotated[str, typer.Option(help="Column with the user, when a user has several rows.")] = "",
    covariate: Annotated[str, typer.Option(help="Column known before the test, for CUPED; blank is missing.")] = "",
    strata: Annotated[str, typer.Option(help="Column for post-stratification, such as country.")] = "",
    weights: Annotated[str, typer.Option(help="Planned shares a=0.5,b=0.5; without it, equal ones.")] = "",
    cap: Annotated[str, typer.Option(help="Winsorise a user's total: revenue=500.")] = "",
    guardrails: Annotated[str, typer.Option(help="Metrics that may only stop, a,b.")] = "",
    less_is_better: Annotated[str, typer.Option(help="Metrics of which less is better, a,b.")] = "",
    minimum_effect: Annotated[str, typer.Option(help="Smallest difference that matters: bought=0.01.")] = "",
    method: Annotated[Method, typer.Option(help="Whose p and interval decide.")] = "fixed",
    alpha: Annotated[float, typer.Option(min=1e-6, max=0.5, help="Error, both sides together.")] = 0.05,
    planned: Annotated[int | None, typer.Option(min=2, help="Planned users of all arms.")] = None,
    running: Annotated[bool, typer.Option(help="Users still come: the live test of the sample ratio.")] = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Results of a running experiment, or of any A/B test from a file: tests, intervals, sample ratio, verdict.

    With an id (kairos experiments list) they are those of the judge's last look, about a second old. All options but
    --format are for files.
    """
    from services.jobs.experiments.results import flat, read_trial
    from services.jobs.experiments.results import results as evaluate

    file = Path(what)
    try:
        if not file.exists() and not file.suffix:
            document = result_of(what, data_dir)
            if not emit(document, flat(document), form):
                show_card(document, Console())
            return
        options = Options(
            variant=variant,
            control=control,
            metrics=names_of(metrics),
            unit=unit,
            covariate=covariate,
            strata=strata,
            weights=pairs_of("--weights", weights),
            caps=pairs_of("--cap", cap),
            guardrails=names_of(guardrails),
            less_is_better=names_of(less_is_better),
            minimum_effects=pairs_of("--minimum-effect", minimum_effect),
        )
        if method in {"obrien-fleming", "pocock"} and planned is None:
            raise ConfigurationError(f"bad_option: {method} needs --planned", remedy="--planned 40000")
        document = evaluate(read_trial(file, options), method, alpha, planned, running=running)
    except ConfigurationError as error:
        Console(stderr=True).print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2) from error
    if not emit(document, flat(document), form):
        show_card(document, Console())


@experiments_app.command()
def simulate(
    worlds: Annotated[int, typer.Option(min=20, help="Number of worlds of each kind.")] = 2_000,
    only: Annotated[str, typer.Option(help="Kinds of worlds a,b; without it, all.")] = "",
    seed: Annotated[int | None, typer.Option(help="Another seed than the one in the file.")] = None,
    form: Annotated[Literal["table", "json", "markdown"], typer.Option("--format", help="How to print it.")] = "table",
) -> None:
    """What the methods are worth, in worlds whose truth is known: false positives, power, coverage, sample.

    Ends with 1 when a figure misses its limit.
    """
    from services.jobs.experiments.simulation.run import KINDS, SEED, as_markdown
    from services.jobs.experiments.simulation.run import simulate as run

    kinds = names_of(only) or tuple(KINDS)
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        Console(stderr=True).print(f"bad_option: {unknown[0]!r} is none of {', '.join(KINDS)}", style="red")
        raise typer.Exit(2)
    figures = []
    columns = (TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        for kind in kinds:
            task = bar.add_task(kind, total=worlds)
            figures += run(kind, worlds, SEED if seed is None else seed, partial(bar.advance, task))
    if form == "json":
        rows = [{**asdict(figure), "holds": figure.holds} for figure in figures]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    elif form == "markdown":
        sys.stdout.write(as_markdown(figures))
    else:
        _show_figures(figures)
    if not all(figure.holds for figure in figures):
        raise typer.Exit(1)


def _show_figures(figures: Sequence[Figure]) -> None:
    console = Console()
    world = ""
    for figure in figures:
        if figure.world != world:
            world = figure.world
            console.print(f"\n{world} ({figure.worlds:,} worlds)", style="bold", highlight=False)
        limit = "" if figure.limit is None else f"{figure.sense} {figure.limit:.4f}"
        value = f"{figure.value:,.0f}" if figure.value >= 100 else f"{figure.value:.4f}"
        mark = "" if figure.limit is None else "ok" if figure.holds else "MISSED"
        text = f"  {figure.method:<40}{figure.measure:<34}{value:>8}  {limit:<16} {mark}"
        console.print(text, style=None if figure.holds else "bold red", highlight=False, soft_wrap=True)
