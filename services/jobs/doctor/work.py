"""The workers: are they there, do they keep up, are records refused, are the models fresh."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from config.problems import DefinitionError
from config.settings import Settings
from config.topics import LEARNED_FROM
from models.errors import KairosError
from models.learners.contest import ONLINE
from models.learners.task import CHURN, Task
from services.jobs.doctor.finding import Finding, bad, ok, warn
from services.jobs.models import tasks_of
from services.state.lanes import read_lanes
from services.state.live import worker_figures
from services.state.redis_lane import Client, translated
from services.state.registry import ModelRegistry
from services.state.snapshots import SnapshotReader

ROLES = ("decide", "learn", "deliver", "judge")
FAR_BEHIND = 10_000
REFUSED_SHARE = 0.01
STALE_MS = 24 * 3_600_000


def work_findings(settings: Settings, client: Client, now_ms: int) -> Iterator[Finding]:
    """What the workers tell, and what they left in Redis."""
    with translated():
        workers = worker_figures(client)
    yield from _alive(workers)
    yield from _lag(workers)
    yield from _refused(workers)
    yield from _lanes(settings, client)
    yield from _models(client, now_ms, _declared(settings))


def _alive(workers: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    for role in ROLES:
        count = sum(1 for one in workers if one.get("role") == role)
        if count:
            yield ok(role, f"{count} alive")
        else:
            yield bad(
                role, "no worker is alive", f"start one: kairos worker --role {role}; if it ended, its log says why"
            )
    for one in workers:
        if one.get("config_error"):
            yield warn(
                "definitions",
                f"{one['role']} {one['worker']} refuses the newest files: {one['config_error']}",
                "kairos check DIR; until then the old ones are in force",
            )
        for name, fault in (one.get("faults") or {}).items():
            yield warn(
                "experiments",
                f"{one['role']} {one['worker']} cannot judge {name}: {fault}",
                "the others are judged; the judge's log has the details",
            )
        for name in one.get("circuits_open") or ():
            yield warn(
                "provider",
                f"{name} does not answer {one['worker']}: it is given a rest and probed",
                "look at the provider; messages wait for it until they expire",
            )


def _lag(workers: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    lag: dict[str, int] = {}
    for one in workers:
        for place, records in (one.get("lag") or {}).items():
            topic = place.rpartition("-")[0]
            lag[topic] = lag.get(topic, 0) + int(records)
    far = {topic: records for topic, records in lag.items() if records > FAR_BEHIND}
    if far:
        told = ", ".join(f"{topic} {records:,}" for topic, records in sorted(far.items()))
        yield warn(
            "lag",
            f"records wait: {told}",
            "start more workers of the role that reads it (up to one for each lane); is Redis or a provider slow?",
        )
    elif workers:
        yield ok("lag", f"{sum(lag.values()):,} records wait")


def _refused(workers: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    deciding = [one for one in workers if one.get("role") == "decide"]
    dead = sum(int(one.get("dead_total", 0)) for one in deciding)
    events = sum(int(one.get("events_total", 0)) for one in deciding)
    if dead > REFUSED_SHARE * (events + dead):
        yield warn(
            "dead letters",
            f"{dead:,} of {events + dead:,} records were refused since the workers started",
            "kairos dead-letters: by reason, and what to do (docs/operations.md)",
        )
    elif deciding:
        yield ok("dead letters", f"{dead:,} of {events + dead:,} records since the workers started")


def _lanes(settings: Settings, client: Client) -> Iterator[Finding]:
    states = read_lanes(client, settings.lanes)
    unbalanced = [lane for lane, state in states.items() if not state.balances()]
    if unbalanced:
        yield bad("ledger", f"lanes {unbalanced} do not balance", "kairos audit, and report what it finds")
    else:
        yield ok("ledger", "received = applied + duplicate + rejected + forwarded, in every lane")


def _declared(settings: Settings) -> Sequence[Task]:
    try:
        return tasks_of(settings.config_dir)
    except DefinitionError:  # told elsewhere
        return (CHURN,)


def _models(client: Client, now_ms: int, tasks: Sequence[Task] = (CHURN,)) -> Iterator[Finding]:
    reader = SnapshotReader(client)
    for name, version in sorted(reader.latest(tuple(LEARNED_FROM)).items()):
        try:
            age_ms = now_ms - reader.load(name, version).created_ms
        except KairosError as error:
            yield bad(f"model {name}", str(error), "restore Redis from a backup; the audit needs every snapshot")
            continue
        if age_ms > STALE_MS:
            yield warn(
                f"model {name}",
                f"version {version} is {age_ms / 3_600_000:.0f} h old",
                "fine where nothing was ordered since; else look at learn",
            )
        else:
            yield ok(f"model {name}", f"version {version}, {max(0, age_ms) / 1000:.0f} s old")
    for task in tasks:
        registry = ModelRegistry(client, task)
        try:
            champion = registry.standing().champion
            if champion != ONLINE:
                registry.load(champion)
                yield ok(f"model {task.score}", f"batch version {champion} was promoted and scores")
        except KairosError as error:
            yield bad(
                f"model {task.score}",
                f"what was promoted cannot be read: {error}",
                f"kairos models rollback {task.score}; the one before serves on",
            )
