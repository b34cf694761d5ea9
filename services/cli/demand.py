"""``kairos demand``: what was sold by week, and what is expected."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from models.learners.demand import NAME
from models.learners.streamed.demand import ALL, Expected, payload_of
from services.bootstrap import DATA_DIR, settings_for
from services.state.redis_lane import connect
from services.state.snapshots import SnapshotReader


def demand(
    find: Annotated[str, typer.Argument(help="Part of a product's id or name, or of a category.")] = "",
    top: Annotated[int, typer.Option(min=1, help="How many products and categories.")] = 15,
    data_dir: Annotated[Path, typer.Option(help="Folder of the running stack.")] = DATA_DIR,
) -> None:
    """Weekly demand per product and category: the last weeks, the next one, and the one in four weeks."""
    settings = settings_for(data_dir)
    console = Console()
    reader = SnapshotReader(connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms))
    version = reader.latest([NAME]).get(NAME)
    if version is None:
        console.print("No week of orders is over yet: there is no forecast.", style="yellow")
        raise typer.Exit(1)
    envelope = reader.load(NAME, version)
    known = payload_of(envelope.schema, envelope.payload)
    ends = datetime.fromtimestamp(known.week_ends_ms / 1000, UTC) - timedelta(days=1)
    table = Table(title=f"units a week up to Sunday, {ends:%d %b %Y}", title_justify="left")
    for name in ("", "last four weeks", "next week", "in four weeks", "weeks known"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=bool(name))
    wanted = [
        (label, expected)
        for name, expected in known.series.items()
        if find.lower() in (label := _label(name, known.names)).lower() or (name == ALL and not find)
    ]
    wanted.sort(key=lambda pair: (-pair[1].next_week, pair[0]))
    for label, expected in wanted[:top]:
        table.add_row(
            label,
            _weeks(expected),
            *(f"{x:,.0f}" for x in (expected.next_week, expected.in_four_weeks)),
            str(expected.weeks),
        )
    if not wanted:
        console.print(f"There is no product or category like {find!r}.", style="yellow", markup=False)
        raise typer.Exit(1)
    console.print(table)
    shares = ", ".join(f"{name.replace('_', ' ')} {share:.0%}" for name, share in envelope.meta["pool"].items())
    console.print(f"{len(wanted)} of {len(known.series)} series; all orders: {shares}", style="dim", highlight=False)


def _label(name: str, names: dict[str, str]) -> str:
    kind, _, ident = name.partition(":")
    if kind == "product":
        return f"{names.get(ident, '')} ({ident})".strip()
    return "all products" if kind == ALL else f"category {ident}"


def _weeks(expected: Expected) -> str:
    return "  ".join(f"{value:,.0f}" for value in expected.last)
