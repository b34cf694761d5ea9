"""Publish events to Kairos from any Python service: batched, and confirmed or named in an error."""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.partitioner.default import DefaultPartitioner, murmur2
from pydantic import BaseModel

from config.topics import CLICKSTREAM, FEEDBACK, PROFILES, PURCHASES
from models.errors import TransientError
from models.events import ALIASES, FEEDBACK_EVENTS
from services.bus.connect import connected

Compression = Literal["gzip", "lz4", "snappy", "zstd"]

_PURCHASES = frozenset(("Order Completed", "Order Refunded", "Order Cancelled", "Order Updated"))
_PROFILE_TYPES = frozenset(("identify", "alias", "group"))
_FEEDBACK_PREFIXES = ("Email ", "Push Notification ", "Message ")

# Confirmed records are forgotten in steps of this many: looking at each one as it is sent costs more than it
# frees.
_REAP_EVERY = 4096


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A record that the broker did not confirm.

    It may still arrive; publishing `value` again is harmless, because it carries its messageId and Kairos
    drops the second one.
    """

    topic: str
    user_id: str | None
    value: bytes
    reason: str


class DeliveryError(TransientError):
    """Some records were not confirmed within the time limit.

    Parameters
    ----------
    undelivered : each of them, with what the client knows of the reason.
    """

    def __init__(self, undelivered: tuple[Undelivered, ...]) -> None:
        first = undelivered[0]
        super().__init__(
            f"{len(undelivered)} record(s) were not confirmed by the broker; the first, for topic "
            f"{first.topic}: {first.reason}. They are listed in `undelivered`; publishing them again is safe."
        )
        self.undelivered = undelivered


def topic_for(event: Mapping[str, Any]) -> str:
    """Topic that an event belongs to, by its type and name.

    Examples
    --------
    >>> topic_for({"type": "track", "event": "Order Completed", "userId": "u1"})
    'purchases'
    >>> topic_for({"type": "track", "event": "Product Viewed", "userId": "u1"})
    'clickstream'
    """
    if event.get("type") in _PROFILE_TYPES:
        return PROFILES.name
    name = event.get("event") or ""
    name = ALIASES.get(name, name)
    if name in _PURCHASES:
        return PURCHASES.name
    if name in FEEDBACK_EVENTS or name.startswith(_FEEDBACK_PREFIXES):
        return FEEDBACK.name
    return CLICKSTREAM.name


class _KeyPartitioner(DefaultPartitioner):  # type: ignore[misc]  # kafka-python has no types
    """Kafka's default partitioner: murmur2 of the key, slow in pure Python and hence remembered."""

    def __init__(self) -> None:
        self._hash: Callable[[bytes], int] = lru_cache(maxsize=65_536)(murmur2)

    def partition(
        self,
        topic: str,
        key: object,
        serialized_key: bytes | None,
        value: object,
        serialized_value: bytes,
        cluster: Any,
    ) -> int:
        if serialized_key is None:
            return int(super().partition(topic, key, serialized_key, value, serialized_value, cluster))
        return (self._hash(bytes(serialized_key)) & 0x7FFFFFFF) % len(cluster.partitions_for_topic(topic))


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251  # a publishing client is an edge: it stamps what the caller did not


def _new_id() -> str:
    return str(uuid.uuid4())


_encode = msgspec.json.Encoder().encode


