"""Kairos's core in Bytewax: `flat_map_batch`, which hands over what one poll of a partition brought.

    python -m bytewax.run "benchmarks.peers.bytewax_core:flow('KAFKA', 'TOPIC', 'REDIS_URL', 'EVENTS')"

A `KafkaSource` polls up to 1,000 events of a partition (its default), the step applies them in one transaction, a
`KafkaSink` publishes what was decided. In its favour: see :mod:`benchmarks.peers.aiokafka_core`, which holds here too;
no recovery store, so that nothing is snapshotted. Its sink chooses the partition of a record by the key alone.
"""

from __future__ import annotations

import bytewax.operators as op
from benchmarks.peers.core_lane import BlockingLanes, headers_of, tame_collector
from benchmarks.peers.progress import CHUNK, Progress, task_of
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow

from models.wire import Record

PARTITIONS = 4
Bytes = bytes | None


def flow(*arguments: str) -> Dataflow:
    """The dataflow; it ends the process when all events were seen."""
    task = task_of(list(arguments))
    lanes, progress = BlockingLanes(task.redis_url, PARTITIONS), Progress(task.events)
    tame_collector()

    def decide(batch: list[KafkaSourceMessage[Bytes, Bytes]]) -> list[KafkaSinkMessage[Bytes, Bytes]]:
        partitions: dict[int, list[Record]] = {}
        for message in batch:
            record = Record(message.offset, message.timestamp[1], message.key, message.value, message.headers)
            partitions.setdefault(message.partition, []).append(record)
        decided = [
            KafkaSinkMessage(output.key, output.value, output.topic, headers_of(entry, number), output.partition)
            for partition, records in partitions.items()
            for entry in lanes.apply(partition, records)
            for number, output in enumerate(entry.outputs)
        ]
        progress.add(len(batch))
        return decided

    made = Dataflow("bytewax_core")
    source = KafkaSource([task.bootstrap], [task.topic], batch_size=CHUNK)
    events = op.input("events", made, source)
    decided = op.flat_map_batch("decide", events, decide)
    sink = KafkaSink([task.bootstrap], None, {"partitioner": "murmur2_random", "enable.idempotence": "true"})
    op.output("decided", decided, sink)
    return made
