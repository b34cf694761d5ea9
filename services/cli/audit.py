"""``kairos audit``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from services.bootstrap import DATA_DIR, settings_for
from services.jobs.audit import AuditReport, run_audit

COUNTS = ("received", "applied", "duplicate", "rejected", "forwarded")


def audit(
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the proof here, too.")] = None,
    data_dir: Annotated[Path, typer.Option(help="Folder of the running stack.")] = DATA_DIR,
) -> None:
    """Recompute from the log what Redis must contain, and show every difference (exit code 1 if there is one)."""
    settings = settings_for(data_dir)
    console = Console()
    columns = (TextColumn("[bold]audit"), BarColumn(), MofNCompleteColumn(), TextColumn("records"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("audit", total=None)
        report = run_audit(settings, lambda done, total: bar.update(task, completed=done, total=total))
    show(console, report)
    if json_path is not None:
        found = {
            "ok": report.ok,
            "counts": {name: report.total(name) for name in COUNTS},
            "in_flight": sum(lane.in_flight for lane in report.lanes),
            "messages": {"decided": report.commands, "in_ledger": report.ledger, "waiting": report.waiting},
            "differences": report.differences,
        }
        json_path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    raise typer.Exit(0 if report.ok else 1)


def show(console: Console, report: AuditReport) -> None:
    """The proof as a table, then the verdict."""
    table = Table(title="received = applied + duplicate + rejected + forwarded + in flight", title_justify="left")
    table.add_column("lane", justify="right")
    for name in (*COUNTS, "in flight", "ticks", "profiles", "batches", "differences"):
        table.add_column(name, justify="right")
    for lane in report.lanes:
        state = lane.state
        counts = [f"{getattr(state, name):,}" for name in COUNTS]
        rest = (lane.in_flight, state.ticks, lane.profiles, lane.batches, len(lane.differences))
        style = "" if lane.balances and not lane.differences else "red"
        table.add_row(str(lane.lane), *counts, *(f"{value:,}" for value in rest), style=style)
    console.print(table)
    for sentence in report.sentences():
        console.print(sentence, highlight=False, markup=False)
    console.print("[bold green]Redis equals the log." if report.ok else "[bold red]Redis differs from the log.")
