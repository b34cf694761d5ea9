"""Evaluate forecast: weekly demand, forecast from a rolling origin by what was known there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import Ridge

from models.errors import ConfigurationError
from models.features.churn import DAY_MS
from models.learners.demand import LAGS, MEMBERS, YEAR, Demand
from services.jobs.evaluate.tables import (
    MOST_MONEY,
    check_span,
    column_of,
    ids_of,
    parse_columns,
    product_of,
    read_table,
    times_of,
    where,
)

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ALL: Final = "all"
# Day 0 of 1970 was a Thursday; weeks begin on Monday.
MONDAY: Final = 3


@dataclass(frozen=True, slots=True)
class Weeks:
    """Demand by week (Monday to Sunday).

    Parameters
    ----------
    values : per series, one number a week from the first week of the file. rows : of the file. skipped : by reason.
    first_day : days since 1970 of the first Monday. dropped_days : days of the last week where it was not complete.
    """

    values: dict[str, FloatArray]
    rows: int
    skipped: dict[str, int]
    first_day: int
    dropped_days: int

    @property
    def weeks(self) -> int:
        """Weeks in the file, without one that was dropped."""
        return len(next(iter(self.values.values())))


@dataclass(frozen=True, slots=True)
class ForecastProtocol:
    """What is asked: `horizons` in weeks; the last `score_last` weeks are forecast from each of them."""

    horizons: tuple[int, ...] = (1, 4)
    score_last: int = 26

    def __post_init__(self) -> None:
        if not self.horizons or min(self.horizons) < 1 or max(self.horizons) > YEAR:
            raise ConfigurationError("--horizon must be weeks from 1 to 52, such as 1,4")
        if self.score_last < 1:
            raise ConfigurationError("--score-last must be at least 1")


def horizons_of(text: str) -> tuple[int, ...]:
    """Weeks of ``1,4``.

    Examples
    --------
    >>> horizons_of("1, 4")
    (1, 4)
    """
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",") if part.strip()))
    except ValueError:
        raise ConfigurationError(f"--horizon {text!r}", remedy="weeks, such as 1,4") from None


def read_weeks(path: Path, columns: str = "", conditions: Sequence[str] = ()) -> Weeks:
    """Read date, value and, if the file has it, series; add up by week.

    Notes
    -----
    The last week is dropped when it is not complete: when the file ends before the last weekday that it has rows on in
    at least half of its weeks. A file whose dates are all the same weekday has weeks already.

    Raises
    ------
    ConfigurationError
        A column is missing or cannot be read, or nothing is left.
    """
    whole = read_table(path)
    mapping = parse_columns(columns, ("date", "value", "series"))
    table = where(whole, conditions)
    kept = " of those that --where keeps" if conditions else ""
    times = times_of(column_of(table, mapping["date"]), mapping["date"], kept)
    values = product_of(table, mapping["value"])
    named = mapping["series"] != "series" or "series" in table.column_names
    names = ids_of(column_of(table, mapping["series"])) if named else [ALL] * table.num_rows
    timed, known = times != np.iinfo(np.int64).min, ~np.isnan(values)
    belongs = np.array([name is not None for name in names], dtype=bool)
    endless = np.flatnonzero(known & (np.abs(values) > MOST_MONEY))
    if len(endless):
        raise ConfigurationError(
            f"column {mapping['value']!r}, row {endless[0] + 1}{kept}: {values[endless[0]]} is no demand",
            where=str(path),
            remedy="correct it, or leave it out with --where 'column<1000000'",
        )
    keep = np.flatnonzero(timed & known & belongs)
    skipped = {
        "not selected by --where": whole.num_rows - table.num_rows,
        "without a date": int((~timed).sum()),
        "without a value": int((timed & ~known).sum()),
        "without a series": int((timed & known & ~belongs).sum()),
    }
    if not len(keep):
        raise ConfigurationError("no row has a date and a value", where=str(path))
    check_span(times, keep[np.argsort(times[keep], kind="stable")], path, mapping["date"], kept)
    days = times[keep] // DAY_MS + MONDAY
    weeks, weekday = days // 7, days % 7
    first, last = int(weeks.min()), int(weeks.max())
    dropped = _days_of_partial_week(weeks, weekday)
    count = last - first + (0 if dropped else 1)
    if not count:
        raise ConfigurationError("there is no complete week", where=str(path), remedy="give more dates")
    found: dict[str, FloatArray] = {}
    for place, row in enumerate(keep.tolist()):
        week = int(weeks[place]) - first
        if week < count:
            found.setdefault(str(names[row]), np.zeros(count))[week] += values[row]
    return Weeks(
        dict(sorted(found.items())),
        whole.num_rows,
        {reason: rows for reason, rows in skipped.items() if rows},
        first * 7 - MONDAY,
        dropped,
    )


def _days_of_partial_week(weeks: IntArray, weekday: IntArray) -> int:
    """Days of the last week up to its last row, if it is not complete; else 0."""
    last = int(weeks.max())
    ends = int(weekday[weeks == last].max())
    if len(np.unique(weekday)) == 1:
        return 0
    before = weeks < last
    usual = [
        day for day in range(7) if 2 * len(np.unique(weeks[before & (weekday >= day)])) >= len(np.unique(weeks[before]))
    ]
    return ends + 1 if before.any() and ends < max(usual, default=0) else 0


def evaluate_forecast(
    data: Weeks, protocol: ForecastProtocol, progress: Callable[[int, int], None] = lambda _week, _weeks: None
) -> dict[str, Any]:
    """Run the protocol; see docs/evaluate.md.

    Raises
    ------
    ConfigurationError
        There are too few weeks, or nothing was sold in those that are scored.
    """
    weeks, farthest = data.weeks, max(protocol.horizons)
    if weeks < protocol.score_last + farthest + LAGS:
        raise ConfigurationError(
            f"{weeks} complete weeks: too few to forecast the last {protocol.score_last} of them {farthest} ahead",
            remedy=f"give {protocol.score_last + farthest + LAGS} weeks, or a smaller --score-last or --horizon",
        )
    demand, spent_s = Demand(protocol.horizons), 0.0
    first = weeks - protocol.score_last
    off: dict[int, dict[str, float]] = {h: {} for h in protocol.horizons}
    sold: dict[int, float] = dict.fromkeys(protocol.horizons, 0.0)
    chosen: FloatArray = np.zeros(len(MEMBERS))
    for week in range(weeks):
        started = time.process_time()
        demand.observe({name: float(values[week]) for name, values in data.values.items()})
        spent_s += time.process_time() - started
        for h in protocol.horizons:
            if not first <= week + h < weeks:
                continue
            batch = _ridge(data.values, week, h)
            for name, values in data.values.items():
                started = time.process_time()
                served = demand.forecast(name, h)
                spent_s += time.process_time() - started
                actual = float(values[week + h])
                said = dict(zip(MEMBERS, served.members.tolist(), strict=True))
                leader = MEMBERS[int(np.argmax(served.weights))]
                said |= {"kairos": served.value, "best_so_far": said[leader], "batch_ridge_on_lags": batch[name]}
                for who, value in said.items():
                    off[h][who] = off[h].get(who, 0.0) + abs(value - actual)
                sold[h] += abs(actual)
                chosen += served.weights
        progress(week + 1, weeks)
    if not all(sold.values()):
        raise ConfigurationError(f"nothing was sold in the last {protocol.score_last} weeks: WAPE is not defined")
    names = [_name(h, protocol.horizons) for h in protocol.horizons]
    figures = {
        who: {name: off[h][who] / sold[h] for name, h in zip(names, protocol.horizons, strict=True)}
        for who in ("kairos", "best_so_far", *MEMBERS, "batch_ridge_on_lags")
    }
    notes = [f"{len(data.values)} series, {weeks} weeks"]
    if data.dropped_days:
        notes.append(f"the last week ends after {data.dropped_days} days and is left out")
    return {
        "task": "forecast",
        "protocol": asdict(protocol),
        "rows": data.rows,
        "rows_skipped": data.skipped,
        "series": len(data.values),
        "weeks": weeks,
        "scored_rows": protocol.score_last * len(data.values) * len(protocol.horizons),
        "metrics": figures.pop("kairos"),
        "baselines": figures,
        "pool": dict(zip(MEMBERS, (chosen / chosen.sum()).round(3).tolist(), strict=True)),
        "notes": notes,
        "cost": {"us_per_event": 1e6 * spent_s / (weeks * len(data.values))},
    }


def _name(weeks: int, horizons: tuple[int, ...]) -> str:
    return "wape" if weeks == horizons[0] else f"wape_h{weeks}"


def _ridge(values: dict[str, FloatArray], origin: int, weeks: int) -> dict[str, float]:
    """Ridge regression on four lags and the week a year ago, all series up to `origin`, in units of their means."""
    x, y, now, names, units = [], [], [], [], []
    for name, all_weeks in values.items():
        known = all_weeks[: origin + 1]
        unit = float(np.abs(known).mean()) or 1.0
        known = known / unit
        for end in range(LAGS - 1, origin + 1 - weeks):
            x.append(_lags(known, end, weeks))
            y.append(known[end + weeks])
        now.append(_lags(known, origin, weeks))
        names.append(name)
        units.append(unit)
    if len(x) < 2 * LAGS:
        return {name: float(values[name][: origin + 1][-LAGS:].mean()) for name in names}
    said = Ridge(alpha=1.0).fit(np.array(x), np.array(y)).predict(np.array(now))
    return {name: max(0.0, float(value * unit)) for name, value, unit in zip(names, said, units, strict=True)}


def _lags(known: FloatArray, end: int, weeks: int) -> list[float]:
    recent = known[max(0, end + 1 - LAGS) : end + 1]
    past = end + weeks - YEAR
    return [
        *np.pad(recent, (LAGS - len(recent), 0)).tolist(),
        float(known[past]) if past >= 0 else float(recent.mean()),
    ]
