"""Two workers beside one: the table, and its place in docs/scale.md."""

from __future__ import annotations

from pathlib import Path

from benchmarks.ground import ROOT
from benchmarks.report import Report, Row, Section
from benchmarks.scale_out import Drain, Scaled

TARGET = ROOT / "docs" / "scale.md"
BEGIN, END = "<!-- two workers: begin -->", "<!-- two workers: end -->"
GOAL = 1.7
TITLE = "Two workers beside one"


def section(found: Scaled | None) -> Section:
    """The table."""
    if found is None:
        return Section(TITLE, [], ["Not measured: only with Apache Kafka. `make kafka` fetches it."])
    rows: list[Row] = []
    for where, (one, two), judged in (
        ("on a core each", found.cores, False),
        ("held to half a core each", found.halves, True),
    ):
        rows += [_row(f"one worker, {where}", one), _row(f"two workers, {where}", two)]
        ratio = two.per_s / one.per_s
        goal, met = (f">= {GOAL}x", ratio >= GOAL) if judged else ("", None)
        rows.append(Row(f"two by one, {where}", f"{ratio:.2f}x", goal, met, ("", "", "")))
    notes = [
        "Events per second while a backlog is worked off that lay there before the first was applied; the first fifth is not"
        " counted. Each worker is bound to a core of its own; broker and Redis run where there is room.",
        f"**On the two cores of one machine more than {found.possible:.2f}x is not possible**: an event costs one worker"
        f" {found.cores[0].worker_us:.1f} us, broker and Redis {found.cores[0].servers_us:.1f} us, and two workers leave the"
        " servers no core. That is why each worker was then held to half a core (stopped for half of every 20 ms): what"
        " two workers do that have their processor time to themselves, as on machines of their own.",
    ]
    return Section(TITLE, rows, notes, columns=("worker us/event", "servers us/event", "cores used", "events/s"))


def _row(what: str, one: Drain) -> Row:
    busy = " + ".join(f"{share:.2f}" for share in one.busy)
    return Row(what, f"{one.per_s:,.0f}", more=(f"{one.worker_us:.1f}", f"{one.servers_us:.1f}", busy))


def write(report: Report) -> Path:
    """Put the table between its marks."""
    (made,) = report.sections
    text = "\n".join([f'`make bench ARGS="--only scale"`, {report.where()}.', *made.markdown()])
    before, _, rest = TARGET.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    TARGET.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
    return TARGET
