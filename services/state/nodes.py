"""Asynchronous clients of the nodes of Redis: one, or those of a cluster by key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from redis.asyncio import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError
from redis.retry import Retry

from models.errors import TransientError
from services.state.cluster import Cluster, cluster_run_id, is_cluster


class Nodes:
    """Clients without retries.

    Parameters
    ----------
    url : redis:// or redis+cluster:// address.
    timeout_s : time limit of one round trip.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url, self._timeout_s = url, timeout_s
        self._cluster: Cluster | None = None
        self._clients: dict[str, Redis] = {}
        self.single = None if is_cluster(url) else self._client(url)

    def _client(self, url: str) -> Redis:
        if url not in self._clients:
            self._clients[url] = Redis.from_url(
                url,
                socket_timeout=self._timeout_s,
                socket_connect_timeout=self._timeout_s,
                retry=Retry(NoBackoff(), 0),
                retry_on_error=[],
            )
        return self._clients[url]

    def all(self) -> list[Redis]:
        """Those that were asked for so far."""
        return list(self._clients.values())

    async def at(self, key: str) -> Redis:
        """Client of the node that has `key`."""
        if self.single is not None:
            return self.single
        if self._cluster is not None and not self._cluster.stale:
            return self._client(self._cluster.node_url(key))
        return self._client(await self.call(asyncio.to_thread(self._find, key)))

    def _find(self, key: str) -> str:
        if self._cluster is None:
            self._cluster = Cluster(self._url, self._timeout_s)
        return self._cluster.node_url(key)

    async def run_id(self) -> str:
        """Name of the run that answers; of a cluster, of all primaries."""
        if self.single is not None:
            info = await self.call(self.single.info("server"))
            return str(info["run_id"])
        await self.at("any")
        assert self._cluster is not None
        return str(await self.call(asyncio.to_thread(cluster_run_id, self._cluster)))

    async def call(self, pending: Awaitable[Any]) -> Any:
        """Wait for an answer; errors as those of Kairos."""
        try:
            return await pending
        except (RedisError, RedisClusterException, OSError) as error:
            self.forget()
            raise TransientError(f"Redis: {error}") from error

    def forget(self) -> None:
        """Look again which node has what."""
        if self._cluster is not None:
            self._cluster.forget()

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.aclose()
        if self._cluster is not None:
            self._cluster.close()
