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
ANY: Final = "any"
KINDS: Final = (NUMBER, WHOLE, CATEGORY, ANY)

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
        are no more), ``category``, or ``any``: each value is what it is, a word or a number.
    most : most categories of a column; of those above, the first ones with fewer labels than `slot_from` make room.
    slot_from : labels that a value must have for a slot of its own.

    Notes
    -----
    A number becomes ``sign(x) log(1 + |x|)``, the value within three deviations of its mean, and an indicator for 0.
    Missing values and infinities become 0 with an indicator of their own. A category has one slot for each of its first
    `MAX_SLOTS` values, and the rate of positives among its labels known so far, in log-odds. Memory: O(columns *
    categories), at most `most` of them a column.

    Examples
    --------
    >>> encoder = TabularEncoder(["number", "category"])
    >>> encoder.encode([2.0, "red"]).plain.tolist()
    [2.0, 0.0]
    >>> encoder.encode([None, "blue"]).plain.tolist(), encoder.width
    ([nan, 1.0], 6)
    """

    def __init__(self, kinds: Sequence[str], most: int = MAX_CATEGORIES, slot_from: int = 0) -> None:
        self.kinds = list(kinds)
        self._most, self._slot_from = most, slot_from
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
            plain[index] = self._encode(column, value, filled, learn=True)
        return Encoded(plain, self._wide(filled))

    def look(self, row: Sequence[Value]) -> FloatArray:
        """The wide vector of a row, of which nothing is learned: what was never seen fills no slot."""
        filled: list[tuple[int, float]] = []
        for column, value in zip(self._columns, row, strict=True):
            self._encode(column, value, filled, learn=False)
        return self._wide(filled)

    def learn(self, row: Sequence[Value], y: int) -> None:
        """Label of a row that was encoded before: rates of its categories."""
        self._labels[0] += 1
        self._labels[1] += y
        for column, value in zip(self._columns, row, strict=True):
            if column.kind in {CATEGORY, ANY} and value is not None:
                known = column.categories.get(_whole(value) if column.kind == ANY else str(value))
                if known is not None:
                    known[0] += 1
                    known[1] += y

    def slots(self) -> list[tuple[int, str]]:
        """Column and key of each wide feature: ``= red``, ``missing``, ``log`` ..."""
        found = [(0, "")] * self.width
        for index, column in enumerate(self._columns):
            for key, place in column.slots.items():
                found[place] = index, key
        return found

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

    def _encode(self, column: _Column, value: Value, filled: list[tuple[int, float]], *, learn: bool) -> float:
        is_category = isinstance(value, str) if column.kind == ANY else column.kind == CATEGORY
        return (self._category if is_category else self._number)(column, value, filled, learn=learn)

    def _wide(self, filled: list[tuple[int, float]]) -> FloatArray:
        wide = np.zeros(self.width)
        for slot, number in filled:
            wide[slot] = number
        return wide

    def _fill(self, column: _Column, key: str, number: float, filled: list[tuple[int, float]], *, learn: bool) -> None:
        place = column.slots.get(key)
        if place is None:
            if not learn:
                return
            place = column.slots[key] = self.width
            self.width += 1
            self.indicators.append(key not in SCALED)
        filled.append((place, number))

    def _number(self, column: _Column, value: Value, filled: list[tuple[int, float]], *, learn: bool) -> float:
        if value is None or isinstance(value, str) or not isfinite(value):
            self._fill(column, "missing", 1.0, filled, learn=learn)
            return nan
        number = min(max(float(value), -LARGEST), LARGEST)
        if learn:
            column.seen += 1
            delta = number - column.mean
            column.mean += delta / column.seen
            column.sum_sq += delta * (number - column.mean)
        reach = REACH_DEVIATIONS * sqrt(column.sum_sq / max(column.seen, 1))
        self._fill(column, "log", copysign(log1p(abs(number)), number), filled, learn=learn)
        within = min(max(number, column.mean - reach), column.mean + reach)
        self._fill(column, "value", within, filled, learn=learn)
        if number == 0.0:
            self._fill(column, "zero", 1.0, filled, learn=learn)
        each = column.kind == WHOLE or (column.kind == ANY and number.is_integer())
        if each and len(column.categories) <= MAX_SLOTS:
            self._value_slot(column, f"{number:.0f}", filled, learn=learn)
        return number

    def _category(self, column: _Column, value: Value, filled: list[tuple[int, float]], *, learn: bool) -> float:
        if value is None or value == "":
            self._fill(column, "missing", 1.0, filled, learn=learn)
            return nan
        name = str(value)
        self._value_slot(column, name, filled, learn=learn)
        known = column.categories.get(name)
        base = (self._labels[1] + 0.5) / (self._labels[0] + 1.0)
        if known is None:
            return nan
        rate = (known[1] + RATE_PRIOR * base) / (known[0] + RATE_PRIOR)
        self._fill(column, "rate", log(rate / (1.0 - rate)) - log(base / (1.0 - base)), filled, learn=learn)
        return float(list(column.categories).index(name)) if len(column.categories) <= MAX_SLOTS else rate

    def _value_slot(self, column: _Column, name: str, filled: list[tuple[int, float]], *, learn: bool) -> None:
        if learn and name not in column.categories:
            if len(column.categories) >= self._most and not self._make_room(column):
                return
            column.categories[name] = [0, 0]
        key = f"= {name}"
        if key in column.slots:
            self._fill(column, key, 1.0, filled, learn=learn)
        elif learn and column.categories[name][0] >= self._slot_from and _values(column) < MAX_SLOTS:
            self._fill(column, key, 1.0, filled, learn=True)

    def _make_room(self, column: _Column) -> bool:
        rare = next((name for name, (labels, _) in column.categories.items() if labels < self._slot_from), None)
        if rare is None:
            return False
        del column.categories[rare]
        return True


def _whole(value: float | str) -> str:
    """A word as it is, a whole number as its slot is named; other numbers have none."""
    return value if isinstance(value, str) else f"{value:.0f}" if float(value).is_integer() else ""


def _values(column: _Column) -> int:
    """How many values have a slot of their own."""
    return sum(key.startswith("= ") for key in column.slots)