class Publisher:
    """Publish events; every one is confirmed by all in-sync replicas, or named in a :class:`DeliveryError`.

    Parameters
    ----------
    bootstrap : ``host:port`` of the brokers, comma separated.
    client_id : name of this client in the brokers' logs.
    linger_ms : a batch waits this long for more records.
    batch_bytes : a batch is sent at the latest when it is this large.
    compression : None (off), gzip, or one whose codec is installed.
    delivery_timeout_ms : a record not confirmed by then has failed.
    request_timeout_ms : time limit of one request; the producer repeats it until `delivery_timeout_ms`.
    max_pending : records that may wait for their confirmation; :meth:`publish` blocks when there are more.
    now, new_id : clock and source of ids for events that bring no ``timestamp`` or ``messageId``.

    Notes
    -----
    The producer is idempotent: its own retries neither repeat nor reorder a record. It connects at the first
    use, not in the constructor. Threads may share a publisher. About 9 microseconds of CPU an event for
    pre-encoded bytes.

    Examples
    --------
    >>> from services.bus import Publisher                                              # doctest: +SKIP
    >>> with Publisher("127.0.0.1:9092") as bus:                                        # doctest: +SKIP
    ...     bus.publish_event({"type": "track", "event": "Product Viewed", "userId": "u1",
    ...                        "properties": {"product_id": "85123A", "price": 2.95}})
    """

    def __init__(  # noqa: PLR0913 - all but one by name
        self,
        bootstrap: str,
        *,
        client_id: str = "kairos-publisher",
        linger_ms: int = 20,
        batch_bytes: int = 256 * 1024,
        compression: Compression | None = None,
        delivery_timeout_ms: int = 30_000,
        request_timeout_ms: int = 10_000,
        max_pending: int = 100_000,
        now: Callable[[], datetime] = _now,
        new_id: Callable[[], str] = _new_id,
    ) -> None:
        self._bootstrap = bootstrap
        self._settings: dict[str, Any] = {
            "client_id": client_id,
            "linger_ms": linger_ms,
            "batch_size": batch_bytes,
            "compression_type": compression,
            "delivery_timeout_ms": max(delivery_timeout_ms, linger_ms + request_timeout_ms),
            "request_timeout_ms": request_timeout_ms,
            "max_block_ms": delivery_timeout_ms,
            "bootstrap_timeout_ms": delivery_timeout_ms,
            "acks": "all",
            "enable_idempotence": True,
            # A typing error in a topic's name must be an error, not a new topic with the broker's defaults.
            "allow_auto_create_topics": False,
            "reconnect_backoff_max_ms": 1_000,
            "partitioner": _KeyPartitioner(),
        }
        self._timeout_s = delivery_timeout_ms / 1000
        self._max_pending = max_pending
        self._now, self._new_id = now, new_id
        self._producer: Any = None
        self._pending: deque[tuple[Any, str, str | None, bytes]] = deque()
        self._failed: list[Undelivered] = []
        self._since_reap = 0
        self._lock = threading.Lock()
        self.published = 0

    def publish(
        self,
        topic: str | None,
        event: Mapping[str, Any] | bytes | BaseModel,
        user_id: str | None = None,
        partition: int | None = None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        """Hand one event to the producer. It is confirmed when :meth:`flush` returns.

        Parameters
        ----------
        topic : where to; None: by the event's name (:func:`topic_for`).
        event : envelope as a mapping or a pydantic model, or JSON bytes that are sent as they are.
        user_id : record key; default: the event's ``userId``, else ``anonymousId``. With bytes it must be
            given, unless the record belongs to no user (a tick).
        partition : only for records without user; default: murmur2 of the key.
        headers : record headers.

        Raises
        ------
        ValueError
            Bytes without a topic, or an event without user.
        DeliveryError
            The broker cannot be reached or does not know the topic (this event was not taken), or
            `max_pending` records have waited for their confirmation until their time limit.
        """
        if isinstance(event, bytes):
            value = event
            if topic is None:
                raise ValueError("a topic is needed for an event that is already encoded")
        else:
            topic, user_id, value = self._prepared(topic, event, user_id, partition)
        try:
            producer = self._producer or self._connect()
            future = producer.send(
                topic,
                value,
                key=user_id.encode() if user_id is not None else None,
                headers=headers,
                partition=partition,
            )
        except KafkaError as error:
            raise DeliveryError((Undelivered(topic, user_id, value, _reason(error)),)) from error
        with self._lock:
            self._pending.append((future, topic, user_id, value))
            self.published += 1
            self._since_reap += 1
            if self._since_reap >= _REAP_EVERY:
                self._reap()
                if len(self._pending) > self._max_pending:
                    self._wait_for_room()

    def publish_event(self, event: Mapping[str, Any] | BaseModel, user_id: str | None = None) -> None:
        """:meth:`publish` to the topic that the event's name belongs to."""
        self.publish(None, event, user_id)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything published so far is confirmed.

        Parameters
        ----------
        timeout : seconds; default: the delivery timeout.

        Raises
        ------
        DeliveryError
            Names every record that failed, or is still unconfirmed after `timeout`. The latter stay in the
            producer, which goes on trying until their delivery timeout.
        """
        if self._producer is not None:
            with suppress(KafkaTimeoutError):  # what is not confirmed is found, and named, below
                self._producer.flush(timeout=self._timeout_s if timeout is None else timeout)
        with self._lock:
            self._reap()
            late = [Undelivered(topic, user, value, "no confirmation yet") for _, topic, user, value in self._pending]
            undelivered = (*self._failed, *late)
            self._failed = []
        if undelivered:
            raise DeliveryError(undelivered)

    def close(self, timeout: float | None = None) -> None:
        """Flush and disconnect. Raises as :meth:`flush` does, after disconnecting."""
        try:
            self.flush(timeout)
        finally:
            producer, self._producer = self._producer, None
            self._pending.clear()
            if producer is not None:
                producer.close(timeout=1.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except DeliveryError as undelivered:
            if error is None:
                raise
            error.add_note(str(undelivered))  # the first error is the one to see

    def _connect(self) -> Any:
        with self._lock:
            if self._producer is None:
                self._producer = connected(KafkaProducer, self._bootstrap, **self._settings)
            return self._producer

    def _prepared(
        self,
        topic: str | None,
        event: Mapping[str, Any] | BaseModel,
        user_id: str | None,
        partition: int | None,
    ) -> tuple[str, str | None, bytes]:
        document: dict[str, Any]
        if isinstance(event, BaseModel):
            document = event.model_dump(mode="json", by_alias=True, exclude_none=True)
        else:
            document = dict(event)
        user = user_id
        if user is None:
            found = document.get("userId")
            found = document.get("anonymousId") if found is None or found == "" else found
            user = str(found) if found is not None and found != "" else None
        if user is None and partition is None:
            raise ValueError("an event needs a userId or an anonymousId: it is the record's key")
        # Set here and not by the caller only: with them a repeated publish of the same bytes is recognised.
        document.setdefault("messageId", self._new_id())
        if "timestamp" not in document:
            document["timestamp"] = self._now().isoformat(timespec="milliseconds")
        return topic or topic_for(document), user, _encode(document)

    def _reap(self) -> None:
        """Forget what is confirmed, keep what failed."""
        self._since_reap = 0
        waiting: deque[tuple[Any, str, str | None, bytes]] = deque()
        for entry in self._pending:
            future, topic, user, value = entry
            if not future.is_done:
                waiting.append(entry)
            elif future.failed():
                self._failed.append(Undelivered(topic, user, value, _reason(future.exception)))
        self._pending = waiting

    def _wait_for_room(self) -> None:
        while len(self._pending) > self._max_pending:
            oldest = self._pending[0][0]
            try:
                oldest.get(timeout=self._timeout_s)
            except KafkaError as error:
                self._reap()
                if self._failed or not oldest.is_done:
                    failed, self._failed = tuple(self._failed), []
                    if not failed:
                        _, topic, user, value = self._pending[0]
                        failed = (Undelivered(topic, user, value, _reason(error)),)
                    raise DeliveryError(failed) from error
            self._reap()


def _reason(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
