"""A worker with lanes over the micro-batch transport, whose state is an SQLite file.

Started as ``python -m support.chunk_worker '<json of WorkerPlan>'``. Every record that is applied is a row
(topic, partition, offset), the fence moves in the same transaction, so a record lost or applied twice shows.
What happens is written to standard output, one JSON object per line.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faust
from faust.types import TP

from streams.app import build_app, run
from streams.transport import (
    Chunk,
    PositionLostError,
    TransportOptions,
    chunk_consumer,
    set_partition_hooks,
    set_position_source,
)


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What a worker does; `delays_s` by ``topic-partition``, ratios of chunks ending before `calm_from`."""

    bootstrap: str
    group: str
    store: str
    topics: list[str]
    name: str = "worker"
    chunk_max: int = 100
    max_inflight: int = 4
    max_partition_fetch_bytes: int = 1024 * 1024
    session_timeout_ms: int = 6000
    delays_s: dict[str, float] = field(default_factory=dict)
    fail_ratio: float = 0.0
    lose_ratio: float = 0.0
    raise_ratio: float = 0.0
    calm_from: int = 1_000_000_000
    fail_hook: bool = False
    seed: int = 1

    def to_json(self) -> str:
        """Serialise for the command line."""
        return json.dumps(asdict(self))


def say(event: str, **fields: Any) -> None:
    """Write one line of the worker's story."""
    print(json.dumps({"event": event, "at": time.monotonic(), **fields}), flush=True)


