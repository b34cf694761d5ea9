"""What users and events per second need: ``python -m services.jobs.capacity`` writes it to docs/scale.md.

Straight lines through measured costs, with the assumptions beside them. A plan to check against a trial, not a promise.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "scale.md"
BEGIN, END = "<!-- capacity: begin -->", "<!-- capacity: end -->"
USERS = (1_000_000, 100_000_000, 1_000_000_000)
RATES = (1_000, 100_000, 10_000_000)
MONTH_H = 730
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Costs:
    """Measured on two shared cores of an AMD EPYC, 21 November 2026: docs/performance.md; profiles: docs/status.md."""

    worker_us: float = 36.2  # an event of a day's log, with all its timers
    redis_us: float = 4.0
    broker_us: float = 1.9
    event_bytes: int = 254
    rest_bytes: int = 312
    active_bytes: int = 952
    timer_bytes: int = 94
    offers_bytes: int = 2_104


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Not measured. Prices are round numbers for rented machines in November 2026: put in your own."""

    busy: float = 0.6  # of a core, at the peak
    active_share: float = 0.12  # seen in the last 7 days; that of the measured shop
    redis_copies: int = 2  # a primary and a replica
    redis_spare: float = 1.3  # fragmentation, buffers, the fork that rewrites the file
    redis_node_gb: int = 25  # what one Redis process is filled with
    log_copies: int = 3
    log_days: int = 30
    log_squeeze: float = 0.4  # size on disk of a record after compression
    order_share: float = 0.03
    learner_per_s: int = 10_000  # baskets that the one learner of a model takes
    cpu_usd_h: float = 0.04
    ram_gb_usd_h: float = 0.005
    disk_gb_usd_month: float = 0.08


@dataclass(frozen=True, slots=True)
class Need:
    """What one combination needs; memory and disk in GB, all copies included; money in USD a month."""

    users: int
    rate: int
    lanes: int
    workers: int
    redis_nodes: int
    redis_gb: float
    broker_cores: int
    log_gb: float
    usd: float
    bottleneck: str


def need(users: int, rate: int, costs: Costs, assumed: Assumptions) -> Need:
    """Work out one combination.

    Examples
    --------
    >>> found = need(1_000_000, 1_000, Costs(), Assumptions())
    >>> found.lanes, found.workers, found.redis_nodes, round(found.redis_gb, 1)
    (4, 1, 1, 6.7)
    """
    per_core = assumed.busy * 1e6
    workers = max(1, ceil(rate * costs.worker_us / per_core))
    state = (1 - assumed.active_share) * costs.rest_bytes + assumed.active_share * costs.active_bytes
    bytes_per_user = state + costs.timer_bytes + costs.offers_bytes
    one_copy_gb = users * bytes_per_user * assumed.redis_spare / 1e9
    by_memory = ceil(one_copy_gb / assumed.redis_node_gb)
    by_time = ceil(rate * costs.redis_us / per_core)
    nodes = max(1, by_memory, by_time)
    # Room to grow before the next planned stop, and unequal lanes; on a cluster, some lanes for every node.
    wanted = max(2 * workers, 4 * nodes if nodes > 1 else 1)
    lanes = 4
    while lanes < wanted:
        lanes *= 2
    brokers = max(1, ceil(rate * costs.broker_us / per_core)) * assumed.log_copies
    log_gb = rate * costs.event_bytes * assumed.log_squeeze * DAY_S * assumed.log_days * assumed.log_copies / 1e9
    redis_gb = one_copy_gb * assumed.redis_copies
    cores = workers + nodes * assumed.redis_copies + brokers
    usd = MONTH_H * (cores * assumed.cpu_usd_h + redis_gb * assumed.ram_gb_usd_h) + log_gb * assumed.disk_gb_usd_month
    if rate * assumed.order_share > assumed.learner_per_s:
        bottleneck = "learn: all orders go through one learner"
    elif nodes > 1 and by_memory >= by_time:
        bottleneck = "memory of Redis"
    elif workers > 1:
        bottleneck = "processor of decide"
    else:
        bottleneck = "none: one machine"
    return Need(users, rate, lanes, workers, nodes, redis_gb, brokers, log_gb, usd, bottleneck)


COLUMNS = (
    "users",
    "events/s",
    "lanes",
    "decide workers (cores)",
    "Redis primaries",
    "Redis memory, all copies",
    "broker cores",
    "log on disk",
    "USD a month",
    "first bottleneck",
)


def table(costs: Costs, assumed: Assumptions) -> str:
    """All combinations as Markdown, with what they rest on."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---:|" * (len(COLUMNS) - 1) + "---|"]
    for users in USERS:
        for rate in RATES:
            one = need(users, rate, costs, assumed)
            cells = [f"{number:,}" for number in (users, rate, one.lanes, one.workers, one.redis_nodes)]
            cells += [f"{one.redis_gb:,.0f} GB", f"{one.broker_cores:,}", f"{one.log_gb / 1000:,.1f} TB"]
            lines.append(f"| {' | '.join((*cells, f'{one.usd:,.0f}', one.bottleneck))} |")
    measured = (
        f"Measured ([performance.md](performance.md), profiles [status.md](status.md), 21 November 2026): "
        f"worker {costs.worker_us} us, "
        f"Redis {costs.redis_us} us, broker {costs.broker_us} us an event of {costs.event_bytes} bytes; "
        f"a profile {costs.rest_bytes} bytes at rest, {costs.active_bytes:,} active, "
        f"its timer {costs.timer_bytes}, its latest offers {costs.offers_bytes:,}."
    )
    assumptions = (
        f"Assumed: cores {assumed.busy:.0%} busy at the peak; {assumed.active_share:.0%} of the users active; "
        f"every user has offers; {assumed.redis_copies} copies of Redis, {assumed.redis_spare:g} times the net size, "
        f"{assumed.redis_node_gb} GB a process; {assumed.log_copies} copies of the log for {assumed.log_days} days at "
        f"{assumed.log_squeeze:.0%} of its size, input topics only; {assumed.order_share:.0%} of the events are "
        f"orders, and a learner takes {assumed.learner_per_s:,} a second (not measured). "
        "Prices, November 2026, round numbers and no offer of anybody: "
        f"{assumed.cpu_usd_h:g} USD a core-hour, {assumed.ram_gb_usd_h:g} a GB-hour of memory, "
        f"{assumed.disk_gb_usd_month:g} a GB-month of disk. Left out: network, deliver, the send ledger, model "
        "snapshots, and the journal and other outputs in the log."
    )
    return "\n\n".join(["\n".join(lines), measured, assumptions])


def written(document: str) -> str:
    """`document` with the table of today."""
    head, _, rest = document.partition(BEGIN)
    tail = rest.partition(END)[2]
    return f"{head}{BEGIN}\n{table(Costs(), Assumptions())}\n{END}{tail}"


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
