"""The peer: the same job as a Faust tutorial teaches it, written fairly.

    python tests/benchmarks/peers/tutorial_faust.py KAFKA TOPIC REDIS_URL EVENTS

One event at a time: a pydantic model of the event, the user's profile as a hash in Redis read and written by awaited
calls, features as a dictionary, River's scaler and logistic regression (scored on every event, taught on labelled
ones), counts of an A/B test, and about 2 % of the events lead to a record in another topic.

In its favour: uvloop, hiredis, one connection kept open, no commit per event, no `Table` with a changelog (which would
cost it more than the hash), the fastest pydantic entry (`model_validate_json`). What it leaves out and Kairos does:
exactly-once state, duplicates, timers, consent and caps, offers, a journal.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
from datetime import datetime
from typing import Any, NoReturn

import faust
import redis.asyncio
import uvloop
import xxhash
from mode import CrashingSupervisor
from pydantic import BaseModel
from river import linear_model, preprocessing

OUTPUT_TOPIC = "tutorial-alerts"
HALF_LIVES_S = {"1d": 86_400.0, "7d": 7 * 86_400.0, "30d": 30 * 86_400.0}
KINDS = {"Product Viewed": "views", "Product Added": "adds", "Order Completed": "orders"}
WARM_SHARE = 5  # the first fifth is not measured


class Product(BaseModel):
    """A line of an order."""

    product_id: str
    price: float = 0.0
    quantity: int = 1


class Properties(BaseModel):
    """What the job reads of an event."""

    product_id: str | None = None
    name: str | None = None
    price: float | None = None
    category: str | None = None
    order_id: str | None = None
    revenue: float | None = None
    products: list[Product] = []


class Event(BaseModel):
    """One event of the shop."""

    type: str
    event: str
    userId: str
    messageId: str
    timestamp: datetime
    properties: Properties


class Progress:
    """Measures from the end of the warm-up to the last event, and ends the process."""

    def __init__(self, expected: int) -> None:
        self.expected, self.seen = expected, 0
        self._warm = expected // WARM_SHARE
        self._cpu = self._wall = 0.0

    def add(self) -> None:
        self.seen += 1
        if self.seen == self._warm:
            self._cpu, self._wall = time.process_time(), time.perf_counter()
        elif self.seen == self.expected:
            self._report()

    def _report(self) -> NoReturn:
        cpu, wall = time.process_time() - self._cpu, time.perf_counter() - self._wall
        print(json.dumps({"events": self.seen - self._warm, "cpu_s": cpu, "wall_s": wall}), flush=True)
        os._exit(0)


def updated(profile: dict[str, str], event: Event) -> dict[str, Any]:
    """New values of the profile: about twenty counters and decays."""
    at = event.timestamp.timestamp()
    last = float(profile.get("last_seen", at))
    new: dict[str, Any] = {"last_seen": at}
    if "first_seen" not in profile:
        new["first_seen"] = at
    if at - last > 1800 or "sessions" not in profile:
        new["sessions"] = int(profile.get("sessions", 0)) + 1
        new["session_events"] = 1
    else:
        new["session_events"] = int(profile.get("session_events", 0)) + 1
    happened = KINDS.get(event.event)
    for kind in KINDS.values():
        for name, half_life_s in HALF_LIVES_S.items():
            field = f"{kind}_{name}"
            value = float(profile.get(field, 0.0)) * 0.5 ** (max(0.0, at - last) / half_life_s)
            new[field] = value + 1.0 if kind == happened else value
    if happened == "orders":
        new["orders"] = int(profile.get("orders", 0)) + 1
        new["money"] = float(profile.get("money", 0.0)) + (event.properties.revenue or 0.0)
        new["last_order"] = at
        new["cart_items"] = 0
    elif happened == "adds":
        new["cart_items"] = int(profile.get("cart_items", 0)) + 1
    if event.properties.product_id is not None:
        recent = [item for item in profile.get("recent", "").split(",") if item and item != event.properties.product_id]
        new["recent"] = ",".join([*recent, event.properties.product_id][-8:])
    if event.properties.category is not None:
        new["category"] = event.properties.category
    return new


def features(profile: dict[str, Any], at: float) -> dict[str, float]:
    """What the model sees."""
    found = {
        f"{kind}_{name}": float(profile.get(f"{kind}_{name}", 0.0)) for kind in KINDS.values() for name in HALF_LIVES_S
    }
    found["orders"] = float(profile.get("orders", 0))
    found["money"] = float(profile.get("money", 0.0))
    found["sessions"] = float(profile.get("sessions", 0))
    found["recency_days"] = (at - float(profile.get("last_order", at))) / 86_400.0
    found["tenure_days"] = (at - float(profile.get("first_seen", at))) / 86_400.0
    return found


def main() -> None:
    """Consume until all events were seen."""
    bootstrap, topic_name, redis_url, events = sys.argv[1:]
    app = faust.App(
        f"tutorial-{os.getpid()}",
        broker=f"kafka://{bootstrap}",
        value_serializer="raw",
        datadir=tempfile.mkdtemp(),  # Faust makes it in the current folder otherwise
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        stream_wait_empty=False,
        agent_supervisor=CrashingSupervisor,
    )
    topic = app.topic(topic_name, value_type=bytes, value_serializer="raw")
    alerts = app.topic(OUTPUT_TOPIC, value_type=bytes, value_serializer="raw")
    client: Any = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    progress = Progress(int(events))

    async def process(stream: Any) -> None:
        async for value in stream:
            event = Event.model_validate_json(value)
            key, at = f"profile:{event.userId}", event.timestamp.timestamp()
            profile: Any = await client.hgetall(key)
            if event.event == "Order Completed" and "last_order" in profile:
                returned = at - float(profile["last_order"]) < 6 * 3600
                model.learn_one(features(profile, at), not returned)
            new: Any = updated(profile, event)
            await client.hset(key, mapping=new)
            await client.hincrby(key, "events", 1)
            variant = "ab"[xxhash.xxh32_intdigest(event.userId.encode()) % 2]
            await client.hincrby(f"experiment:{variant}", event.event, 1)
            score = model.predict_proba_one(features({**profile, **new}, at)).get(True, 0.0)
            if xxhash.xxh32_intdigest(event.messageId.encode()) % 50 == 0:
                alert = {"user": event.userId, "score": score, "variant": variant, "at": at}
                await alerts.send(key=event.userId.encode(), value=json.dumps(alert).encode())
            progress.add()

    app.agent(topic, name="tutorial")(process)
    logging.getLogger("aiokafka").setLevel("ERROR")  # Faust leaves it at DEBUG, which costs
    uvloop.install()
    worker = faust.Worker(app, loop=uvloop.new_event_loop(), loglevel="ERROR", redirect_stdouts=False, quiet=True)
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
