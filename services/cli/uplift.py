"""``kairos uplift``: what campaigns change, on the whole and for one user."""

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
from services.state.redis_lane import connect
from services.state.uplift import CampaignUplift, Told, UpliftReader

NOBODY = "No campaign has a control group: give one `control:`, or policy.yaml a `holdout:` (docs/campaigns.md)."


def uplift(
    user: Annotated[str | None, typer.Argument(help="User id; without one, the campaigns on the whole.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: Annotated[Path, typer.Option(help="Folder of the running stack.")] = DATA_DIR,
) -> None:
    """What each campaign with a control group changes: on the whole, and for a user as of now."""
    settings = settings_for(data_dir)
    definitions = load_definitions(settings.config_dir, check_templates=False)
    client = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
    reader, console = UpliftReader(client, settings.lanes), Console()
    try:
        campaigns = reader.campaigns(definitions)
        found = None if user is None else reader.ask(user, definitions)
    finally:
        client.close()
    if user is not None and found is None:
        console.print(f"Nobody knows a user {user!r}.", style="red", markup=False)
        raise typer.Exit(1)
    if as_json:
        told = msgspec.to_builtins(found) if found is not None else {"campaigns": msgspec.to_builtins(campaigns)}
        console.print_json(json.dumps(told))
    elif not campaigns:
        console.print(NOBODY, markup=False)
    elif found is not None:
        console.print(_of_user(found))
    else:
        console.print(_of_campaigns(campaigns))
        for one in campaigns:
            if one.groups:
                console.print(_by_group(one))


def _of_user(found: Told) -> Table:
    when = datetime.fromtimestamp(found.at / 1000, UTC).strftime("%d %b %Y %H:%M")
    title = f"User {found.user} on {when} UTC, model version {found.snapshot}"
    table = Table(title=title, title_justify="left")
    for name in ("campaign", "conversion", "within", "uplift"):
        table.add_column(name)
    for one in found.uplift:
        told = one.note if one.uplift is None else _points(one.uplift)
        if one.uplift is not None and one.uplift < 0.0:
            told += ": do not disturb"
        table.add_row(one.campaign, one.conversion, spell_duration(one.within_ms), told)
    return table


def _of_campaigns(campaigns: list[CampaignUplift]) -> Table:
    table = Table(title="Conversions, those who got the message against those held out", title_justify="left")
    for name in ("campaign", "within", "written to", "held out", "effect (95 % interval)", "Qini"):
        table.add_column(name, justify="left" if name in {"campaign", "within"} else "right")
    for one in campaigns:
        effect = "none yet"
        if one.effect is not None and one.effect_low is not None and one.effect_high is not None:
            effect = f"{_points(one.effect)} ({_points(one.effect_low)} to {_points(one.effect_high)})"
        table.add_row(
            one.campaign,
            f"{one.conversion}, {spell_duration(one.within_ms)}",
            f"{one.converted_treated:,} of {one.treated:,}",
            f"{one.converted_held_out:,} of {one.held_out:,}",
            effect,
            ("not learned yet" if not one.learned else "too early") if one.qini is None else f"{one.qini:.3f}",
        )
    return table


def _by_group(one: CampaignUplift) -> Table:
    title = f"{one.campaign}: the newest {one.judged:,} users, by the uplift that they were told before"
    table = Table(title=title, title_justify="left")
    for name in ("fifth", "users", "told", "came of it"):
        table.add_column(name, justify="right")
    for place, part in enumerate(one.groups, start=1):
        came = "" if part.effect is None else _points(part.effect)
        table.add_row(str(place), f"{part.users:,}", _points(part.told), came)
    return table


def _points(value: float) -> str:
    return f"{100 * value:+.1f} pts"
