"""The job of :mod:`benchmarks.peers.shop_job` as a Faust tutorial teaches it, written fairly.

    python -m benchmarks.peers.tutorial_faust KAFKA TOPIC REDIS_URL EVENTS

One event at a time through ``async for``, Redis by awaited calls. In its favour: uvloop, hiredis, one connection kept
open, no commit per event, no `Table` with a changelog (which would cost it more than the hash), the fastest pydantic
entry (`model_validate_json`).
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from typing import Any

import faust
import redis.asyncio
import uvloop
from benchmarks.peers.progress import Progress, task_of
from benchmarks.peers.shop_job import OUTPUT_TOPIC, Event, alert_of, features, learn, new_model, updated, variant_of
from mode import CrashingSupervisor


def main() -> None:
    """Consume until all events were seen."""
    task = task_of(sys.argv[1:])
    app = faust.App(
        f"tutorial-{os.getpid()}",
        broker=f"kafka://{task.bootstrap}",
        value_serializer="raw",
        datadir=tempfile.mkdtemp(),  # Faust makes it in the current folder otherwise
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        stream_wait_empty=False,
        agent_supervisor=CrashingSupervisor,
    )
    topic = app.topic(task.topic, value_type=bytes, value_serializer="raw")
    alerts = app.topic(OUTPUT_TOPIC, value_type=bytes, value_serializer="raw")
    client: Any = redis.asyncio.Redis.from_url(task.redis_url, decode_responses=True)
    model = new_model()
    progress = Progress(task.events)

    async def process(stream: Any) -> None:
        async for value in stream:
            event = Event.model_validate_json(value)
            key = f"profile:{event.userId}"
            profile: Any = await client.hgetall(key)
            learn(model, profile, event)
            new: Any = updated(profile, event)
            await client.hset(key, mapping=new)
            await client.hincrby(key, "events", 1)
            variant = variant_of(event.userId)
            await client.hincrby(f"experiment:{variant}", event.event, 1)
            at = event.timestamp.timestamp()
            score = model.predict_proba_one(features({**profile, **new}, at)).get(True, 0.0)
            alert = alert_of(event, score, variant)
            if alert is not None:
                await alerts.send(key=event.userId.encode(), value=alert)
            progress.add()

    app.agent(topic, name="tutorial")(process)
    logging.getLogger("aiokafka").setLevel("ERROR")  # Faust leaves it at DEBUG, which costs
    uvloop.install()
    worker = faust.Worker(app, loop=uvloop.new_event_loop(), loglevel="ERROR", redirect_stdouts=False, quiet=True)
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
