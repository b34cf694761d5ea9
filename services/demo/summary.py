"""The demo's summary for a marketer: what came in, what Kairos did, and whether it was right."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from config.definitions import Experiment
from models.experiments.fixed import wilson_interval
from models.experiments.sums import Proportion
from services.cards import COLOURS, progress
from services.dashboard.words import SUPPRESSED
from services.demo.figures import Figures, Funnel
from services.demo.verdict import AlertVerdict, OfferVerdict


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds at the median, and of the 99th percentile in the worst second that was sampled."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """What the audit said: sentences for people; `ok` if it found no difference."""

    ok: bool
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Learning:
    """State of the churn model.

    Parameters
    ----------
    learned : its scores are learned. examples : labels it has seen. since_ms : event time of the first of
        them.
    expected_ms : when the first labels are due.
    """

    learned: bool
    examples: int
    since_ms: int | None
    expected_ms: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything the summary says.

    Parameters
    ----------
    start_ms, end_ms : of the replay, event time. counts : events published, by name. users : customers seen.
    revenue_minor, refunds_minor : real, from the file. lines_total, lines_without_customer : of the file.
    figures : what was published. counters : Kairos's running counters ("exp:id", "camp:id").
    experiments : definitions; cards : what the judge says of them, by id. names : product's description by id.
    alerts, offers : verdicts. reminders : cart mails, and those whose customer had really left the cart.
    learning : of the churn model.
    wall_s, events : for the throughput. log_latency, kairos_latency : the two parts.
    goals : how good the propensities were, a sentence each.
    audit : verdict of the audit; None if it was not run. problems : what keeps the demo from being all well.
    """

    start_ms: int
    end_ms: int
    counts: Mapping[str, int]
    users: int
    revenue_minor: int
    refunds_minor: int
    lines_total: int
    lines_without_customer: int
    figures: Figures
    counters: Mapping[str, Mapping[str, int]]
    experiments: Sequence[Experiment]
    cards: Mapping[str, Mapping[str, Any]]
    names: Mapping[str, str]
    alerts: AlertVerdict
    offers: OfferVerdict
    reminders: Proportion
    learning: Learning
    wall_s: float
    events: int
    log_latency: Latency | None = None
    kairos_latency: Latency | None = None
    goals: tuple[str, ...] = ()
    audit: AuditVerdict | None = None
    problems: tuple[str, ...] = field(default=())


def render(summary: Summary, console: Console) -> None:
    """Print it."""
    for part in _parts(summary):
        console.print(part)
        console.print()


def pounds(minor: int, *, pence: bool = False) -> str:
    """Money in pounds.

    Examples
    --------
    >>> pounds(123456789), pounds(-250, pence=True)
    ('£1,234,568', '-£2.50')
    """
    sign = "-" if minor < 0 else ""
    return f"{sign}£{abs(minor) / 100:,.2f}" if pence else f"{sign}£{abs(minor) / 100:,.0f}"


def day(at_ms: int) -> str:
    """Date for people.

    Examples
    --------
    >>> day(1_268_524_800_000)
    '14 Mar 2010'
    """
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%-d %b %Y}"


def share_of(found: Proportion) -> str:
    """Say a share with its count and 95 % interval.

    Examples
    --------
    >>> share_of(Proportion(400, 300))
    '75.0 %  (300 of 400; 95 % interval 70.5 to 79.0 %)'
    """
    interval = wilson_interval(found)
    if interval is None:
        return "none yet"
    low, high = interval
    return (
        f"{100 * found.rate:.1f} %  ({found.successes:,} of {found.n:,}; "
        f"95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
    )


def _parts(summary: Summary) -> list[RenderableType]:
    return [
        _headline(summary),
        _what_came(summary),
        _messages(summary),
        _experiments(summary),
        _right(summary),
        _machine(summary),
        _next_steps(summary),
    ]


def _section(title: str, *body: RenderableType) -> RenderableType:
    return Group(Text(title, style="bold"), *(Padding(part, (0, 0, 0, 2)) for part in body))


def _plain() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    return table


def _headline(summary: Summary) -> RenderableType:
    if summary.problems:
        return Group(
            Text("The demo did not end well:", style="bold red"),
            *(Text(f"  {problem}", style="red") for problem in summary.problems),
        )
    span = f"{day(summary.start_ms)} to {day(summary.end_ms)}"
    return Text(f"A real gift shop, {span}, in {summary.wall_s / 60:.1f} minutes. All is well.", style="bold green")


