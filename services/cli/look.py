"""``kairos story`` and ``kairos why``: what happened, and why."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from services.bootstrap import DATA_DIR, settings_for
from services.jobs.story import tell
from services.state.ledger import Ledger

DataDir = Annotated[Path, typer.Option(help="Folder of the running stack.")]


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%d %b %Y %H:%M:%S")


def story(
    user: Annotated[str, typer.Argument(help="User id.")],
    last: Annotated[int, typer.Option(min=1, help="How many of the latest lines.")] = 40,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """One user's story: profile, events, alerts, offers and messages, in the order in which they happened."""
    settings = settings_for(data_dir)
    console = Console()
    with console.status("Reading the log ..."):
        told = tell(settings, user)
    if told.profile is None and not told.lines:
        console.print(f"Nobody knows a user {user!r}.", style="red", markup=False)
        raise typer.Exit(1)
    facts = Table(show_header=False, box=None, title=f"User {user}", title_justify="left")
    for name, value in told.facts.items():
        facts.add_row(name, value)
    console.print(facts)
    table = Table(title=f"the last {min(last, len(told.lines))} of {len(told.lines)} lines", title_justify="left")
    for name in ("when (UTC)", "what", ""):
        table.add_column(name)
    for line in told.lines[-last:]:
        table.add_row(_time(line.at), line.what, line.detail, style=line.style)
    console.print(table)


def why(
    message: Annotated[str, typer.Argument(help="Message id, as on the page or in the header X-Kairos-Message-Id.")],
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Why somebody did or did not get a message, and what became of it."""
    settings = settings_for(data_dir)

    async def read() -> object:
        ledger = Ledger(settings.redis.url.get_secret_value())
        try:
            return await ledger.story(message, settings.lanes)
        finally:
            await ledger.close()

    found = asyncio.run(read())
    console = Console()
    if found is None:
        console.print(f"There is no message {message!r} in the send ledger.", style="red", markup=False)
        raise typer.Exit(1)
    command = found.command  # type: ignore[attr-defined]
    table = Table(show_header=False, box=None, title=f"Message {message}", title_justify="left")
    table.add_row("to", f"user {command.user} by {command.channel}, {command.purpose}")
    table.add_row("because", command.reason)
    table.add_row("cause", f"{command.cause.kind}: {command.cause.event}, {_time(command.cause.at)}")
    table.add_row("decided", _time(command.decided_at))
    if command.variant:
        table.add_row("experiment", f"{command.experiment}: variant {command.variant}")
    if command.suppressed:
        table.add_row("not sent", command.suppressed.replace("_", " "))
    table.add_row("state", found.state)  # type: ignore[attr-defined]
    for step in found.history:  # type: ignore[attr-defined]
        table.add_row("", f"{_time(step.at)} (wall clock)  {step.state}  {step.detail}")
    console.print(table)
