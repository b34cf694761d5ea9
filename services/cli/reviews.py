"""``kairos reviews``: what customers say about products."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from models.learners.opinions import payload_of
from models.learners.sentiment import NAME
from services.bootstrap import DATA_DIR, settings_for
from services.state.redis_lane import Client, connect
from services.state.reviews import Reviewed, ReviewReader
from services.state.snapshots import SnapshotReader


def reviews(
    product: Annotated[str, typer.Argument(help="Product id; without one, the best and the worst.")] = "",
    top: Annotated[int, typer.Option(min=1, help="How many of the best and of the worst.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: Annotated[Path, typer.Option(help="Folder of the running stack.")] = DATA_DIR,
) -> None:
    """What reviews say about products: how many there are, mean sentiment (-1 to 1), how many are good and bad."""
    settings = settings_for(data_dir)
    client = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
    found = ReviewReader(client, settings.lanes).ranked()
    judged = _judged_by(client)
    client.close()
    console = Console()
    if product:
        found = [one for one in found if one.product == product]
    if as_json:
        console.print_json(json.dumps(msgspec.to_builtins(found)))
        return
    if not found:
        said = f"Nobody reviewed a product {product!r} yet." if product else "Nobody reviewed a product yet."
        console.print(said, style="yellow", markup=False)
        raise typer.Exit(1)
    if product or len(found) <= 2 * top:
        console.print(_table("best first", found))
    else:
        console.print(_table(f"the {top} best", found[:top]), _table(f"the {top} worst", found[-top:][::-1]))
    console.print(judged, style="dim", highlight=False)


def _table(title: str, rows: Sequence[Reviewed]) -> Table:
    table = Table(title=f"products by what reviews say, {title}", title_justify="left")
    for name in ("product", "name", "reviews", "sentiment", "positive", "negative"):
        table.add_column(name, justify="left" if name in ("product", "name") else "right")
    for one in rows:
        counts = (f"{one.reviews:,}", f"{one.sentiment:+.2f}", f"{one.positive:,}", f"{one.negative:,}")
        table.add_row(one.product, one.name, *counts)
    return table


def _judged_by(client: Client) -> str:
    """What texts are judged by, as a sentence."""
    reader = SnapshotReader(client)
    version = reader.latest([NAME]).get(NAME, 0)
    if version:
        envelope = reader.load(NAME, version)
        known = payload_of(envelope.payload)
        if known.learned:
            return f"texts are judged by what {known.examples:,} rated reviews taught (version {version})"
        return f"texts are judged by the lexicon; {known.examples:,} rated reviews with their words are known so far"
    return "texts are judged by the lexicon (English)"
