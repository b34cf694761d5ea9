"""``kairos segments``: groups of customers by behaviour, as the stream learns them, and by attributes, as a job."""

from __future__ import annotations

import json
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from config.settings import Settings
from models.errors import ConfigurationError
from services.bootstrap import BAD_INPUT, DATA_DIR, settings_for
from services.state.redis_lane import connect
from services.state.user_facts import FactsReader, groups_of


def segments(
    by: Annotated[
        Literal["behaviour", "attributes"],
        typer.Option(help="behaviour: as the stream learned them; attributes: group the users anew, now."),
    ] = "behaviour",
    attributes: Annotated[str, typer.Option(help="Attributes that count, comma separated; all that group users.")] = "",
    k: Annotated[int, typer.Option(min=0, max=20, help="How many groups by attributes; 0: by the silhouette.")] = 0,
    publish: Annotated[bool, typer.Option(help="Serve the groups by attributes as user.portrait.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder for portraits.json and the picture.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: Annotated[Path, typer.Option(help="Folder of the running stack.")] = DATA_DIR,
) -> None:
    """Segments of customers: their shares and what a typical customer of each is like."""
    settings = settings_for(data_dir)
    if by == "behaviour":
        _behaviour(settings, as_json=as_json)
        return
    names = [name.strip() for name in attributes.split(",") if name.strip()]
    if k == 1:
        _refuse(ConfigurationError("--k 1 is no grouping", remedy="--k 2 or more, or 0"))
    _attributes(settings, names, k, out or data_dir / "models" / "portraits", publish=publish, as_json=as_json)


def _behaviour(settings: Settings, *, as_json: bool) -> None:
    console = Console()
    with closing(connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)) as client:
        known = FactsReader(client, settings.lanes).newest().segments
    found = groups_of(known.payload)
    if as_json:
        console.print_json(json.dumps({"version": known.version, "segments": msgspec.to_builtins(found)}))
        return
    if known.payload is None or not found:
        console.print(
            "There are no segments yet: they are made once labels of churn are known, a horizon after the first order.",
            style="yellow",
        )
        raise typer.Exit(1)
    at = datetime.fromtimestamp(known.payload.at_ms / 1000, UTC)
    title = f"{known.payload.customers:,} customers as of {at:%d %b %Y}, version {known.version}"
    table = Table(title=title, title_justify="left")
    for name in ("segment", "customers", "days silent", "purchase days", "spent"):
        table.add_column(name, justify="left" if name == "segment" else "right")
    for one in found:
        facts = (f"{one.share:.1%}", f"{one.recency_days:.0f}", f"{one.purchase_days:.1f}", f"{one.money:,.2f}")
        table.add_row(one.name, *facts)
    console.print(table)


def _attributes(settings: Settings, names: list[str], k: int, folder: Path, *, publish: bool, as_json: bool) -> None:
    from services.jobs import portraits

    console = Console(stderr=as_json)
    columns = (TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with closing(connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)) as client:
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("segments")

            def progress(title: str, done: int, total: int) -> None:
                bar.update(task, description=title, completed=done, total=total)

            try:
                users = portraits.read_attributes(client, settings.lanes, progress)
                grouped = portraits.group(users, progress, attributes=names, k=k)
            except ConfigurationError as error:
                bar.stop()
                _refuse(error)
        version = portraits.publish(client, grouped, int(time.time() * 1000)).version if publish else None
    written = portraits.write(grouped, folder)
    payload = grouped.payload
    if as_json:
        told = {"version": version, "portraits": dict(zip(payload.names, payload.shares, strict=True))}
        Console().print_json(json.dumps(told | {"silhouette_by_k": grouped.tried, "users": payload.users}))
        return
    used = ", ".join(column.attribute for column in payload.columns)
    table = Table(title=f"{payload.users:,} users by {used}", title_justify="left")
    table.add_column("portrait")
    table.add_column("users", justify="right")
    for name, share in sorted(zip(payload.names, payload.shares, strict=True), key=lambda pair: -pair[1]):
        table.add_row(name, f"{share:.1%}")
    console.print(table)
    silhouettes = ", ".join(f"{number}: {value:.3f}" for number, value in grouped.tried.items())
    console.print(f"Silhouette by number of groups: {silhouettes}", soft_wrap=True)
    if len(written) == 1:
        console.print("No picture: Matplotlib is not installed (pip install matplotlib).")
    console.print(f"Written: {', '.join(str(path) for path in written)}", soft_wrap=True)
    if version is not None:
        console.print(f"Version {version} is served: user.portrait in conditions, kairos value USER")


def _refuse(error: ConfigurationError) -> None:
    Console(stderr=True).print(str(error), style="red", markup=False, soft_wrap=True)
    raise typer.Exit(BAD_INPUT) from error
