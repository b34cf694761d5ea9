"""Kairos's own core for a peer: what a lane does with a chunk (fence, profiles, decisions, outbox), without Faust.

The very code that the worker runs (`models`, `services.state`): what is compared is the engine around it.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop
from benchmarks.peers.progress import CHUNK

import config
from config.loader import load_definitions
from config.topics import CLICKSTREAM, INPUT_NAMES
from models.brain import Brain
from models.campaigns.conditions import condition_fault
from models.chunk import read_chunk
from models.wire import Record
from services.state.link import Link
from services.state.redis_lane import RedisLaneStore
from services.state.step import NOTHING, OutboxEntry, Position, ask, decode_entry, opening, position_of, work


def load_brain() -> Brain:
    """The policies that ship with Kairos."""
    return Brain(load_definitions(Path(config.__file__).parent, condition_fault))


def tame_collector() -> None:
    """Python's garbage collector as Kairos's worker sets it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


class CoreLane:
    """One partition of the peer's topic, taken for one of `clickstream`.

    Parameters
    ----------
    number, lanes : partition, and how many there are.
    """

    def __init__(self, redis_url: str, number: int, lanes: int, brain: Brain) -> None:
        self._number, self._lanes, self._brain = number, lanes, brain
        self._store = RedisLaneStore(Link(redis_url), number)
        self._position: Position | None = None
        self._published: list[int] = []

    async def apply(self, records: Sequence[Record]) -> list[OutboxEntry]:
        """Apply records of the partition in transactions of at most 1,000; returns what has to be published, in order.

        The entry of a transaction is taken out of Redis by the next one: it has to be published until then.
        """
        return [await self._transaction(records[first : first + CHUNK]) for first in range(0, len(records), CHUNK)]

    async def _open(self) -> Position:
        loaded = await self._store.load(*NOTHING)
        await self._store.commit(opening(loaded, self._number, int(time.time() * 1000), self._brain).change)
        return position_of(await self._store.load(*NOTHING))

    async def _transaction(self, records: Sequence[Record]) -> OutboxEntry:
        position = self._position or await self._open()
        batch = read_chunk(
            records,
            topic=CLICKSTREAM.name,
            topic_index=INPUT_NAMES.index(CLICKSTREAM.name),
            lane=self._number,
            lanes=self._lanes,
            start=records[0].offset,
            end=records[-1].offset + 1,
            future_limit_ms=300_000,
        )
        question, users = ask(position, batch)
        loaded = await self._store.load(*question)
        done = work(loaded, users, batch, self._brain, self._published)
        due = await self._store.commit(done.change)
        self._position = Position(done.fence, done.state, due, max(position.broker_ms, batch.broker_ms))
        self._published = [done.fence.seq]
        assert done.change.outbox is not None
        return decode_entry(done.change.outbox)


class BlockingLanes:
    """The lanes for a framework whose functions are plain ones: a loop of its own runs until Redis has answered."""

    def __init__(self, redis_url: str, lanes: int) -> None:
        brain = load_brain()
        self._lanes = [CoreLane(redis_url, number, lanes, brain) for number in range(lanes)]
        self._loop = uvloop.new_event_loop()

    def apply(self, number: int, records: Sequence[Record]) -> list[OutboxEntry]:
        """See :meth:`CoreLane.apply`."""
        return self._loop.run_until_complete(self._lanes[number].apply(records))


def headers_of(entry: OutboxEntry, number: int) -> list[tuple[str, bytes]]:
    """Headers of the entry's record `number`, as Kairos's own producer writes them."""
    return [
        *entry.outputs[number].headers,
        ("kairos-lane", str(entry.lane).encode()),
        ("kairos-epoch", str(entry.epoch).encode()),
        ("kairos-seq", str(entry.seq).encode()),
        ("kairos-n", str(number).encode()),
    ]
