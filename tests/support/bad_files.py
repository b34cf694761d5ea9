"""Files that are wrong in every way a user's file may be, for each task of `kairos evaluate` and `kairos train`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from models.features.churn import RAW_NAMES

Rows = list[list[str]]
DAYS = [str(date(2009, 1, 1) + timedelta(days=day)) for day in range(540)]


@dataclass(frozen=True)
class Task:
    """A task with a file that is good.

    Parameters
    ----------
    options : behind the file. number, label, when, category : columns of that kind; "" where it has none.
    needed : columns without which nothing can be done. slow : a file that is good takes seconds.
    """

    name: str
    columns: tuple[str, ...]
    rows: Callable[[], Rows]
    options: tuple[str, ...] = ()
    number: str = ""
    label: str = ""
    when: str = ""
    category: str = ""
    command: tuple[str, ...] = ("evaluate",)
    option: str = "--data"
    needed: tuple[str, ...] = field(default=())
    slow: bool = False


def _shop() -> Rows:
    rng = np.random.default_rng(0)
    return [[f"c{rng.integers(12)}", DAYS[day], f"{rng.integers(1, 90)}.50"] for day in range(0, 540, 3) for _ in "ab"]


def _baskets() -> Rows:
    rng = np.random.default_rng(1)
    return [
        [f"c{basket % 9}", f"b{basket}", f"i{rng.integers(12)}", f"{DAYS[basket]}T10:00:00"]
        for basket in range(80)
        for _ in range(3)
    ]


def _labelled() -> Rows:
    rng = np.random.default_rng(2)
    return [[f"{x:.3f}", "red" if x > 0.5 else "blue", str(int(rng.random() < x))] for x in rng.random(160)]


def _reviews() -> Rows:
    words = {1: ["good tea", "very nice", "love it"], 0: ["bad tea", "awful", "hate this"]}
    return [[f"{words[n % 2][n % 3]} {n}", str(n % 2), f"shop{n % 2}"] for n in range(60)]


def _experiment() -> Rows:
    rng = np.random.default_rng(3)
    return [
        [str(n % 2), str(int(rng.random() < 0.3 + 0.2 * (n % 2))), f"{rng.random():.3f}", "ab"[n % 2]]
        for n in range(400)
    ]


def _bandit() -> Rows:
    rng = np.random.default_rng(4)
    return [[f"a{n % 3}", str(int(rng.random() < 0.3)), "0.3333", f"{rng.random():.2f}"] for n in range(240)]


def _churn_examples() -> Rows:
    rng = np.random.default_rng(5)
    found = []
    for n in range(800):
        recency, days = int(rng.integers(0, 200)), int(rng.integers(1, 9))
        churned = int(rng.random() < recency / 200)
        at = 1_260_000_000_000 + n * 3_600_000
        found.append(
            [
                *map(str, (recency, days, 1_000 * days, 300, 100)),
                str(churned),
                f"u{n}",
                str(at),
                str(at + 90 * 86_400_000),
            ]
        )
    return found


SHOP = ("customer_id", "date", "value")
RAW = tuple(RAW_NAMES)
TASKS = (
    Task("churn", SHOP, _shop, number="value", when="date", category="customer_id", needed=SHOP, slow=True),
    Task("value", SHOP, _shop, number="value", when="date", category="customer_id", needed=SHOP, slow=True),
    Task("segments", SHOP, _shop, number="value", when="date", category="customer_id", needed=SHOP),
    Task("forecast", ("date", "value"), lambda: [row[1:] for row in _shop()], ("--score-last", "6"), "value", "",
         "date", needed=("date", "value")),
    Task("next-basket", ("customer_id", "basket_id", "item_id", "timestamp"), _baskets, when="timestamp",
         category="item_id", needed=("customer_id", "basket_id", "item_id", "timestamp")),
    Task("next-item", ("user_id", "basket_id", "item_id", "timestamp"), _baskets, when="timestamp",
         category="item_id", needed=("user_id", "item_id", "timestamp")),
    Task("propensity", ("x", "colour", "label"), _labelled, ("--label", "label"), "x", "label", "", "colour",
         needed=("label",)),
    Task("sentiment", ("text", "label", "source"), _reviews, ("--orders", "1"), "", "label", "", "text",
         needed=("text", "label")),
    Task("uplift", ("treatment", "outcome", "x", "group"), _experiment, ("--seeds", "1"), "x", "outcome", "", "group",
         needed=("treatment", "outcome")),
    Task("bandit", ("action", "reward", "propensity", "x"), _bandit, ("--seeds", "1"), "reward", "", "", "action",
         needed=("action", "reward", "propensity")),
    Task("ab", ("variant", "bought", "x", "group"), _experiment, ("--variant", "variant", "--metrics", "bought"), "x",
         "bought", "", "variant", needed=("variant", "bought")),
    Task("churn", (*RAW, "label", "id", "at", "known_at"), _churn_examples,
         ("--models", "logistic", "--search", "none", "--no-register"), RAW[0], "label", "", "", ("train",), "--file",
         ("label", "at", "known_at", *RAW), slow=True),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One bad file: what is wrong with it, how it is written, and the column that a message must name."""

    what: str
    content: bytes
    suffix: str = ".csv"
    column: str = ""


