"""What a run found: a table for the terminal, and a section of docs/reliability.md."""

from __future__ import annotations

import os
import platform
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from chaos.check import SHOWN, Check, Figures
from chaos.drive import Done
from chaos.fleet import ROOT
from rich.console import Console
from rich.table import Table

from services.jobs.audit.report import AuditReport

TARGET = ROOT / "docs" / "reliability.md"
PACKAGES = ("faust-streaming", "aiokafka", "redis")


@dataclass(slots=True)
class Report:
    """One run.

    Parameters
    ----------
    seed, events : what was asked for. faults : what was done. restarts : of workers by their supervisors.
    at : when it ended.
    """

    seed: int
    events: int
    faults: list[Done]
    restarts: int
    at: datetime
    checks: list[Check] = field(default_factory=list)
    figures: Figures = field(default_factory=Figures)
    ran_s: float = 0.0
    took_s: float = 0.0
    redis: str = ""
    kafka: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether there is no difference at all."""
        return bool(self.checks) and not any(check.differences for check in self.checks)

    def audit(self, found: AuditReport) -> None:
        """Add the verdict of `kairos audit`."""
        check = Check("`kairos audit`: Redis computed again from the log by Kairos itself", found.total("received"))
        if not found.ok:
            check.differences += found.sentences()
        check.same("records in flight", sum(lane.in_flight for lane in found.lanes), 0)
        check.same("messages waiting", found.waiting, 0)
        self.notes += found.notes
        self.checks.append(check)

    def show(self, console: Console) -> None:
        """Print."""
        faults = Table("#", "at event", "fault", "what", "s", title="Faults")
        for one in self.faults:
            faults.add_row(str(one.number), f"{one.at_event:,}", one.name, one.what, f"{one.took_s:.1f}")
        console.print(faults)
        verdict = Table("compared", "", "differences", title=f"Seed {self.seed}")
        for check in self.checks:
            count = len(check.differences)
            verdict.add_row(check.what, f"{check.compared:,}", f"[red]{count}" if count else "0")
        console.print(verdict)
        for check in self.checks:
            for difference in check.differences[:SHOWN]:
                console.print(f"[red]{check.what}[/red]: {difference}", highlight=False)
        for line in self.lines():
            console.print(line, highlight=False)
        console.print("[green]No difference." if self.ok else "[red]DIFFERENT.")

    def lines(self) -> list[str]:
        """The run in sentences."""
        seen = self.figures
        unknown = "; ".join(f"{count:,}: {reason}" for reason, count in seen.unknown.most_common())
        told = f"{self.events:,} events ({seen.records:,} records with ticks, forwarded ones and feedback) of "
        told += f"{seen.customers:,} customers; {len(self.faults)} faults; "
        told += f"{self.restarts} times a worker that had died was started again."
        sent = f"{seen.messages:,} messages decided, {seen.mails:,} mails at the provider, {seen.dropped:,} of them "
        sent += f"taken without an answer; {seen.unknown.total():,} outcomes `unknown` "
        sent += f"({seen.unknown_arrived:,} of these had arrived)" + (f": {unknown}." if unknown else ".")
        made = f"{seen.timers:,} timers fired, {seen.exposures:,} exposures, {seen.offers:,} offers, {seen.alerts:,} "
        made += f"alerts. {seen.forgotten:,} batches were forgotten by Redis and worked out again."
        took = f"{self.ran_s / 60:.1f} minutes of input, {self.took_s / 60:.1f} with the counting."
        return [told, sent, made, took]

    def markdown(self) -> str:
        """Section of the page."""
        lost = sum(len(check.differences) for check in self.checks)
        kinds = Counter(one.name for one in self.faults)
        verdict = "no difference" if not lost else f"{lost} DIFFERENCES"
        versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
        where = f"{self.at:%-d %B %Y}, {machine()}; Apache Kafka {self.kafka}, Redis {self.redis}, "
        lines = [
            f"## Seed {self.seed}: {self.events:,} events, {len(self.faults)} faults, {verdict}",
            "",
            where + f"Python {platform.python_version()}, {versions}.",
            "",
            *self.lines(),
            "",
            "| compared | how many | differences |",
            "| --- | ---: | ---: |",
            *(f"| {check.what} | {check.compared:,} | {len(check.differences)} |" for check in self.checks),
            "",
            "| fault | times |",
            "| --- | ---: |",
            *(f"| {name} | {times} |" for name, times in sorted(kinds.items())),
        ]
        return "\n".join(lines) + "\n"


def machine() -> str:
    """The machine in a few words."""
    facts = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", facts.read_text()) if facts.exists() else None
    processor = found[1] if found else platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({processor}), {memory:.0f} GiB, {platform.system()}"


INTRODUCTION = """# Reliability

What Kairos promises about faults, and the runs that tested it. Written by `make chaos SEED=n EVENTS=n FAULTS=n
ARGS=--write`; each run is a section, newest first.

"""


def write(report: Report) -> Path:
    """Put the run on top of the page; an older run of the same seed and size goes."""
    text = TARGET.read_text() if TARGET.exists() else INTRODUCTION
    head, *sections = re.split(r"^(?=## Seed )", text, flags=re.MULTILINE)
    mine = report.markdown()
    same = mine.partition(" faults")[0].rpartition(",")[0]
    kept = [section for section in sections if not section.startswith(same)]
    TARGET.write_text(head + "\n".join(part.rstrip() + "\n" for part in (mine, *kept)))
    return TARGET
