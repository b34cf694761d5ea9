"""The job of :mod:`benchmarks.peers.shop_job` on Quix Streams, one event at a time.

    python -m benchmarks.peers.quix_event KAFKA TOPIC REDIS_URL EVENTS

A `StreamingDataFrame`: `apply` a function, keep what is an alert, `to_topic`. In its favour: bytes are handed over as
they are (pydantic reads the JSON once), the profile is a hash in Redis as for the others instead of Quix's own state
(RocksDB and a changelog topic, which would cost it more), the offsets are committed every five seconds (its default).
"""

from __future__ import annotations

import os
import sys
import tempfile

from benchmarks.peers.progress import Progress, task_of
from benchmarks.peers.shop_job import OUTPUT_TOPIC, BlockingJob
from quixstreams import Application


def main() -> None:
    """Consume until all events were seen."""
    task = task_of(sys.argv[1:])
    app = Application(
        broker_address=task.bootstrap,
        consumer_group=f"quix-event-{os.getpid()}",
        auto_offset_reset="earliest",
        state_dir=tempfile.mkdtemp(),
        auto_create_topics=False,
        use_changelog_topics=False,
        loglevel="ERROR",
    )
    source = app.topic(task.topic, value_deserializer="bytes", key_deserializer="bytes")
    alerts = app.topic(OUTPUT_TOPIC, value_serializer="bytes", key_serializer="bytes")
    job, progress = BlockingJob(task.redis_url), Progress(task.events)

    def handle(value: bytes) -> bytes | None:
        _, alert = job.handle(value)
        progress.add()
        return alert

    frame = app.dataframe(source).apply(handle)
    frame = frame.filter(lambda alert: alert is not None)
    frame.to_topic(alerts)
    app.run()


if __name__ == "__main__":
    main()
