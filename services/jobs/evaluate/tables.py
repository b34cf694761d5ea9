"""Read the history that is evaluated: CSV, Parquet or JSON lines, columns mapped by name."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, json, parquet

from models.errors import ConfigurationError
from models.features.churn import DAY_MS

IntArray = npt.NDArray[np.int64]

EPOCH_MS_FROM: Final = 100_000_000_000
MOST_DAYS: Final = 36_525
MOST_MS: Final = 60_000_000_000_000
MOST_MONEY: Final = 1e12
_CONDITION = re.compile(r"^\s*(?P<column>.+?)\s*(?P<operator><=|>=|!=|=|<|>)\s*(?P<value>.*?)\s*$")
_COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "<=": pc.less_equal,
    ">=": pc.greater_equal,
    "!=": pc.not_equal,
    "=": pc.equal,
    "<": pc.less,
    ">": pc.greater,
}


@dataclass(frozen=True, slots=True)
class Purchases:
    """Purchases in time order; equal times keep file order.

    Parameters
    ----------
    customers : customer id per row. days : days since 1970. money_minor : value in minor units.
    rows : rows in the file. skipped : rows left out, by reason.
    """

    customers: list[str]
    days: IntArray
    money_minor: IntArray
    rows: int
    skipped: dict[str, int]


def read_table(path: Path) -> pa.Table:
    """Read a file; the format is told by its name (``.csv``, ``.csv.gz``, ``.parquet``, ``.jsonl``, ...).

    Raises
    ------
    ConfigurationError
        The file is missing, unreadable or of an unknown format.
    """
    try:
        table = _read(path)
        names = list(table.column_names)
    except UnicodeDecodeError as error:
        raise ConfigurationError("the names of the columns are not UTF-8", where=str(path), remedy=_UTF_8) from error
    except (OSError, pa.ArrowException) as error:
        told = " ".join(str(error).split())[:300]
        raise ConfigurationError(f"cannot read it: {told}", where=str(path)) from error
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ConfigurationError(f"columns of the same name: {', '.join(twice)}", where=str(path), remedy="rename one")
    for name in names:
        if pa.types.is_binary(table[name].type) or pa.types.is_large_binary(table[name].type):
            _refuse_bytes(table[name], name, path)
    return table


_UTF_8: Final = "save the file as UTF-8"


def _read(path: Path) -> pa.Table:
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".parquet", ".pq")):
        return parquet.read_table(path)
    if name.endswith((".csv", ".tsv", ".txt")):
        parse = csv.ParseOptions(delimiter="\t" if name.endswith(".tsv") else ",", newlines_in_values=True)
        try:
            return csv.read_csv(path, parse_options=parse)
        except pa.ArrowInvalid:
            # Again in one thread, which knows the number of the row: for the message.
            return csv.read_csv(path, parse_options=parse, read_options=csv.ReadOptions(use_threads=False))
    if name.endswith((".jsonl", ".ndjson", ".json")):
        with pa.input_stream(str(path)) as stream:
            return json.read_json(stream)
    raise ConfigurationError("unknown format", where=str(path), remedy="a .csv, .parquet or .jsonl file, plain or .gz")


def _refuse_bytes(values: pa.ChunkedArray, name: str, path: Path) -> None:
    """What is no text in UTF-8 is read as bytes: every text of the column would be another one."""
    for row, value in enumerate(values.to_pylist(), start=1):
        try:
            (value or b"").decode()
        except UnicodeDecodeError as error:
            message = f"column {name!r}, row {row}: {bytes(value)[:20]!r} is not UTF-8"
            raise ConfigurationError(message, where=str(path), remedy=_UTF_8) from error
    raise ConfigurationError(f"column {name!r} holds bytes, not text or numbers", where=str(path), remedy=_UTF_8)


def parse_columns(text: str, wanted: Sequence[str]) -> dict[str, str]:
    """Column mapping ``name=column,name=column``; names left out stand for themselves.

    Examples
    --------
    >>> parse_columns("value=quantity*price", ["date", "value"])
    {'date': 'date', 'value': 'quantity*price'}
    """
    mapping = {name: name for name in wanted}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, column = part.partition("=")
        if not equals or name.strip() not in mapping:
            raise ConfigurationError(f"--columns {part!r}", remedy=f"name=column with name in {', '.join(wanted)}")
        mapping[name.strip()] = column.strip()
    return mapping


def where(table: pa.Table, conditions: Sequence[str]) -> pa.Table:
    """Keep rows that satisfy every condition, such as ``quantity > 0`` (missing values do not)."""
    for condition in conditions:
        match = _CONDITION.match(condition)
        if match is None:
            raise ConfigurationError(f"--where {condition!r}", remedy="column, one of < <= > >= = !=, value")
        values = column_of(table, match["column"])
        try:
            value = pa.scalar(match["value"]).cast(values.type)
        except pa.ArrowInvalid as error:
            raise ConfigurationError(f"--where {condition!r}: {error}") from error
        table = table.filter(_COMPARE[match["operator"]](values, value))
    return table


def read_purchases(path: Path, columns: str = "", conditions: Sequence[str] = ()) -> Purchases:
    """Purchases of `path`: customer_id, date and value, in time order.

    Parameters
    ----------
    columns : see :func:`parse_columns`; ``value`` may be a product of columns, ``quantity*price``.
    conditions : see :func:`where`.

    Raises
    ------
    ConfigurationError
        A column is missing or cannot be read as what it should be, or nothing is left.
    """
    whole = read_table(path)
    mapping = parse_columns(columns, ("customer_id", "date", "value"))
    table = where(whole, conditions)
    skipped = {"not selected by --where": whole.num_rows - table.num_rows}
    ids = ids_of(column_of(table, mapping["customer_id"]))
    kept = " of those that --where keeps" if conditions else ""
    times = times_of(column_of(table, mapping["date"]), mapping["date"], kept)
    money = product_of(table, mapping["value"])
    known = np.array([customer is not None for customer in ids], dtype=bool)
    timed = times != np.iinfo(np.int64).min
    skipped["without a customer"] = int((~known).sum())
    skipped["without a date"] = int((known & ~timed).sum())
    keep = np.flatnonzero(known & timed)
    if not len(keep):
        raise ConfigurationError("no row has a customer and a date", where=str(path))
    order = keep[np.argsort(times[keep], kind="stable")]
    check_span(times, order, path, mapping["date"], kept)
    endless = ~np.isfinite(money) & ~np.isnan(money) | (np.abs(money) > MOST_MONEY)
    if endless[keep].any():
        row = int(keep[np.flatnonzero(endless[keep])[0]])
        raise ConfigurationError(
            f"column {mapping['value']!r}, row {row + 1}{kept}: {money[row]} is no amount of money",
            where=str(path),
            remedy="correct it, or leave it out with --where 'column<1000000'",
        )
    return Purchases(
        customers=[str(ids[index]) for index in order.tolist()],
        days=times[order] // DAY_MS,
        money_minor=np.rint(np.nan_to_num(money[order]) * 100.0).astype(np.int64),
        rows=whole.num_rows,
        skipped={reason: count for reason, count in skipped.items() if count},
    )


def check_span(times: IntArray, order: IntArray, path: Path, column: str, kept: str) -> None:
    """A date that is centuries away from the others is a slip, and every day between would be walked."""
    span_days = int(times[order[-1]] - times[order[0]]) // DAY_MS
    if span_days > MOST_DAYS:
        middle = times[order[len(order) // 2]]
        row = int(max((order[0], order[-1]), key=lambda place: abs(int(times[place] - middle))))
        told = datetime.fromtimestamp(int(times[row]) / 1000, UTC).date() if abs(times[row]) < MOST_MS else times[row]
        raise ConfigurationError(
            f"column {column!r}, row {row + 1}{kept}: {told} is {span_days:,} days away from other dates",
            where=str(path),
            remedy="correct it, or leave it out with --where",
        )


def day_number(text: str) -> int:
    """Days since 1970 of an ISO date.

    Examples
    --------
    >>> day_number("1970-01-11")
    10
    """
    try:
        return int(_utc(datetime.fromisoformat(text)).timestamp()) // 86_400
    except ValueError as error:
        raise ConfigurationError(f"{text!r} is no date", remedy="a date such as 2010-12-09") from error


def _utc(value: datetime) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def column_of(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column by name; an error names those that there are."""
    if name not in table.column_names:
        raise ConfigurationError(
            f"there is no column {name!r}",
            remedy=f"map it with --columns name=column; the file has {', '.join(table.column_names)}",
        )
    return table[name]


