"""``kairos recommendations``: how recommended lists are answered, by place, and what they bring."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from config.loader import load_definitions
from models.offers.figures import MEANING, Answers, Figures, ListFigures, Rate, cautions
from services.bootstrap import DATA_DIR, settings_for
from services.state.rankings import RankingReader
from services.state.redis_lane import connect

NOTHING = (
    "No recommended list was seen to be shown. The site tells it by `Product List Viewed` with the id of the list as "
    "list_id (docs/offers.md)."
)


def recommendations(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: Annotated[Path, typer.Option(help="Folder of the running stack.")] = DATA_DIR,
) -> None:
    """How recommended lists are answered, by place in the list, and what they bring."""
    settings = settings_for(data_dir)
    definitions = load_definitions(settings.config_dir, check_templates=False)
    said = cautions(definitions.policy)
    with closing(connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)) as client:
        found = RankingReader(client, settings.lanes).figures()
    if as_json:
        sys.stdout.write(msgspec.json.encode({**msgspec.to_builtins(found), "caution": said}).decode() + "\n")
        return
    console = Console(highlight=False)
    if not found.lists:
        console.print(NOTHING, style="yellow", markup=False)
        raise typer.Exit(1)
    for one in found.lists:
        console.print(_table(one, definitions.churn.currency))
    console.print(_products(found), markup=False)
    for sentence in said:
        console.print(sentence, style="dim", markup=False)


def _table(one: ListFigures, currency: str) -> Table:
    meaning = f" ({MEANING[one.name]})" if one.name in MEANING else ""
    title = f"{one.name}{meaning}: shown {one.rankings:,} times, {one.clicked_rankings:,} with a click"
    if one.per_1000_minor is not None:
        title += f"; {_money(one.per_1000_minor)} {currency} per 1,000"
        title += f", {_money(one.clicked_per_1000_minor or 0)} of it after a click"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("place", "shown", "clicked", "of shown (95 %)", "to cart", "bought", "of shown", currency):
        table.add_column(name, justify="right", no_wrap=True)
    for place, answers in one.places.items():
        table.add_row(str(place), *_row(answers))
    table.add_row("all", *_row(one.total), style="bold")
    told = []
    if one.late:
        told.append(f"{one.late:,} shown so late that the window was over")
    if one.stray:
        told.append(f"{one.stray:,} clicks on lists that were not seen to be shown: send Product List Viewed first")
    if told:
        table.caption = "; ".join(told)
    return table


def _row(answers: Answers) -> tuple[str, ...]:
    return (
        f"{answers.shown:,}",
        f"{answers.clicked:,}",
        _rate(answers.click_rate),
        f"{answers.added:,}",
        f"{answers.bought:,}",
        "" if answers.buy_rate.share is None else f"{answers.buy_rate.share:.2%}",
        _money(answers.money_minor),
    )


def _products(found: Figures) -> str:
    if found.coverage is None:
        return "No product is known to the recommender yet."
    known = f"{found.shown_products:,} of {found.catalogue:,} products"
    return f"Coverage: {known} that the recommender knows were shown ({found.coverage:.1%})."


def _rate(rate: Rate) -> str:
    return "" if rate.share is None else f"{rate.share:.1%} ({rate.low:.1%}-{rate.high:.1%})"


def _money(minor: int) -> str:
    return f"{minor / 100:,.2f}"
