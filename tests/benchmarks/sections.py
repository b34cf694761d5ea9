"""From measurements to the rows of the table: every goal stands here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.hot_path import HotPath
from benchmarks.latency import LINGER_MS, RATE, Latency
from benchmarks.report import Row, Section
from benchmarks.shop import PARTITIONS, USERS
from benchmarks.sizes import REST_DAYS, Sizes
from benchmarks.whole_job import Run, median_of

RATIO_GOAL = 30.0
PER_S_GOAL = 40_000
REST_GOAL_BYTES = 400
P99_GOAL_MS = 50


def speed(kairos: Sequence[Run], peer: Sequence[Run], day: Run | None, event_bytes: float) -> Section:
    """The whole job beside its peer."""
    ours, theirs = median_of(kairos), median_of(peer)
    ratio = theirs.cpu_us / ours.cpu_us
    per_s = sorted(run.per_s for run in kairos)[len(kairos) // 2]
    rows = [
        Row("Kairos, one process: processor time per event", f"{ours.cpu_us:.1f} us"),
        Row("tutorial-style Faust worker: processor time per event", f"{theirs.cpu_us:.0f} us"),
        Row("ratio", f"{ratio:.1f}x", f">= {RATIO_GOAL:.0f}x", ratio >= RATIO_GOAL),
        Row("Kairos: events per second", f"{per_s:,.0f}", f">= {PER_S_GOAL:,}", per_s >= PER_S_GOAL),
        Row("tutorial-style: events per second", f"{theirs.per_s:,.0f}"),
        Row("Redis: processor time per event, Kairos / tutorial", _both(ours, theirs, "redis_s")),
        Row("broker: processor time per event, Kairos / tutorial", _both(ours, theirs, "broker_s")),
    ]
    if day is not None:
        rows.append(Row("Kairos, a day's log with all its timers: per event", f"{day.cpu_us:.1f} us"))
        rows.append(Row("Kairos, a day's log: events per second", f"{day.per_s:,.0f}"))
    notes = [
        f"`python -m streams decide` as it is in production, against `tests/benchmarks/peers/tutorial_faust.py`; medians of"
        f" {len(kairos)} runs each, in turn, on the same broker, the same Redis (append-only file, synced at every write)"
        f" and the same records: {USERS:,} users, {PARTITIONS} partitions, {event_bytes:.0f} bytes of JSON an event on"
        " average, 70 % views, 20 % adds, 3 % orders, 7 % other. The peer gets the first of them, as many as it manages in"
        " a few seconds. The first fifth of each run is not counted.",
        "Kairos's own runs: " + ", ".join(f"{run.cpu_us:.1f} us and {run.per_s:,.0f}/s" for run in kairos) + ".",
        "The peer's: " + ", ".join(f"{run.cpu_us:.0f} us and {run.per_s:,.0f}/s" for run in peer) + ".",
        "The peer keeps counters and decays, scores, learns and counts an A/B test. Beyond that Kairos drops duplicates, is"
        " exactly once across crashes, ranks offers, decides and suppresses messages, keeps timers and writes a journal.",
    ]
    if day is not None:
        notes.append(
            "Main rows: events as close together as they arrive, so hardly a cart timer falls due. The day's log spreads"
            " the same events over 24 hours: nearly all carts are left behind, and every seventh event ends in a message"
            " that is decided (and suppressed: these users gave no consent)."
        )
    return Section("The whole job", rows, notes)


def _both(ours: Run, theirs: Run, name: str) -> str:
    mine, other = (getattr(run, name) / run.events * 1e6 for run in (ours, theirs))
    return f"{mine:.1f} / {other:.0f} us" if mine else "unknown"


def size(sizes: Sizes) -> Section:
    """Bytes per profile."""
    rest = sizes.rest
    rows = [
        Row(
            "typical customer at rest (median)",
            f"{rest.p50:,} B",
            f"<= {REST_GOAL_BYTES} B",
            rest.p50 <= REST_GOAL_BYTES,
        ),
        Row("at rest, 90 % and 99 % of customers below", f"{rest.p90:,} B, {rest.p99:,} B"),
        Row(f"end of the year, silent for 30 days ({sizes.resting.count:,}), median", f"{sizes.resting.p50:,} B"),
        Row(f"active: seen in the last 7 days ({sizes.active.count:,}), median", f"{sizes.active.p50:,} B"),
        Row("active, 90 % and 99 % below", f"{sizes.active.p90:,} B, {sizes.active.p99:,} B"),
        Row(f"all {sizes.year.count:,} customers at the end of the year, median", f"{sizes.year.p50:,} B"),
        Row("beside the profile: entry in the timer index", f"{sizes.timers} B"),
        Row("beside the profile: latest offers, median", f"{sizes.offers.p50:,} B"),
    ]
    notes = [
        f"The Online Retail year ({sizes.events:,} events with the simulated reactions to {sizes.messages:,} messages)"
        f" through the lane's own steps into a real Redis; at rest = {REST_DAYS} days of silence later. `MEMORY USAGE` of the"
        " profile's key: value, key, entry in the dictionary and the allocator's rounding.",
        f"The packed value itself: {sizes.packed_rest.p50} bytes at the median.",
    ]
    lines = [f"{'field':20} {'median customer':>15} {'mean':>8}   bytes in the packed profile at rest"]
    lines += [f"{name:20} {mine:15} {mean:8.1f}" for name, mine, mean in sizes.fields if mean > 1.0]
    return Section("Redis bytes per profile", rows, notes, "\n".join(lines))


def delay(latency: Latency | None) -> Section:
    """Event to decision."""
    title = f"From event to decision at {RATE:,} events per second"
    if latency is None:
        note = "Not measured: the figures of the embedded broker do not count. `make kafka` fetches Apache Kafka."
        return Section(title, [], [note])
    rows = [
        Row("median", f"{latency.p50} ms"),
        Row("95 %", f"{latency.p95} ms"),
        Row("99 %", f"{latency.p99} ms", f"< {P99_GOAL_MS} ms", latency.p99 < P99_GOAL_MS),
        Row("slowest", f"{latency.worst} ms"),
        Row("published per second, over events", f"{latency.rate:,.0f}, {latency.events:,}"),
        Row("worker: processor time per event at this rate", f"{latency.worker_us:.0f} us"),
    ]
    notes = [
        "From the moment an event is handed to `services.bus.Publisher` until the transaction with its decision is in Redis"
        f" and synced to disk: wall clock of one machine, event by event. It holds the producer's batching (`linger_ms` ="
        f" {LINGER_MS}), the broker, the fetch, the wait in the lane, the core and Redis. Published to `messages` it is a"
        " few milliseconds later.",
        "Time stamps are whole milliseconds, rounded down: what is shown is up to 1 ms too much, never too little.",
    ]
    return Section(title, rows, notes)


def hot_path(found: HotPath) -> Section:
    """Where the time goes."""
    rows = [Row(f"{name}", f"{cost:.1f} us") for name, cost in found.parts_us.items()]
    rows.append(Row("in all, without Kafka and Faust", f"{found.cpu_us:.1f} us"))
    lines = [f"{'own time':>8} {'calls/event':>11}  function"]
    lines += [f"{cost.share:8.1%} {cost.calls_per_event:11.2f}  {cost.where}" for cost in found.largest]
    note = (
        f"One lane fed by hand with {found.events:,} events in chunks of 1,000, in one process with a real Redis. Below, the"
        " ten largest costs under Python's profiler (which overstates small functions); all of them are in"
        " [performance-profile.txt](performance-profile.txt)."
    )
    return Section("Where a decision's time goes", rows, [note], "\n".join(lines))
