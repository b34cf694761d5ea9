"""``kairos value``: what a user will spend, when the next order comes, and which group the user is in."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from services.bootstrap import DATA_DIR, settings_for
from services.state.redis_lane import connect
from services.state.user_facts import FactsReader, UserFacts


def value(
    user: Annotated[str, typer.Argument(help="User id.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: Annotated[Path, typer.Option(help="Folder of the running stack.")] = DATA_DIR,
) -> None:
    """What a user is expected to spend and when the next order comes, as of now, with what it is made of."""
    settings = settings_for(data_dir)
    with closing(connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)) as client:
        found = FactsReader(client, settings.lanes).ask(user)
    console = Console()
    if found is None:
        console.print(f"Nobody knows a user {user!r}.", style="red", markup=False)
        raise typer.Exit(1)
    if as_json:
        console.print_json(json.dumps(msgspec.to_builtins(found)))
        return
    when = datetime.fromtimestamp(found.at / 1000, UTC).strftime("%d %b %Y %H:%M")
    table = Table(title=f"User {user} on {when} UTC", title_justify="left", show_header=False)
    for name, text in in_words(found).items():
        table.add_row(name, text)
    console.print(table)


def in_words(found: UserFacts) -> dict[str, str]:
    """Facts of a user for a person."""
    money = f"{found.expected_value:,.2f} within {found.horizon_days} days"
    lines = {"expected value": money, "told by": found.basis}
    if found.probability is not None and found.value_if_ordering is not None:
        lines["made of"] = (
            f"{1 - found.own_share:.0%} of ({found.probability:.1%} for an order x {found.value_if_ordering:,.2f} "
            f"if there is one), {found.own_share:.0%} of the own recent pace {found.own_pace:,.2f}"
        )
    if found.next_order_at is None:
        lines["next order"] = "nothing to tell it from yet"
    else:
        day = datetime.fromtimestamp(found.next_order_at / 1000, UTC).strftime("%d %b %Y")
        if_any = "if one comes, " if found.learned else ""
        lines["next order"] = f"{if_any}in {found.expected_next_order_days:.0f} days, {day}"
    lines["segment"] = found.segment or "none yet"
    lines["portrait"] = found.portrait or "none"
    return lines
