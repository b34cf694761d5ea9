"""Redis Cluster: which node has a key, found out again after every error.

The state is laid out for it: all keys of a lane share a hash tag, and so do those of a model; everything else is one
key at a time. A transaction runs on one node by a plain connection, never through redis-py's cluster pipeline: it
repeats a MULTI whose reply was cut off on a new connection, without the WATCH. While a slot is being moved from node
to node its lane waits; it goes on with the new owner when the move is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import quote, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry

SCHEMES = ("redis+cluster", "rediss+cluster")
# Replies that say: ask somebody else. READONLY is what a primary that was voted out answers.
ELSEWHERE = ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY")


def is_cluster(url: str) -> bool:
    """Whether `url` names a Redis Cluster."""
    return url.partition("://")[0] in SCHEMES


class Cluster(redis.RedisCluster):
    """Client of a whole cluster, which also hands out plain clients of its nodes.

    Parameters
    ----------
    url : ``redis+cluster://user:password@host:port,host:port``; ``rediss+cluster`` for TLS. A few nodes are enough.
    timeout_s : time limit of one round trip.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        scheme, _, rest = url.partition("://")
        login, _, places = rest.partition("/")[0].rpartition("@")
        name = urlsplit(f"redis://{login}@host" if login else "redis://host")
        self._options: dict[str, Any] = {
            "username": unquote(name.username) if name.username else None,
            "password": unquote(name.password) if name.password else None,
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
        }
        if scheme == "rediss+cluster":
            self._options["ssl"] = True
        self._plain: dict[str, redis.Redis] = {}
        self.stale = False
        super().__init__(
            startup_nodes=[_node(place) for place in places.split(",")],
            retry=Retry(NoBackoff(), 0),
            **self._options,
        )

    def address(self, key: str) -> tuple[str, int]:
        """Host and port of the node that has `key`."""
        if self.stale:
            self.stale = False
            try:
                self.nodes_manager.initialize()
            except BaseException:
                self.stale = True
                raise
        node: Any = self.get_node_from_key(key)  # type: ignore[no-untyped-call]
        return str(node.host), int(node.port)

    def forget(self) -> None:
        """Ask for the map of slots again before it is used next."""
        self.stale = True

    def node_url(self, key: str) -> str:
        """Address of that node for a connection of one's own."""
        host, port = self.address(key)
        scheme = "rediss" if self._options.get("ssl") else "redis"
        name, password = (quote(self._options[one] or "", safe="") for one in ("username", "password"))
        login = f"{name}:{password}@" if password else ""
        return f"{scheme}://{login}{host}:{port}/0"

    def plain(self, key: str) -> redis.Redis:
        """Client of that node, without retries and without redirection."""
        host, port = self.address(key)
        found = self._plain.get(f"{host}:{port}")
        if found is None:
            found = self._plain[f"{host}:{port}"] = redis.Redis(
                host=host, port=port, retry=Retry(NoBackoff(), 0), **self._options
            )
        return found

    def close(self) -> None:
        """Close all connections."""
        for client in self._plain.values():
            client.close()
        super().close()


def _node(place: str) -> ClusterNode:
    host, _, port = place.rpartition(":")
    return ClusterNode(host or place, int(port) if host else 6379)  # type: ignore[no-untyped-call]


def as_cluster(client: object) -> Cluster | None:
    """`client` if it is one of a cluster; elsewhere it has the type of a plain one, whose methods it has."""
    return client if isinstance(client, Cluster) else None


@contextmanager
def at_node(client: redis.Redis, key: str) -> Iterator[redis.Redis]:
    """The client to run a transaction over `key` with: of the node that has it, or `client` where there is one node."""
    cluster = as_cluster(client)
    if cluster is None:
        yield client
        return
    try:
        yield cluster.plain(key)
    except redis.WatchError:
        raise
    except (redis.RedisError, redis.RedisClusterException, OSError):
        cluster.forget()
        raise


def get_many(client: redis.Redis, names: Sequence[str]) -> list[bytes | None]:
    """Values of `names`, wherever they lie."""
    cluster = as_cluster(client)
    if cluster is not None:
        return cast(list[bytes | None], cluster.mget_nonatomic(names))
    return cast(list[bytes | None], client.mget(names))


def joined_runs(infos: dict[str, Any]) -> str:
    """Names of the runs of all primaries as one; see :func:`models.delivery.is_same_run`."""
    return "+".join(sorted(str(info["run_id"]) for info in infos.values()))


def cluster_run_id(cluster: Cluster) -> str:
    """Runs of all primaries: the send ledger lies on all of them."""
    try:
        found: Any = cluster.info("server", target_nodes=redis.RedisCluster.PRIMARIES)
    except BaseException:
        cluster.forget()
        raise
    infos = found if "run_id" not in found else {"": found}
    return joined_runs(infos)