def _what_came(summary: Summary) -> RenderableType:
    counts, figures = summary.counts, summary.figures
    simulated = sum(number for name, number in counts.items() if name.endswith("(simulated)"))
    table = _plain()
    table.add_row(f"{sum(counts.values()):,}", "events of the shop")
    table.add_row(f"{counts.get('Order Completed', 0):,}", f"orders, {pounds(summary.revenue_minor)}, from the file")
    refunds = f"refunds, {pounds(summary.refunds_minor)}, from the file"
    table.add_row(f"{counts.get('Order Refunded', 0):,}", refunds)
    derived = counts.get("Product Viewed", 0) + counts.get("Product Added", 0)
    table.add_row(f"{derived:,}", "product views and additions to the cart, derived from the lines of the invoices")
    table.add_row(f"{simulated:,}", "views and additions of carts that are left behind, simulated")
    table.add_row(f"{summary.users:,}", "customers")
    table.add_row(f"{len(figures.alerts):,}", "churn alerts")
    table.add_row(f"{len(figures.answers):,}", "next-best-offer decisions")
    table.add_row(f"{figures.messages:,}", "messages decided")
    left_out = (
        f"{summary.lines_without_customer:,} of the file's {summary.lines_total:,} lines name no customer "
        "(mostly sales over the counter). Nobody's next step can be learned from them, so they are left out."
    )
    return _section("What came in, and what Kairos did", table, Text(left_out, style="dim"))


def _messages(summary: Summary) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("campaign")
    for name in ("decided", "suppressed", "waiting", "sent", "opened", "clicked", "ordered"):
        table.add_column(name, justify="right")
    figures = summary.figures
    reasons: dict[str, int] = {}
    for campaign in sorted(figures.funnels):
        funnel = figures.funnels[campaign]
        for reason, ids in funnel.suppressed.items():
            reasons[reason] = reasons.get(reason, 0) + len(ids)
        table.add_row(campaign, *(f"{number:,}" for number in _funnel_row(summary, campaign, funnel)))
    body: list[RenderableType] = [table]
    if reasons:
        said = ", ".join(
            f"{number:,} {SUPPRESSED.get(reason, reason.replace('_', ' '))}"
            for reason, number in sorted(reasons.items(), key=lambda one: -one[1])
        )
        body.append(Text(f"Suppressed because: {said}."))
    lost = {stage: sum(f.at(stage) for f in figures.funnels.values()) for stage in ("failed", "unknown", "expired")}
    if any(lost.values()):
        body.append(Text("Not sent: " + ", ".join(f"{number:,} {stage}" for stage, number in lost.items() if number)))
    body.append(
        Text(
            "Opened, clicked and ordered are simulated with a fixed seed: nobody in the file ever got a mail. "
            f"The simulator's orders ({pounds(figures.simulated_revenue_minor)}) are in no sum of real revenue.",
            style="dim",
        )
    )
    return _section("Messages", *body)


def _funnel_row(summary: Summary, campaign: str, funnel: Funnel) -> list[int]:
    # A message that waits for the morning was decided but lies in no topic yet; only the counter knows it.
    decided = max(funnel.decided, summary.counters.get(f"camp:{campaign}", {}).get("decided", 0))
    stages = [funnel.at(stage) for stage in ("sent", "opened", "clicked", "ordered")]
    return [decided, funnel.suppressed_total, decided - funnel.decided, *stages]


def _experiments(summary: Summary) -> RenderableType:
    body: list[RenderableType] = []
    for experiment in summary.experiments:
        card = summary.cards.get(experiment.id)
        body += [Text(), *experiment_lines(experiment, card)] if body else experiment_lines(experiment, card)
    note = (
        "Only users whose window has closed decide, so these verdicts hold however often somebody looked. A planted "
        "effect is one that the simulator builds in; the A/A test treats both groups alike and should stay undecided."
    )
    return _section("Experiments", *body, Text(note, style="dim"))


def experiment_lines(experiment: Experiment, card: Mapping[str, Any] | None) -> list[Text]:
    """An experiment's card in a few lines."""
    made = ", simulated reactions" if experiment.simulated else ""
    lines = [Text(f"{experiment.id}: {experiment.description or experiment.id}{made}", style="bold")]
    if card is None or not card["since"]:
        return [*lines, Text("  nobody was exposed", style="dim")]
    lines.append(Text(f"  {card['sentence']}", style=COLOURS.get(card["verdict"], "")))
    last = experiment.variants[-1].id
    for line in card["comparisons"]:
        planted = experiment.planted.get(line["metric"])
        if planted is not None and line["variant"] == last and line["shortage"] is None:
            measured = f"{100 * line['difference']:+.1f} measured"
            lines.append(Text(f"  {line['metric']}: {100 * planted:+.1f} points planted, {measured}"))
    lines.append(Text(f"  {progress(card)}", style="dim"))
    return lines


