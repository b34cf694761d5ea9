"""From what lay in Redis to what the page shows. Pure: no clock, no I/O; `now_ms` and the history come in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from config.definitions import Definitions, Goal
from config.topics import INPUT_NAMES
from models.learners.task import CHURN, Task
from services.dashboard import words
from services.dashboard.chosen import build_choosing, build_recommended
from services.dashboard.context import (
    Clock,
    Latency,
    ModelVersion,
    PageContext,
    Quantiles,
    Reviews,
    Sample,
    Segment,
    Status,
    TailItem,
    Tails,
    TopicLag,
    Totals,
    Worker,
)
from services.dashboard.ledger import build_funnels, build_proof
from services.dashboard.models import build_fairness, in_use, watched
from services.dashboard.results import build_experiments
from services.dashboard.status import build_status
from services.state.live import RawLive, Snapshot, deciding
from services.state.reviews import Reviewed

TAIL_SHOWN = 8
REVIEWS_SHOWN = 5
RULES_SHOWN = 8
ALERTS_SHOWN = 8
READERS = {"training": "learn", "messages": "deliver"}
MODEL_TITLES = {"churn": "Churn score", "recs": "Next best offer", "value": "Purchase value"}
GOAL_FIGURES = ("auc", "log_loss", "rate_log_loss", "calibration", "rate", "judged")

Figures = Mapping[str, Any]


def build_page(raw: RawLive, definitions: Definitions, history: Sequence[Sample], now_ms: int) -> PageContext:
    """Build the whole page.

    Parameters
    ----------
    raw : one reading of Redis.
    definitions : campaigns and experiments, for their words.
    history : samples of the last minutes, oldest first; the last one may be of this very reading.
    now_ms : wall clock.
    """
    lag = lag_by_partition(raw.workers)
    proof = build_proof(raw.lanes, lag)
    workers = build_workers(raw)
    totals = build_totals(raw)
    latency = build_latency(raw.workers)
    funnels = build_funnels(raw.campaigns, definitions.campaigns)
    models = watched(build_models(raw, definitions.goals), raw, definitions)
    fairness = build_fairness(raw, definitions)
    return PageContext(
        at_ms=now_ms,
        status=build_status(workers, totals, latency, proof, funnels, history, models, fairness),
        clock=build_clock(raw),
        totals=totals,
        latency=latency,
        lag=build_lag(lag),
        tails=build_tails(raw.tails),
        funnels=funnels,
        experiments=build_experiments(raw.cards, definitions.experiments, currency=definitions.churn.currency),
        proof=proof,
        models=models,
        fairness=fairness,
        segments=build_segments(raw),
        workers=workers,
        reviews=build_reviews(raw.reviewed),
        together=raw.together[:RULES_SHOWN],
        recommended=build_recommended(raw, definitions),
        choosing=build_choosing(raw, definitions),
        alerts=raw.alerts[:ALERTS_SHOWN],
        history=tuple(history),
    )


def build_reviews(ranked: Sequence[Reviewed]) -> Reviews:
    """The best and the worst; a product stands in one of the lists only."""
    shown = min(REVIEWS_SHOWN, (len(ranked) + 1) // 2)
    rest = ranked[shown:]
    worst = rest[::-1][:REVIEWS_SHOWN]
    return Reviews(len(ranked), sum(one.reviews for one in ranked), tuple(ranked[:shown]), tuple(worst))


def build_away(status: Status, history: Sequence[Sample], now_ms: int) -> PageContext:
    """Build the page for when nothing can be read: it says what to do and shows no stale number."""
    return PageContext(
        at_ms=now_ms,
        status=status,
        clock=Clock(None, "\N{EN DASH}", ""),
        totals=Totals(0, 0, 0, 0, 0, 0, 0),
        latency=Latency(None, None),
        history=tuple(history),
    )


def sample(context: PageContext) -> Sample:
    """Point of the plots that belongs to a page."""
    kairos = context.latency.kairos
    return Sample(
        context.at_ms,
        context.totals.events_per_s,
        kairos.p50 if kairos else None,
        kairos.p99 if kairos else None,
    )


def build_clock(raw: RawLive) -> Clock:
    """Show the replay's clock when one runs, else the slowest lane's watermark."""
    if raw.demo is not None:
        at_ms = _iso_to_ms(str(raw.demo.get("clock", "")))
        speed = raw.demo.get("speed")
        return Clock(
            at_ms,
            words.day(at_ms),
            words.time_of_day(at_ms),
            f"{words.count(float(speed))}\N{MULTIPLICATION SIGN}" if speed else "",
            str(raw.demo.get("label") or "simulation"),
        )
    marks: dict[str, int] = {}
    for figures in deciding(raw.workers):
        found = figures.get("watermarks", {})
        marks.update({lane: int(mark) for lane, mark in found.items() if mark and mark > 0})
    at_ms = min(marks.values(), default=None)
    return Clock(at_ms, words.day(at_ms), words.time_of_day(at_ms))


def build_totals(raw: RawLive) -> Totals:
    """Sum the large numbers over the workers that are alive; what the lanes count comes from the lanes."""
    figures = deciding(raw.workers)
    return Totals(
        events_per_s=_total(figures, "events_per_s"),
        events=sum(lane.applied - lane.ticks for lane in raw.lanes.values()),
        alerts=round(_total(figures, "alerts_total")),
        offers=round(_total(figures, "offers_total")),
        messages=sum(counts.get("decided", 0) for counts in raw.campaigns.values()),
        refused=sum(lane.rejected for lane in raw.lanes.values()),
        waiting=sum(lag_by_partition(raw.workers).values()),
    )


def build_latency(workers: Sequence[Figures]) -> Latency:
    """Both parts of the latency, of the slowest worker."""
    found = deciding(workers)
    return Latency(
        log=_slowest(figures.get("log_latency_ms") for figures in found),
        kairos=_slowest(figures.get("latency_ms") for figures in found),
    )


def lag_by_partition(workers: Sequence[Figures]) -> dict[str, int]:
    """Count waiting records per "topic-partition", from every role.

    During a rebalance two workers may both name a partition: the newer figure counts.
    """
    lag: dict[str, int] = {}
    for figures in sorted(workers, key=lambda one: int(one.get("at", 0))):
        lag.update({name: max(0, int(records)) for name, records in figures.get("lag", {}).items()})
    return lag


def build_lag(lag: Mapping[str, int]) -> tuple[TopicLag, ...]:
    """Sum the lag over partitions: the four inputs first, then what other roles read."""
    topics = dict.fromkeys(INPUT_NAMES, 0) if lag else {}
    for name, records in lag.items():
        topic = name.rpartition("-")[0]
        topics[topic] = topics.get(topic, 0) + records
    largest = max(topics.values(), default=0)
    return tuple(
        TopicLag(topic, READERS.get(topic, "decide"), records, records / largest if largest else 0.0)
        for topic, records in topics.items()
    )


def build_tails(tails: Mapping[str, Sequence[Figures]]) -> Tails:
    """Take the newest of each tail."""
    shown = {kind: tuple(_tail_item(item) for item in items[:TAIL_SHOWN]) for kind, items in tails.items()}
    return Tails(**shown)


def build_workers(raw: RawLive) -> tuple[Worker, ...]:
    """Alive workers and silent ones, by role."""
    alive = [
        Worker(
            role=str(figures.get("role", "")),
            worker=str(figures.get("worker", "")),
            alive=True,
            seen=words.seconds_of_day(int(figures.get("at", 0))),
            events_per_s=float(figures.get("events_per_s", 0)),
            events=int(figures.get("events_total", 0)),
            cpu_s=float(figures.get("cpu_s", 0)),
            config_refused=bool(figures.get("config_error")),
        )
        for figures in raw.workers
    ]
    silent = [Worker(role, worker, False, words.seconds_of_day(seen), 0.0, 0, 0.0) for role, worker, seen in raw.silent]
    order = {"decide": 0, "learn": 1, "deliver": 2, "judge": 3}
    return tuple(sorted(alive + silent, key=lambda one: (order.get(one.role, 4), one.role, one.worker)))


def build_models(raw: RawLive, goals: Sequence[Goal] = ()) -> tuple[ModelVersion, ...]:
    """One row per model and per goal, published or not."""
    rows = tuple(_model(name, title, raw) for name, title in MODEL_TITLES.items())
    return rows + tuple(_goal(goal, raw) for goal in goals if goal.enabled)


def _goal(goal: Goal, raw: RawLive) -> ModelVersion:
    snapshot = raw.snapshots.get("goals")
    meta: Figures = snapshot.meta.get("goals", {}).get(str(goal.code), {}) if snapshot else {}
    figures = {name: float(meta[name]) for name in GOAL_FIGURES if meta.get(name) is not None}
    return ModelVersion(
        name=f"goal-{goal.id}",
        title=f"Goal {goal.id}",
        version=snapshot.version if snapshot and meta else 0,
        in_use=in_use("goals", raw),
        published=words.seconds_of_day(snapshot.created_ms) if snapshot and meta else "\N{EN DASH}",
        learned=bool(meta.get("learned")),
        examples=meta.get("examples"),
        words=_goal_words(meta, figures, _promoted(Task.of_goal(goal.id, goal.code), raw)),
        figures=figures if meta.get("judged") else {},
    )


def _goal_words(meta: Figures, figures: Figures, promoted: str) -> str:
    outcomes = words.plural(int(meta.get("examples") or 0), "known outcome")
    if not meta.get("learned") and not promoted:
        return f"not learned yet: nobody is scored; {outcomes} so far"
    told = promoted or f"learned since {words.day(int(meta['first_label_ms']))}, from {outcomes}"
    if not meta.get("judged"):
        return told
    auc = f"AUC {figures['auc']:.3f}, " if "auc" in figures else ""
    return (
        f"{told}; as served: {auc}log loss {figures['log_loss']:.3f} (the rate alone {figures['rate_log_loss']:.3f}), "
        f"calibration error {figures['calibration']:.3f}"
    )


def _model(name: str, title: str, raw: RawLive) -> ModelVersion:
    snapshot = raw.snapshots.get(name)
    learned = bool(snapshot and snapshot.meta.get("learned", name == "recs"))
    examples = snapshot.meta.get("examples", snapshot.meta.get("baskets")) if snapshot else None
    return ModelVersion(
        name=name,
        title=title,
        version=snapshot.version if snapshot else 0,
        in_use=in_use(name, raw),
        published=words.seconds_of_day(snapshot.created_ms) if snapshot else "\N{EN DASH}",
        learned=learned,
        examples=examples,
        words=_WORDS[name](snapshot, raw),
    )


def build_segments(raw: RawLive) -> tuple[Segment, ...]:
    """Segments of customers, the largest first; none before the first fit."""
    snapshot = raw.snapshots.get("segments")
    found = [] if snapshot is None else [Segment(**one) for one in snapshot.meta.get("segments", ())]
    return tuple(sorted(found, key=lambda one: (-one.share, one.name)))


def _promoted(task: Task, raw: RawLive) -> str:
    """What serves in place of the online model; empty if nothing does."""
    told = [
        figures["snapshots"][task.batch]
        for figures in deciding(raw.workers)
        if task.batch in figures.get("snapshots", {})
    ]
    return f"batch version {max(map(int, told))} was promoted and scores; the online model learns on" if told else ""


def _churn_words(snapshot: Snapshot | None, raw: RawLive) -> str:
    meta = snapshot.meta if snapshot else {}
    promoted = _promoted(CHURN, raw)
    if promoted:
        return promoted
    outcomes = words.plural(int(meta.get("examples") or 0), "known outcome")
    if not meta.get("learned"):
        return f"not learned yet: a recency and frequency rule scores; {outcomes} so far"
    first = meta.get("first_label_ms")
    since = f"learned since {words.day(int(first))}" if first else "learned"
    return f"{since}, from {outcomes}"


def _value_words(snapshot: Snapshot | None, _: RawLive) -> str:
    meta = snapshot.meta if snapshot else {}
    outcomes = words.plural(int(meta.get("examples") or 0), "known outcome")
    if not meta.get("learned"):
        return f"not learned yet: each customer's own pace is told; {outcomes} so far"
    return (
        f"learned since {words.day(int(meta['first_label_ms']))}, from {outcomes}; money of {meta['horizon_days']} days"
    )


def _recs_words(snapshot: Snapshot | None, _: RawLive) -> str:
    if snapshot is None:
        return "not learned yet: no order was seen"
    meta = snapshot.meta
    if not meta.get("baskets"):
        return "learned from baskets"
    baskets, products = words.plural(meta["baskets"], "basket"), words.plural(meta.get("items", 0), "product")
    return f"learned from {baskets}, {products}"


_WORDS = {"churn": _churn_words, "recs": _recs_words, "value": _value_words}


def _tail_item(item: Figures) -> TailItem:
    when, detail, tag = item.get("ts"), str(item.get("detail") or ""), str(item.get("tag") or "")
    if tag.startswith("suppressed: "):
        why = words.suppressed(tag.removeprefix("suppressed: "))
        tag, detail = "held back", f"{why} ({detail})" if detail else why
    return TailItem(
        at_ms=int(item.get("at") or 0),
        when=words.short_time(int(when)) if when else "",
        user=str(item.get("user") or ""),
        text=str(item.get("text") or ""),
        detail=detail,
        tag=tag,
    )


def _total(workers: Iterable[Figures], name: str) -> float:
    return sum(float(figures.get(name) or 0) for figures in workers)


def _slowest(parts: Iterable[Figures | None]) -> Quantiles | None:
    measured = [part for part in parts if part and part.get("n")]
    if not measured:
        return None
    return Quantiles(
        p50=max(float(part.get("p50") or 0) for part in measured),
        p95=max(float(part.get("p95") or 0) for part in measured),
        p99=max(float(part.get("p99") or 0) for part in measured),
        n=sum(int(part["n"]) for part in measured),
    )


def _iso_to_ms(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return round(moment.timestamp() * 1000) if moment.tzinfo else None
