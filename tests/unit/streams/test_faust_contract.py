"""The parts of Faust and aiokafka that are not public and that the transport leans on.

When this fails after an upgrade, read the changed code before touching the list: a part may keep its name and
change its meaning, and then events are lost without an error.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import aiokafka
import pytest
from aiokafka.consumer.fetcher import Fetcher as AiokafkaFetcher
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.consumer.subscription_state import SubscriptionState
from faust.app.base import App
from faust.tables.recovery import Recovery
from faust.transport.consumer import Consumer, ConsumerThread, ThreadDelegateConsumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Consumer as AiokafkaConsumer
from faust.types.tuples import ConsumerMessage
from mode.threads import QueueServiceThread

from config.settings import Settings
from streams.app import METADATA_MAX_AGE_MS, build_app
from streams.transport import FAUST_VERSION, ChunkConsumer
from streams.transport.thread import ChunkThread


def test_faust_is_the_version_that_was_read() -> None:
    assert version("faust-streaming") == FAUST_VERSION == "0.15.3"


def test_aiokafka_is_the_version_that_was_read() -> None:
    assert version("aiokafka").startswith("0.14.")


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (Consumer._drain_messages, "self fetcher"),
        (Consumer._new_offset, "self tp"),
        (Consumer._filter_tps_with_pending_acks, "self topics"),
        (Consumer.ack, "self message"),
        (Consumer.perform_seek, "self"),
        (Consumer.on_partitions_revoked, "self revoked"),
        (Consumer.on_partitions_assigned, "self assigned generation_id"),
        (Consumer.on_buffer_full, "self tp"),
        (Consumer.stop_flow, "self"),
        (Consumer.verify_event_path, "self now tp"),
        (Consumer.commit, "self topics start_new_transaction"),
        (ThreadDelegateConsumer._new_consumer_thread, "self"),
        (ThreadDelegateConsumer.seek_to_committed, "self"),
        (ThreadDelegateConsumer.seek, "self partition offset"),
        (ConsumerThread.on_partitions_revoked, "self revoked"),
        (ConsumerThread.on_partitions_assigned, "self assigned generation_id"),
        (AIOKafkaConsumerThread._create_worker_consumer, "self transport"),
        (AIOKafkaConsumerThread._commit, "self offsets"),
        (AIOKafkaConsumerThread._ensure_consumer, "self"),
        (QueueServiceThread.call_thread, "self fun args kwargs"),
        (ConsumerMessage.on_final_ack, "self consumer"),
        (AiokafkaFetcher.fetched_records, "self partitions timeout max_records"),
        (AiokafkaFetcher._create_fetch_waiter, "self"),
        (FetchResult.check_assignment, "self tp"),
    ],
    ids=lambda value: value.__qualname__ if callable(value) else "",
)
def test_signature(function: Callable[..., Any], parameters: str) -> None:
    assert " ".join(inspect.signature(function).parameters) == parameters


@pytest.mark.parametrize(
    ("owner", "phrase"),
    [
        # What the overrides rely on their surroundings to do.
        (Consumer.__init__, "self._committed_offset = defaultdict"),
        (Consumer._filter_committable_offsets, "self._new_offset(tp)"),
        (Consumer._should_commit, "offset > committed"),
        (Consumer.stop_flow, "self.flow_active = False"),
        (Consumer.resume_flow, "self.can_resume_flow.set()"),
        (Consumer.resume_partitions, "_get_active_partitions().update(tps)"),
        (Recovery._resume_streams, "consumer.perform_seek()"),
        (App.on_stop, "self.on_before_shutdown.send()"),
        # A chunk's start is only right if records are handed over and the position is moved in one go.
        (AiokafkaFetcher.fetched_records, "if drained or not timeout:"),
        (FetchResult.getall, "self._update_position()"),
        (FetchResult.check_assignment, "position != self._partition_records.next_fetch_offset"),
        (SubscriptionState.fetch_context, "self._fetch_count += 1"),
    ],
    ids=lambda value: value.__qualname__ if callable(value) else "",
)
def test_what_the_code_around_does(owner: Callable[..., Any], phrase: str) -> None:
    assert phrase in inspect.getsource(inspect.unwrap(owner))


def test_the_perform_seek_comes_before_the_flow_resumes() -> None:
    source = inspect.getsource(Recovery._resume_streams)
    assert source.index("perform_seek()") < source.rindex("consumer.resume_flow()")


@pytest.mark.parametrize(
    "name", ["_drain_messages", "_new_offset", "_filter_tps_with_pending_acks", "_new_consumer_thread"]
)
def test_the_consumer_overrides_what_is_there(name: str) -> None:
    assert name in vars(ChunkConsumer)
    assert hasattr(AiokafkaConsumer, name)


@pytest.mark.parametrize("name", ["_create_worker_consumer", "_commit", "on_partitions_revoked"])
def test_the_thread_overrides_what_is_there(name: str) -> None:
    assert name in vars(ChunkThread)
    assert hasattr(AIOKafkaConsumerThread, name)


def test_the_client_takes_the_options_it_is_given() -> None:
    taken = inspect.signature(aiokafka.AIOKafkaConsumer.__init__).parameters
    for name in (
        "fetch_max_wait_ms",
        "fetch_min_bytes",
        "fetch_max_bytes",
        "max_partition_fetch_bytes",
        "auto_offset_reset",
    ):
        assert name in taken


def test_topics_that_could_not_be_asked_for_are_asked_for_again_soon() -> None:
    """A leader that knows no topics gives nobody a partition; by default it would ask again after five minutes."""
    app = build_app("decide", Settings())
    assert app.conf.consumer_metadata_max_age_ms == METADATA_MAX_AGE_MS <= 15_000
    assert "metadata_max_age_ms=conf.consumer_metadata_max_age_ms" in inspect.getsource(ChunkThread)
