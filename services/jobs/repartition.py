"""`kairos repartition`: twice as many partitions, with the state that belongs to them. Offline, may be interrupted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

from config.settings import Settings
from config.topics import INPUT_NAMES, TOPICS
from models.errors import ConfigurationError, InvalidEventError
from models.wire import Record, decode
from services.bus import add_partitions, describe, end_offsets, read_topic
from services.jobs.offline import NotReadyError, refuse_workers
from services.state.lanes import read_fences
from services.state.redis_lane import Client, connect
from services.state.repartition import Repartition

LOOKED_AT = 10_000  # unapplied records of a partition that are read to see whether they are ticks


@dataclass(slots=True)
class Plan:
    """What a repartitioning finds before it begins, and what it did.

    Parameters
    ----------
    old, new : number of lanes. begun : an earlier run was interrupted. finished : there is nothing to do.
    keys : profiles, offers and timers that move. growing : topics that grow.
    """

    old: int
    new: int
    begun: bool = False
    finished: bool = False
    keys: int = 0
    growing: list[str] = field(default_factory=list)


def _unseen(*_: object) -> None:
    """Progress that nobody watches."""


def repartition(
    settings: Settings,
    lanes: int,
    now_ms: int,
    *,
    dry_run: bool = False,
    with_lag: bool = False,
    progress: Callable[[str, int, int], object] = _unseen,
) -> Plan:
    """Double the number of lanes to `lanes`, or go on where an interrupted run stopped.

    Parameters
    ----------
    settings : where Kafka and Redis are.
    now_ms : wall clock; orders what is published before and after.
    dry_run : look and count only.
    with_lag : also where records wait to be applied. They are forwarded to the lanes they belong to then, exactly once,
        but may come after newer ones of the same user.
    progress : called with (what is done now, keys done, keys in all).

    Raises
    ------
    NotReadyError
        A worker runs, or records wait to be applied.
    ConfigurationError
        There are not `lanes // 2` lanes.
    TransientError
        Kafka or Redis is away. Run it again.
    """
    if lanes < 2 or lanes % 2:
        raise ConfigurationError(
            f"{lanes} is not twice a number of lanes", remedy="Lanes are doubled: from 4 to 8, then to 16."
        )
    client = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
    with closing(client):
        work = Repartition(client, lanes, now_ms)
        plan = _look(settings, client, work, lanes, with_lag=with_lag)
        if dry_run or plan.finished:
            return plan
        progress("freeze", 0, plan.keys)
        work.freeze()
        progress("topics", 0, plan.keys)
        add_partitions(settings.kafka.bootstrap, lanes)
        for name, step in (("copy", work.copy), ("remove", work.remove)):
            done = 0

            def moved(count: int, name: str = name) -> None:
                nonlocal done
                done += count
                progress(name, done, plan.keys)

            step(moved)
        progress("free", plan.keys, plan.keys)
        work.free()
    return plan


def _look(settings: Settings, client: Client, work: Repartition, lanes: int, *, with_lag: bool) -> Plan:
    plan = Plan(lanes // 2, lanes)
    if settings.lanes not in {plan.old, plan.new}:
        raise ConfigurationError(
            f"KAIROS_LANES is {settings.lanes}: that is neither {plan.old} nor {plan.new}",
            remedy="Name twice the present number of lanes.",
        )
    work.check()
    plan.finished = work.finished()
    if plan.finished:
        return plan
    refuse_workers(settings, client)
    plan.begun = work.begun()
    there = describe(settings.kafka.bootstrap)
    fixed = {topic.name for topic in TOPICS if topic.partitions is not None}
    plan.growing = [name for name, info in sorted(there.items()) if info.partitions == plan.old and name not in fixed]
    if not plan.begun and not with_lag:
        _refuse_lag(settings, client, plan.old)
    plan.keys = work.count()
    return plan


def _refuse_lag(settings: Settings, client: Client, lanes: int) -> None:
    """Everything but ticks must be applied: the last ones come after the last transaction."""
    bootstrap = settings.kafka.bootstrap
    fences = read_fences(client, range(lanes))
    waiting: dict[str, int] = {}
    for index, topic in enumerate(INPUT_NAMES):
        for lane, end in end_offsets(bootstrap, topic).items():
            start = max(0, fences[lane].offsets[index]) if lane < lanes else 0
            count = end - start
            if 0 < count <= LOOKED_AT:
                count = sum(
                    not _is_tick(Record(r.offset, r.timestamp_ms, r.key, r.value, r.headers))
                    for r in read_topic(bootstrap, topic, lane, start, end)
                )
            if count > 0:
                waiting[f"{topic}-{lane}"] = count
    if waiting:
        shown = ", ".join(f"{count} in {name}" for name, count in list(waiting.items())[:5])
        raise NotReadyError(
            f"{sum(waiting.values())} records wait to be applied ({shown}{', ...' if len(waiting) > 5 else ''}).\n"
            "  Stop the publishers, let the workers come to the end, then stop the workers. Or `--with-lag`: such "
            "records are forwarded once, and may be applied after newer ones of the same user."
        )


def _is_tick(record: Record) -> bool:
    try:
        return isinstance(decode(record, "", 0), int)
    except InvalidEventError:
        return False
