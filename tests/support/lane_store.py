"""Both stores of a lane for both kinds of callers: Redis without an event loop, memory with one."""

import asyncio
from collections.abc import Callable

from services.state.link import Link
from services.state.redis_lane import RedisLaneStore
from services.state.store import Change, LaneStore, Loaded


class BlockingLaneStore:
    """The role's own `RedisLaneStore` as a :class:`services.state.store.LaneStore`, on a loop of its own."""

    def __init__(self, url: str, lane: int, timeout_ms: int = 10_000) -> None:
        self._runner = asyncio.Runner()
        self._store = RedisLaneStore(Link(url, timeout_ms), lane)

    def load(self, due_until: int | None, limit: int, users: Callable[[list[str]], list[str]]) -> Loaded:
        return self._runner.run(self._store.load(due_until, limit, users))

    def commit(self, change: Change) -> int | None:
        return self._runner.run(self._store.commit(change))

    def pending(self) -> list[tuple[int, bytes]]:
        return self._runner.run(self._store.pending())

    def close(self) -> None:
        """End the connection and the loop."""
        self._store.close()
        self._runner.close()


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
