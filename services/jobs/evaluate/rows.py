"""Read a table of any columns with a label: types are found, missing values and labels understood."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from models.errors import ConfigurationError
from models.features.tabular import CATEGORY, NUMBER, WHOLE, Value
from services.jobs.evaluate.tables import read_table

POSITIVE: Final = frozenset({"1", "1.0", "true", "yes"})
NEGATIVE: Final = frozenset({"0", "0.0", "false", "no"})
LEAST_ROWS: Final = 30
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Labelled:
    """Rows in file order.

    Parameters
    ----------
    names, kinds : columns of `rows`, see :class:`models.features.tabular.TabularEncoder`.
    rows, labels : values and 0 or 1. total : rows in the file. skipped : rows left out, by reason.
    notes : what was done with columns, for a person.
    """

    names: list[str]
    kinds: list[str]
    rows: list[tuple[Value, ...]]
    labels: list[int]
    total: int
    skipped: dict[str, int]
    notes: list[str]


def read_labelled(path: Path, label: str, positive: str = "", leave_out: Sequence[str] = ()) -> Labelled:
    """Read `path` with its `label`.

    Parameters
    ----------
    positive : value of the label that is learned; empty: 0/1, true/false and yes/no are understood.
    leave_out : columns that must not be learned from.

    Raises
    ------
    ConfigurationError
        The file cannot be used; names the file, the column, the row and what to do.
    """
    return labelled_of(read_table(path), path, label, positive, leave_out)


def labelled_of(table: pa.Table, path: Path, label: str, positive: str = "", leave_out: Sequence[str] = ()) -> Labelled:
    """Rows of a table that was read from `path`; see :func:`read_labelled`."""
    if len(set(table.column_names)) < table.num_columns:
        twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
        raise ConfigurationError(f"columns of the same name: {', '.join(twice)}", where=str(path), remedy="rename one")
    for name in (label, *leave_out):
        if name not in table.column_names:
            raise ConfigurationError(
                f"there is no column {name!r}",
                where=str(path),
                remedy=f"--label and --leave-out name columns of the file: {', '.join(table.column_names)}",
            )
    labels = labels_of(table[label], positive, path, label)
    keep = [index for index, y in enumerate(labels) if y is not None]
    known = [int(y) for y in labels if y is not None]
    if len(known) < LEAST_ROWS:
        raise ConfigurationError(
            f"{len(known)} rows with a label in column {label!r}: too few to learn and to judge",
            where=str(path),
            remedy=f"give at least {LEAST_ROWS}",
        )
    if len(set(known)) < 2:
        raise ConfigurationError(
            f"column {label!r}: all {len(known)} labels are {known[0]}: there is nothing to learn",
            where=str(path),
            remedy="choose a period or a label with both outcomes",
        )
    names, kinds, columns, notes = [], [], [], []
    for name in table.column_names:
        if name == label or name in leave_out:
            continue
        for part, kind, values, note in _typed(name, table[name]):
            names.append(part)
            kinds.append(kind)
            columns.append(values)
            notes.extend([note] if note else [])
        if table[name].null_count == table.num_rows:
            notes.append(f"{name}: empty, left out")
    if not columns:
        raise ConfigurationError("no column to learn from", where=str(path), remedy=f"columns beside {label!r}")
    whole = list(zip(*columns, strict=True))
    rows = whole if len(keep) == len(whole) else [whole[index] for index in keep]
    skipped = {"without a label": len(labels) - len(known)} if len(known) < len(labels) else {}
    return Labelled(names, kinds, rows, known, table.num_rows, skipped, notes)


def labels_of(values: pa.ChunkedArray, positive: str, path: Path, name: str) -> list[int | None]:
    """0, 1 or None (missing) per row.

    Raises
    ------
    ConfigurationError
        A value is none of those understood and no positive one was named, or the one named never occurs.
    """
    texts = [_text(value) for value in values.to_pylist()]
    if positive:
        wanted = positive.strip().lower()
        if wanted not in texts:
            found = sorted({text for text in texts if text})[:5]
            raise ConfigurationError(
                f"column {name!r} is never {positive!r}",
                where=str(path),
                remedy=f"--positive with one of its values, such as {', '.join(found) or 'none: it is empty'}",
            )
        return [None if not text else int(text == wanted) for text in texts]
    found_labels: list[int | None] = []
    for row, text in enumerate(texts, start=1):
        if text and text not in POSITIVE and text not in NEGATIVE:
            raise ConfigurationError(
                f"column {name!r}, row {row}: {text!r} is no label",
                where=str(path),
                remedy="0/1, true/false and yes/no are understood; name another with --positive VALUE",
            )
        found_labels.append(None if not text else int(text in POSITIVE))
    return found_labels


def _text(value: Any) -> str:
    """Value as a label is compared: lower case, no blanks around, 1.0 and 1 alike; empty where it is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip().lower()


def _typed(name: str, values: pa.ChunkedArray) -> list[tuple[str, str, list[Value], str]]:
    """(name, kind, values, note) of the columns that one column of the file becomes."""
    kind = values.type
    if pa.types.is_null(kind) or values.null_count == len(values):
        return []
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return [(name, WHOLE, [None if v is None else float(v) for v in values.to_pylist()], "")]
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return [(name, NUMBER, *_numbers([None if v is None else float(v) for v in values.to_pylist()], name))]
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _dates(name, values)
    texts = [None if v is None or not str(v).strip() else str(v).strip() for v in values.to_pylist()]
    numbers = _as_numbers(texts)
    if numbers is None:
        return [(name, CATEGORY, list(texts), "")]
    found, note = _numbers(numbers, name)
    return [(name, NUMBER, found, note or f"{name}: text read as numbers")]


def _numbers(values: list[float | None], name: str) -> tuple[list[Value], str]:
    endless = sum(1 for value in values if value is not None and math.isinf(value))
    note = f"{name}: {endless} infinite value(s) count as missing" if endless else ""
    return [None if value is None or not math.isfinite(value) else value for value in values], note


def _as_numbers(texts: list[str | None]) -> list[float | None] | None:
    try:
        return [None if text is None else float(text) for text in texts]
    except ValueError:
        return None


def _dates(name: str, values: pa.ChunkedArray) -> list[tuple[str, str, list[Value], str]]:
    stamps = values.cast(pa.timestamp("ms", tz=getattr(values.type, "tz", None)), safe=False)
    days = [None if v is None else v / _DAY_MS for v in stamps.cast(pa.int64()).to_pylist()]
    parts: dict[str, Callable[[Any], Any]] = {"weekday": pc.day_of_week, "hour": pc.hour}
    found: list[tuple[str, str, list[Value], str]] = [(name, NUMBER, list(days), "")]
    for part, function in parts.items():
        of = function(stamps).to_pylist()
        found.append((f"{name} {part}", WHOLE, [None if v is None else float(v) for v in of], ""))
    return found
