"""The role *deliver*: message commands become calls of providers, at most one per message (invariant I3).

The work of a partition is in :mod:`streams.deliver_lane`; here it is tied to Faust and Kafka: partitions
come and go, the position is read from Redis, outcomes are published.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import faust
import msgspec
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from faust.types import TP

from config.settings import Settings
from config.topics import DEAD_LETTERS, FEEDBACK, MESSAGES
from models.decisions import DeadLetter
from models.errors import TransientError
from models.wire import lane_of
from services.channels.courier import Courier
from services.channels.setup import open_courier
from services.channels.templates import TemplateFailedError, Templates, checked_environment, environment_of
from services.state.live import publish_worker, push_tail, retire_worker
from services.state.redis_lane import connect
from services.watched import WatchedFolder
from streams.alerts import AlertWatch
from streams.app import build_app
from streams.deliver_lane import DeliverLane, Start, Stats
from streams.producer import start_producer
from streams.reload import asked_by_signal, wait_for
from streams.transport import (
    EARLIEST,
    Chunk,
    chunk_consumer,
    set_partition_hooks,
    set_position_source,
)
from streams.vitals import Watchdog, vitals_of

_log = structlog.get_logger(__name__)
_encode = msgspec.json.encode

ROLE = "deliver"
WINDOW = 2_000
GRACE_S = 20.0  # below Faust's limit for a rebalance; a call that takes longer becomes `unknown`
ENDING_GRACE_S = 6.0  # the same when the process ends: it has SHUTDOWN_S for all of it
PAUSE_S, PAUSE_MAX_S = 0.2, 5.0
REDIS_PATIENCE_S = 60.0


class KafkaOutlet:
    """Publish with an idempotent producer; every call returns when Kafka has acknowledged."""

    def __init__(self, app: faust.App, producer: AIOKafkaProducer, lanes: int) -> None:
        self._app = app
        self._producer = producer
        self._lanes = lanes

    async def tell(self, user: str, event: dict[str, Any]) -> None:
        """Publish on `feedback`, in the partition that owns the user."""
        await self._send(FEEDBACK.name, _encode(event), user.encode(), lane_of(user, self._lanes))

    async def refuse(self, letter: DeadLetter) -> None:
        """Publish on `dead-letters`."""
        key = None if letter.key is None else letter.key.encode()
        await self._send(DEAD_LETTERS.name, _encode(letter), key, letter.partition)

    async def commit(self, partition: int, offset: int) -> None:
        """Commit the position of `messages` and wait for the answer."""
        try:
            await chunk_consumer(self._app).commit_positions({TP(MESSAGES.name, partition): offset})
        except (CommitFailedError, IllegalStateError, KafkaError) as error:
            raise TransientError(f"Kafka did not take the offset: {error!r}") from error

    async def _send(self, topic: str, value: bytes, key: bytes | None, partition: int) -> None:
        try:
            await self._producer.send_and_wait(topic, value, key, partition=partition)
        except KafkaError as error:
            raise TransientError(f"Kafka did not take the record: {error!r}") from error


class DeliverRole:
    """Deliver as a whole: lanes by partition, and what they share.

    Parameters
    ----------
    app : from :func:`streams.app.build_app`.
    settings : of the process.
    worker : name of the process on the page.
    clock_ms : wall clock.
    """

    def __init__(self, app: faust.App, settings: Settings, worker: str, clock_ms: Callable[[], int]) -> None:
        self._app, self._settings, self._worker, self._clock_ms = app, settings, worker, clock_ms
        self._stats = Stats()
        self._lanes: dict[int, DeliverLane] = {}
        self._highwater: dict[int, int] = {}
        self._failures: dict[int, int] = {}
        self._failed_at: dict[int, int | None] = {}
        self._courier: Courier | None = None
        self._producer: AIOKafkaProducer | None = None
        self._outlet: KafkaOutlet | None = None
        self._alerts: AlertWatch | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Lock()
        self._watchdog = Watchdog(settings.watchdog_s)
        self._positioned = False
        self._folder = WatchedFolder(
            settings.config_dir / "templates", checked_environment, (TemplateFailedError,), first=environment_of
        )
        self._vitals = vitals = vitals_of(app)
        vitals.role, vitals.unready, vitals.told = ROLE, self._unready, self._told

    # -- hooks of the transport

    async def opened(self, _: frozenset[TP]) -> None:
        """Make what lanes share, before the first is opened."""
        if self._courier is not None:
            return
        self._courier = open_courier(self._settings, self._clock_ms, random.Random())  # jitter
        self._producer = await start_producer(self._settings.kafka, linger_ms=2)
        self._outlet = KafkaOutlet(self._app, self._producer, self._settings.lanes)
        self._alerts = AlertWatch(self._settings, self._outlet.refuse, self._clock_ms, random.Random())
        self._spawn(self._alerts.run())
        self._spawn(self._show())
        self._spawn(self._poll_templates(self._courier.templates))

    async def positions(self, tps: frozenset[TP]) -> Mapping[TP, int]:
        """Open a new run of each partition's lane; answer where it reads on."""
        mine = [tp for tp in tps if tp.topic == MESSAGES.name]
        await self._close(tp.partition for tp in mine)
        starts = {tp: await self._start(tp) for tp in mine}
        self._positioned = True
        return {tp: EARLIEST if offset is None else offset for tp, offset in starts.items()}

    async def closed(self, tps: frozenset[TP]) -> None:
        """Let the lanes finish what is under way."""
        await self._close(tp.partition for tp in tps)

    async def stop(self) -> None:
        """End of the process."""
        await self._close(list(self._lanes))
        ending = list(self._tasks)
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending, timeout=5.0)  # the worker takes itself off the page
        if self._producer is not None:
            await self._producer.stop()
        if self._courier is not None:
            await self._courier.close()

    # -- chunks

    async def agent(self, stream: Any) -> None:
        """Sort chunks into lanes."""
        async for event in stream.noack().events():
            chunk: Chunk = event.value
            lane = self._lanes.get(chunk.partition)
            if lane is None or not chunk_consumer(self._app).is_current(chunk):
                continue
            self._highwater[chunk.partition] = chunk.highwater
            lane.put(chunk, event.ack)

    # -- lanes

    async def _start(self, tp: TP) -> int | None:
        assert self._courier is not None and self._outlet is not None  # noqa: PT018  opened() came first
        partition = tp.partition
        start = await self._read(self._courier, tp)
        if start.fence.doubt_until:
            _log.warning("deliver_in_doubt", partition=partition, until=start.fence.doubt_until)
        self._lanes[partition] = DeliverLane(
            partition,
            start,
            owner=uuid.uuid4().hex,
            courier=self._courier,
            outlet=self._outlet,
            stats=self._stats,
            window=WINDOW,
            on_broken=self._broken,
        )
        return start.fence.offset

    async def _read(self, courier: Courier, tp: TP) -> Start:
        async def committed() -> int | None:
            return (await chunk_consumer(self._app).committed([tp])).get(tp)

        deadline = time.monotonic() + REDIS_PATIENCE_S
        while True:
            try:
                return await Start.read(courier.ledger, tp.partition, committed)
            except TransientError as error:
                if time.monotonic() > deadline:
                    raise
                _log.warning("deliver_waits_for_redis", partition=tp.partition, error=str(error))
                await asyncio.sleep(PAUSE_S)

    async def _close(self, partitions: Iterable[int]) -> None:
        async with self._closing:  # whoever comes second returns when all is closed
            lanes = [self._lanes.pop(partition, None) for partition in set(partitions)]
            grace_s = ENDING_GRACE_S if self._vitals.stopping else GRACE_S
            await asyncio.gather(*(lane.close(grace_s) for lane in lanes if lane is not None))

    def _broken(self, lane: DeliverLane, error: BaseException) -> None:
        self._spawn(self._restart(lane, error))

    async def _restart(self, lane: DeliverLane, error: BaseException) -> None:
        if not isinstance(error, TransientError):
            await self._app.crash(error)
            return
        moved = lane.fence.offset != self._failed_at.get(lane.partition)
        failures = self._failures[lane.partition] = 1 if moved else self._failures.get(lane.partition, 0) + 1
        self._failed_at[lane.partition] = lane.fence.offset
        _log.warning("deliver_lane_restarts", partition=lane.partition, failures=failures, error=str(error))
        await lane.close(GRACE_S)
        await asyncio.sleep(min(PAUSE_S * 2 ** min(failures, 10), PAUSE_MAX_S))
        if self._lanes.get(lane.partition) is not lane:
            return  # revoked or opened anew meanwhile
        try:
            await chunk_consumer(self._app).rewind([TP(MESSAGES.name, lane.partition)])
        except Exception as lost:  # noqa: BLE001  nobody waits for this task: an error here would leave the lane dead
            await self._app.crash(lost)

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- what people see

    async def _show(self) -> None:
        settings = self._settings
        redis = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
        before, at = 0, time.monotonic()
        try:
            while True:
                await asyncio.sleep(1.0)
                now = time.monotonic()
                rate = (self._stats.events - before) / (now - at)
                before, at = self._stats.events, now
                await self._watch()
                tail = list(self._stats.tail)
                self._stats.tail.clear()
                try:
                    await asyncio.to_thread(publish_worker, redis, ROLE, self._worker, self._figures(rate))
                    await asyncio.to_thread(push_tail, redis, "messages", tail)
                except Exception as error:  # noqa: BLE001  a lost look costs nothing
                    _log.warning("live_not_written", error=str(error))
        finally:
            await asyncio.shield(asyncio.to_thread(retire_worker, redis, ROLE, self._worker))
            redis.close()

    def _lag(self) -> dict[str, int]:
        return {
            f"{MESSAGES.name}-{partition}": max(0, self._highwater.get(partition, 0) - (lane.fence.offset or 0))
            for partition, lane in self._lanes.items()
            if partition in self._highwater
        }

    async def _poll_templates(self, templates: Templates) -> None:
        """Take changed templates, all of them or none."""
        asked = asked_by_signal()
        while True:
            at_once = await wait_for(asked, self._settings.reload_s)
            if await asyncio.to_thread(self._folder.look, at_once=at_once):
                templates.use(self._folder.value)
            if self._alerts is not None:
                await asyncio.to_thread(self._alerts.look, at_once=at_once)

    async def _watch(self) -> None:
        """End a worker whose messages neither go out nor wait on purpose."""
        lag, courier = self._lag(), self._courier
        if courier is None or courier.pausing or self._circuits():
            lag = dict.fromkeys(lag, 0)
        calls = 0 if courier is None else courier.calls
        marks = {f"{MESSAGES.name}-{number}": (lane.fence.offset, calls) for number, lane in self._lanes.items()}
        stuck = self._watchdog.look(lag, marks, time.monotonic())
        if stuck:
            await self._app.crash(RuntimeError(stuck))

    def _circuits(self) -> list[str]:
        """Providers that are given a rest."""
        providers = self._courier.providers if self._courier else {}
        return sorted(name for name, provider in providers.items() if provider.breaker.is_open)

    def _unready(self) -> list[str]:
        return [] if self._positioned else ["the brokers have not given it its partitions yet, or Redis is away"]

    def _told(self) -> dict[str, Any]:
        told = {"partitions": sorted(self._lanes), "circuits_open": self._circuits()}
        return told | {"config_error": self._config_error()}

    def _config_error(self) -> str:
        return self._folder.error or (self._alerts.error if self._alerts else "")

    def _figures(self, rate: float) -> dict[str, Any]:
        stats = self._stats
        return {
            "at": self._clock_ms(),
            "events_total": stats.events,
            "events_per_s": round(rate, 1),
            "batches_total": stats.batches,
            "lag": self._lag(),
            "latency_ms": quantiles(stats.latency_ms),
            "messages_total": stats.states.total(),
            "states": dict(stats.states),
            "duplicates_total": stats.duplicates,
            "dead_total": stats.dead,
            "circuits_open": self._circuits(),
            "config_error": self._config_error(),
            "cpu_s": round(time.process_time(), 2),
        }


