"""Create the topics of ``config/topics.py``, or say clearly why the existing ones cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import IncompatibleBrokerVersion, KafkaError, TopicAlreadyExistsError, UnsupportedVersionError

from config.topics import TOPICS, Topic, partitions_of
from models.errors import ConfigurationError, TransientError
from services.bus.connect import connected

_MISSING = 3  # UNKNOWN_TOPIC_OR_PARTITION


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic as the broker has it."""

    name: str
    partitions: int
    replication: int


def create_topics(bootstrap: str, lanes: int, replication: int = 1, timeout_ms: int = 30_000) -> list[str]:
    """Create the topics that do not exist yet; calling it again changes nothing.

    Parameters
    ----------
    bootstrap : ``host:port`` of the brokers, comma separated.
    lanes : partitions of every topic that is keyed by user.
    replication : replicas of each.
    timeout_ms : time limit.

    Returns
    -------
    Names of the topics that were created.

    Raises
    ------
    ConfigurationError
        A topic exists with another number of partitions. Users would change partition, so nothing is created.
    TransientError
        The brokers cannot be reached or did not answer in time.
    """
    with _admin(bootstrap, timeout_ms) as admin:
        existing = _grown(admin, _described(admin), timeout_ms)
        _refuse_mismatch(existing, lanes)
        missing = [topic for topic in TOPICS if topic.name not in existing]
        created = [topic.name for topic in missing if _create(admin, topic, lanes, replication, timeout_ms)]
        _wait_until_known(admin, lanes, timeout_ms)
        return created


def describe(bootstrap: str, timeout_ms: int = 30_000) -> dict[str, TopicInfo]:
    """Topics of the cluster (internal ones left out) by name.

    Raises
    ------
    TransientError
        The brokers cannot be reached or did not answer in time.
    """
    with _admin(bootstrap, timeout_ms) as admin:
        return _described(admin)


def timestamp_types(bootstrap: str, topics: Sequence[str], timeout_ms: int = 30_000) -> dict[str, str]:
    """Who stamps the records of each topic: ``LogAppendTime`` or ``CreateTime``; left out where brokers do not tell.

    Raises
    ------
    TransientError
        The brokers cannot be reached or did not answer in time.
    """
    with _admin(bootstrap, timeout_ms) as admin:
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topics]
        try:
            answers = admin.describe_configs(resources, config_filter="all")
        except UnsupportedVersionError:
            return {}
    told = {
        name: settings.get("message.timestamp.type") for kind in answers.values() for name, settings in kind.items()
    }
    return {name: str(setting["value"]) for name, setting in told.items() if setting is not None}


def working_groups(bootstrap: str, prefix: str, timeout_ms: int = 30_000) -> dict[str, int]:
    """Consumer groups whose name begins with `prefix` and that have members, and how many.

    Raises
    ------
    TransientError
        The brokers cannot be reached or did not answer in time.
    """
    with _admin(bootstrap, timeout_ms) as admin:
        names = [group["group_id"] for group in admin.list_groups() if group["group_id"].startswith(prefix)]
        found = admin.describe_groups(names) if names else {}
        return {name: len(group["members"]) for name, group in found.items() if group["members"]}


def committed_offsets(bootstrap: str, prefix: str, topic: str, timeout_ms: int = 30_000) -> dict[int, int]:
    """Offset that consumer groups committed of each partition of `topic`; of several groups, the highest.

    Parameters
    ----------
    prefix : of the names of the groups.

    Raises
    ------
    TransientError
        The brokers cannot be reached or did not answer in time.
    """
    found: dict[int, int] = {}
    with _admin(bootstrap, timeout_ms) as admin:
        for group in admin.list_groups():
            if not group["group_id"].startswith(prefix):
                continue
            for places in admin.list_group_offsets(group["group_id"]).values():
                for place, committed in places.items():
                    if place.topic == topic and committed.offset >= 0:
                        found[place.partition] = max(committed.offset, found.get(place.partition, 0))
    return found


