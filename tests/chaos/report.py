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
            *(f"* {line}" for line in self.lines()),
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

No event lost, none applied twice, no message twice at the provider: here are the runs that tried to break that.

`make chaos SEED=n EVENTS=n FAULTS=n` starts Apache Kafka, Redis with an append-only file (behind a TCP proxy that can
be slow, cut connections and lose answers), a mail server, and five workers; publishes a known input that the seed
decides (with late events, repetitions, records in the wrong partition, poison, and orders on which the core breaks);
and carries out the faults that the seed decides, up to two at a time, most of them while decide is at work. Then
everything is counted again by plain Python that shares no code with the core, and `kairos audit` goes over the log. A
single difference is exit code 1. With `ARGS=--write` the run becomes a section of this page.

What the count takes for granted: the journal's word for the order in which the inputs were applied, for whose timers
were looked at with which batch, and the churn alerts themselves (they hang on what was learned; that they are raised
once, keep their cool-down and have a cause is checked, their scores are the audit's business). That the journal leaves
nothing out and takes nothing twice is checked. Of customers who were silent for a month, what Kairos forgets is not
compared. A message whose end nobody can know (the mail server hung up before it answered, deliver died with the mail in
its hands, Redis went back in time) has to be `unknown` in the ledger, and is never sent again.

`ARGS=--cluster`: Redis is a Redis Cluster of three nodes, and the faults of Redis hit one of them at a time: it is
killed or stopped, loses the end of its append-only file, freezes, is full, drops its connections, or a lane's slot
moves to another node. `ARGS=--strict-order`: decide applies events in the order of their time (`KAIROS_STRICT_ORDER`).

The rolling upgrade: decide of a next version, which reads one more topic, in a consumer group of its own, works beside
the old one until that has ended, and the same way back. Two versions with different subscriptions in *one* group are
not tried, and not supported.

"""


def write(report: Report) -> Path:
    """Put the run on top of the page; an older run of the same seed and size goes."""
    text = TARGET.read_text() if TARGET.exists() else ""
    _, *sections = re.split(r"^(?=## Seed )", text, flags=re.MULTILINE)
    mine = report.markdown()
    same = mine.partition(" faults")[0].rpartition(",")[0]
    kept = [section for section in sections if not section.startswith(same)]
    TARGET.write_text(INTRODUCTION + "\n".join(part.rstrip() + "\n" for part in (mine, *kept)))
    return TARGET
