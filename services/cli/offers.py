"""``kairos offers``: a user's list, or how the offers do among which a bandit chooses. ``kairos export decisions``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from config.units import spell_duration
from models.offers.answered import rule_of
from models.offers.bandit import NAME
from models.profile.state import MILLION
from models.wire import lane_of
from services.bootstrap import DATA_DIR, settings_for
from services.state import keys
from services.state.counters import read_some_counters
from services.state.redis_lane import Client, connect, translated
from services.state.snapshots import SnapshotReader

DataDir = Annotated[Path, typer.Option(help="Folder of the running stack.")]

export_app = typer.Typer(name="export", help="What the service recorded, as a file.", no_args_is_help=True)


def offers(
    user: Annotated[str, typer.Argument(help="User id; without one, how the offers do.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """A user's ranked next-best-offers, or without a user how the offers do among which a bandit chooses."""
    settings = settings_for(data_dir)
    client = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
    if user:
        _of_user(client, settings.lanes, user, as_json=as_json)
    else:
        _all(client, settings.lanes, as_json=as_json)


def _of_user(client: Client, lanes: int, user: str, *, as_json: bool) -> None:
    key = keys.offers(lane_of(user, lanes), user)
    with translated():
        packed: Any = client.get(key)
    console = Console()
    if packed is None:
        console.print(
            f"No offers were decided for {user!r} yet (Redis key {key}).", style="yellow", markup=False, emoji=False
        )
        raise typer.Exit(1)
    if as_json:
        console.print_json(packed.decode())
        return
    found = json.loads(packed)
    when = datetime.fromtimestamp(found["at"] / 1000, UTC).strftime("%d %b %Y %H:%M:%S")
    table = Table(title=f"decided {when} UTC on '{found['cause']['event']}'", title_justify="left")
    for name in ("", "offer", "product", "price", "why", "score", "propensity"):
        table.add_column(name)
    for place, offer in enumerate(found["offers"], 1):
        price = "" if offer["price_minor"] is None else f"{offer['price_minor'] / 100:,.2f}"
        row = (str(place), offer["offer"], offer["name"], price, offer["reason"])
        table.add_row(*row, f"{offer['score']:.3f}", f"{offer['propensity']:.3f}")
    console.print(table)
    choice = found.get("choice")
    if choice:
        among = ", ".join(f"{name} {share:.1%}" for name, share in choice["among"].items())
        told = f"{choice['offer']} comes first, drawn from: {among} (bandit of version {choice['snapshot']})"
        console.print(told, highlight=False, markup=False, emoji=False, soft_wrap=True)
    console.print(f"Redis: GET {key}", highlight=False, markup=False, emoji=False, style="dim")


def _all(client: Client, lanes: int, *, as_json: bool) -> None:
    reader, console = SnapshotReader(client), Console()
    version = reader.latest([NAME]).get(NAME)
    sets: list[dict[str, Any]] = [] if version is None else reader.load(NAME, version).meta["sets"]
    names = sorted({arm["offer"] for one in sets for arm in one["arms"]})
    counted = read_some_counters(client, lanes, [rule_of(name) for name in names]) if names else {}
    if as_json:
        told = {name: counted[rule_of(name)] for name in names}
        console.print_json(json.dumps({"version": version or 0, "sets": sets, "counted": told}))
        return
    if not sets:
        console.print(
            "No offer that a bandit put first has come to the end of its window. `choose: bandit` under `offers` in "
            "policy.yaml lets one choose.",
            style="yellow",
            markup=False,
            highlight=False,
        )
        raise typer.Exit(1)
    for one in sets:
        title = f"{one['reward']} within {spell_duration(one['within_ms'])}"
        table = Table(title=title + (", by context" if one["contextual"] else ""), title_justify="left")
        for name in ("offer", "told", "rewards", "rate", "95 % interval", "share now"):
            table.add_column(name, justify="left" if name == "offer" else "right", no_wrap=True)
        for arm in one["arms"]:
            rate = "" if arm["rate"] is None else f"{arm['rate']:.1%}"
            interval = f"{arm['low']:.1%} to {arm['high']:.1%}"
            share = f"{arm['share_e6'] / MILLION:.1%}"
            table.add_row(arm["offer"], f"{arm['n']:,}", f"{arm['rewards']:,}", rate, interval, share)
        console.print(table)
    table = Table(title="counted so far, over all sets", title_justify="left")
    for name in ("offer", "put first", "viewed", "clicked", "ordered"):
        table.add_column(name, justify="left" if name == "offer" else "right")
    for name in names:
        fields = counted[rule_of(name)]
        table.add_row(name, *(f"{fields.get(field, 0):,}" for field in ("first", "viewed", "clicked", "ordered")))
    console.print(table)
    console.print(f"Bandit of version {version}; shares are those without context.", style="dim", highlight=False)


@export_app.command("decisions")
def decisions(
    out: Annotated[Path, typer.Argument(help="File to write, .csv or .parquet.")],
    data_dir: DataDir = DATA_DIR,
) -> None:
    """The offers that a bandit put first, whose window is over: what was chosen, how likely it was, what came of it."""
    from services.jobs.offer_log import read_choices, write_choices  # pyarrow only here

    console = Console(stderr=True)
    with console.status("Reading the topic training ..."):
        choices = read_choices(settings_for(data_dir).kafka.bootstrap)
    write_choices(choices, out)
    console.print(f"{len(choices):,} decisions in {out}", highlight=False, markup=False)
