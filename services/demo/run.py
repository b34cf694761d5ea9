"""`kairos demo`: the embedded stack, the replay of the year, the audit, and the summary."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from config.definitions import Definitions
from config.loader import load_definitions
from config.settings import PACKAGE_CONFIG_DIR
from config.topics import DAY_MS, FEEDBACK, MESSAGES, OFFERS
from models.errors import KairosError
from models.experiments.sums import Proportion
from services.bus import Follower, Publisher, create_topics
from services.demo.events import SEED, ShopEvents, iso
from services.demo.figures import Figures, gather
from services.demo.history import History, load_history
from services.demo.live import LatencySamples, Responses
from services.demo.reactions import Reactions
from services.demo.replay import Pace, Progress, Replay
from services.demo.summary import AuditVerdict, Learning, Summary, day, goal_lines, render
from services.demo.verdict import Purchases, judge_alerts, judge_offers, judge_reminders
from services.demo.visits import Visits
from services.embedded.stack import EmbeddedStack
from services.state.counters import read_counters
from services.state.experiments import ExperimentStore
from services.state.lanes import read_watermarks
from services.state.live import LiveReader, RawLive, clear_demo, publish_demo, worker_figures
from services.state.redis_lane import Client, connect

LABEL = "simulation: a real shop's orders of 2009-2010; views and carts derived, reactions to mails and lists made up"
# Without these a year of a shop has not really flowed through.
_FULL_YEAR_DAYS = 180

Audit = Callable[[Mapping[str, str]], AuditVerdict]


@dataclass(frozen=True, slots=True)
class Options:
    """How to run the demo.

    Parameters
    ----------
    once : end after the summary; otherwise the page stays until Ctrl-C.
    days : only the first days of the year; None: all.
    data_dir : folder of the stack. lanes : partitions. http_port : port of the page, None: a free one.
    config_dir : campaigns, offers, experiments; None: those of Kairos.
    kafka, redis_url : servers that run already; None: the embedded ones.
    seed : of everything that is drawn. pace : how the year is cut. deliver_s : deliver may take this long at
        the end.
    """

    once: bool = False
    days: int | None = None
    data_dir: Path = Path(".kairos")
    lanes: int = 4
    http_port: int | None = None
    config_dir: Path | None = None
    kafka: str | None = None
    redis_url: str | None = None
    seed: int = SEED
    pace: Pace = field(default_factory=Pace)
    deliver_s: float = 120.0


def run_demo(options: Options, audit: Audit | None = None, console: Console | None = None) -> int:
    """Run the demo.

    Parameters
    ----------
    options : how.
    audit : given the stack's ``KAIROS_*`` variables, recomputes what Redis must hold and says what it found;
        None: the summary says that it was not run, which is not all well.
    console : where to print.

    Returns
    -------
    Exit code: 0 only if all is well.
    """
    # Without a terminal (a log file) nothing says how wide a line may be.
    console = console or (Console() if sys.stdout.isatty() else Console(width=100))
    stack = EmbeddedStack(
        options.data_dir,
        create_topics,
        lanes=options.lanes,
        kafka=options.kafka,
        redis_url=options.redis_url,
        http_port=options.http_port,
        config_dir=options.config_dir,
        ticker=False,  # the replay makes the time pass
        settings={"KAIROS_STRICT_ORDER": "true"},
    )
    try:
        definitions = load_definitions(options.config_dir or PACKAGE_CONFIG_DIR)
        with console.status("Reading the shop's year and starting Kafka's stand-in, Redis, mail sink and workers ..."):
            history = load_history()
            stack.start()
        try:
            console.print(f"Live page: [link={stack.url}]{stack.url}[/link]")
            summary = _replay_and_judge(stack, options, definitions, history, audit, console)
            render(summary, console)
            if not options.once:
                console.print(f"The page stays at {stack.url} until you press Ctrl-C.")
                stack.wait()
        finally:
            stack.stop()
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130 if options.once else 0
    except KairosError as error:
        console.print(f"[bold red]The demo failed:[/] {error}", highlight=False)
        console.print(f"Logs: {stack.log_dir}", highlight=False)
        return 1
    return 1 if summary.problems else 0


def _replay_and_judge(
    stack: EmbeddedStack,
    options: Options,
    definitions: Definitions,
    history: History,
    audit: Audit | None,
    console: Console,
) -> Summary:
    env = stack.env()
    redis = connect(env["KAIROS_REDIS__URL"])
    reader = LiveReader(env["KAIROS_REDIS__URL"], options.lanes)
    shop = ShopEvents(history, options.seed)
    start_ms = history.start_ms // DAY_MS * DAY_MS
    end_ms = (history.end_ms // DAY_MS + 1) * DAY_MS
    if options.days is not None:
        end_ms = min(end_ms, start_ms + options.days * DAY_MS)
    samples = LatencySamples()
    follower = Follower(stack.bootstrap, (MESSAGES.name, FEEDBACK.name, OFFERS.name))
    visits = Visits(options.seed)
    responses = Responses(follower, Reactions(definitions.experiments, options.seed), visits=visits)
    try:
        with Publisher(stack.bootstrap, client_id="kairos-demo") as bus, _Display(console) as display:
            last_s = 0.0
            started_at = int(time.time() * 1000)

            def told(progress: Progress) -> None:
                nonlocal last_s
                now_s = time.monotonic()
                if now_s - last_s < 0.5:
                    return
                last_s = now_s
                stack.check()
                display.show(progress)
                payload = {
                    "clock": iso(progress.clock_ms),
                    "speed": round(progress.speed),
                    "share": progress.share,
                }
                publish_demo(redis, {**payload, "started_at": started_at, "label": LABEL})
                for worker in reader.read_now((), ()).workers:
                    samples.add(worker)

            replay = Replay(
                shop,
                bus,
                lambda: read_watermarks(redis, options.lanes),
                options.lanes,
                outcomes=responses.poll,
                waiting=responses.waiting,
                on_progress=told,
                pace=options.pace,
            )
            progress = replay.run(start_ms, end_ms)
            display.show(progress)
            display.say("waiting for the last mails")
            unfinished = replay.settle(progress, responses.unfinished, options.deliver_s)
        with console.status("Auditing, and reading what was published ..."):
            verdict = audit(env) if audit is not None else None
            figures = gather(stack.bootstrap)
            live = reader.read_now((), ())
            counters = read_counters(redis, options.lanes)
            judged = _judged(redis, options.lanes)
            cards = ExperimentStore(redis).results(one.id for one in definitions.experiments)
        summary = summarise(history, shop, definitions, progress, figures, counters, live, samples)
        summary = replace(summary, audit=verdict, cards=cards)
        problems = _problems(options, unfinished, summary, progress)
        if not judged:
            problems = (*problems, "the judge has not looked at the last day of the experiments")
        return replace(summary, problems=problems)
    finally:
        clear_demo(redis)
        follower.close()
        reader.close()
        redis.close()


def _judged(redis: Client, lanes: int, timeout_s: float = 30.0) -> bool:
    """Wait until the judge has looked at everything that the lanes have counted."""
    watermark = min(read_watermarks(redis, lanes).values(), default=0)
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        if any(one["role"] == "judge" and one["watermark"] >= watermark for one in worker_figures(redis)):
            return True
        time.sleep(0.1)
    return False


def summarise(
    history: History,
    shop: ShopEvents,
    definitions: Definitions,
    progress: Progress,
    figures: Figures,
    counters: Mapping[str, Mapping[str, int]],
    live: RawLive,
    samples: LatencySamples,
) -> Summary:
    """Put together what the summary says; verdicts know the history up to the end of the replay."""
    churn = definitions.churn
    seen = [invoice for invoice in history.invoices if invoice.at_ms < progress.end_ms]
    purchases = Purchases(invoice for invoice in seen if not invoice.refund)
    alerts = judge_alerts(
        purchases,
        figures.alerts,
        progress.end_ms,
        horizon_ms=churn.horizon_ms,
        eligible_within_ms=churn.eligible_within_ms,
    )
    learned_goals = live.snapshots.get("goals")
    snapshot = live.snapshots.get("churn")
    model = snapshot.meta if snapshot is not None else {}
    learning = Learning(
        bool(model.get("learned")),
        int(model.get("examples") or 0),
        model.get("first_label_ms"),
        history.start_ms + churn.horizon_ms,
    )
    return Summary(
        start_ms=history.start_ms,
        end_ms=min(progress.end_ms, history.end_ms),
        counts=shop.counts,
        users=len(shop.users),
        revenue_minor=sum(invoice.total_minor for invoice in seen if not invoice.refund),
        refunds_minor=sum(invoice.total_minor for invoice in seen if invoice.refund),
        lines_total=history.lines_total,
        lines_without_customer=history.lines_without_customer,
        figures=figures,
        counters=counters,
        experiments=definitions.experiments,
        cards={},
        names=history.names,
        alerts=alerts,
        offers=judge_offers(purchases, figures.answers),
        reminders=_reminders(definitions, purchases, figures),
        learning=learning,
        wall_s=progress.wall_s,
        events=progress.events + progress.reactions,
        log_latency=samples.of("log_latency_ms"),
        kairos_latency=samples.of("latency_ms"),
        goals=goal_lines(learned_goals.meta) if learned_goals is not None else (),
    )


def _reminders(definitions: Definitions, purchases: Purchases, figures: Figures) -> Proportion:
    """Judge every campaign that waits for an order that does not come."""
    found = Proportion(0, 0)
    for campaign in definitions.campaigns:
        after_ms = campaign.trigger.after_ms
        if after_ms and "Order Completed" in campaign.trigger.unless and campaign.id in figures.funnels:
            found += judge_reminders(purchases, figures.funnels[campaign.id].causes, after_ms)
    return found


def _problems(options: Options, unfinished: int, summary: Summary, progress: Progress) -> tuple[str, ...]:
    found = []
    figures, audit, reminders = summary.figures, summary.audit, summary.reminders
    if progress.clock_ms < progress.end_ms:
        found.append(f"the lanes stopped on {day(progress.clock_ms)}")
    if unfinished:
        found.append(f"{unfinished:,} messages have no outcome")
    unfinished_ids = sum(funnel.unfinished for funnel in figures.funnels.values())
    if unfinished_ids and not unfinished:
        found.append(f"{unfinished_ids:,} messages in the log have no outcome")
    if figures.dead:
        found.append(f"{figures.dead.total():,} records were refused, though every one is well formed")
    if audit is None:
        found.append("the audit was not run")
    elif not audit.ok:
        found.append("the audit found differences")
    if reminders.successes < reminders.n:
        wrong = reminders.n - reminders.successes
        found.append(f"{wrong:,} reminders of a cart went to customers who had ordered")
    if not figures.answers or not figures.messages:
        found.append("no offers or no messages were decided")
    if not figures.alerts and (options.days is None or options.days >= _FULL_YEAR_DAYS):
        found.append("no churn alert was raised in half a year")
    return tuple(found)


class _Display:
    """Progress bar with the shop's clock apart from wall time; lines of text where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Bar(
            TextColumn("[bold]{task.fields[clock]:>11}[/]"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[events]}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}[/]"),
            console=console,
        )
        fields: dict[str, Any] = {"clock": "", "speed": "", "events": "", "note": "workers join"}
        self._task = self._bar.add_task("replay", total=1.0, **fields)
        self._said = -1

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def show(self, progress: Progress) -> None:
        """Show where the replay is."""
        clock, speed = day(progress.clock_ms), f"{progress.speed:,.0f}x"
        events = f"{progress.events:,} events"
        note = "" if progress.clock_ms > progress.started_ms else "workers join"
        self._bar.update(self._task, completed=progress.share, clock=clock, speed=speed, events=events, note=note)
        tenth = int(progress.share * 10)
        if not self._console.is_terminal and tenth > self._said:
            self._said = tenth
            self._console.print(f"{clock}, {speed}: {events} in {progress.wall_s:.0f} s", highlight=False)

    def say(self, note: str) -> None:
        """Show what is going on beside the replay."""
        self._bar.update(self._task, note=note)
