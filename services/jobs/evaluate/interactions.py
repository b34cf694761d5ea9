"""Read who took which item when: the history that recommendations are judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.errors import ConfigurationError
from services.jobs.evaluate.tables import check_span, column_of, ids_of, parse_columns, read_table, times_of, where

NO_TIME = int(np.iinfo(np.int64).min)


@dataclass(frozen=True, slots=True)
class Basket:
    """What a user took at once. items : different ones, in file order."""

    user: str
    at_ms: int
    items: list[str]
    names: list[str]


@dataclass(frozen=True, slots=True)
class Interactions:
    """Baskets in time order; equal times keep file order. rows : of the file; skipped : left out, by reason."""

    baskets: list[Basket]
    rows: int
    skipped: dict[str, int]


def read_interactions(path: Path, columns: str, conditions: Sequence[str], wanted: Sequence[str]) -> Interactions:
    """Baskets of `path`.

    Parameters
    ----------
    wanted : (user, item, timestamp) or (user, basket, item, timestamp) columns; without a basket each row is one. A
        column `name` (of the item), if the file has one, is used for similarity of content.
    columns, conditions : see :func:`services.jobs.evaluate.tables.parse_columns` and `where`.

    Raises
    ------
    ConfigurationError
        A column is missing or cannot be read, or nothing is left.
    """
    whole = read_table(path)
    mapping = parse_columns(columns, (*wanted, "name"))
    table = where(whole, conditions)
    user, item, at = wanted[0], wanted[-2], wanted[-1]
    users, items = ids_of(column_of(table, mapping[user])), ids_of(column_of(table, mapping[item]))
    times = times_of(column_of(table, mapping[at]), mapping[at])
    timed = np.flatnonzero(times != NO_TIME)
    if len(timed):
        kept = " of those that --where keeps" if conditions else ""
        check_span(times, timed[np.argsort(times[timed], kind="stable")], path, mapping[at], kept)
    names = [""] * table.num_rows
    if mapping["name"] in table.column_names:
        names = ["" if value is None else str(value) for value in table[mapping["name"]].to_pylist()]
    marks = [None] * table.num_rows
    if len(wanted) == 4:
        marks = column_of(table, mapping[wanted[1]]).to_pylist()
    skipped = {"not selected by --where": whole.num_rows - table.num_rows, "without a user, item or time": 0}
    baskets: list[Basket] = []
    open_ones: dict[tuple[str, object], Basket] = {}
    for row in np.argsort(times, kind="stable").tolist():
        who, what, when = users[row], items[row], int(times[row])
        if who is None or what is None or when == NO_TIME:
            skipped["without a user, item or time"] += 1
            continue
        if len(wanted) == 3:
            baskets.append(Basket(who, when, [what], [names[row]]))
            continue
        basket = open_ones.get((who, marks[row]))
        if basket is None:
            basket = open_ones[who, marks[row]] = Basket(who, when, [], [])
            baskets.append(basket)
        if what not in basket.items:
            basket.items.append(what)
            basket.names.append(names[row])
    if not baskets:
        raise ConfigurationError("no row has a user, an item and a time", where=str(path))
    return Interactions(baskets, whole.num_rows, {reason: count for reason, count in skipped.items() if count})
