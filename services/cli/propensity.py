"""``kairos propensity``: how likely a user is to reach each goal, and why."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from config.loader import load_definitions
from config.units import spell_duration
from services.bootstrap import DATA_DIR, settings_for
from services.state.propensities import PropensityReader
from services.state.redis_lane import connect


def propensity(
    user: Annotated[str, typer.Argument(help="User id.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: Annotated[Path, typer.Option(help="Folder of the running stack.")] = DATA_DIR,
) -> None:
    """How likely a user is to reach each goal of `goals/`, as of now, with the reasons and their exact shares."""
    settings = settings_for(data_dir)
    goals = load_definitions(settings.config_dir, check_templates=False).goals
    client = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
    found = PropensityReader(client, settings.lanes).ask(user, goals)
    client.close()
    console = Console()
    if found is None:
        console.print(f"Nobody knows a user {user!r}.", style="red", markup=False)
        raise typer.Exit(1)
    if as_json:
        console.print_json(json.dumps(msgspec.to_builtins(found)))
        return
    when = datetime.fromtimestamp(found.at / 1000, UTC).strftime("%d %b %Y %H:%M")
    title = f"User {user} on {when} UTC, models of version {found.snapshot}"
    table = Table(title=title, title_justify="left")
    for name in ("goal", "within", "probability", "why (share in log-odds)"):
        table.add_column(name)
    for one in found.propensities:
        told = one.note if one.probability is None else f"{one.probability:.1%}"
        why = "\n".join(f"{reason.text} ({reason.share:+.2f})" for reason in one.reasons)
        if one.probability is not None:
            why += f"\nall else ({one.others:+.2f}); an average user ({one.base:+.2f})"
        table.add_row(one.goal, spell_duration(one.horizon_ms), told, why)
    console.print(table)