class FenceStore:
    """Fences and applied records in SQLite, shared by all workers of a test."""

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30.0, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS fence (topic TEXT, partition INT, next INT, PRIMARY KEY (topic, partition))"
        )
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS applied (topic TEXT, partition INT, next INT, worker TEXT, chunk INT,"
            " PRIMARY KEY (topic, partition, next))"
        )

    def fences(self) -> dict[TP, int]:
        """Return next offset per partition."""
        rows = self._db.execute("SELECT topic, partition, next FROM fence")
        return {TP(topic, partition): following for topic, partition, following in rows}

    def set_fence(self, tp: TP, following: int) -> None:
        """Put the fence somewhere, as a store restored from a backup does."""
        self._db.execute("INSERT OR REPLACE INTO fence VALUES (?, ?, ?)", (*tp, following))
        self._db.execute("DELETE FROM applied WHERE topic = ? AND partition = ? AND next >= ?", (*tp, following))

    def apply(self, chunk: Chunk, worker: str, *, fail: bool = False) -> str:
        """Apply `chunk` if it joins the fence; answers ``applied``, ``old`` or ``gap``."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            row = db.execute("SELECT next FROM fence WHERE topic = ? AND partition = ?", chunk.tp).fetchone()
            fence = chunk.sought if row is None else row[0]
            if fence >= chunk.end:
                db.execute("ROLLBACK")
                return "old"
            if fence < chunk.start:
                db.execute("ROLLBACK")
                return "gap"
            rows = [
                (*chunk.tp, record.offset, worker, chunk.start) for record in chunk.records if record.offset >= fence
            ]
            db.executemany("INSERT INTO applied VALUES (?, ?, ?, ?, ?)", rows)
            db.execute("INSERT OR REPLACE INTO fence VALUES (?, ?, ?)", (*chunk.tp, chunk.end))
            if fail:
                raise OSError("the store hung up")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return "applied"

    def applied(self, topic: str | None = None) -> dict[TP, list[int]]:
        """Return offsets of applied records per partition, in the order they were applied."""
        rows = self._db.execute("SELECT topic, partition, next FROM applied ORDER BY rowid")
        found: dict[TP, list[int]] = {}
        for name, partition, offset in rows:
            if topic in {None, name}:
                found.setdefault(TP(name, partition), []).append(offset)
        return found

    def count(self) -> int:
        """Return how many records are applied."""
        return int(self._db.execute("SELECT count(*) FROM applied").fetchone()[0])


class Lanes:
    """One queue and one task per partition number."""

    def __init__(self, app: faust.App, plan: WorkerPlan) -> None:
        self._app, self._plan = app, plan
        self._store = FenceStore(plan.store)
        self._random = random.Random(plan.seed)
        self._queues: dict[int, asyncio.Queue[Any]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def positions(self, tps: frozenset[TP]) -> Mapping[TP, int]:
        """Answer the transport's question where to read on."""
        fences = self._store.fences()
        return {tp: fences[tp] for tp in tps if tp in fences}

    async def opened(self, tps: frozenset[TP]) -> None:
        """Start a lane per partition number."""
        if self._plan.fail_hook:
            raise RuntimeError("the lanes cannot open")
        say("assigned", worker=self._plan.name, tps=[f"{tp.topic}-{tp.partition}" for tp in sorted(tps)])
        for partition in {tp.partition for tp in tps}:
            self._queues[partition] = asyncio.Queue()
            self._tasks[partition] = asyncio.get_running_loop().create_task(self._run(partition))

    async def closed(self, tps: frozenset[TP]) -> None:
        """Stop all lanes."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()
        self._queues.clear()
        say("revoked", worker=self._plan.name, tps=[f"{tp.topic}-{tp.partition}" for tp in sorted(tps)])

    async def agent(self, stream: Any) -> None:
        """Sort chunks into lanes."""
        async for event in stream.noack().events():
            if self._strikes(event.value, self._plan.lose_ratio):
                say("lost", worker=self._plan.name)
                continue
            if self._strikes(event.value, self._plan.raise_ratio):
                say("raised", worker=self._plan.name)
                raise RuntimeError("the agent broke")
            queue = self._queues.get(event.value.partition)
            if queue is not None:
                queue.put_nowait(event)

    def _strikes(self, chunk: Chunk, ratio: float) -> bool:
        return chunk.end < self._plan.calm_from and self._random.random() < ratio

    async def _run(self, partition: int) -> None:
        queue, consumer = self._queues[partition], chunk_consumer(self._app)
        while True:
            event = await queue.get()
            chunk: Chunk = event.value
            await asyncio.sleep(self._plan.delays_s.get(f"{chunk.topic}-{partition}", 0.0))
            if not consumer.is_current(chunk):
                continue
            try:
                outcome = self._store.apply(chunk, self._plan.name, fail=self._strikes(chunk, self._plan.fail_ratio))
            except OSError:
                outcome = "failed"
            say(
                outcome,
                worker=self._plan.name,
                topic=chunk.topic,
                partition=partition,
                start=chunk.start,
                end=chunk.end,
                records=len(chunk),
                lag=(consumer.log_end(chunk.tp) or 0) - chunk.end,
            )
            if outcome in {"gap", "failed"}:
                try:
                    await consumer.rewind([TP(topic, partition) for topic in self._plan.topics])
                except PositionLostError as error:
                    await self._app.crash(error)
            else:
                event.ack()


def build(plan: WorkerPlan) -> faust.App:
    """Make the app of a worker."""
    options = TransportOptions(
        chunk_max=plan.chunk_max,
        max_inflight=plan.max_inflight,
        max_partition_fetch_bytes=plan.max_partition_fetch_bytes,
        fetch_max_wait_ms=10,
    )
    kafka = SimpleNamespace(bootstrap=plan.bootstrap, session_timeout_ms=plan.session_timeout_ms)
    app = build_app(plan.group, SimpleNamespace(kafka=kafka), options)
    lanes = Lanes(app, plan)
    set_position_source(app, lanes.positions)
    set_partition_hooks(app, on_assigned=lanes.opened, on_revoked=lanes.closed)
    app.agent(app.topic(*plan.topics), name="lanes")(lanes.agent)
    return app


if __name__ == "__main__":
    say("pid", pid=os.getpid(), cwd=str(Path.cwd()))
    run(build(WorkerPlan(**json.loads(sys.argv[1]))), log_level="INFO")
