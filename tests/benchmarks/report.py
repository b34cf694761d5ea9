"""The table: what was measured, beside its goal; on the terminal and in docs/performance.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path

from benchmarks.plot import Plot
from rich.console import Console
from rich.table import Table

_LIBRARIES = ("faust-streaming", "aiokafka", "redis", "hiredis", "msgspec", "pydantic", "river", "numpy", "uvloop")


@dataclass(frozen=True, slots=True)
class Row:
    """One line. `met`: None where there is no goal; `more`: cells before the value, see :attr:`Section.columns`."""

    what: str
    value: str
    goal: str = ""
    met: bool | None = None
    more: Sequence[str] = ()

    @property
    def mark(self) -> str:
        """yes, NO or nothing."""
        return "" if self.met is None else "yes" if self.met else "**NO**"


@dataclass(frozen=True, slots=True)
class Section:
    """A table with what has to be said about it.

    Parameters
    ----------
    columns : titles of the cells between a row's name and its goal, the value's last.
    plots : pictures of the figures.
    """

    title: str
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    block: str = ""
    columns: Sequence[str] = ("measured",)
    plots: Sequence[Plot] = ()

    def markdown(self) -> list[str]:
        """Table and notes."""
        lines: list[str] = []
        if self.rows:
            lines += ["", f"| | {' | '.join(self.columns)} | goal | met |"]
            lines += ["|---" + "|---:" * (len(self.columns) + 1) + "|---|"]
        for row in self.rows:
            lines.append(f"| {' | '.join((row.what, *row.more, row.value, row.goal, row.mark))} |")
        if self.notes:
            lines += ["", *(f"* {note}" for note in self.notes)]
        return lines


@dataclass(slots=True)
class Report:
    """Everything of one run.

    Parameters
    ----------
    day : when. broker, redis_version : what it ran on. took_s : how long.
    """

    day: date
    broker: str
    redis_version: str
    took_s: float = 0.0
    sections: list[Section] = field(default_factory=list)

    @property
    def missed(self) -> list[Row]:
        """Rows whose goal was not reached."""
        return [row for section in self.sections for row in section.rows if row.met is False]

    def show(self, console: Console) -> None:
        """Print it."""
        for section in self.sections:
            table = Table(title=section.title, title_justify="left", title_style="bold", min_width=88)
            table.add_column("what")
            for column in section.columns:
                table.add_column(column, justify="right")
            table.add_column("goal", justify="right")
            table.add_column("met")
            for row in section.rows:
                colour = {None: "", True: "green", False: "bold red"}[row.met]
                table.add_row(row.what, *row.more, row.value, row.goal, row.mark.strip("*"), style=colour)
            console.print(table)
            for note in section.notes:
                console.print(f"* {note}", style="dim", highlight=False)

    def where(self) -> str:
        """Machine, software and day as a sentence."""
        software = f"{self.broker}, Redis {self.redis_version}, Python {platform.python_version()}"
        return f"{self.day.isoformat()}; {_machine()}; {software}"

    def markdown(self) -> str:
        """The same as a page of the documentation."""
        libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
        lines = [
            "# Speed and size",
            "",
            "Written by `make bench`; every figure and picture of this page comes from that one run. Times per event are processor time",
            "of the worker's process (all its threads, user and system), which compares better between machines and moments",
            "than wall time. Broker, Redis and worker share the machine's cores.",
            "",
            "| | |",
            "|---|---|",
            f"| date | {self.day.isoformat()} ({self.took_s / 60:.1f} minutes) |",
            f"| machine | {_machine()} |",
            f"| software | Python {platform.python_version()}, {self.broker}, Redis {self.redis_version} |",
            f"| libraries | {libraries} |",
            "| data | Online Retail II (D. Chen, UCI Machine Learning Repository, 2012, CC BY 4.0); the made-up shop of"
            " `tests/benchmarks/shop.py` |",
        ]
        for section in self.sections:
            lines += ["", f"## {section.title}"]
            lines += [line for plot in section.plots for line in ("", f"![{plot.title}](images/{plot.name})")]
            lines += section.markdown()
            if section.block:
                lines += ["", "```", section.block, "```"]
        return "\n".join(lines) + "\n"


def _machine() -> str:
    return f"{_processor()}, {os.cpu_count()} cores, {_memory_gb():.0f} GB, {platform.system()}"


def _processor() -> str:
    try:
        found = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    except OSError:
        found = []
    return found[0].partition(":")[2].strip() if found else platform.processor() or platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
