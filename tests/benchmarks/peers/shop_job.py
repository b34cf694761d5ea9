"""The job as a tutorial writes it, one event at a time; tutorial_faust, quix_event and bytewax_event share it.

A pydantic model of the event, the user's profile as a hash in Redis, features as a dictionary, River's scaler and
logistic regression (scored on every event, taught on labelled ones), counts of an A/B test, and about 2 % of the
events lead to a record in another topic.

What it leaves out and Kairos does: exactly-once state, duplicates, timers, consent and caps, offers, a journal.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import redis
import xxhash
from pydantic import BaseModel
from river import linear_model, preprocessing

OUTPUT_TOPIC = "tutorial-alerts"
HALF_LIVES_S = {"1d": 86_400.0, "7d": 7 * 86_400.0, "30d": 30 * 86_400.0}
KINDS = {"Product Viewed": "views", "Product Added": "adds", "Order Completed": "orders"}
RETURNED_WITHIN_S = 6 * 3600


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


def new_model() -> Any:
    """River's pipeline."""
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


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


def learn(model: Any, profile: dict[str, str], event: Event) -> None:
    """Teach the model at an order whether the customer came back soon after the last one."""
    if event.event == "Order Completed" and "last_order" in profile:
        at = event.timestamp.timestamp()
        model.learn_one(features(profile, at), at - float(profile["last_order"]) >= RETURNED_WITHIN_S)


def variant_of(user: str) -> str:
    """Group of the A/B test."""
    return "ab"[xxhash.xxh32_intdigest(user.encode()) % 2]


def alert_of(event: Event, score: float, variant: str) -> bytes | None:
    """Record for the other topic, for 2 % of the events."""
    if xxhash.xxh32_intdigest(event.messageId.encode()) % 50:
        return None
    alert = {"user": event.userId, "score": score, "variant": variant, "at": event.timestamp.timestamp()}
    return json.dumps(alert).encode()


class BlockingJob:
    """The job with Redis called and waited for, as in a framework whose functions are plain ones."""

    def __init__(self, redis_url: str) -> None:
        self._client: Any = redis.Redis.from_url(redis_url, decode_responses=True)
        self._model = new_model()

    def handle(self, value: bytes) -> tuple[str, bytes | None]:
        """Apply one event; returns its user, and the alert if there is one."""
        event = Event.model_validate_json(value)
        key = f"profile:{event.userId}"
        profile: dict[str, str] = self._client.hgetall(key)
        learn(self._model, profile, event)
        new: Any = updated(profile, event)
        self._client.hset(key, mapping=new)
        self._client.hincrby(key, "events", 1)
        variant = variant_of(event.userId)
        self._client.hincrby(f"experiment:{variant}", event.event, 1)
        at = event.timestamp.timestamp()
        score = self._model.predict_proba_one(features({**profile, **new}, at)).get(True, 0.0)
        return event.userId, alert_of(event, score, variant)
