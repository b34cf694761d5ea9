"""Fixtures that every test may ask for: real servers, shared by the run, on the loopback address.

A test that stops, kills or pauses a server makes one of its own (`with RedisServer() as server:`).
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.kafka import KafkaServer, kafka_jars
from support.redis import RedisServer, redis_binary
from support.services import MissingServiceError, skip_or_fail


@pytest.fixture(scope="session")
def jars() -> Path:
    """Folder with Apache Kafka's jars."""
    try:
        return kafka_jars()
    except MissingServiceError as error:
        skip_or_fail(error)


@pytest.fixture(scope="session")
def kafka_server(jars: Path) -> Iterator[KafkaServer]:
    """A running Apache Kafka without topics; take topic and group names of your own."""
    server = KafkaServer(jars)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A running Redis; take keys of your own, or flush it first."""
    try:
        binary = redis_binary()
    except MissingServiceError as error:
        skip_or_fail(error)
    server = RedisServer(binary)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own KAIROS_* settings out of the tests."""
    for name in list(os.environ):
        if name.startswith("KAIROS_") and name not in {"KAIROS_REQUIRE_SERVICES", "KAIROS_TEST_KAFKA_JARS"}:
            monkeypatch.delenv(name)
