"""The limit: consume, decode, read the users' profiles, write them back. No logic at all.

    python -m benchmarks.peers.limit KAFKA TOPIC REDIS_URL EVENTS

aiokafka's `getmany`, Kairos's decoder of events, one MGET and one MSET for 1,000 events of a partition. A user's value
is 300 bytes, about what a profile weighs. Nothing is published, counted, fenced or deduplicated.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer
from benchmarks.peers.core_lane import tame_collector
from benchmarks.peers.progress import CHUNK, Progress, Task, task_of

from models.chunk import read_chunk
from models.wire import Record
from services.state import keys
from services.state.redis_lane import connect

PROFILE = bytes(range(256)) + bytes(44)


async def run(task: Task) -> None:
    """Consume until all events were seen."""
    consumer = AIOKafkaConsumer(
        task.topic,
        bootstrap_servers=task.bootstrap,
        group_id=f"limit-{os.getpid()}",
        auto_offset_reset="earliest",
    )
    await consumer.start()
    client = connect(task.redis_url)
    progress = Progress(task.events)
    tame_collector()
    while True:
        fetched = await consumer.getmany(timeout_ms=1000, max_records=CHUNK * len(consumer.assignment()))
        for tp, found in fetched.items():
            prefix = keys.profile(tp.partition, "")
            for first in range(0, len(found), CHUNK):
                records = [
                    Record(r.offset, r.timestamp, r.key, r.value, r.headers) for r in found[first : first + CHUNK]
                ]
                batch = read_chunk(
                    records,
                    topic=tp.topic,
                    topic_index=0,
                    lane=tp.partition,
                    lanes=len(consumer.assignment()),
                    start=records[0].offset,
                    end=records[-1].offset + 1,
                    future_limit_ms=300_000,
                )
                names = [prefix + user for user in dict.fromkeys([event.user for event in batch.inputs])]
                values: Any = client.mget(names)
                client.mset({name: value or PROFILE for name, value in zip(names, values, strict=True)})
                progress.add(len(records))


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(run(task_of(sys.argv[1:])))
