"""Rows of sums: one per variant and metric, as another system counted them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from models.experiments.plan import Kind
from models.experiments.sums import Moments
from services.jobs.experiments.faults import refuse
from services.jobs.experiments.trial import Options, Trial, plan_of, shares_of

RATIO = ("sum", "sum_squares", "denominator_sum", "denominator_sum_squares", "sum_products")
CUPED = ("sum", "sum_squares", "covariate_sum", "covariate_sum_squares", "covariate_sum_products")


def is_sums(columns: Mapping[str, Sequence[Any]]) -> bool:
    """Whether the columns are those of sums."""
    return "n" in columns and bool({"successes", "sum"} & columns.keys())


def read_sums(columns: Mapping[str, Sequence[Any]], options: Options) -> Trial:
    """Sums of a file that holds sums: columns variant, n, [metric], and successes or sums (docs/experiments.md)."""
    variants = [str(value) for value in columns[options.variant]]
    weights = shares_of(variants, options)
    names = columns.get("metric", ["conversion"] * len(variants))
    sums: dict[str, dict[str, Moments]] = {name: {} for name in weights}
    kinds: dict[str, Kind] = {}
    for row, variant in enumerate(variants):
        name = str(names[row])
        if options.metrics and name not in options.metrics:
            continue
        if name in sums[variant]:
            refuse("bad_counts", f"two rows for variant {variant!r} and metric {name!r}")
        cells = {key: values[row] for key, values in columns.items() if values[row] is not None}
        kind, sums[variant][name] = _moments(cells, f"line {row + 2}")
        if kinds.setdefault(name, kind) != kind:
            refuse("bad_counts", f"metric {name!r} is a {kinds[name]} in one row and a {kind} in another")
    lacking = [f"{variant}/{name}" for variant in weights for name in kinds if name not in sums[variant]]
    if lacking or not kinds:
        refuse("bad_counts", f"no row for {lacking[0]}" if lacking else "no metric is left")
    plans = tuple(plan_of(name, kind, options) for name, kind in kinds.items())
    users = {variant: max(moments.n for moments in sums[variant].values()) for variant in weights}
    return Trial(weights, plans, sums, users, len(variants))


def _moments(cells: Mapping[str, Any], where: str) -> tuple[Kind, Moments]:
    numeric = {
        key: _number(key, value, where) for key, value in cells.items() if key in {"n", "successes", *RATIO, *CUPED}
    }
    n = numeric.get("n", -1)
    if n < 0 or n != int(n):
        refuse("bad_counts", f"n is {cells.get('n')!r}, {where}")
    if "successes" in numeric:
        successes = numeric["successes"]
        if not 0 <= successes <= n or successes != int(successes):
            refuse("bad_counts", f"{successes:g} successes of {n:g}, {where}")
        return "proportion", Moments(int(n), (int(successes),), (int(successes),))
    kind: Kind = "mean"
    wanted: tuple[str, ...] = ("sum", "sum_squares")
    if "denominator_sum" in numeric:
        kind, wanted = "ratio", RATIO
    elif "covariate_sum" in numeric:
        wanted = CUPED
    lacking = [name for name in wanted if name not in numeric]
    if lacking:
        refuse("bad_counts", f"{lacking[0]} is missing, {where}")
    if len(wanted) == 2:
        found = Moments(int(n), (numeric["sum"],), (numeric["sum_squares"],))
    else:
        first, first_sq, second, second_sq, product = (numeric[name] for name in wanted)
        found = Moments(int(n), (first, second), (first_sq, product, second_sq))
    for index in range(len(found.sums)):
        one = found.one(index)
        # Cauchy and Schwarz: n sum(x^2) can not be less than (sum x)^2, but for rounding.
        if one.n * one.total_sq < one.total**2 * (1.0 - 1e-9):
            refuse("bad_counts", f"the squares are too small for n and sum, {where}")
    return kind, found


def _number(name: str, value: Any, where: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        refuse("not_a_number", f"{value!r} in column {name!r}, {where}")
    return value
