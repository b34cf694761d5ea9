"""The role decide: Faust hands over chunks, lanes apply them."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import faust
import structlog
from aiokafka.errors import KafkaError
from faust.types import TP

from config.definitions import Definitions
from config.loader import DefinitionError, load_definitions
from config.overrides import Override, overlaid
from config.settings import Settings
from config.topics import INPUT_NAMES
from models.brain import Brain
from models.campaigns.conditions import condition_fault
from models.errors import DeadLetterLimitError, KairosError, TransientError
from models.learners.opinions import Opinions
from services.lexicon import read_lexicon
from services.state.experiments import ExperimentStore
from services.state.frozen import hold_frozen
from services.state.keys import fence
from services.state.lanes import read_fences
from services.state.link import link_to
from services.state.live import publish_worker, push_tail, retire_worker
from services.state.policies import keep_policy
from services.state.redis_lane import RedisLaneStore, connect, run_id, translated
from services.state.served import ServedModels
from services.watched import WatchedFolder
from streams.app import build_app
from streams.epochs import last_epochs
from streams.guard import DeadLetterGuard, DeadLetterPolicy
from streams.lane import Lane, LaneContext
from streams.metrics import DecideMeter
from streams.outbox import KafkaOutlet, LaneOutbox
from streams.reload import asked_by_signal, wait_for
from streams.transport import Chunk, chunk_consumer, set_partition_hooks, set_position_source
from streams.vitals import Watchdog, vitals_of

log = structlog.get_logger()
POSITION_TRIES = 30


class DecideRole:
    """Lanes of one worker, and what they share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.app = build_app("decide", settings)
        self.worker = f"{socket.gethostname()}-{os.getpid()}"
        self.meter = DecideMeter(DeadLetterGuard(_dead_letter_policy(settings)))
        self.lanes: dict[int, Lane] = {}
        self._started = self._assigned_once = False
        self._watchdog = Watchdog(settings.watchdog_s)
        self._crashing: asyncio.Future[None] | None = None
        self.outlet = KafkaOutlet(settings.kafka)
        self._redis = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
        self._served = ServedModels(self._redis)
        self._redis_run = ""
        self._swapping = asyncio.Lock()
        self._rules = WatchedFolder(settings.config_dir, _definitions, (DefinitionError,), (".yaml", ".yml"))
        self._taken = self._rules.value
        with suppress(TransientError):  # looked at again when the first lanes come
            self._hold(self._taken)
        self._overrides: dict[str, Override] = {}
        self._brain = Brain(self._taken, opinions=Opinions(read_lexicon))
        self._context = LaneContext(
            settings=settings,
            brain=lambda: self._brain,
            meter=self.meter,
            is_current=lambda chunk: chunk_consumer(self.app).is_current(chunk),
            rewind=self._rewind,
            refresh=self._refresh,
            crash=self._crash,
        )
        vitals = vitals_of(self.app)
        vitals.role, vitals.unready, vitals.told = "decide", self._unready, self._told
        set_position_source(self.app, self._positions)
        set_partition_hooks(self.app, on_assigned=self._assigned, on_revoked=self._revoked)
        for name in INPUT_NAMES:
            topic = self.app.topic(name, value_type=bytes)
            self.app.agent(topic, name=f"decide.{name}")(self._consume)
        self.app.task(self._poll_snapshots)
        self.app.task(self._poll_rules)
        self.app.task(self._report)
        if settings.ticker:
            self.app.task(self._ticker)

    async def _consume(self, stream: Any) -> None:
        async for event in stream.noack().events():
            chunk: Chunk = event.value
            lane = self.lanes.get(chunk.partition)
            if lane is not None:
                lane.offer(chunk, event)

    # -- lanes come and go

    async def _assigned(self, tps: frozenset[TP]) -> None:
        await self._close_lanes()
        if not self._started:
            await self._start_shared()
        numbers = sorted({tp.partition for tp in tps if tp.topic in INPUT_NAMES})
        epochs = await last_epochs(self.settings.kafka, numbers) if numbers else {}
        redis = self.settings.redis
        for number in numbers:
            link = link_to(redis.url.get_secret_value(), fence(number), redis.timeout_ms)
            outbox = LaneOutbox(number, self.outlet)
            lane = self.lanes[number] = Lane(
                number, RedisLaneStore(link, number), outbox, self._context, epochs.get(number, 0)
            )
            lane.start()
        self._assigned_once = True
        log.info("lanes", open=sorted(self.lanes))

    async def _revoked(self, _: frozenset[TP]) -> None:
        await self._close_lanes()

    async def _close_lanes(self) -> None:
        lanes = list(self.lanes.values())
        self.lanes.clear()
        await asyncio.gather(*(lane.close() for lane in lanes))

    async def _positions(self, tps: frozenset[TP]) -> Mapping[TP, int]:
        """Fences of the lanes; a lane that has none begins at the earliest record."""
        numbers = sorted({tp.partition for tp in tps})
        for attempt in range(POSITION_TRIES):
            try:
                fences = await asyncio.to_thread(read_fences, self._redis, numbers)
                break
            except TransientError as error:
                log.warning("fence_unreadable", attempt=attempt, error=str(error))
                if attempt == POSITION_TRIES - 1:
                    raise
                await asyncio.sleep(0.5)
        found = {tp: fences[tp.partition].offsets[INPUT_NAMES.index(tp.topic)] for tp in tps if tp.topic in INPUT_NAMES}
        return {tp: offset for tp, offset in found.items() if offset >= 0}

    async def _rewind(self, number: int) -> None:
        try:
            await chunk_consumer(self.app).rewind([TP(name, number) for name in INPUT_NAMES])
        except KafkaError as error:
            raise TransientError(f"Kafka: {error!r}") from error

    def _crash(self, error: BaseException | None) -> None:
        log.error("lane_crashed", error=repr(error))
        self._crashing = asyncio.ensure_future(self.app.crash(error or RuntimeError("a lane ended")))

    # -- shared things

    async def _start_shared(self) -> None:
        await asyncio.to_thread(self._hold, self._taken)
        await self.outlet.start()
        await self._refresh()
        _tame_collector()
        self._started = True

    async def _refresh(self) -> None:
        """See that Redis holds what the next decisions name in the journal, before a lane begins with it."""
        await self._take_overrides()
        await asyncio.to_thread(keep_policy, self._redis, self._brain.definitions)
        await self._swap()

    async def _swap(self) -> None:
        """Take newer snapshots, between two batches.

        After a restart of Redis also those of the same version: it may have gone back in time, and learn may have
        given a number a second time.
        """
        async with self._swapping:
            run = await asyncio.to_thread(run_id, self._redis)
            brain = await asyncio.to_thread(self._served.take, self._brain, anew=run != self._redis_run)
            if brain is not self._brain:
                self._brain = brain
                log.info("models", **brain.versions)
            self._redis_run = run

    async def _poll_snapshots(self, app: faust.App) -> None:
        while not app.should_stop:
            await asyncio.sleep(self.settings.snapshot_poll_ms / 1000)
            try:
                await self._swap()
                await self._take_overrides()
            except KairosError as error:
                log.warning("snapshot_kept", error=str(error))

    async def _poll_rules(self, app: faust.App) -> None:
        """Take changed definitions, between two batches; the journal names those that each batch was decided with."""
        asked = asked_by_signal()
        while not app.should_stop:
            at_once = await wait_for(asked, self.settings.reload_s)
            await asyncio.to_thread(self._rules.look, at_once=at_once)
            if self._rules.value is self._taken:
                continue
            try:
                await self._take_rules(self._overrides)
            except TransientError as error:
                log.warning("rules_wait", error=str(error))  # for the next look
            except DefinitionError as error:
                self._rules.refuse(self._taken, str(error))

    async def _take_overrides(self) -> None:
        """Take what was decided about experiments since; what this worker knows already is never forgotten."""
        found = await asyncio.to_thread(ExperimentStore(self._redis).overrides)
        newer = {name: one for name, one in found.items() if one.follows(self._overrides.get(name))}
        if newer:
            await self._take_rules(self._overrides | newer)

    async def _take_rules(self, overrides: dict[str, Override]) -> None:
        async with self._swapping:
            rules = self._rules.value
            if rules is not self._taken:
                await asyncio.to_thread(self._hold, rules)
            brain = Brain(overlaid(rules, overrides), *self._brain.models)
            # In Redis before the first batch names it: the audit replays with the rules that were in force.
            await asyncio.to_thread(keep_policy, self._redis, brain.definitions)
            before, self._brain = self._brain.policy_version, brain
            self._taken, self._overrides = rules, overrides
        log.info("rules_in_force", version=brain.policy_version, before=before)

    def _hold(self, rules: Definitions) -> None:
        hold_frozen(self._redis, rules.experiments, self.settings.config_dir)

    async def _ticker(self, app: faust.App) -> None:
        """Write the time into every input partition that this worker owns, each second."""
        while not app.should_stop:
            await asyncio.sleep(1.0)
            value = b'{"type":"tick","timestamp":%d}' % int(time.time() * 1000)
            for number in list(self.lanes):
                for name in INPUT_NAMES:
                    try:
                        await self.outlet.tick(name, number, value)
                    except KafkaError as error:
                        log.warning("tick_lost", lane=number, topic=name, error=repr(error))

    def _lag(self) -> dict[str, int]:
        consumer = chunk_consumer(self.app)
        lag: dict[str, int] = {}
        for number, lane in self.lanes.items():
            if lane.position is None:
                continue
            for name, offset in zip(INPUT_NAMES, lane.position.fence.offsets, strict=True):
                end = consumer.log_end(TP(name, number))
                if end is not None:
                    lag[f"{name}-{number}"] = max(0, end - max(offset, 0))
        return lag

    async def _report(self, app: faust.App) -> None:
        """Tell the page what this worker does, until it ends; then take it off the page."""
        try:
            await self._watch(app)
        finally:
            # Faust cancels its tasks when it stops.
            await asyncio.shield(asyncio.to_thread(self._retire))

    def _retire(self) -> None:
        try:
            with translated():
                retire_worker(self._redis, "decide", self.worker)
        except TransientError as error:
            log.warning("live_not_written", error=repr(error))

    async def _watch(self, app: faust.App) -> None:
        """Tell the page, and end a worker that makes no progress while it lags or that refuses everything."""
        while not app.should_stop:
            await asyncio.sleep(0.5)
            lag = self._lag()
            payload = self.meter.payload(
                lag, self._brain.versions, time.process_time(), self._brain.policy_version, self._rules.error
            )
            try:
                await asyncio.to_thread(self._tell, payload)
            except Exception as error:  # noqa: BLE001 - the page must never stop the work
                log.warning("live_not_written", error=repr(error))
            stuck = self._stuck(lag)
            if stuck:
                await app.crash(RuntimeError(stuck))
            refuses = self.meter.guard.refuses_everything()
            if refuses:
                await app.crash(DeadLetterLimitError(refuses))

    def _stuck(self, lag: Mapping[str, int]) -> str:
        """Which lane stands still though records wait; the reason is in the log above."""
        behind: dict[str, int] = {}
        for place, waiting in lag.items():
            lane = f"lane {place.rpartition('-')[2]}"
            behind[lane] = behind.get(lane, 0) + waiting
        marks = {f"lane {n}": lane.position.fence.seq for n, lane in self.lanes.items() if lane.position is not None}
        return self._watchdog.look(behind, marks, time.monotonic())

    def _unready(self) -> list[str]:
        if not self._assigned_once:
            return ["the brokers have not given it its partitions yet"]
        shut = [lane for lane in list(self.lanes.values()) if lane.position is None]
        return [f"lane {lane.number} is not open: {lane.trouble or 'it is being opened'}" for lane in shut]

    def _told(self) -> dict[str, Any]:
        return {
            "lanes": sorted(self.lanes),
            "policy": self._brain.policy_version,
            "config_error": self._rules.error,
            "models": self._brain.versions,
        }

    def _tell(self, payload: dict[str, Any]) -> None:
        publish_worker(self._redis, "decide", self.worker, payload)
        for kind, items in self.meter.take_tails().items():
            push_tail(self._redis, kind, items)


def _definitions(folder: Path) -> Definitions:
    return load_definitions(folder, condition_fault)


def _dead_letter_policy(settings: Settings) -> DeadLetterPolicy:
    return DeadLetterPolicy(
        share=settings.dead_letter_share,
        window=settings.dead_letter_window,
        users=settings.dead_letter_users,
        in_a_row=settings.dead_letter_limit,
    )


def _tame_collector() -> None:
    """Let the garbage collector look rarely, and never at what was there at the start.

    Cycles are rare here and a chunk makes tens of thousands of objects: with Python's own thresholds the collector
    took a third of the processor time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def build(settings: Settings) -> faust.App:
    """App of the role decide."""
    return DecideRole(settings).app
