"""``kairos rules``: what is bought together, as the stream counts it or as a batch job finds it in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from services.bootstrap import DATA_DIR, settings_for
from services.jobs.itemsets import check_rules
from services.state.redis_lane import connect
from services.state.rules import RuleReader, ToldRule


def rules(
    product: Annotated[str, typer.Argument(help="Product id: what goes with it.")] = "",
    top: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    batch: Annotated[
        str, typer.Option(help="Instead: FP-growth (mlxtend) over a file of baskets, or `log`: the orders in Kafka.")
    ] = "",
    min_support: Annotated[float, typer.Option(help="Of --batch: least share of all baskets with both.")] = 0.01,
    data_dir: Annotated[Path, typer.Option(help="Folder of the running stack.")] = DATA_DIR,
) -> None:
    """What is bought together: rules with support, confidence and lift, counted with every order."""
    console = Console()
    if batch:
        settings = settings_for(data_dir) if batch == "log" else None
        found = check_rules(batch, min_support, settings)
        if as_json:
            console.print_json(json.dumps(found.document()))
            return
        console.print(_table(f"FP-growth over {found.baskets:,} baskets", found.rules[:top]))
        console.print(found.sentence(), style="dim", highlight=False)
        return
    settings = settings_for(data_dir)
    client = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
    reader = RuleReader(client)
    ranked, known = reader.ranked(product), reader.newest().payload
    client.close()
    if as_json:
        console.print_json(json.dumps(msgspec.to_builtins(ranked[:top])))
        return
    if not ranked:
        said = f"There is no rule about {product!r}." if product else "There is no rule yet: too little was bought."
        console.print(said, style="yellow", markup=False)
        raise typer.Exit(1)
    title = f"what goes with {product}, surest first" if product else "what goes together, strongest first"
    console.print(_table(title, ranked[:top]))
    exact = "exact" if known.missed == 0 else f"at most {known.missed:,} too low: there are more pairs than places"
    if known.cut:
        exact += f"; {known.cut:,} very long baskets counted in part"
    console.print(
        f"{len(ranked):,} of {len(known.rules):,} rules, from {known.baskets:,} baskets and {known.pairs:,} pairs; "
        f"counts are {exact}",
        style="dim",
        highlight=False,
    )


def _table(title: str, ranked: list[ToldRule]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("who buys", "also buys", "baskets", "support", "confidence", "lift"):
        table.add_column(name, justify="left" if name.endswith("buys") else "right")
    for one in ranked:
        figures = (f"{one.baskets:,}", f"{one.support:.2%}", f"{one.confidence:.1%}", f"{one.lift:.1f}")
        table.add_row(_item(one.given, one.given_name), _item(one.then, one.then_name), *figures)
    return table


def _item(ident: str, name: str) -> str:
    return f"{name} ({ident})" if name else ident
