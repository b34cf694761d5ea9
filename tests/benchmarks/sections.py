"""From measurements to the rows of the table: every goal stands here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.hot_path import HotPath
from benchmarks.latency import LINGER_MS, RATE, Latency
from benchmarks.peers_table import PEERS, Peer
from benchmarks.plot import bars
from benchmarks.report import Row, Section
from benchmarks.shop import PARTITIONS, USERS
from benchmarks.sizes import REST_DAYS, Sizes
from benchmarks.whole_job import KAIROS, Run, median_of

PER_S_GOAL = 40_000
REST_GOAL_BYTES = 400
P99_GOAL_MS = 50


def peers(runs: Mapping[str, Sequence[Run]], versions: Sequence[str], event_bytes: float) -> Section:
    """The whole job beside every other engine."""
    ours = median_of(runs[KAIROS])
    per_s = _middle([run.per_s for run in runs[KAIROS]])
    rows = [
        Row(KAIROS, "1", more=_cells(ours, per_s)),
        *(_peer_row(peer, runs[peer.name], ours) for peer in PEERS if peer.name in runs),
        Row(f"{KAIROS}: events per second", f"{per_s:,.0f}", f">= {PER_S_GOAL:,}", per_s >= PER_S_GOAL, ("",) * 4),
    ]
    notes = [
        f"`{KAIROS}`: `python -m streams decide` as it is in production. Medians of {len(runs[KAIROS])} runs each, in turn,"
        " on the same broker, the same Redis (append-only file, synced at every write) and the same records:"
        f" {USERS:,} users, {PARTITIONS} partitions, {event_bytes:.0f} bytes of JSON an event on average, 70 % views, 20 %"
        " adds, 3 % orders, 7 % other. Whoever takes one event at a time gets the first of them, as many as it manages in a"
        " few seconds. The first fifth of each run is not counted. Last column: processor time of the engine by that of"
        f" {KAIROS}.",
        "Versions: " + ", ".join(versions) + ". Each engine runs in an environment of its own"
        " (`tests/benchmarks/peers/*.txt`, hashed), in one process, with hiredis. Quix Streams asks for an older pydantic"
        " than Kairos does; the core runs there on that one, which the hot path does not touch.",
        *(
            f"{' / '.join(peer.name for peer in PEERS if peer.does_not == text)}: {text}."
            for text in dict.fromkeys(peer.does_not for peer in PEERS)
        ),
        "Single runs: " + "; ".join(f"{name} {_each(found)}" for name, found in runs.items()) + ".",
    ]
    costs = [(name, median_of(found).cpu_us) for name, found in runs.items()]
    plot = bars("bench-peers.svg", "Processor time per event, whole job (log scale)", "us", costs, [KAIROS])
    columns = ("us/event", "events/s", "Redis us/event", "broker us/event", f"against {KAIROS}")
    return Section("The whole job, beside other engines", rows, notes, columns=columns, plots=[plot])


def _peer_row(peer: Peer, found: Sequence[Run], ours: Run) -> Row:
    run = median_of(found)
    ratio = run.cpu_us / ours.cpu_us
    cells = _cells(run, _middle([one.per_s for one in found]))
    if peer.goal is None:
        return Row(peer.name, f"{ratio:.1f}x", more=cells)
    return Row(peer.name, f"{ratio:.2f}x", f">= {peer.goal:g}x", ratio >= peer.goal, cells)


def _cells(run: Run, per_s: float) -> tuple[str, ...]:
    servers = (f"{run.server_us(name):.1f}" if run.server_us(name) else "unknown" for name in ("redis_s", "broker_s"))
    return (f"{run.cpu_us:.1f}", f"{per_s:,.0f}", *servers)


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _each(found: Sequence[Run]) -> str:
    return " / ".join(f"{run.cpu_us:.1f}" for run in found)


def day(run: Run | None) -> Section:
    """A whole day's log at once, with the timers that fall due in it."""
    title = "A day's log with all its timers"
    if run is None:
        return Section(title, [], ["Not measured: only with Apache Kafka. `make kafka` fetches it."])
    rows = [
        Row(f"{KAIROS}: processor time per event", f"{run.cpu_us:.1f} us"),
        Row(f"{KAIROS}: events per second", f"{run.per_s:,.0f}"),
    ]
    note = (
        "Above, events are as close together as they arrive, so hardly a cart timer falls due. The day's log spreads the"
        " same events over 24 hours: nearly all carts are left behind, and every seventh event ends in a message that is"
        " decided (and suppressed: these users gave no consent)."
    )
    return Section(title, rows, [note])


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
