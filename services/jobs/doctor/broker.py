"""Kafka: is it there, are the topics as they must be, does its clock agree."""

from __future__ import annotations

from collections.abc import Iterator

from config.settings import Settings
from config.topics import INPUTS, TOPICS, partitions_of
from models.errors import KairosError
from services.bus.admin import TopicInfo, describe, timestamp_types
from services.bus.reader import newest_timestamps
from services.jobs.doctor.finding import Finding, bad, ok, warn
from services.state.redis_lane import Client

TIMEOUT_MS = 8_000
TICK_OLD_MS = 60_000


def broker_findings(settings: Settings, _: Client, now_ms: int) -> Iterator[Finding]:
    """What the brokers say."""
    bootstrap = settings.kafka.bootstrap
    try:
        there = describe(bootstrap, TIMEOUT_MS)
    except KairosError as error:
        yield bad(
            "broker",
            f"no answer from {bootstrap}: {error}",
            "start Kafka, or set KAIROS_KAFKA__BOOTSTRAP to an address that is reached from here",
        )
        return
    yield ok("broker", f"{bootstrap} answers, {len(there)} topics")
    yield from _topics(settings, there)
    if all(topic.name in there for topic in INPUTS):
        yield from _stamps(bootstrap)
        yield from _clock(settings, now_ms)


def _topics(settings: Settings, there: dict[str, TopicInfo]) -> Iterator[Finding]:
    missing = [topic.name for topic in TOPICS if topic.name not in there]
    if missing:
        yield bad("topics", f"missing: {', '.join(missing)}", "kairos topics create")
    else:
        yield ok("topics", f"all {len(TOPICS)} are there")
    wrong = [
        f"{topic.name} has {there[topic.name].partitions}, needed {partitions_of(topic, settings.lanes)}"
        for topic in TOPICS
        if topic.name in there and there[topic.name].partitions != partitions_of(topic, settings.lanes)
    ]
    if wrong:
        yield bad(
            "partitions",
            "; ".join(wrong),
            f"set KAIROS_LANES (now {settings.lanes}) to the number of partitions that `clickstream` has; never add "
            "partitions by hand, users would change their lane",
        )
    elif not missing:
        yield ok("partitions", f"{settings.lanes} lanes everywhere")
    replicas = min((info.replication for name, info in there.items() if name in {t.name for t in TOPICS}), default=0)
    if replicas == 1:
        yield warn(
            "replicas",
            "some topic has one replica: the loss of one broker loses its records",
            "in production three brokers, KAIROS_KAFKA__REPLICATION=3 before the topics are made, and "
            "min.insync.replicas=2",
        )
    elif replicas:
        yield ok("replicas", f"at least {replicas}")


def _stamps(bootstrap: str) -> Iterator[Finding]:
    kinds = timestamp_types(bootstrap, [topic.name for topic in INPUTS], TIMEOUT_MS)
    wrong = sorted(name for name, kind in kinds.items() if kind == "CreateTime")
    if wrong:
        yield bad(
            "timestamps",
            f"{', '.join(wrong)}: stamped by the sender (CreateTime)",
            "kafka-configs --alter --entity-type topics --entity-name NAME --add-config "
            "message.timestamp.type=LogAppendTime; else old events are deleted at once and a wrong clock is believed",
        )
    elif kinds:
        yield ok("timestamps", "inputs are stamped by the broker")


def _clock(settings: Settings, now_ms: int) -> Iterator[Finding]:
    """The broker's clock by its newest stamp: never far behind while ticks come, and never ahead."""
    newest = newest_timestamps(settings.kafka.bootstrap, INPUTS[0].name)
    if not newest:
        yield ok("broker clock", "nothing was written yet, so it is not known")
        return
    ahead_ms = max(newest.values()) - now_ms
    if ahead_ms > 2_000:
        yield bad(
            "broker clock",
            f"{ahead_ms / 1000:.1f} s ahead of this machine",
            "run NTP (chrony) on both; event time is judged by the broker's clock",
        )
    elif settings.ticker and -ahead_ms > TICK_OLD_MS:
        yield warn(
            "broker clock",
            f"the newest record is {-ahead_ms / 1000:.0f} s old, though decide writes a tick each second",
            "is a decide worker running? if so, the broker's clock is behind: run NTP (chrony)",
        )
    else:
        yield ok("broker clock", f"newest record {max(0, -ahead_ms) / 1000:.1f} s old")
