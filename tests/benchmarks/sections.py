"""From measurements to the rows of the table: every goal stands here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.growth import Cost
from benchmarks.hot_path import HotPath
from benchmarks.latency import LINGER_MS, Latency
from benchmarks.learning import BASKETS, ITEMS, LIST, Learning
from benchmarks.peers_table import MISSING, PEERS, Peer
from benchmarks.plot import Plot, bars
from benchmarks.reading import CANDIDATES, Reading
from benchmarks.report import Row, Section
from benchmarks.shop import PARTITIONS, USERS
from benchmarks.sizes import REST_DAYS, Sizes
from benchmarks.starts import Starts
from benchmarks.whole_job import KAIROS, Run, median_of

PER_S_GOAL = 40_000
REST_GOAL_BYTES = 400
P99_GOAL_MS, P99_RATE = 50, 20_000
USERS_FACTOR = 1.2
CAMPAIGNS_FACTOR = 2.0
SCORE_GOAL_US, RANKING_GOAL_US, EXAMPLES_GOAL = 3.0, 150.0, 20_000
READING_GOAL_MS = 10.0


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
        " adds, 3 % orders, 7 % other. Whoever takes one event at a time gets all events of some of the users, so that it"
        " takes a few seconds and their profiles have the same history. The first fifth of each run is not counted. Last column: processor time of the engine by that of"
        f" {KAIROS}.",
        "Versions: " + ", ".join(versions) + ". Each engine runs in an environment of its own"
        " (`tests/benchmarks/peers/*.txt`, hashed), in one process, with hiredis. Quix Streams asks for an older pydantic"
        " than Kairos does; the core runs there on that one, which the hot path does not touch.",
        *MISSING.values(),
        "And without, each: " + "; ".join(f"**{peer.name}**: {peer.does_not}" for peer in PEERS) + ".",
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


def delay(latencies: Sequence[Latency]) -> Section:
    """Event to decision."""
    title = "From event to decision"
    if not latencies:
        note = "Not measured: the figures of the embedded broker do not count. `make kafka` fetches Apache Kafka."
        return Section(title, [], [note])
    rows = []
    for one in latencies:
        cells = (f"{one.rate:,.0f}", f"{one.worker_us:.0f}", f"{one.p50} ms", f"{one.p999} ms", f"{one.worst} ms")
        what = f"{one.wanted:,} events/s" + ("" if one.kept_up else " (not kept up with)")
        goal, met = "", None
        if one.wanted == P99_RATE:
            goal, met = f"<= {P99_GOAL_MS} ms", one.p99 <= P99_GOAL_MS and one.at_rate
        rows.append(Row(what, f"{one.p99} ms", goal, met, cells))
    notes = [
        "From the moment an event is handed to a producer until the transaction with its decision is in Redis"
        f" and synced to disk: wall clock of one machine, event by event. It holds the producer's batching (`linger_ms` ="
        f" {LINGER_MS}), the broker, the fetch, the wait in the lane, the core and Redis. Published to `messages` it is a"
        " few milliseconds later.",
        f"{sum(one.events for one in latencies):,} events in all. The producer (librdkafka, idempotent) is a process of"
        " its own on the same cores, as are the broker and Redis; its events are encoded before it begins.",
        "Time stamps are whole milliseconds, rounded down: what is shown is up to 1 ms too much, never too little.",
    ]
    series = [
        (f"{one.wanted:,}/s, {name}", float(max(1, value)))
        for one in latencies
        for name, value in (("50 %", one.p50), ("99 %", one.p99), ("99.9 %", one.p999))
    ]
    ours = [label for label, _ in series if label.endswith(" 99 %")]
    plot = bars("bench-latency.svg", "From event to decision (log scale)", "ms", series, ours)
    columns = ("published/s", "worker us/event", "50 %", "99.9 %", "slowest", "99 %")
    return Section(title, rows, notes, columns=columns, plots=[plot])


def users(costs: Sequence[Cost]) -> Section:
    """Cost per event over the number of users."""
    columns = ("us/event", "Redis us/event", "Redis bytes a user", "against the fewest")
    rows = _growth(costs, "users", USERS_FACTOR, all_of_them=True)
    note = (
        "One lane fed by hand in one process with a real Redis, without Kafka and Faust. Every user has a profile with a"
        " history of 20 events before it begins (`used_memory` of Redis by users, with the timer index); the lane has"
        f" 1/{PARTITIONS} of the users and its events come from them evenly. With fewer users more events of a chunk share a"
        " profile that is loaded and packed once."
    )
    return Section("Cost over the number of users", rows, [note], columns=columns, plots=[_curve("users", costs)])


def rules(campaigns: Sequence[Cost], matching: Sequence[Cost], experiments: Sequence[Cost]) -> Section:
    """Cost per event over the number of campaigns and experiments."""
    rows = [
        *_growth(campaigns, "campaigns", CAMPAIGNS_FACTOR),
        *_growth(matching, "campaigns that all match", None),
        *_growth(experiments, "experiments", None),
    ]
    notes = [
        "One lane fed by hand, as above; everything else is as it ships with Kairos. Campaigns listen to the events of a shop in turn (10"
        " names, four of which are in this input), every third after an hour's wait; the others ask for one of 20 product"
        " categories and for users with orders.",
        "`campaigns that all match`: without conditions, on the four events of the input only. Each event then starts every"
        " fourth campaign, and each of those ends in a message that is decided, suppressed and published: the cost is that"
        " of the decisions asked for, and grows with them.",
        "Experiments: each with two metrics, exposed by orders, carts and views in turn, so that every user ends up in all"
        " of them and every order counts in all of them.",
        "Users have had ten events each when it begins, so that most first exposures are over.",
    ]
    columns = ("us/event", "Redis us/event", "against the fewest")
    return Section("Cost over the number of campaigns and experiments", rows, notes, columns=columns)


def _growth(costs: Sequence[Cost], what: str, factor: float | None, *, all_of_them: bool = False) -> list[Row]:
    rows, first = [], costs[0].cpu_us
    for cost in costs:
        ratio = cost.cpu_us / first
        cells = [f"{cost.cpu_us:.1f}", f"{cost.redis_us:.1f}"]
        if cost.bytes_per_user:
            cells.append(f"{cost.bytes_per_user:,.0f}")
        judged = factor is not None and cost is not costs[0] and (all_of_them or cost is costs[-1])
        goal = f"<= {factor:g}x" if judged else ""
        rows.append(
            Row(f"{cost.count:,} {what}", f"{ratio:.2f}x", goal, ratio <= (factor or 0) if judged else None, cells)
        )
    return rows


def _curve(what: str, costs: Sequence[Cost]) -> Plot:
    series = [(f"{cost.count:,} {what}", cost.cpu_us) for cost in costs]
    return bars(f"bench-{what}.svg", f"Processor time per event over {what} (log scale)", "us", series)


def starts(found: Starts | None) -> Section:
    """Start-up and recovery."""
    title = "Start-up and recovery"
    if found is None:
        return Section(title, [], ["Not measured: only with Apache Kafka. `make kafka` fetches it."])
    rows = [
        Row("start of the process to its first decision", f"{found.first:.1f} s"),
        Row("`kill -9` (the next worker starts at once) to the next decision", f"{found.recovered:.1f} s"),
        Row("`kill -9` until everything published meanwhile is decided", f"{found.caught_up:.1f} s"),
        Row("events lost, counted twice", f"{found.lost}, {found.twice}", "0, 0", found.lost == found.twice == 0),
    ]
    note = (
        f"At {found.rate:,} events/s. Kafka gives the lanes of a killed worker away when its session has timed out, here after"
        f" {found.session_s:.0f} s (`KAIROS_KAFKA__SESSION_TIMEOUT_MS`); the rest of the time is the start of the next worker."
        " A worker that stops in order gives its lanes away at once."
    )
    return Section(title, rows, [note])


def predictions(found: Learning, read: Reading) -> Section:
    """What predictions cost."""
    score, ranking, per_s = found.score_us, found.ranking_us, 1e6 / found.example_us["churn"]
    rows = [
        Row(
            "churn: features and score of a moment",
            f"{score:.1f} us",
            f"<= {SCORE_GOAL_US:g} us",
            score <= SCORE_GOAL_US,
        ),
        Row(
            f"ranking of {LIST} among {ITEMS:,} products",
            f"{ranking:.0f} us",
            f"<= {RANKING_GOAL_US:g} us",
            ranking <= RANKING_GOAL_US,
        ),
        Row("the same, 99 % of customers below", f"{found.ranking_p99_us:.0f} us"),
        Row(f"HTTP: {CANDIDATES} given products ranked, half of the answers within", f"{read.p50_ms:.1f} ms"),
        Row(
            "the same, 99 % of the answers within",
            f"{read.p99_ms:.1f} ms",
            f"<= {READING_GOAL_MS:g} ms",
            read.p99_ms <= READING_GOAL_MS,
        ),
        Row(
            "churn: labelled examples learned per second",
            f"{per_s:,.0f}",
            f">= {EXAMPLES_GOAL:,}",
            per_s >= EXAMPLES_GOAL,
        ),
        *(Row(f"{name}: a labelled example learned", f"{cost:.0f} us") for name, cost in found.example_us.items()),
        Row("recommender: an order learned", f"{found.basket_us:.0f} us"),
    ]
    note = (
        "Processor time in one process, without Kafka and Redis; answers over HTTP: wall clock of one question after the other,"
        " the page's process with a Redis on the same machine. Moments are scored a thousand at a time, as in a batch. The"
        f" products are those of a made-up shop, in which {BASKETS:,} orders were learned first; its customers remember up to 64"
        " products. Examples are learned from their bytes on, in chunks of 500, by all members of a pool; each model does so in a"
        " partition and with a checkpoint of its own."
    )
    return Section("What predictions cost", rows, [note])


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
