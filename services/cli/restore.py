"""``kairos restore``."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from services.bootstrap import BAD_INPUT, settings_for
from services.jobs.restore import Found, follow, losses, restore, sentences

NOT_READY = 1


def run_restore(
    from_offsets: Annotated[
        bool, typer.Option("--from-offsets", help="Redis is a backup; the log fills the gap from its offsets.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look and explain, change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on where the log does not reach back: what is gone is lost.")
    ] = False,
    follow_up: Annotated[
        bool, typer.Option("--follow", help="Then wait until the workers have filled the gap.")
    ] = False,
) -> None:
    """Make a Redis that was restored from a backup ready for the workers. Offline; may be interrupted and run again."""
    if not from_offsets:
        typer.echo("say --from-offsets: the log fills the gap from the offsets that the backup holds", err=True)
        raise typer.Exit(BAD_INPUT)
    settings = settings_for()
    console = Console()
    agreed = False

    def decide(found: Found) -> bool:
        nonlocal agreed
        bar.stop()
        show(console, found)
        if dry_run or (found.holes and not accept_loss):
            return False
        agreed = yes or typer.confirm("Make Redis ready for the workers?")
        return agreed

    with _bar() as bar:
        task = bar.add_task("looking", total=None)
        found = restore(
            settings,
            int(time.time() * 1000),
            decide,
            progress=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
        )
    if dry_run:
        return
    if not agreed:
        if found.holes:
            typer.echo("Nothing was changed. To go on without what is gone: --accept-loss", err=True)
        raise typer.Exit(NOT_READY)
    console.print("Ready. Start decide, learn and deliver; `kairos audit` proves the state when the gap is filled.")
    if follow_up:
        with _bar() as bar:
            task = bar.add_task("the workers fill the gap", total=None)
            took = follow(settings, found, lambda _, done, total: bar.update(task, completed=done, total=total))
        console.print(f"The gap is filled, {max(took.values()):.0f} s after the workers were waited for.")


def _bar() -> Progress:
    columns = (TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True))


def show(console: Console, found: Found) -> None:
    """Positions as a table, then what they mean."""
    table = Table(title="where the fences stand, and what the log holds", title_justify="left")
    for name in ("lane", "input", "fence", "log from", "log to", "wait", "applied before", "epoch", "journal's epoch"):
        table.add_column(name, justify="left" if name == "input" else "right")
    for lane in found.lanes:
        for index, one in enumerate(lane.inputs):
            epochs = ("", "") if index else (str(lane.epoch), str(lane.journal_epoch))
            numbers = (one.position, one.first, one.end, one.waiting, one.again)
            style = "red" if one.lost or one.beyond else ""
            table.add_row(str(lane.lane), one.topic, *(f"{value:,}" for value in numbers), *epochs, style=style)
    console.print(table)
    for sentence in sentences(found):
        console.print(sentence, highlight=False, markup=False)
    for sentence in losses(found):
        console.print(f"LOST: {sentence}.", style="red", highlight=False, markup=False)
