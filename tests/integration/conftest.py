"""What several of these tests begin with."""

from collections.abc import Iterator

import pytest
import redis

from services.state.redis_lane import connect
from support.any_redis import AnyRedis


@pytest.fixture
def client(redis_server: AnyRedis) -> Iterator[redis.Redis]:
    """Client of an empty Redis."""
    client = connect(redis_server.url)
    client.flushdb()
    yield client
    client.close()