def _right(summary: Summary) -> RenderableType:
    alerts, offers, learning = summary.alerts, summary.offers, summary.learning
    lines: list[RenderableType] = []
    if alerts.all.n:
        lines += [
            Text("Alerts: the share of customers who did not order again in the 90 days after"),
            Text(f"  of all alerts       {share_of(alerts.all)}"),
        ]
        if alerts.by_rule.n and alerts.by_model.n:
            lines += [
                Text(f"  by the first rule   {share_of(alerts.by_rule)}"),
                Text(f"  by the model        {share_of(alerts.by_model)}"),
            ]
        lines.append(Text(f"  of all customers    {share_of(alerts.eligible)}"))
    else:
        lines.append(Text("Alerts: the 90 days of none are over yet"))
    if alerts.waiting:
        lines.append(
            Text(
                f"  {alerts.waiting:,} more alerts cannot be judged yet: their 90 days are not over",
                style="dim",
            )
        )
    lines += [
        Text("Offers: the share of next baskets that held at least one of the ten products offered"),
        Text(f"  by Kairos           {share_of(offers.kairos)}"),
        Text(f"  by best sellers     {share_of(offers.popular)}"),
    ]
    best = sorted(offers.hits.items(), key=lambda one: (-one[1], one[0]))[:3]
    if best:
        said = "; ".join(
            f"{summary.names.get(item, 'a product without description')} ({number}x)" for item, number in best
        )
        lines.append(Text(f"  offered and then bought most often: {said}", style="dim"))
    if summary.reminders.n:
        lines += [
            Text("Reminders of a cart: the share that went to a customer who had really left it"),
            Text(f"  by Kairos           {share_of(summary.reminders)}"),
        ]
    lines.append(Text(_learning_line(learning), style="dim"))
    lines += [Text(told, style="dim") for told in summary.goals]
    return _section("Was Kairos right?", *lines)


def _learning_line(learning: Learning) -> str:
    if not learning.learned or learning.since_ms is None:
        return (
            "Churn score: not learned yet. A documented recency/frequency rule scores until the first labels "
            f"mature, on {day(learning.expected_ms)} at the earliest."
        )
    return (
        f"Churn score: a documented recency/frequency rule until {day(learning.since_ms)}, from then on "
        f"learned from {learning.examples:,} examples whose 90 days were over."
    )


def goal_lines(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """How good the scores of each goal were as they were served; `meta` is that of the snapshot `goals`."""
    found = []
    for one in meta.get("goals", {}).values():
        if not one["learned"] or not one["judged"] or one["auc"] is None:
            found.append(f"Propensity {one['goal']}: {one['examples']:,} labels, nothing to judge yet.")
            continue
        found.append(
            f"Propensity {one['goal']}: of {one['judged']:,} scores whose label came, AUC {one['auc']:.3f}, log loss "
            f"{one['log_loss']:.3f} (the rate alone {one['rate_log_loss']:.3f}), "
            f"calibration error {one['calibration']:.3f}."
        )
    return tuple(found)


def _machine(summary: Summary) -> RenderableType:
    table = _plain()
    speed = summary.events / summary.wall_s if summary.wall_s > 0 else 0.0
    clock = (summary.end_ms - summary.start_ms) / 1000 / summary.wall_s if summary.wall_s > 0 else 0.0
    table.add_row("throughput", f"{speed:,.0f} events/s for {summary.wall_s:.0f} s, {clock:,.0f}x the shop's clock")
    # The replay publishes a day at once, so this is the latency of a full load, not of a quiet day.
    for name, latency in (("in the log", summary.log_latency), ("in Kairos", summary.kairos_latency)):
        said = "not measured" if latency is None else f"p50 {latency.p50_ms:,.1f} ms, p99 {latency.p99_ms:,.1f} ms"
        where = "from published to fetched" if name == "in the log" else "from fetched to decided and committed"
        table.add_row(f"latency {name}", f"{said} ({where})")
    if summary.figures.dead:
        refused = ", ".join(f"{number:,} {reason}" for reason, number in summary.figures.dead.items())
        table.add_row("refused", f"{refused} (topic dead-letters)")
    else:
        table.add_row("refused", "nothing")
    if summary.audit is None:
        table.add_row("audit", "not run")
    else:
        for number, line in enumerate(summary.audit.lines):
            style = "green" if summary.audit.ok else "red"
            table.add_row("audit" if number == 0 else "", Text(line, style=style))
    return _section("The machine", table)


def _command() -> str:
    """How `kairos` is called in another terminal: by its path where it is not on the PATH."""
    called = Path(sys.argv[0]).absolute()
    if called.name != "kairos" or shutil.which("kairos") is not None:
        return "kairos"
    return str(called.relative_to(Path.cwd())) if called.is_relative_to(Path.cwd()) else str(called)


def _next_steps(summary: Summary) -> RenderableType:
    figures = summary.figures
    user = figures.alerts[0].user if figures.alerts else figures.answers[0].user if figures.answers else "USER"
    message = "MESSAGE"
    if figures.clicked:
        message, user = figures.clicked[-1]
    table = Table(Column(no_wrap=True), Column(), box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_row(Text(f"{_command()} story {user}", style="cyan"), "one customer's story, event by event")
    table.add_row(Text(f"{_command()} why {message}", style="cyan"), "why this message was sent")
    table.add_row(
        Text("sed -i 's/after: 1h/after: 30m/' config/campaigns/abandoned-cart.yaml", style="cyan"),
        "one line of YAML: remind of a cart sooner, then run the demo again",
    )
    return _section("Try next (while `kairos demo` runs)", table)
