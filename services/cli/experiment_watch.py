"""``kairos experiments list | show | report | stop``: the experiments that run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from config.units import spell_duration
from models.errors import ConfigurationError
from services.bootstrap import BAD_INPUT, DATA_DIR, settings_for
from services.cards import COLOURS, STATUS, moment, progress, show_card, state_of
from services.cli.experiments import DataDir, Format, emit, experiments_app
from services.jobs.experiments.running import Running, parts_of, running, running_one
from services.jobs.experiments.running import stop as stop_experiment

__all__ = ["experiments_app"]

Id = Annotated[str, typer.Argument(help="Id of the experiment, as in its file.")]


def _refused(error: ConfigurationError) -> typer.Exit:
    Console(stderr=True).print(str(error), style="red", markup=False, soft_wrap=True)
    return typer.Exit(BAD_INPUT)


@experiments_app.command("list")
def listing(
    form: Annotated[Format, typer.Option("--format", help="How to print it.")] = "table", data_dir: DataDir = DATA_DIR
) -> None:
    """All experiments: their status, their verdict in a sentence, and how far they are.

    The verdict is the judge's, about a second old, and may be looked at as often as you like. Everything about one of
    them: kairos experiments show ID.
    """
    found = running(settings_for(data_dir))
    lines = [_line(one) for one in found]
    empty: dict[str, Any] = dict.fromkeys(_KEYS)
    if emit({"experiments": lines}, lines or [empty], form):
        return
    table = Table(box=SIMPLE, show_header=True)
    for name in ("experiment", "status", "verdict"):
        table.add_column(name, no_wrap=name != "verdict")
    for one in found:
        verdict = "the judge has not looked yet" if one.card is None else one.card["sentence"]
        table.add_row(one.experiment.id, STATUS[one.status], verdict)
        if one.card is not None:
            table.add_row("", "", f"[dim]{progress(one.card)}[/]")
    Console().print(table if found else "No experiment is defined. One YAML file in config/experiments makes one.")


_KEYS = ("experiment", "version", "status", "verdict", "action", "variant", "matured", "preliminary", "planned")


def _line(one: Running) -> dict[str, Any]:
    card = one.card or {}
    known = {name: card.get(name) for name in (*_KEYS, "days_left", "final", "sentence")}
    return known | {"experiment": one.experiment.id, "version": one.experiment.version, "status": one.status}


@experiments_app.command()
def show(name: Id, data_dir: DataDir = DATA_DIR) -> None:
    """Everything about an experiment: what was declared, what is frozen, and the card with every comparison.

    JSON and CSV: kairos experiments results ID --format json.
    """
    try:
        one = running_one(settings_for(data_dir), name)
    except ConfigurationError as error:
        raise _refused(error) from error
    console, experiment = Console(), one.experiment
    facts = Table(show_header=False, box=None, title=experiment.description or name, title_justify="left")
    if experiment.hypothesis:
        facts.add_row("hypothesis", experiment.hypothesis)
    facts.add_row("status", STATUS[one.status] if one.card is None else state_of(one.card))
    facts.add_row("version", str(experiment.version))
    weights = zip(experiment.variants, experiment.shares, strict=True)
    facts.add_row("variants", ", ".join(f"{variant.id} {share:.4g}" for variant, share in weights))
    if experiment.allocation is not None:
        facts.add_row(
            "allocation", f"bandit on {experiment.rewarded.id}, at least {experiment.allocation.floor:.0%} each"
        )
    for metric in experiment.metrics:
        less = ", less is better" if metric.less_is_better else ""
        window = spell_duration(metric.within_ms)
        facts.add_row(f"{metric.role} metric", f"{metric.id}: {metric.kind} of {metric.event}, within {window}{less}")
    if one.record is not None and one.record.since:
        plan = one.record.plan
        planned = f"{plan.planned:,} users" if plan.planned else "no number of users"
        facts.add_row(
            "frozen plan", f"{plan.method}, alpha {plan.alpha:g}, {planned}; since {moment(one.record.since)}"
        )
    console.print(facts)
    console.print()
    if one.card is None:
        console.print("The judge has not looked at it yet (kairos health judge).", style="yellow")
        return
    show_card(one.card, console)
    console.print(progress(one.card), highlight=False)


@experiments_app.command()
def report(
    name: Id,
    out: Annotated[Path, typer.Option(help="Where to write the HTML file; everything is in it.")],
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Write a report with plots, for people who were not there: one HTML file that opens anywhere and prints well."""
    from services.jobs.experiments.report import report as written

    try:
        one = running_one(settings_for(data_dir), name)
    except ConfigurationError as error:
        raise _refused(error) from error
    if one.card is None:
        Console(stderr=True).print(f"not_judged: {name} was not looked at yet (kairos health judge)", style="red")
        raise typer.Exit(1)
    card = {**one.card, **parts_of(settings_for(data_dir), one.experiment, one.card)}
    out.write_text(written(card, one.record), encoding="utf-8")
    Console().print(f"{out}: {one.card['sentence']}", highlight=False, markup=False)


@experiments_app.command()
def stop(
    name: Id,
    reason: Annotated[str, typer.Option(help="Why, in a sentence; it is kept, published and shown.")],
    winner: Annotated[str | None, typer.Option(help="Give everybody this variant, instead of the control.")] = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Stop an experiment: nobody new takes part, and all get the control (or --winner); within about a second.

    It stays stopped until its file has another `version:`. Users who are inside their window are counted to the end,
    then the result is final.
    """
    try:
        override = stop_experiment(settings_for(data_dir), name, reason, winner)
    except ConfigurationError as error:
        raise _refused(error) from error
    given = "everybody gets the control" if winner is None else f"everybody gets {winner}"
    Console().print(f"{name}: {STATUS[override.status]}; {given}.", style=COLOURS["better"], highlight=False)
