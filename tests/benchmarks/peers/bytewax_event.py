"""The job of :mod:`benchmarks.peers.shop_job` on Bytewax, one event at a time.

    python -m bytewax.run "benchmarks.peers.bytewax_event:flow('KAFKA', 'TOPIC', 'REDIS_URL', 'EVENTS')"

The Kafka operators and `map`, one worker. In its favour: the profile is a hash in Redis as for the others instead of
`stateful_map` with a recovery store; without one it keeps no position, so that nothing is snapshotted.
"""

from __future__ import annotations

import bytewax.operators as op
from benchmarks.peers.progress import Progress, task_of
from benchmarks.peers.shop_job import OUTPUT_TOPIC, BlockingJob
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow

Bytes = bytes | None


def flow(*arguments: str) -> Dataflow:
    """The dataflow; it ends the process when all events were seen."""
    task = task_of(list(arguments))
    job, progress = BlockingJob(task.redis_url), Progress(task.events)

    def handle(message: KafkaSourceMessage[Bytes, Bytes]) -> KafkaSinkMessage[Bytes, Bytes] | None:
        user, alert = job.handle(message.value or b"")
        progress.add()
        return None if alert is None else KafkaSinkMessage(user.encode(), alert)

    made = Dataflow("bytewax_event")
    events = kop.input("events", made, brokers=[task.bootstrap], topics=[task.topic])
    alerts = op.filter_map("job", events.oks, handle)
    kop.output("alerts", alerts, brokers=[task.bootstrap], topic=OUTPUT_TOPIC)
    return made
