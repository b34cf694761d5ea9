"""A connection to Redis on the event loop: some commands out in one piece, all their replies back at once.

redis-py opens it (address, TLS, password, database); after that its stream is ours. Waiting for a reply in a thread, or
reply by reply as redis-py's asynchronous client does, costs several times what the commands themselves cost, and the
threads' hand-overs were most of a decision's latency (docs/adr/0006-lanes-without-threads.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis
from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from models.errors import TransientError
from services.state.cluster import ELSEWHERE, Cluster, is_cluster

Word = str | bytes | int
Command = tuple[Word, ...]
# Its stub takes tuples of one word only.
_pack = cast(Callable[[Command], bytes], hiredis.pack_command)


class Link:
    """One connection, used by one task at a time. Never repeats a command, and connects again only when told to.

    Parameters
    ----------
    url : redis:// or rediss:// address.
    timeout_ms : time limit of a connection and of a call.
    """

    def __init__(self, url: str, timeout_ms: int = 10_000) -> None:
        self._url = url
        self._timeout_s = timeout_ms / 1000
        self._opened: Connection | None = None
        self._stream: _Stream | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a connection. A lost one counts: the next call fails, and who called hears of it."""
        return self._stream is not None

    async def connect(self) -> None:
        """Open the connection, in place of an earlier one. Raises the exceptions of redis-py."""
        self.abort()
        options: dict[str, Any] = dict(parse_url(self._url))
        made = options.pop("connection_class", Connection)
        # RESP 2: nothing comes without being asked for.
        opened: Connection = made(
            **options,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=self._timeout_s,
            socket_connect_timeout=self._timeout_s,
        )
        await opened.connect()  # type: ignore[no-untyped-call]
        transport = cast(asyncio.StreamWriter, opened._writer).transport  # noqa: SLF001 - what redis-py does not hand out
        self._opened, self._stream = opened, _Stream(transport)
        transport.set_protocol(self._stream)

    async def call(self, commands: Sequence[Command]) -> list[Any]:
        """Send `commands` in one piece; returns their replies, errors among them as :class:`hiredis.ReplyError`.

        A call that is cancelled or times out ends the connection: what was not sent yet never will be.

        Raises
        ------
        TransientError
            The connection is lost or Redis takes too long. Whether the commands were executed is not known.
        """
        if self._stream is None:
            raise TransientError("Redis: not connected")
        try:
            return await self._stream.call(commands, self._timeout_s)
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """End the connection at once; nothing that is still in this process is written any more."""
        opened, self._opened = self._opened, None
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.abort()
        if opened is not None:
            # Or redis-py complains of a connection that was not closed.
            opened._reader = opened._writer = None  # noqa: SLF001


class ClusterLink(Link):
    """A connection to the node of a Redis Cluster that has a key, looked for anew after every error.

    Parameters
    ----------
    url : redis+cluster:// address.
    key : any key of the lane.
    """

    def __init__(self, url: str, key: str, timeout_ms: int = 10_000) -> None:
        super().__init__(url, timeout_ms)
        self._seeds, self._key = url, key
        self._cluster: Cluster | None = None

    async def connect(self) -> None:
        """Find the node and open the connection. Raises the exceptions of redis-py."""
        self._url = await asyncio.to_thread(self._find)
        try:
            await super().connect()
        except BaseException:
            self._forget()
            raise

    def _find(self) -> str:
        if self._cluster is None:
            self._cluster = Cluster(self._seeds, self._timeout_s)
        return self._cluster.node_url(self._key)

    async def call(self, commands: Sequence[Command]) -> list[Any]:
        """See :meth:`Link.call`; a node that sends us elsewhere is left."""
        try:
            replies = await super().call(commands)
        except BaseException:
            self._forget()
            raise
        if any(isinstance(reply, hiredis.ReplyError) and str(reply).startswith(ELSEWHERE) for reply in replies):
            self._forget()
            self.abort()
        return replies

    def _forget(self) -> None:
        if self._cluster is not None:
            self._cluster.forget()


def link_to(url: str, key: str, timeout_ms: int = 10_000) -> Link:
    """Link to where `key` lies."""
    return ClusterLink(url, key, timeout_ms) if is_cluster(url) else Link(url, timeout_ms)


class _Stream(asyncio.Protocol):
    """Replies of one connection."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._waiter: asyncio.Future[list[Any]] | None = None
        self._wanted = 0
        self._replies: list[Any] = []
        self.lost: str | None = None

    async def call(self, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        if self.lost is not None:
            raise TransientError(f"Redis: {self.lost}")
        assert self._waiter is None
        self._wanted, self._replies = len(commands), []
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(timeout_s, self._fail, f"no answer within {timeout_s:g} s")
        try:
            self._transport.write(b"".join(map(_pack, commands)))
            return await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def abort(self) -> None:
        self._fail("closed")
        self._transport.abort()

    def _fail(self, reason: str) -> None:
        self.lost = self.lost or reason
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(TransientError(f"Redis: {self.lost}"))

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            self._replies.append(reply)
        waiter = self._waiter
        if waiter is not None and len(self._replies) >= self._wanted and not waiter.done():
            waiter.set_result(self._replies)

    def eof_received(self) -> bool:
        self._fail("closed by the server")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"connection lost: {exc!r}" if exc else "connection lost")
