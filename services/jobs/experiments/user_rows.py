"""Rows per user: added up by user, winsorised, summed by variant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from models.experiments.plan import MetricPlan
from models.experiments.sums import Mean, Moments
from services.jobs.experiments.faults import refuse
from services.jobs.experiments.trial import Options, Trial, plan_of, shares_of

Columns: TypeAlias = Mapping[str, Sequence[Any]]
Number: TypeAlias = int | float

TRUE: Final = frozenset({"1", "true", "yes", "t", "y"})
FALSE: Final = frozenset({"0", "false", "no", "f", "n", "", "nan"})
# A user who brings more than this part of a metric's sum of squares decides it alone.
OUTWEIGHS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Users:
    """The users of a file: `rows` that count, `owner` (number of the user) of each, `arms` by number."""

    rows: list[int]
    owner: list[int]
    arms: list[str]

    def total(self, values: Sequence[Number]) -> list[Number]:
        """Sum per user; for 0/1 values, whether it ever was 1."""
        found: list[Number] = [0] * len(self.arms)
        once = all(values[row] in (0, 1) for row in self.rows)
        for row, user in zip(self.rows, self.owner, strict=True):
            found[user] = max(found[user], values[row]) if once else found[user] + values[row]
        return found

    def first(self, values: Sequence[Any]) -> list[Any]:
        """Value of each user's first row."""
        found: dict[int, Any] = {}
        for row, user in zip(self.rows, self.owner, strict=True):
            found.setdefault(user, values[row])
        return [found[user] for user in range(len(self.arms))]


def read_users(columns: Columns, options: Options) -> Trial:
    """Sums of a file with a row, or several, per user."""
    notes: list[str] = []
    for name in (options.unit, options.covariate, options.strata):
        if name and name not in columns:
            refuse("unknown_column", f"no column {name!r} (columns: {', '.join(columns)})")
    users = _users(columns, options, notes)
    weights = shares_of(users.arms, options)
    plans, totals = _metrics(columns, users, options, notes)
    before = _covariate(columns, users, options)
    strata = None if not options.strata else [str(value) for value in users.first(columns[options.strata])]
    sums: dict[str, dict[str, Moments]] = {name: {} for name in weights}
    by_stratum: dict[str, dict[str, dict[str, Mean]]] = {}
    for plan in plans:
        values = [totals[part] for part in plan.id.split("/")]
        for variant in weights:
            inside = [user for user, arm in enumerate(users.arms) if arm == variant]
            sums[variant][plan.id] = moments_of([[column[user] for user in inside] for column in values + before])
            if strata is not None and plan.kind != "ratio":
                groups: dict[str, list[Number]] = {}
                for user in inside:
                    groups.setdefault(strata[user], []).append(values[0][user])
                means = {name: moments_of([group]).one(0) for name, group in groups.items()}
                by_stratum.setdefault(plan.id, {})[variant] = means
    counts = {name: users.arms.count(name) for name in weights}
    return Trial(weights, tuple(plans), sums, counts, len(columns[options.variant]), by_stratum, tuple(notes))


def moments_of(columns: Sequence[Sequence[Number]]) -> Moments:
    """Sums of columns: whole numbers exactly, others with `fsum`."""
    exact = all(isinstance(value, int) for column in columns for value in column)
    add: Any = sum if exact else math.fsum
    pairs = [(i, j) for i in range(len(columns)) for j in range(i, len(columns))]
    products = tuple(add(a * b for a, b in zip(columns[i], columns[j], strict=True)) for i, j in pairs)
    return Moments(len(columns[0]), tuple(add(column) for column in columns), products)


def numbers(name: str, values: Sequence[Any]) -> list[Number]:
    """Values of a column as numbers; blank is 0."""
    found: list[Number] = []
    for row, value in enumerate(values):
        number = _number(value)
        if number is None:
            # Row 1 is the header of a CSV file.
            refuse("not_a_number", f"{value!r} in column {name!r}, line {row + 2}")
        found.append(number)
    return found


def _number(value: Any) -> Number | None:
    if value is None:
        return 0
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            return 0
        return None if math.isinf(value) else value
    text = str(value).strip().lower()
    return 1 if text in TRUE else 0 if text in FALSE else None


def _users(columns: Columns, options: Options, notes: list[str]) -> Users:
    variants = ["" if value is None else str(value) for value in columns[options.variant]]
    users = Users([], [], [])
    numbered: dict[str, int] = {}
    torn: set[int] = set()
    nameless = 0
    for row, variant in enumerate(variants):
        unit = str(columns[options.unit][row]) if options.unit else str(row)
        if not variant:
            nameless += 1
            continue
        user = numbered.setdefault(unit, len(users.arms))
        if user == len(users.arms):
            users.arms.append(variant)
        elif users.arms[user] != variant:
            torn.add(user)
        users.rows.append(row)
        users.owner.append(user)
    if nameless:
        notes.append(f"{nameless:,} rows without a variant were left out.")
    if torn:
        # Intention to treat: they stay where they were first, with everything that they did.
        notes.append(f"{len(torn):,} users are in more than one variant; they count in the first of the file.")
    return users


def _metrics(
    columns: Columns, users: Users, options: Options, notes: list[str]
) -> tuple[list[MetricPlan], dict[str, list[Number]]]:
    taken = {options.variant, options.unit, options.covariate, options.strata}
    names = options.metrics or tuple(
        name for name, values in columns.items() if name not in taken and all(_number(v) is not None for v in values)
    )
    if not names:
        refuse("no_metric", "no column of numbers is left")
    totals: dict[str, list[Number]] = {}
    plans = []
    for name in names:
        parts = name.split("/")
        for part in parts:
            if part not in columns:
                refuse("unknown_column", f"no column {part!r} (columns: {', '.join(columns)})")
            totals[part] = users.total(numbers(part, columns[part]))
            _capped(part, totals, options, notes)
        binary = len(parts) == 1 and all(value in (0, 1) for value in totals[name])
        plans.append(plan_of(name, "ratio" if len(parts) == 2 else "proportion" if binary else "mean", options))
    return plans, totals


def _capped(name: str, totals: dict[str, list[Number]], options: Options, notes: list[str]) -> None:
    cap = options.caps.get(name)
    values = totals[name]
    if cap is not None:
        totals[name] = [min(value, cap) for value in values]
        notes.append(f"{name}: {sum(value > cap for value in values):,} users were cut off at {cap:g}.")
    negative = sum(value < 0 for value in values)
    if negative:
        notes.append(f"{name}: {negative:,} users have a negative total.")
    largest, whole = max((v * v for v in totals[name]), default=0), math.fsum(v * v for v in totals[name])
    if len(values) >= 100 and largest > OUTWEIGHS * whole:
        part = 100.0 * largest / whole
        notes.append(f"{name}: one user makes {part:.0f} % of the sum of squares; --cap {name}=VALUE limits that.")


def _covariate(columns: Columns, users: Users, options: Options) -> list[list[Number]]:
    if not options.covariate:
        return []
    raw = users.first(columns[options.covariate])
    missing = [int(value is None or (isinstance(value, float) and math.isnan(value))) for value in raw]
    values = numbers(options.covariate, raw)
    return [values, list(missing)] if any(missing) else [values]
