"""Kairos's core in a loop written by hand around aiokafka: the least that an engine can cost in Python.

    python -m benchmarks.peers.aiokafka_core KAFKA TOPIC REDIS_URL EVENTS

`getmany`, one transaction for a partition and 1,000 events, and Kairos's own producer for what was decided. In its
favour: one topic instead of four that have to be merged by time, no ticks, no figures for the page. What it does not do: hand lanes over at a rebalance, go on from the
fence, find gaps, set a record aside that cannot be applied, take new models or policies, stop in order.
"""

from __future__ import annotations

import asyncio
import os
import sys

import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from benchmarks.peers.core_lane import CoreLane, load_brain, tame_collector
from benchmarks.peers.progress import CHUNK, Progress, Task, task_of

from config.settings import KafkaSettings
from models.wire import Record
from streams.outbox import KafkaOutlet


async def run(task: Task) -> None:
    """Consume until all events were seen."""
    consumer = AIOKafkaConsumer(
        task.topic,
        bootstrap_servers=task.bootstrap,
        group_id=f"aiokafka-core-{os.getpid()}",
        auto_offset_reset="earliest",
    )
    await consumer.start()
    outlet = KafkaOutlet(KafkaSettings(bootstrap=task.bootstrap))
    await outlet.start()
    brain = load_brain()
    numbers = sorted(consumer.partitions_for_topic(task.topic) or ())
    lanes = {
        TopicPartition(task.topic, number): CoreLane(task.redis_url, number, len(numbers), brain) for number in numbers
    }
    progress = Progress(task.events)
    tame_collector()
    while True:
        fetched = await consumer.getmany(timeout_ms=1000, max_records=CHUNK * len(lanes))
        for tp, found in fetched.items():
            records = [Record(r.offset, r.timestamp, r.key, r.value, r.headers) for r in found]
            for entry in await lanes[tp].apply(records):
                await outlet.publish(entry)
            progress.add(len(records))


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(run(task_of(sys.argv[1:])))
