"""Redis as a run of the tests wants it: one server, or with KAIROS_TEST_REDIS=cluster three nodes of a cluster."""

import os

from support.redis import RedisServer, redis_binary
from support.redis_cluster import RedisClusterServer
from support.services import TEST_REDIS

AnyRedis = RedisServer | RedisClusterServer


def any_redis() -> AnyRedis:
    """A server, or a cluster, that is not started yet. For tests that need no more of it than its address.

    Raises
    ------
    MissingServiceError
        When there is no Redis on this machine.
    """
    return RedisClusterServer() if os.environ.get(TEST_REDIS) == "cluster" else RedisServer(redis_binary())