def ids_of(values: pa.ChunkedArray) -> list[str | None]:
    """Ids as text, None where there is none."""
    if pa.types.is_floating(values.type):
        # 13085.0 is an integer id that once shared its column with missing values.
        known = [None if value is None or math.isnan(value) else value for value in values.to_pylist()]
        return [None if value is None else f"{value:.0f}" if value.is_integer() else str(value) for value in known]
    return [None if value is None or not str(value).strip() else str(value) for value in values.to_pylist()]


def product_of(table: pa.Table, expression: str) -> npt.NDArray[np.float64]:
    """Numbers of a column, or of a product of columns written a*b; NaN where one is missing."""
    product = np.ones(table.num_rows)
    for name in expression.split("*") if expression not in table.column_names else [expression]:
        values = column_of(table, name.strip())
        try:
            numbers = values.cast(pa.float64(), safe=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise no_number(values, name.strip()) from error
        product = product * numbers.to_numpy(zero_copy_only=False)
    return product


def no_number(values: pa.ChunkedArray, name: str, place: str = "") -> ConfigurationError:
    """Say which value of a column is no number."""
    for row, value in enumerate(values.to_pylist(), start=1):
        try:
            float("nan" if value is None else value)
        except (TypeError, ValueError):
            return ConfigurationError(
                f"column {name!r}, row {row}: {str(value)[:50]!r} is not a number",
                where=place,
                remedy="correct it, or leave the field empty",
            )
    return ConfigurationError(f"column {name!r} is not a number", where=place)


def times_of(values: pa.ChunkedArray, name: str, kept: str = "") -> IntArray:
    """Epoch ms; the smallest integer where there is none."""
    kind = values.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        stamped = values.cast(pa.timestamp("ms", tz=getattr(kind, "tz", None)), safe=False).cast(pa.int64())
        return np.asarray(pc.fill_null(stamped, np.iinfo(np.int64).min).to_numpy())
    found = []
    for row, text in enumerate(values.to_pylist(), start=1):
        try:
            found.append(np.iinfo(np.int64).min if text in (None, "") else _time_ms(text))
        except (ValueError, OverflowError) as error:
            raise ConfigurationError(
                f"column {name!r}, row {row}{kept}: {error}",
                remedy="ISO 8601 (2010-12-09 or 2010-12-09T08:26:00), 20101209, or epoch s / ms",
            ) from error
    return np.array(found, dtype=np.int64)


def _time_ms(value: str | float) -> int:
    text = str(value).strip()
    if text.removesuffix(".0").isdigit():
        number = int(float(text))
        if 19_000_101 <= number <= 22_001_231:
            return int(_utc(datetime.strptime(str(number), "%Y%m%d")).timestamp()) * 1000  # noqa: DTZ007
        return number if number >= EPOCH_MS_FROM else number * 1000
    return int(_utc(datetime.fromisoformat(text)).timestamp() * 1000)