def add_partitions(bootstrap: str, lanes: int, timeout_ms: int = 30_000) -> list[str]:
    """Give every topic that is keyed by user `lanes` partitions; those that have them are left alone.

    Returns
    -------
    Names of the topics that grew.

    Raises
    ------
    ConfigurationError
        A topic is missing, or has neither `lanes` partitions nor half as many. Nothing was changed.
    TransientError
        The brokers cannot be reached or did not answer in time.
    """
    keyed = [topic.name for topic in TOPICS if topic.partitions is None]
    with _admin(bootstrap, timeout_ms) as admin:
        has = {name: info.partitions for name, info in _described(admin).items()}
        wrong = [f"{name} has {has.get(name, 0)}" for name in keyed if has.get(name) not in {lanes, lanes // 2}]
        if wrong:
            raise ConfigurationError(
                f"topics must have {lanes // 2} or {lanes} partitions: {', '.join(wrong)}",
                remedy="`kairos topics list` shows them.",
            )
        growing = [name for name in keyed if has[name] != lanes]
        if growing:
            _grow(admin, dict.fromkeys(growing, lanes), timeout_ms)
        return growing


@contextmanager
def _admin(bootstrap: str, timeout_ms: int) -> Iterator[Any]:
    try:
        admin = connected(
            KafkaAdminClient,
            bootstrap,
            client_id="kairos-admin",
            bootstrap_timeout_ms=timeout_ms,
            request_timeout_ms=timeout_ms,
        )
        try:
            yield admin
        finally:
            admin.close()
    except KafkaError as error:
        raise TransientError(f"Kafka at {bootstrap} did not do what was asked: {error!r}") from error


def _described(admin: Any) -> dict[str, TopicInfo]:
    found: dict[str, TopicInfo] = {}
    for topic in admin.describe_topics():
        if topic.get("is_internal") or topic.get("error_code") == _MISSING:
            continue
        partitions = topic["partitions"]
        replicas = len(partitions[0].get("replica_nodes") or ()) if partitions else 0
        found[topic["name"]] = TopicInfo(topic["name"], len(partitions), replicas)
    return found


def _grown(admin: Any, existing: dict[str, TopicInfo], timeout_ms: int) -> dict[str, TopicInfo]:
    """Give topics whose partitions are not lanes those that came with a newer version: nobody changes partition."""
    growing = {
        topic.name: topic.partitions
        for topic in TOPICS
        if topic.partitions is not None
        and topic.name in existing
        and existing[topic.name].partitions < topic.partitions
    }
    if not growing:
        return existing
    _grow(admin, growing, timeout_ms)
    return _described(admin)


def _grow(admin: Any, wanted: Mapping[str, int], timeout_ms: int) -> None:
    """Add partitions and wait until the brokers show them."""
    try:
        admin.create_partitions(dict(wanted), timeout_ms=timeout_ms)
    except IncompatibleBrokerVersion as error:
        raise ConfigurationError(
            f"these topics need more partitions, and the broker cannot add any: {', '.join(wanted)}",
            remedy="the embedded broker: begin with an empty data folder. Another: add them with its own tools.",
        ) from error
    deadline_s = monotonic() + timeout_ms / 1000
    while True:
        has = _described(admin)
        waiting = {name: count for name, count in wanted.items() if has[name].partitions != count}
        if not waiting:
            return
        if monotonic() > deadline_s:
            raise TransientError(f"these topics were given more partitions, but do not show them: {waiting}")
        sleep(0.05)


def _create(admin: Any, topic: Topic, lanes: int, replication: int, timeout_ms: int) -> bool:
    """Create one topic; False if another process was quicker."""
    wanted = NewTopic(
        name=topic.name,
        num_partitions=partitions_of(topic, lanes),
        replication_factor=replication,
        topic_configs={
            "retention.ms": str(topic.retention_ms),
            "message.timestamp.type": "LogAppendTime" if topic.broker_time else "CreateTime",
        },
    )
    try:
        admin.create_topics([wanted], timeout_ms=timeout_ms)
    except TopicAlreadyExistsError:
        return False
    return True


def _wait_until_known(admin: Any, lanes: int, timeout_ms: int) -> None:
    """Wait for the topics to show up: Kafka answers a creation before every broker knows of it."""
    deadline_s = monotonic() + timeout_ms / 1000
    while True:
        existing = _described(admin)
        _refuse_mismatch(existing, lanes)
        waiting = [topic.name for topic in TOPICS if topic.name not in existing]
        if not waiting:
            return
        if monotonic() > deadline_s:
            raise TransientError(f"these topics were created, but the brokers do not know them yet: {waiting}")
        sleep(0.05)


def _refuse_mismatch(existing: Mapping[str, TopicInfo], lanes: int) -> None:
    wrong = [
        f"{topic.name} has {existing[topic.name].partitions} partitions, needed {partitions_of(topic, lanes)}"
        for topic in TOPICS
        if topic.name in existing and existing[topic.name].partitions != partitions_of(topic, lanes)
    ]
    if wrong:
        raise ConfigurationError(
            "; ".join(wrong),
            remedy="The number of partitions is fixed when a topic is created: it says which lane owns a user. Start "
            f"Kairos with the number of lanes that the topics have (KAIROS_LANES, now {lanes}), or use another "
            "cluster.",
        )
