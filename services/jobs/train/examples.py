"""Labelled examples with their features as they were when they were scored, checked for what would be a leak."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from models.errors import ConfigurationError
from models.learners.task import CHURN, Task
from services.jobs.evaluate.tables import read_table

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LEAST: Final = 500
MINOR: Final = 100.0
LEAST_OF_EACH_LABEL: Final = 20


class _Labelled(msgspec.Struct):
    """What examples of all predictions have; `code` only those of a goal."""

    type: str
    id: str = ""
    at: int = 0
    due: int = 0
    known_at: int = 0
    label: int = 0
    x: list[int] = []
    code: int = 0
    spent_minor: int | None = None


_decode = msgspec.json.Decoder(_Labelled).decode


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples in the order in which their labels became known.

    Parameters
    ----------
    ids : of the examples. at, due, known : when the features were taken, when the label fell due and was known, ms.
    money : spent within the horizon, major units, NaN where it is not told; of churn.
    labels : 1 did not return, or reached the goal. raw : raw vectors, NaN where a value is missing. task : what they
        are examples of. notes : what was done.
    """

    ids: list[str]
    at: IntArray
    due: IntArray
    known: IntArray
    labels: IntArray
    raw: FloatArray
    task: Task = CHURN
    where: str = "topic training"
    notes: tuple[str, ...] = field(default=())
    money: FloatArray = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def columns(self) -> FloatArray:
        """Features as learners see them; NaN where one of the values it is made of is missing."""
        return self.task.kind.columns(self.raw)

    def some(self, chosen: npt.NDArray[Any], note: str = "") -> Examples:
        """Only these rows (a mask, or their numbers in order)."""
        numbers = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
        return replace(
            self,
            ids=[self.ids[number] for number in numbers.tolist()],
            at=self.at[numbers],
            due=self.due[numbers],
            known=self.known[numbers],
            labels=self.labels[numbers],
            raw=self.raw[numbers],
            money=self.money[numbers] if len(self.money) else self.money,
            notes=(*self.notes, note) if note else self.notes,
        )


def from_records(values: Iterable[bytes], task: Task = CHURN) -> Examples:
    """Examples as they lie in `training`, each once: an output may be published twice. Those of others are left out."""
    found: dict[str, _Labelled] = {}
    for value in values:
        example = _decode(value)
        if (example.type, example.code) == (task.kind.name, task.code):
            found.setdefault(example.id, example)
    width = len(task.kind.raw_names)
    examples = [one for one in found.values() if len(one.x) == width]
    older = len(found) - len(examples)
    at, due, known = (
        np.array([getattr(one, name) for one in examples], dtype=np.int64) for name in ("at", "due", "known_at")
    )
    return Examples(
        [one.id for one in examples],
        at,
        due,
        known,
        np.array([one.label for one in examples], dtype=np.int64),
        np.array([one.x for one in examples], dtype=np.float64).reshape(len(examples), width),
        task,
        notes=(f"{older} examples of another version of the features: left out",) if older else (),
        money=np.array([np.nan if one.spent_minor is None else one.spent_minor / MINOR for one in examples]),
    )


def from_file(path: Path, task: Task = CHURN) -> Examples:
    """Examples of a CSV, Parquet or JSON-lines file.

    Its columns: `at`, `known_at` (ms since 1970), `label` (0 or 1), and either `x` (the raw vector, as in the topic) or
    the raw values by name; `id` and `due` may be left out. Rows whose column `goal` names another goal are left out.

    Raises
    ------
    ConfigurationError
        A column is missing or holds what it cannot; names the file, the column and the row.
    """
    table, raw_names = read_table(path), task.kind.raw_names
    names, place = set(table.column_names), str(path)
    wanted = ["at", "known_at", "label", *(["x"] if "x" in names else raw_names)]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ConfigurationError(
            f"there is no column {', '.join(missing)}",
            where=place,
            remedy=f"at, known_at, label, and x or {', '.join(raw_names)}",
        )
    rows: list[dict[str, Any]] = table.to_pylist()
    every = len(rows)
    if task.goal and "goal" in names:
        rows = [row for row in rows if row["goal"] == task.goal]
    notes = (f"{every - len(rows)} examples of other goals: left out",) if len(rows) < every else ()
    at, known = (_whole(rows, name, place) for name in ("at", "known_at"))
    labels = _whole(rows, "label", place)
    for number, label in enumerate(labels.tolist(), 1):
        if label not in {0, 1}:
            raise ConfigurationError(f"row {number}, column label: {label} is neither 0 nor 1", where=place)
    vectors = [row["x"] if "x" in names else [row[name] for name in raw_names] for row in rows]
    raw = np.full((len(rows), len(raw_names)), np.nan)
    for number, vector in enumerate(vectors):
        if not isinstance(vector, list) or len(vector) != len(raw_names):
            raise ConfigurationError(f"row {number + 1}, column x: not {len(raw_names)} numbers", where=place)
        for column, value in enumerate(vector):
            raw[number, column] = _number(value, number + 1, raw_names[column], place)
    ids = [str(row.get("id") or f"row {number}") for number, row in enumerate(rows, 1)]
    due = _whole(rows, "due", place) if "due" in names else known
    money = np.array(
        [_number(row.get("spent_minor"), n, "spent_minor", place) / MINOR for n, row in enumerate(rows, 1)]
    )
    examples = Examples(ids, at, due, known, labels, raw, task, place, notes, money)
    first = {name: number for number, name in reversed(list(enumerate(ids)))}
    once = np.array([first[name] == number for number, name in enumerate(ids)], dtype=np.bool_)
    return examples if once.all() else examples.some(once, f"{int((~once).sum())} rows whose id came before: left out")