def quantiles(values: Iterable[float]) -> dict[str, float]:
    """Median and tails of the newest latencies.

    Examples
    --------
    >>> quantiles([1.0, 2.0, 3.0])
    {'p50': 2.0, 'p95': 3.0, 'p99': 3.0, 'n': 3}
    """
    ordered = sorted(values)
    if not ordered:
        return {"n": 0}

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)

    return {"p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "n": len(ordered)}


def build_deliver(settings: Settings, worker: str, clock_ms: Callable[[], int]) -> faust.App:
    """Make the app of the role; ``streams.app.run`` runs it."""
    app = build_app(ROLE, settings)
    role = DeliverRole(app, settings, worker, clock_ms)
    set_position_source(app, role.positions)
    set_partition_hooks(app, on_assigned=role.opened, on_revoked=role.closed)
    app.agent(app.topic(MESSAGES.name), name=ROLE)(role.agent)

    async def stop(*_: Any, **__: Any) -> None:
        await role.stop()

    app.on_before_shutdown.connect(stop, weak=False)
    return app


def build(settings: Settings) -> faust.App:
    """App of the role, as ``python -m streams deliver`` runs it."""
    return build_deliver(settings, f"{socket.gethostname()}-{os.getpid()}", lambda: time.time_ns() // 1_000_000)
