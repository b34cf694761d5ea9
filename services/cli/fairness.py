"""``kairos fairness``: whether groups of users are treated alike."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from config.loader import load_definitions
from models.fairness import MEANING, counter_key
from models.parity import Parity, parities
from services.bootstrap import DATA_DIR, settings_for
from services.state.counters import read_some_counters
from services.state.redis_lane import connect

NOT_DECLARED = "policy.yaml declares no groups: fairness: {attribute: gender, values: [f, m]} (docs/campaigns.md)."


def fairness(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: Annotated[Path, typer.Option(help="Folder of the running stack.")] = DATA_DIR,
) -> None:
    """Whether groups of users are treated alike in scores, offers and messages. Exit code 1: one is not."""
    settings = settings_for(data_dir)
    rules = load_definitions(settings.config_dir, check_templates=False).policy.fairness
    found: list[Parity] = []
    if rules is not None:
        client = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
        key = counter_key(rules.attribute)
        found = parities(rules, read_some_counters(client, settings.lanes, [key])[key])
        client.close()
    if as_json:
        sys.stdout.write(msgspec.json.encode({"fairness": found}).decode() + "\n")
    elif rules is None:
        Console().print(NOT_DECLARED, markup=False)
    else:
        for one in found:
            Console().print(_table(one))
    if any(one.verdict == "uneven" for one in found):
        raise typer.Exit(1)


def _table(one: Parity) -> Table:
    title = f"{one.what} by {one.attribute} ({MEANING[one.what]}): {one.verdict}"
    if one.ratio is not None:
        title += f"; lowest over highest {one.ratio:.2f} ({one.low:.2f} to {one.high:.2f}), {one.least:g} is tolerated"
    table = Table(title=title, title_justify="left")
    for name in ("group", "decided", "in favour", "rate (95 % interval)"):
        table.add_column(name, justify="left" if name == "group" else "right")
    for group in one.groups:
        rate = f"{group.rate:.1%} ({group.low:.1%} to {group.high:.1%})"
        table.add_row(group.value, f"{group.decided:,}", f"{group.favoured:,}", rate)
    if one.small:
        table.caption = f"{one.small} with too few decisions"
    return table
