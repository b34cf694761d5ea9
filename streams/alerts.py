"""Alerts, beside the messages in the role *deliver*: listed in Redis, and posted to the webhooks that are declared.

A consumer group of its own reads the topics of all kinds; positions lie in Redis with what was read. What is to be
posted waits in Redis too, not in memory or in the log: a receiver that is slow or dead for a day holds up neither other
receivers nor messages, and costs nothing but the room of its alerts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from config.loader import DefinitionError, load_webhooks
from config.settings import Settings
from config.webhook import Webhook, read_secrets
from models.alerts import KINDS, WEBHOOK_FAILED
from models.decisions import DeadLetter
from models.errors import FenceError, TransientError
from models.webhook import body_of, headers_of
from services.channels.base import Delivered, Failed, Transient
from services.channels.courier import RetryPolicy
from services.channels.webhook import TIMEOUT_S, WebhookClient
from services.state.alerts import AlertStore, Attempt, Job, Taken
from services.state.redis_lane import connect
from services.watched import WatchedFolder
from streams.app import METADATA_MAX_AGE_MS

log = structlog.get_logger(__name__)

GROUP = "kairos-alerts-v1"
# 5 s, 20 s, 80 s, ... up to six hours, with jitter: ten attempts within a day.
RETRY = RetryPolicy(first_s=5.0, factor=4.0, cap_s=6 * 3600.0, attempts=10)
LINES = 8  # calls of one webhook at a time
LEASE_S = 2 * TIMEOUT_S
LOOK_EVERY_S = 0.5
PAUSE_S = 5.0
GRACE_S = 4.0  # for calls under way when the process ends
AT_ONCE = 200


class AlertWatch:
    """Takes alerts and posts them.

    Parameters
    ----------
    settings : of the process.
    refuse : publishes a dead letter; returns when Kafka has it.
    clock_ms : wall clock. rng : jitter. retry : when a webhook is tried again.
    """

    def __init__(
        self,
        settings: Settings,
        refuse: Callable[[DeadLetter], Awaitable[None]],
        clock_ms: Callable[[], int],
        rng: Random,
        retry: RetryPolicy = RETRY,
    ) -> None:
        self._settings, self._refuse, self._clock_ms, self._rng, self._retry = settings, refuse, clock_ms, rng, retry
        self._redis = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
        self._store = AlertStore(self._redis, settings.lanes, settings.ledger_ttl_s)
        secrets = settings.webhook_secrets
        self._secrets = read_secrets(secrets.get_secret_value() if secrets else "")
        self._folder = _watched(settings)
        self._lanes: list[int] = []
        self._sought: dict[TopicPartition, int | None] = {}
        self._turns: dict[str, asyncio.Task[None]] = {}
        self._ending = False

    @property
    def error(self) -> str:
        """What is wrong with the files of webhooks; "" if nothing."""
        return self._folder.error

    def look(self, *, at_once: bool) -> None:
        """Take changed files. Blocks: call it in a thread."""
        self._folder.look(at_once=at_once)

    async def run(self) -> None:
        """Work until cancelled; what is wrong with Kafka or Redis is waited for."""
        try:
            while True:
                try:
                    async with asyncio.TaskGroup() as both:
                        both.create_task(self._read())
                        both.create_task(self._post())
                except Exception as error:  # noqa: BLE001  messages go on whatever happens here
                    log.warning("alerts_begin_anew", error=repr(error))
                await asyncio.sleep(PAUSE_S)
        finally:
            self._redis.close()

    # -- from the topics into Redis

    async def _read(self) -> None:
        kafka = self._settings.kafka
        consumer = AIOKafkaConsumer(
            *(kind.topic for kind in KINDS.values()),
            bootstrap_servers=kafka.bootstrap,
            group_id=GROUP,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=kafka.session_timeout_ms,
            heartbeat_interval_ms=kafka.session_timeout_ms // 3,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
        )
        try:
            await consumer.start()
            while True:
                found = await consumer.getmany(timeout_ms=1_000, max_records=AT_ONCE)
                self._lanes = sorted({place.partition for place in consumer.assignment()})
                for place, records in found.items():
                    await self._take(consumer, place, records)
        finally:
            self._lanes = []
            await consumer.stop()

    async def _take(self, consumer: AIOKafkaConsumer, place: TopicPartition, records: Sequence[Any]) -> None:
        """Write the alerts of some records, or go to the position that Redis knows."""
        before = await asyncio.to_thread(self._store.fence, place.partition, place.topic)
        if records[0].offset != before and self._sought.get(place, ...) != before:
            # Asked for once: where the log does not hold it any more, it goes on with what it holds.
            self._sought[place] = before
            if before is None:
                await consumer.seek_to_beginning(place)
            else:
                consumer.seek(place, before)
            return
        kind = next(kind for kind in KINDS.values() if kind.topic == place.topic)
        taken = []
        for record in records:
            try:
                alert = kind.read(record.value or b"")
            except msgspec.DecodeError as error:
                log.warning("alert_unreadable", topic=place.topic, offset=record.offset, error=str(error))
                continue
            taken.append(Taken(alert, record.value, record.offset, record.timestamp))
        hooks = [one.id for one in self._folder.value if one.enabled and kind.name in one.kinds]
        span = (before, records[-1].offset + 1)
        try:
            await asyncio.to_thread(self._store.take, place.partition, place.topic, span, taken, hooks)
        except FenceError:
            return  # the next records do not follow the position, which is asked for then
        self._sought.pop(place, None)

    # -- from Redis to the receivers

    async def _post(self) -> None:
        async with WebhookClient() as client:
            try:
                while True:
                    for webhook in self._folder.value:
                        turn = self._turns.get(webhook.id)
                        if webhook.enabled and (turn is None or turn.done()):
                            self._turns[webhook.id] = asyncio.create_task(self._turn(client, webhook))
                    await asyncio.sleep(LOOK_EVERY_S)
            finally:
                # A call that is cut off is made again under the same id: let them end if they can.
                self._ending = True
                under_way = [turn for turn in self._turns.values() if not turn.done()]
                if under_way:
                    _, late = await asyncio.wait(under_way, timeout=GRACE_S)
                    for turn in late:
                        turn.cancel()
                self._ending = False

    async def _turn(self, client: WebhookClient, webhook: Webhook) -> None:
        """Post what is due to one webhook, until nothing is."""
        try:
            while jobs := await asyncio.to_thread(self._claim, webhook):
                await asyncio.gather(*(self._attempt(client, webhook, job) for job in jobs))
        except TransientError as error:
            log.warning("webhook_waits", webhook=webhook.id, error=str(error))

    def _claim(self, webhook: Webhook) -> list[Job]:
        found: list[Job] = []
        lanes = self._rng.sample(self._lanes, len(self._lanes))
        for lane in lanes:
            if self._ending or len(found) >= LINES:
                break
            now_ms = self._clock_ms()
            lease_ms = now_ms + round(LEASE_S * 1000)
            found += self._store.claim(lane, webhook.id, now_ms, lease_ms, LINES - len(found))
        return found

    async def _attempt(self, client: WebhookClient, webhook: Webhook, job: Job) -> None:
        outcome: Delivered | Failed | Transient = Failed("it was forgotten before it was posted")
        signing = self._secrets.get(webhook.id)
        if job.taken is not None and not signing:
            outcome = Transient(f"no secret is set: KAIROS_WEBHOOK_SECRETS={webhook.id}=whsec_...")
        elif job.taken is not None:
            kind, alert = KINDS[job.taken.alert.kind], job.taken.alert
            body = body_of(kind.event, alert.at, job.taken.value)
            at_s = self._clock_ms() // 1000
            outcome = await client.post(webhook.url, headers_of(alert.id, at_s, body, signing or ()), body, at_s)
        attempts, now_ms = job.attempts + 1, self._clock_ms()
        if isinstance(outcome, Delivered):
            await self._settle(job, Attempt("delivered", attempts, now_ms, outcome.provider_ref), None)
            return
        if isinstance(outcome, Transient) and attempts < self._retry.attempts:
            pause_s = self._retry.pause_s(attempts, self._rng, outcome.retry_after_s)
            told = Attempt("waiting", attempts, now_ms, outcome.reason)
            await self._settle(job, told, now_ms + round(pause_s * 1000))
            return
        reason = f"{outcome.reason}; {attempts} attempts"
        log.error("webhook_gave_up", webhook=webhook.id, alert=job.id, reason=reason)
        if job.taken is not None:
            await self._refuse(_letter(job, job.taken, reason))
        await self._settle(job, Attempt("dead", attempts, now_ms, outcome.reason), None)

    async def _settle(self, job: Job, told: Attempt, next_ms: int | None) -> None:
        """Write it down, however long Redis is away: what is not written is posted again."""
        while True:
            try:
                await asyncio.to_thread(self._store.settle, job, told, next_ms)
            except TransientError as error:
                log.warning("alerts_wait_for_redis", error=str(error))
                await asyncio.sleep(LOOK_EVERY_S)
            else:
                return


def _letter(job: Job, taken: Taken, detail: str) -> DeadLetter:
    return DeadLetter(
        topic=f"webhook:{job.webhook}",
        partition=job.lane,
        offset=taken.offset,
        reason=WEBHOOK_FAILED,
        detail=detail[:500],
        broker_ms=taken.broker_ms,
        key=taken.alert.user,
        value=taken.value,
        truncated=False,
        headers=[("alert", job.id)],
    )


def _watched(settings: Settings) -> WatchedFolder[tuple[Webhook, ...]]:
    """The declared webhooks; none for now where a file is wrong at the start: messages go out nevertheless."""

    def first(folder: Any) -> tuple[Webhook, ...]:
        try:
            return load_webhooks(folder)
        except DefinitionError as error:
            faults.append(str(error))
            return ()

    faults: list[str] = []
    watched = WatchedFolder(settings.config_dir, load_webhooks, (DefinitionError,), (".yaml", ".yml"), first=first)
    if faults:
        watched.refuse((), faults[0])
    return watched
