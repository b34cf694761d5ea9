"""``kairos repartition``."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from services.bootstrap import settings_for
from services.jobs.repartition import Plan, repartition

STEPS = {
    "freeze": "lanes are closed",
    "topics": "topics grow",
    "copy": "state is copied",
    "remove": "copies are checked, originals removed",
    "free": "lanes are opened",
}


def run_repartition(
    to: Annotated[int, typer.Option(help="Number of lanes afterwards: twice the present one.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look and count, change nothing.")] = False,
    with_lag: Annotated[
        bool, typer.Option("--with-lag", help="Also where records wait; they are forwarded once, order may change.")
    ] = False,
) -> None:
    """Double the partitions and move the state that belongs to them. Offline; may be interrupted and run again."""
    settings = settings_for()
    console = Console()
    columns = (TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("looking", total=None)
        plan = repartition(
            settings,
            to,
            int(time.time() * 1000),
            dry_run=dry_run,
            with_lag=with_lag,
            progress=lambda step, done, total: bar.update(task, description=STEPS[step], completed=done, total=total),
        )
    for sentence in sentences(plan, dry_run=dry_run):
        console.print(sentence, highlight=False, markup=False)


def sentences(plan: Plan, *, dry_run: bool) -> list[str]:
    """What was, or would be, done."""
    if plan.finished:
        return [f"There are {plan.new} lanes already. Start the workers with KAIROS_LANES={plan.new}."]
    found = ["An earlier run was interrupted; this one goes on with it."] if plan.begun else []
    if dry_run:
        grow = ", ".join(plan.growing) or "none"
        found.append(f"{plan.old} lanes would become {plan.new}; {plan.keys:,} profiles, offers and timers would move.")
        found.append(f"Topics that would grow: {grow}.")
        return found
    found.append(f"{plan.old} lanes became {plan.new}; {plan.keys:,} profiles, offers and timers moved.")
    found.append(f"Start the workers with KAIROS_LANES={plan.new}; `kairos audit` proves the state before and after.")
    return found
