"""Kairos's core behind Quix Streams: a sink that gathers records and writes them at each checkpoint.

    python -m benchmarks.peers.quix_core KAFKA TOPIC REDIS_URL EVENTS

Quix's documentation has sinks for writing in batches: `BatchingSink` gathers the records of each partition, and `write`
gets them when the checkpoint is committed, here after every 1,000 events of each partition. What was decided is
published by Quix's own producer. In its favour: see :mod:`benchmarks.peers.aiokafka_core`, which holds here too; its
own pydantic is older than Kairos's, which costs nothing while it runs.
"""

from __future__ import annotations

import os
import sys
import tempfile

from benchmarks.peers.core_lane import BlockingLanes, headers_of, tame_collector
from benchmarks.peers.progress import CHUNK, Progress, Task, task_of
from quixstreams import Application
from quixstreams.kafka import Producer
from quixstreams.sinks import BatchingSink, SinkBatch

from models.wire import Record

PARTITIONS = 4


class CoreSink(BatchingSink):  # type: ignore[misc]  # it is untyped here: not installed
    """One lane for each partition."""

    def __init__(self, task: Task, producer: Producer) -> None:
        super().__init__(on_client_connect_success=lambda: None)
        self._lanes = BlockingLanes(task.redis_url, PARTITIONS)
        self._producer = producer
        self._progress = Progress(task.events)
        tame_collector()

    def write(self, batch: SinkBatch) -> None:
        records = [Record(item.offset, item.timestamp, item.key, item.value, item.headers or ()) for item in batch]
        for entry in self._lanes.apply(batch.partition, records):
            for number, output in enumerate(entry.outputs):
                headers = headers_of(entry, number)
                self._producer.produce(output.topic, output.value, output.key, headers, output.partition)
        self._progress.add(len(records))

    def flush(self) -> None:
        super().flush()
        self._producer.flush()


def main() -> None:
    """Consume until all events were seen."""
    task = task_of(sys.argv[1:])
    app = Application(
        broker_address=task.bootstrap,
        consumer_group=f"quix-core-{os.getpid()}",
        auto_offset_reset="earliest",
        commit_every=CHUNK * PARTITIONS,
        state_dir=tempfile.mkdtemp(),
        auto_create_topics=False,
        use_changelog_topics=False,
        loglevel="ERROR",
    )
    source = app.topic(task.topic, value_deserializer="bytes", key_deserializer="bytes")
    with app.get_producer() as producer:
        app.dataframe(source).sink(CoreSink(task, producer))
        app.run()


if __name__ == "__main__":
    main()
