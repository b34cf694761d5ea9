"""The input of the speed measurements: a made-up shop, the same bytes for Kairos and for its peer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from config.topics import CLICKSTREAM, HOUR_MS, PURCHASES
from models.wire import lane_of

USERS = 20_000
PARTITIONS = 4
LIVE_SPAN_MS = 60_000
DAY_SPAN_MS = 24 * HOUR_MS
SEED = 7
_PRODUCTS = 3_000
_NAMES = ("WHITE HANGING HEART T-LIGHT HOLDER", "REGENCY CAKESTAND 3 TIER", "JUMBO BAG RED RETROSPOT", "PARTY BUNTING")
_encode = msgspec.json.encode


class ShopRecord(NamedTuple):
    """One event of the input."""

    topic: str
    user: str
    value: bytes


def shop_events(count: int, end_ms: int, *, users: int = USERS, span_ms: int = LIVE_SPAN_MS) -> Iterator[ShopRecord]:
    """Make `count` events, about 230 bytes each, evenly over the `span_ms` before `end_ms`.

    70 % Product Viewed, 20 % Product Added, 3 % Order Completed, the rest events without a rule of their own. Users
    are drawn evenly: hardly any chunk has two events of one user, which is the dear case for Kairos.

    Examples
    --------
    >>> first, *_ = shop_events(10, 1_262_304_000_000)
    >>> 180 < len(first.value) < 330
    True
    """
    rng = random.Random(SEED)
    for number in range(count):
        at_ms = end_ms - span_ms + span_ms * number // count
        yield shop_event(rng, number, at_ms, users)


def shop_event(rng: random.Random, number: int, at_ms: int, users: int = USERS) -> ShopRecord:
    """One event of the mix at `at_ms`."""
    user, kind = f"user-{rng.randrange(users)}", rng.random()
    product = rng.randrange(_PRODUCTS)
    price = 0.85 + product % 400 / 40
    properties: dict[str, object] = {
        "product_id": str(20_000 + product),
        "name": _NAMES[product % len(_NAMES)],
        "price": price,
        "category": f"category-{product % 20}",
    }
    topic, name = CLICKSTREAM.name, "Product Viewed"
    if kind >= 0.93:
        name = "Products Searched"
        properties = {"query": _NAMES[product % len(_NAMES)].lower(), "results": product % 90}
    elif kind >= 0.90:
        topic, name = PURCHASES.name, "Order Completed"
        line = {"product_id": properties["product_id"], "price": price, "quantity": 2}
        properties = {"order_id": f"o{number}", "revenue": 2 * price, "currency": "GBP", "products": [line]}
    elif kind >= 0.70:
        name = "Product Added"
    event = {
        "type": "track",
        "event": name,
        "userId": user,
        "messageId": f"bench-{number:08}",
        "timestamp": at_ms,
        "properties": properties,
        "context": {"source": "bench"},
    }
    return ShopRecord(topic, user, _encode(event))


async def publish(bootstrap: str, records: Sequence[ShopRecord], topic: str | None = None) -> None:
    """Fill the topics (all records into `topic` if it is given) in whole batches, as fast as the broker takes them."""
    from aiokafka import AIOKafkaProducer  # not in every environment that makes these events

    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=512 * 1024)
    await producer.start()
    try:
        lanes: dict[str, int] = {}
        open_batches: dict[tuple[str, int], Any] = {}
        sent = []
        for record in records:
            lane = lanes.get(record.user)
            if lane is None:
                lane = lanes[record.user] = lane_of(record.user, PARTITIONS)
            target = (topic or record.topic, lane)
            batch = open_batches.get(target)
            key = record.user.encode()
            if batch is None or batch.append(key=key, value=record.value, timestamp=None) is None:
                if batch is not None:
                    sent.append(await producer.send_batch(batch, target[0], partition=lane))
                batch = open_batches[target] = producer.create_batch()
                batch.append(key=key, value=record.value, timestamp=None)
        for (name, lane), batch in open_batches.items():
            sent.append(await producer.send_batch(batch, name, partition=lane))
        await asyncio.gather(*sent)
    finally:
        await producer.stop()
