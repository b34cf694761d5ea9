"""Rows of any columns as vectors: types, missing values, categories and scales are found as the rows come.

Two views of one row. The **plain** one has one number per column, missing as NaN, for trees. The **wide** one is for
linear learners: logarithms, values kept within reach, one column per category. It grows: a new slot is 0 in all rows
before, so a learner extends its arrays by zeros and forgets nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import copysign, isfinite, log, log1p, nan, sqrt
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError

FloatArray = npt.NDArray[np.float64]
Value = float | str | None

NUMBER: Final = "number"
WHOLE: Final = "whole"
CATEGORY: Final = "category"
KINDS: Final = (NUMBER, WHOLE, CATEGORY)

MAX_SLOTS: Final = 30
MAX_CATEGORIES: Final = 10_000
SCALED: Final = frozenset({"log", "value", "rate"})
REACH_DEVIATIONS: Final = 3.0
# Squares of larger numbers would not be finite for long, and scikit-learn's trees hold single precision.
LARGEST: Final = 1e15
# A category's rate is drawn towards the rate of all rows as if it had been seen so often with that rate.
RATE_PRIOR: Final = 20.0


class Encoded(NamedTuple):
    """One row: `plain` (columns,), and `wide` (slots known at that time,)."""

    plain: FloatArray
    wide: FloatArray


@dataclass(slots=True)
class _Column:
    """What is known of one column; `slots`: place of each wide feature by its key."""

    kind: str
    seen: int = 0
    mean: float = 0.0
    sum_sq: float = 0.0
    slots: dict[str, int] = field(default_factory=dict)
    # Categories in the order in which they came: [labels known, positives among them].
    categories: dict[str, list[int]] = field(default_factory=dict)


class TabularEncoder:
    """Encode rows one by one, learning what the columns hold.

    Parameters
    ----------
    kinds : per column ``number``, ``whole`` (a number whose first `MAX_SLOTS` values get a slot each, as long as there
        are no more) or ``category``.

    Notes
    -----
    A number becomes ``sign(x) log(1 + |x|)``, the value within three deviations of its mean, and an indicator for 0.
    Missing values and infinities become 0 with an indicator of their own. A category has one slot for each of its first
    `MAX_SLOTS` values, and the rate of positives among its labels known so far, in log-odds. Memory: O(columns *
    categories), at most `MAX_CATEGORIES` of them a column.

    Examples
    --------
    >>> encoder = TabularEncoder(["number", "category"])
    >>> encoder.encode([2.0, "red"]).plain.tolist()
    [2.0, 0.0]
    >>> encoder.encode([None, "blue"]).plain.tolist(), encoder.width
    ([nan, 1.0], 6)
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        self.kinds = list(kinds)
        self.width = 0
        # Slots that are 0 or 1: linear learners neither centre nor scale them.
        self.indicators: list[bool] = []
        self._labels = [0, 0]
        self._columns = [_Column(kind) for kind in kinds]

    def encode(self, row: Sequence[Value]) -> Encoded:
        """Vectors of one row; what it shows of the columns is learned."""
        plain = np.empty(len(self._columns))
        filled: list[tuple[int, float]] = []
        for index, (column, value) in enumerate(zip(self._columns, row, strict=True)):
            if column.kind == CATEGORY:
                plain[index] = self._category(column, value, filled)
            else:
                plain[index] = self._number(column, value, filled)
        wide = np.zeros(self.width)
        for slot, number in filled:
            wide[slot] = number
        return Encoded(plain, wide)

    def learn(self, row: Sequence[Value], y: int) -> None:
        """Label of a row that was encoded before: rates of its categories."""
        self._labels[0] += 1
        self._labels[1] += y
        for column, value in zip(self._columns, row, strict=True):
            if column.kind == CATEGORY and value is not None:
                known = column.categories.get(str(value))
                if known is not None:
                    known[0] += 1
                    known[1] += y

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        return {
            "kinds": list(self.kinds),
            "width": self.width,
            "indicators": list(self.indicators),
            "labels": list(self._labels),
            "columns": [
                {
                    "seen": column.seen,
                    "mean": column.mean,
                    "sum_sq": column.sum_sq,
                    "slots": dict(column.slots),
                    "categories": {name: list(counts) for name, counts in column.categories.items()},
                }
                for column in self._columns
            ],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the encoder that was snapshotted.

        Raises
        ------
        IncompatibleSnapshotError
            It was made for other columns.
        """
        if state.get("kinds") != self.kinds:
            raise IncompatibleSnapshotError("the state was made for columns of other kinds")
        self.width, self._labels = state["width"], list(state["labels"])
        self.indicators = list(state["indicators"])
        self._columns = [
            _Column(
                kind,
                seen=entry["seen"],
                mean=entry["mean"],
                sum_sq=entry["sum_sq"],
                slots=dict(entry["slots"]),
                categories={name: list(counts) for name, counts in entry["categories"].items()},
            )
            for kind, entry in zip(self.kinds, state["columns"], strict=True)
        ]

    def _slot(self, column: _Column, key: str) -> int:
        place = column.slots.get(key)
        if place is None:
            place = column.slots[key] = self.width
            self.width += 1
            self.indicators.append(key not in SCALED)
        return place

    def _number(self, column: _Column, value: Value, filled: list[tuple[int, float]]) -> float:
        if value is None or isinstance(value, str) or not isfinite(value):
            filled.append((self._slot(column, "missing"), 1.0))
            return nan
        number = min(max(float(value), -LARGEST), LARGEST)
        column.seen += 1
        delta = number - column.mean
        column.mean += delta / column.seen
        column.sum_sq += delta * (number - column.mean)
        reach = REACH_DEVIATIONS * sqrt(column.sum_sq / column.seen)
        filled.append((self._slot(column, "log"), copysign(log1p(abs(number)), number)))
        within = min(max(number, column.mean - reach), column.mean + reach)
        filled.append((self._slot(column, "value"), within))
        if number == 0.0:
            filled.append((self._slot(column, "zero"), 1.0))
        if column.kind == WHOLE and len(column.categories) <= MAX_SLOTS:
            self._value_slot(column, f"{number:.0f}", filled)
        return number

    def _category(self, column: _Column, value: Value, filled: list[tuple[int, float]]) -> float:
        if value is None or value == "":
            filled.append((self._slot(column, "missing"), 1.0))
            return nan
        name = str(value)
        self._value_slot(column, name, filled)
        known = column.categories.get(name)
        base = (self._labels[1] + 0.5) / (self._labels[0] + 1.0)
        if known is None:
            return nan
        rate = (known[1] + RATE_PRIOR * base) / (known[0] + RATE_PRIOR)
        filled.append((self._slot(column, "rate"), log(rate / (1.0 - rate)) - log(base / (1.0 - base))))
        return float(list(column.categories).index(name)) if len(column.categories) <= MAX_SLOTS else rate

    def _value_slot(self, column: _Column, name: str, filled: list[tuple[int, float]]) -> None:
        if name not in column.categories:
            if len(column.categories) >= MAX_CATEGORIES:
                return
            column.categories[name] = [0, 0]
        key = f"= {name}"
        if key in column.slots or len(column.categories) <= MAX_SLOTS:
            filled.append((self._slot(column, key), 1.0))