def csv(columns: tuple[str, ...] | list[str], rows: Rows) -> bytes:
    """The table as CSV."""
    return "".join(",".join(line) + "\n" for line in [list(columns), *rows]).encode()


def cases(task: Task) -> Iterator[Case]:
    """Every way in which the task's file may be wrong."""
    columns, rows = list(task.columns), task.rows()
    whole = csv(columns, rows)

    def changed(column: str, row: int, value: str) -> bytes:
        place = columns.index(column)
        return csv(columns, [[*r[:place], value, *r[place + 1 :]] if n == row else r for n, r in enumerate(rows)])

    def filled(column: str, value: str) -> bytes:
        place = columns.index(column)
        return csv(columns, [[*r[:place], value, *r[place + 1 :]] for r in rows])

    yield Case("good", whole)
    for column in task.needed:
        place = columns.index(column)
        rest = [[*r[:place], *r[place + 1 :]] for r in rows]
        yield Case(f"without {column}", csv(columns[:place] + columns[place + 1 :], rest), column=column)
        yield Case(f"empty {column}", filled(column, ""))
        yield Case(f"one hole in {column}", changed(column, 5, ""))
        yield Case(f"constant {column}", filled(column, rows[0][place]))
    if task.number:
        for value in ("nan", "inf", "-inf", "1e308", "-5", "0"):
            yield Case(f"{value} in {task.number}", changed(task.number, 6, value))
        yield Case(f"text in {task.number}", changed(task.number, 6, "lots"))
    if task.label:
        yield Case("unknown label", changed(task.label, 7, "perhaps"))
        yield Case("one class only", filled(task.label, "1"))
    if task.when:
        for value in ("soon", "0001-01-01", "9999-12-31", "2010-13-45"):
            yield Case(f"{value} as date", changed(task.when, 9, value))
        yield Case("dates out of order", csv(columns, rows[::-1]))
    if task.category:
        yield Case("unseen category at the end", changed(task.category, len(rows) - 1, "never seen before"))
        yield Case("emoji", changed(task.category, 3, "\U0001f600\u200b\u0301"))
    yield Case("constant features", csv(columns, [rows[0]] * len(rows)))
    yield Case("10 rows", csv(columns, rows[:10]))
    yield Case("1 row", csv(columns, rows[:1]))
    yield Case("0 rows", csv(columns, []))
    yield Case("duplicated rows", csv(columns, [row for row in rows for _ in range(2)]))
    yield Case("two columns of one name", csv([columns[0], columns[0], *columns[1:]], [[r[0], *r] for r in rows]))
    yield Case("a row too short", whole + b"1\n")
    yield Case("empty file", b"")
    yield Case("blank lines", b"\n\n\n")
    yield Case("not a table", bytes(range(256)) * 20)
    yield Case("wrong encoding", whole + ",".join("caf\u00e9" for _ in columns).encode("utf-16"))
    yield Case("latin-1", whole + ",".join("caf\u00e9" for _ in columns).encode("latin-1"))
    yield Case("no parquet", whole, ".parquet")
    yield Case("no gzip", whole, ".csv.gz")
    yield Case("no JSON", whole, ".jsonl")
    lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
    mixed = json.dumps({columns[-1]: {"a": [1]}})
    yield Case("JSON of mixed kinds", "\n".join([*lines[:40], mixed]).encode(), ".jsonl")
    yield Case("unknown format", whole, ".docx")


def write(folder: Path, case: Case) -> Path:
    """The file of a case."""
    path = folder / f"history{case.suffix}"
    path.write_bytes(case.content)
    return path
