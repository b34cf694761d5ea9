"""The learn role: consumes `training`, one model per partition, one active learner per model."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import faust
import structlog
from faust.types import TP

from config.settings import Settings
from config.topics import TRAINING, TRAINING_ALONG, TRAINING_PARTITION
from models.errors import FenceError, TransientError
from services.state.learn_store import LearnStore
from services.state.live import publish_worker, retire_worker
from services.state.redis_lane import connect, translated
from streams.app import build_app
from streams.learn_lane import LearnLane, Pace
from streams.learn_lanes import LearnLanes
from streams.shadow import Contenders
from streams.transport import Chunk, chunk_consumer, set_partition_hooks, set_position_source
from streams.vitals import Watchdog, vitals_of

ROLE: Final = "learn"
TICK_S: Final = 0.25
RETRY_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0)

log = structlog.get_logger(__name__)


class LearnRole:
    """The lanes of this worker and how chunks get to them.

    Parameters
    ----------
    app : from :func:`streams.app.build_app`.
    settings : where Redis is, and how often snapshots are published.
    wall_ms : wall clock, ms.

    Notes
    -----
    Learning and Redis run in a thread, one call per lane at a time; the event loop stays free for heartbeats.
    """

    def __init__(self, app: faust.App, settings: Settings, wall_ms: Callable[[], int]) -> None:
        self._app = app
        self._wall_ms = wall_ms
        self._redis = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
        pace = Pace(snapshot_s=settings.snapshot_every_ms / 1000.0)
        store = LearnStore(self._redis)
        self._lanes = {
            partition: LearnLanes(
                [
                    LearnLane(name, store, wall_ms, time.monotonic, pace, Contenders(self._redis, time.monotonic))
                    for name in (model, *(along for along, owner in TRAINING_ALONG.items() if owner == model))
                ]
            )
            for model, partition in TRAINING_PARTITION.items()
        }
        self._locks = {partition: asyncio.Lock() for partition in self._lanes}
        self._held: set[int] = set()
        self._positioned = False
        self._watchdog = Watchdog(settings.watchdog_s)
        vitals = vitals_of(app)
        vitals.role, vitals.unready, vitals.told = ROLE, self._unready, self._told
        self._batches = 0
        self._worker = f"{os.uname().nodename}-{os.getpid()}"
        self._rate = (time.monotonic(), 0)
        self._learned = 0

    async def positions(self, tps: frozenset[TP]) -> Mapping[TP, int]:
        """Load the lanes of `tps` and say where each goes on."""
        found: dict[TP, int] = {}
        self._positioned = True
        for tp in sorted(tps):
            lane = self._lanes.get(tp.partition)
            if lane is None:
                continue
            async with self._locks[tp.partition]:
                offset = await asyncio.to_thread(lane.load)
            self._held.add(tp.partition)
            if offset is not None:
                found[tp] = offset
        return found

    async def revoked(self, tps: frozenset[TP]) -> None:
        """Write what was learned before the partitions go to another worker."""
        for tp in sorted(tps):
            if tp.partition not in self._held:
                continue
            self._held.discard(tp.partition)
            lane = self._lanes[tp.partition]
            async with self._locks[tp.partition]:
                try:
                    await asyncio.to_thread(lane.commit, last=True)
                except TransientError as error:
                    # Nothing is lost: the next owner learns again from the last checkpoint.
                    log.warning("learn_checkpoint_left", model=lane.model, error=str(error))

    async def agent(self, stream: Any) -> None:
        """Learn chunk by chunk."""
        async for event in stream.noack().events():
            chunk: Chunk = event.value
            lane = self._lanes.get(chunk.partition)
            if lane is None:
                event.ack()
                continue
            try:
                async with self._locks[chunk.partition]:
                    if not chunk_consumer(self._app).is_current(chunk):
                        continue
                    applied = await asyncio.to_thread(lane.apply, chunk)
            except FenceError as error:
                await self._recover(chunk.tp, error)
                continue
            self._batches += 1
            self._learned += applied.learned
            for offset, reason in applied.refused:
                log.warning("training_refused", partition=chunk.partition, offset=offset, reason=reason)
            # Kafka's offset only shows the lag: where learning goes on is in the checkpoint (see
            # `positions`).
            event.ack()
            await self._commit_if_due(chunk.partition)

    async def keep_time(self) -> None:
        """Write checkpoints that no further chunk would trigger, and the live figures."""
        published_s = 0.0
        while not self._app.should_stop:
            await asyncio.sleep(TICK_S)
            for partition in sorted(self._held):
                await self._commit_if_due(partition)
            if time.monotonic() - published_s >= 1.0:
                published_s = time.monotonic()
                await self._publish_live()

    async def stopped(self, *_: Any, **_unused: Any) -> None:
        """Take this worker off the page; a signal handler."""
        log.info("learn_stopped", learned=self._learned)
        try:
            with translated():
                await asyncio.to_thread(retire_worker, self._redis, ROLE, self._worker)
        except TransientError as error:
            log.warning("live_figures_skipped", error=str(error))

    def _unready(self) -> list[str]:
        return [] if self._positioned else ["the brokers have not given it its partitions yet"]

    def _told(self) -> dict[str, Any]:
        return {"models": self._versions()}

    def _versions(self) -> dict[str, int]:
        return {name: version for p in sorted(self._held) for name, version in self._lanes[p].versions.items()}

    async def _commit_if_due(self, partition: int) -> None:
        lane = self._lanes[partition]
        if not lane.commit_due():
            return
        try:
            async with self._locks[partition]:
                await asyncio.to_thread(lane.commit)
        except TransientError as error:
            await self._recover(TP(TRAINING.name, partition), error)

    async def _recover(self, tp: TP, cause: TransientError) -> None:
        """Load the checkpoint again and read on from it, until Redis answers."""
        log.warning("learn_reload", model=self._lanes[tp.partition].model, cause=str(cause))
        for attempt in range(1_000_000):
            if tp.partition not in self._held or self._app.should_stop:
                return
            try:
                await chunk_consumer(self._app).rewind([tp])
            except TransientError as error:
                log.warning("learn_reload_failed", attempt=attempt, error=str(error))
                await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
            else:
                return

    async def _publish_live(self) -> None:
        now_s, consumer = time.monotonic(), chunk_consumer(self._app)
        since_s, before = self._rate
        self._rate = (now_s, self._learned)
        lag: dict[str, int] = {}
        for partition in sorted(self._held):
            end = consumer.log_end(TP(TRAINING.name, partition))
            if end is not None:
                lag[f"{TRAINING.name}-{partition}"] = max(0, end - self._lanes[partition].offset)
        marks = {f"{TRAINING.name}-{p}": self._lanes[p].offset for p in self._held}
        stuck = self._watchdog.look(lag, marks, now_s)
        if stuck:
            await self._app.crash(RuntimeError(stuck))
        usage = resource.getrusage(resource.RUSAGE_SELF)
        figures = {
            "at": self._wall_ms(),
            "events_total": self._learned,
            "events_per_s": (self._learned - before) / max(now_s - since_s, 1e-3),
            "batches_total": self._batches,
            "lag": lag,
            "snapshots": self._versions(),
            "refused_total": sum(self._lanes[p].refused_total for p in self._held),
            "cpu_s": usage.ru_utime + usage.ru_stime,
        }
        try:
            with translated():
                await asyncio.to_thread(publish_worker, self._redis, ROLE, self._worker, figures)
        except TransientError as error:
            log.warning("live_figures_skipped", error=str(error))


def build_learn(settings: Settings, wall_ms: Callable[[], int]) -> faust.App:
    """Make the app of the learn role: ``run(build_learn(settings, clock))``."""
    app = build_app(ROLE, settings)
    role = LearnRole(app, settings, wall_ms)
    set_position_source(app, role.positions)
    set_partition_hooks(app, on_revoked=role.revoked)
    app.agent(app.topic(TRAINING.name), name=ROLE)(role.agent)
    app.task(role.keep_time)
    app.on_before_shutdown.connect(role.stopped, weak=False)
    return app


def build(settings: Settings) -> faust.App:
    """Make the app for ``python -m streams learn``."""
    return build_learn(settings, lambda: int(time.time() * 1000))
