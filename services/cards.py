"""The card of an experiment in a terminal: the same for files, for running experiments and for the demo's summary."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

COLOURS: Mapping[str, str] = {
    "better": "bold green",
    "worse": "bold red",
    "harm": "bold red",
    "mixed": "bold yellow",
    "sample_ratio_alarm": "bold red",
}
STATUS: Mapping[str, str] = {"running": "running", "stopped": "stopped", "rolled_out": "rolled out"}
Card = Mapping[str, Any]


def progress(card: Card) -> str:
    """How far it is: matured users, planned ones, those inside their window, days left.

    Examples
    --------
    >>> progress({"matured": 900, "planned": 2000, "preliminary": 40, "days_left": 5, "final": 0, "since": 1})
    '900 matured users of 2,000 planned, 40 still inside their window, about 5 days left'
    """
    if not card.get("since", 1):
        return "nobody is exposed yet"
    told = [f"{card['matured']:,} matured users"]
    if card["planned"]:
        told[0] += f" of {card['planned']:,} planned"
    if card["preliminary"]:
        told.append(f"{card['preliminary']:,} still inside their window")
    if card["days_left"] is not None:
        told.append(f"about {card['days_left']} day{'' if card['days_left'] == 1 else 's'} left")
    if card.get("final"):
        told.append("final" if card["final"] == 1 else f"final, corrected: version {card['final']}")
    return ", ".join(told)


def state_of(card: Card) -> str:
    """Whether it runs, and why not.

    Examples
    --------
    >>> state_of({"status": "stopped", "reason": "too dear", "override": {"winner": None}})
    'stopped: too dear'
    """
    status = STATUS[card["status"]]
    winner = (card.get("override") or {}).get("winner")
    if winner:
        status += f" to {winner}"
    return f"{status}: {card['reason']}" if card["reason"] else status


def effect_words(line: Mapping[str, Any]) -> tuple[str, str]:
    """Size of an effect and its interval, as a lift where there is one."""
    if line["lift"] is not None and line["lift_interval"] is not None:
        low, high = line["lift_interval"]
        return f"{line['lift']:+.1%}", f"{low:.1%} to {high:.1%}"
    size = f"{line['difference']:+.3g}" if line["lift"] is None else f"{line['lift']:+.1%}"
    return size, "" if line["interval"] is None else "{:.3g} to {:.3g}".format(*line["interval"])


def ratio_words(card: Card) -> str:
    """The sample ratio in words."""
    ratio = card["sample_ratio"]
    if ratio["p"] is not None:
        return f"p = {ratio['p']:.4g}"
    return f"evidence {ratio['evidence'] or 0.0:.3g}, alarm at 1000"


def show_card(card: Card, console: Console) -> None:
    """Print it: the verdict, every comparison, the sample ratio, and what a reader must know beside it."""
    console.print(card["sentence"], style=COLOURS.get(card["verdict"], "bold"), markup=False, highlight=False)
    console.print(comparisons(card))
    if card.get("allocation"):
        console.print(shares(card))
    ratio = card["sample_ratio"]
    counts = ", ".join(f"{name} {users:,}" for name, users in card["users"].items())
    said = f"sample ratio: {ratio_words(card)}{' ALARM' if ratio['alarm'] else ''} ({counts})"
    console.print(said, style="bold red" if ratio["alarm"] else None, highlight=False)
    for caution in card["cautions"]:
        console.print(f"- {caution}", markup=False, highlight=False)
    if card.get("segments"):
        console.print(parts(card))
    if any(card.get("shown_two", {}).get("users", {}).values()):
        console.print(twice_words(card), markup=False, highlight=False)


def comparisons(card: Card) -> Table:
    """All comparisons as a table."""
    table = Table(title=f"against {card['control']}, decided by: {card['method']}", box=SIMPLE)
    table.add_column("metric, variant", no_wrap=True)
    for name in ("values", "lift", "p once", "always", "interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in card["comparisons"]:
        role = "" if line["role"] == "primary" else f" ({line['role']})"
        what = f"{line['metric']}{role}\n{line['variant']}"
        if line["shortage"]:
            table.add_row(what, line["shortage"].replace("_", " "))
            continue
        fixed = line["fixed"]
        p = ("" if fixed is None else f"{fixed['p']:.2g}", f"{line['always_valid']['p']:.2g}")
        size, interval = effect_words(line)
        table.add_row(what, f"{line['control_value']:.4g}\n{line['value']:.4g}", size, *p, interval)
    return table


def shares(card: Card) -> Table:
    """A bandit's shares in force, and the sample means that are shown with their label only."""
    found = card["allocation"]
    means = found["biased_sample_means"]
    title = f"bandit: shares follow {found['metric']}, version {found['step']}; sample means are biased"
    table = Table(title=title, box=SIMPLE)
    table.add_column("variant", no_wrap=True)
    for name in ("share now", "users", *(f"{metric}, biased" for metric in means)):
        table.add_column(name, justify="right", no_wrap=True)
    for name, share in found["shares"].items():
        biased = (f"{arms[name]:.4g}" if name in arms else "" for arms in means.values())
        table.add_row(name, f"{share:.1%}", f"{card['users'][name]:,}", *biased)
    return table


def parts(card: Card) -> Table:
    """Parts of the users as a table: each tested by itself, for exploration."""
    table = Table(title="parts of the users (exploratory: they decide nothing)", box=SIMPLE)
    table.add_column("part, metric, variant", no_wrap=True)
    for name in ("users", card["control"], "variant", "difference", "interval", "p", "p adjusted"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in card["segments"]:
        table.add_row(*part_words(row))
    return table


def part_words(row: Mapping[str, Any]) -> tuple[str, ...]:
    """One row of the parts, as words."""
    what = f"{row['segment']}\n{row['metric']}, {row['variant']}"
    users = f"{row['n_control'] + row['n']:,}"
    if "value" not in row:
        return (what, users, "", "", "", "", "", "not tested")
    values = (f"{row['control_value']:.4g}", f"{row['value']:.4g}", f"{row['difference']:+.3g}")
    if row["p"] is None:
        return (what, users, *values, "", "", "not tested")
    interval = "{:.3g} to {:.3g}".format(*row["interval"])
    return (what, users, *values, interval, f"{row['p']:.2g}", f"{row['p_adjusted']:.2g}")


def twice_words(card: Card) -> str:
    """Users who were shown two variants, and whether one variant has more of them."""
    found = card["shown_two"]
    each = ", ".join(f"{one} {users:,} ({found['share'][one]:.2%})" for one, users in found["users"].items())
    p = "" if found["p"] is None else f"; p that the shares are alike: {found['p']:.2g}"
    return f"shown two variants, counted in the first: {each}{p}"


def moment(at_ms: int) -> str:
    """Event time for people.

    Examples
    --------
    >>> moment(1_268_524_800_000)
    '14 Mar 2010 00:00'
    """
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%d %b %Y %H:%M}"
