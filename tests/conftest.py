"""Fixtures that every test may ask for: real servers, shared by the run, on the loopback address.

A test that stops, kills or pauses a server makes one of its own (`with RedisServer() as server:`).
"""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support.any_redis import AnyRedis, any_redis
from support.kafka import KafkaServer, kafka_jars
from support.redis import RedisServer, redis_binary
from support.services import KAFKA_JARS, REQUIRE_SERVICES, TEST_REDIS, MissingServiceError, skip_or_fail

# How long an example takes says nothing on a machine that does other things as well; whole tests have a time limit.
settings.register_profile("kairos", deadline=None)
settings.load_profile("kairos")


@pytest.fixture(autouse=True)
def swept(request: pytest.FixtureRequest) -> Iterator[None]:
    """Collect sockets that kafka-python left open where they are forgiven, and not in whatever test comes next."""
    yield
    if any("ResourceWarning" in str(mark.args) for mark in request.node.iter_markers("filterwarnings")):
        gc.collect()


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
def redis_server() -> Iterator[AnyRedis]:
    """A running Redis (see `support.any_redis`); take keys of your own, or flush it first."""
    try:
        server = any_redis()
    except MissingServiceError as error:
        skip_or_fail(error)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="session")
def single_redis() -> Iterator[RedisServer]:
    """A running Redis that is one server, whatever the others are."""
    try:
        server = RedisServer(redis_binary())
    except MissingServiceError as error:
        skip_or_fail(error)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own KAIROS_* settings out of the tests."""
    for name in list(os.environ):
        if name.startswith("KAIROS_") and name not in {REQUIRE_SERVICES, KAFKA_JARS, TEST_REDIS}:
            monkeypatch.delenv(name)