def prepared(examples: Examples, until_ms: int | None = None, least: int = LEAST) -> Examples:
    """Only what was known by `until_ms`, in the order in which it became known, and fit to be learned.

    Raises
    ------
    ConfigurationError
        Too few examples, labels of one kind, features newer than their label, or an infinite value.
    """
    place = examples.where
    early = examples.at >= examples.known
    if early.any():
        name = examples.ids[int(np.argmax(early))]
        raise ConfigurationError(
            f"example {name}: its features (at) are not older than its label (known_at): that is a leak", where=place
        )
    before_due = examples.known < examples.due
    if before_due.any():
        name = examples.ids[int(np.argmax(before_due))]
        raise ConfigurationError(f"example {name}: its label was known before it was due: that is a leak", where=place)
    infinite = np.argwhere(np.isinf(examples.raw))
    if len(infinite):
        row, column = infinite[0]
        name = examples.task.kind.raw_names[column]
        raise ConfigurationError(f"example {examples.ids[row]}: {name} is infinite", where=place)
    if until_ms is not None:
        later = examples.known > until_ms
        if later.any():
            note = f"{int(later.sum())} examples whose label was known later than the cut-off: left out"
            examples = examples.some(~later, note)
    order = np.lexsort((np.array(examples.ids, dtype=object).astype(str), examples.known))
    examples = examples.some(order)
    if len(examples) < least:
        raise ConfigurationError(
            f"{len(examples)} labelled examples, {least} are needed",
            where=place,
            remedy="labels come when their horizon is over (90 days unless config/churn.yaml says otherwise)",
        )
    kinds = np.bincount(examples.labels, minlength=2)
    if kinds.min() < min(LEAST_OF_EACH_LABEL, least):
        raise ConfigurationError(
            f"{kinds[1]} of {len(examples)} labels are 1 and {kinds[0]} are 0: there is nothing to tell apart",
            where=place,
            remedy=f"at least {LEAST_OF_EACH_LABEL} of each are needed",
        )
    missing = int(np.isnan(examples.raw).sum())
    if missing:
        examples = replace(examples, notes=(*examples.notes, f"{missing} missing values: the median stands for them"))
    return examples


def varying(examples: Examples) -> tuple[list[int], list[str]]:
    """Numbers of the features that vary, and the names of those that do not and are left out.

    Raises
    ------
    ConfigurationError
        None varies.
    """
    columns = examples.columns
    with np.errstate(invalid="ignore"):
        spread = np.array([np.ptp(one[~np.isnan(one)]) if (~np.isnan(one)).any() else 0.0 for one in columns.T])
    kept = np.flatnonzero(spread > 0.0).tolist()
    if not kept:
        raise ConfigurationError("every feature is constant: there is nothing to learn from", where=examples.where)
    return kept, [name for number, name in enumerate(examples.task.kind.feature_names) if number not in kept]


def _whole(rows: list[dict[str, Any]], name: str, place: str) -> IntArray:
    found = []
    for number, row in enumerate(rows, 1):
        value = row[name]
        if isinstance(value, str) and value.strip().lstrip("-").isdecimal():
            value = int(value)  # one text among them makes texts of a whole column
        if isinstance(value, bool | int) or (isinstance(value, float) and value.is_integer()):
            found.append(int(value))
        else:
            raise ConfigurationError(f"row {number}, column {name}: {value!r} is no whole number", where=place)
    return np.array(found, dtype=np.int64)


def _number(value: Any, row: int, name: str, place: str) -> float:
    if value is None:
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"row {row}, column {name}: {value!r} is no number", where=place) from error
