"""Both stores of a lane for both kinds of callers: Redis without an event loop, memory with one."""

import asyncio
from collections.abc import Callable

from services.state.keys import fence
from services.state.link import link_to
from services.state.redis_lane import RedisLaneStore
from services.state.store import Change, LaneStore, Loaded


class BlockingLaneStore:
    """The role's own `RedisLaneStore` as a :class:`services.state.store.LaneStore`, on a loop of its own.

    Not `asyncio.Runner`: at the end of each run it restores a signal handler, and the enum look-up in that writes out
    the finished task with all that it loaded, five milliseconds for the profiles of a thousand users.
    """

    def __init__(self, url: str, lane: int, timeout_ms: int = 10_000) -> None:
        self._loop = asyncio.new_event_loop()
        self._store = RedisLaneStore(link_to(url, fence(lane), timeout_ms), lane)

    def load(self, due_until: int | None, limit: int, users: Callable[[list[str]], list[str]]) -> Loaded:
        return self._loop.run_until_complete(self._store.load(due_until, limit, users))

    def commit(self, change: Change) -> int | None:
        return self._loop.run_until_complete(self._store.commit(change))

    def pending(self) -> list[tuple[int, bytes]]:
        return self._loop.run_until_complete(self._store.pending())

    def close(self) -> None:
        """End the connection and the loop."""
        self._store.close()
        self._loop.run_until_complete(asyncio.sleep(0))  # now the socket is closed
        self._loop.close()


class AwaitedLaneStore:
    """A store in memory as a lane of the role sees it."""

    def __init__(self, store: LaneStore) -> None:
        self._store = store

    async def load(self, due_until: int | None, limit: int, users: Callable[[list[str]], list[str]]) -> Loaded:
        await asyncio.sleep(0)
        return self._store.load(due_until, limit, users)

    async def commit(self, change: Change) -> int | None:
        await asyncio.sleep(0)
        return self._store.commit(change)

    async def pending(self) -> list[tuple[int, bytes]]:
        return self._store.pending()

    def close(self) -> None:
        """Nothing to give back."""
