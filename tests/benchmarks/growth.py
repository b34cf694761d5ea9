"""What an event costs when there are more users, more campaigns, more experiments: one lane, fed by hand.

Kafka and Faust are left out: they do not know how many of these there are.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import redis
from benchmarks.ground import Ground, cpu_s
from benchmarks.hot_path import LANE, HandFedLane, tamed_collector
from benchmarks.shop import LIVE_SPAN_MS, PARTITIONS, SEED, ShopRecord, shop_events

from config.definitions import Campaign, Definitions, Experiment
from config.loader import load_definitions
from config.settings import PACKAGE_CONFIG_DIR
from models.brain import Brain
from models.campaigns.conditions import condition_fault
from models.profile.codec import decode_profile
from services.state import keys
from support.ports import wait_until

ROUNDS = 3
TEMPLATES = 400
_AT_ONCE = 5_000
# What a shop's campaigns listen to: the events of the mix, and others that this input does not have.
_LISTENED = (
    "Product Viewed",
    "Product Added",
    "Order Completed",
    "Products Searched",
    "Signed Up",
    "Cart Viewed",
    "Checkout Started",
    "Product Added to Wishlist",
    "Coupon Denied",
    "Product Reviewed",
)


@dataclass(frozen=True, slots=True)
class Cost:
    """One measurement. `cpu_us`, `redis_us` : processor time per event, of this process and of Redis."""

    count: int
    cpu_us: float
    redis_us: float
    bytes_per_user: float = 0.0


def by_users(
    ground: Ground, counts: Sequence[int], events: int, now_ms: int, tell: Callable[[str], object]
) -> list[Cost]:
    """Cost per event with so many users in Redis, each with a profile that has a history.

    The profiles are those of a few hundred users who lived through 20 events each, given to everybody. The lane that
    is measured has its share of the users; the others are there for Redis.
    """
    brain = Brain(load_definitions(PACKAGE_CONFIG_DIR, condition_fault))
    templates = _templates(ground, brain, now_ms)
    found = []
    for count in counts:
        tell(f"{count:,} users ...")
        ground.clear()
        weight = _filled(ground, templates, count)
        records = list(shop_events(events, now_ms, users=count // PARTITIONS, span_ms=LIVE_SPAN_MS))
        found.append(_cost(ground, brain, records, count, weight))
    return found


def by_campaigns(
    ground: Ground, counts: Sequence[int], events: int, now_ms: int, tell: Callable[[str], object], *, all_match: bool
) -> list[Cost]:
    """Cost per event with so many campaigns (see :func:`campaigns`) instead of those that ship with Kairos."""
    shipped = load_definitions(PACKAGE_CONFIG_DIR, condition_fault)
    records = _settled_shop(events, now_ms)
    found = []
    for count in counts:
        tell(f"{count} campaigns ...")
        definitions = _instead(shipped, campaigns=campaigns(count, all_match=all_match))
        ground.clear()
        found.append(_cost(ground, Brain(definitions), records, count))
    return found


def by_experiments(
    ground: Ground, counts: Sequence[int], events: int, now_ms: int, tell: Callable[[str], object]
) -> list[Cost]:
    """Cost per event with so many experiments (see :func:`experiments`) instead of those that ship with Kairos."""
    shipped = load_definitions(PACKAGE_CONFIG_DIR, condition_fault)
    records = _settled_shop(events, now_ms)
    found = []
    for count in counts:
        tell(f"{count} experiments ...")
        ground.clear()
        found.append(_cost(ground, Brain(_instead(shipped, experiments=experiments(count))), records, count))
    return found


def campaigns(count: int, *, all_match: bool = False) -> tuple[Campaign, ...]:
    """`count` campaigns over the events of a shop in turn, every third after an hour's wait, all with a condition.

    The first is the reminder of a cart left behind. A condition asks for one product category and for users with
    orders, as a marketer narrows a campaign. `all_match`: without conditions, and only on events of the mix.
    """
    made = []
    for number in range(count):
        event = _LISTENED[(number + 1) % (4 if all_match else len(_LISTENED))]
        waits = number % 3 == 0
        trigger: dict[str, object] = {"on": "timer" if waits else "event", "event": event}
        if waits:
            trigger |= {"after": "1h", "unless": ["Order Completed"] if event != "Order Completed" else []}
        definition = {
            "id": f"campaign-{number}",
            "trigger": trigger,
            "channel": "email",
            "template": "abandoned-cart",
            "purpose": "marketing",
            "cap": {"max": 1, "per": "7d"},
            "priority": number,
        }
        if not all_match and not waits:
            definition["when"] = f"properties.category == 'category-{number % 20}' && user.orders > 0"
        made.append(Campaign.model_validate(definition))
    return tuple(made)


def experiments(count: int) -> tuple[Experiment, ...]:
    """`count` experiments on orders, views and carts in turn, two variants, a conversion and a revenue each."""
    exposing = ("Order Completed", "Product Added", "Product Viewed")
    return tuple(
        Experiment.model_validate(
            {
                "id": f"experiment-{number}",
                "variants": [{"id": "a", "weight": 0.5}, {"id": "b", "weight": 0.5}],
                "coverage": 1.0,
                "expose_on": {"event": exposing[number % len(exposing)]},
                "metrics": [
                    {"id": "ordered", "event": "Order Completed", "within": "7d"},
                    {"id": "money", "event": "Order Completed", "within": "7d", "kind": "revenue", "value": "revenue"},
                ],
            }
        )
        for number in range(count)
    )


def _settled_shop(events: int, now_ms: int) -> list[ShopRecord]:
    """So few users that each has had ten events when it counts: first exposures are over, many have ordered."""
    return list(shop_events(events, now_ms, users=events // (10 * (ROUNDS + 1)), span_ms=LIVE_SPAN_MS))


def _instead(
    shipped: Definitions,
    campaigns: tuple[Campaign, ...] | None = None,
    experiments: tuple[Experiment, ...] | None = None,
) -> Definitions:
    return Definitions(
        campaigns=shipped.campaigns if campaigns is None else campaigns,
        offers=shipped.offers,
        experiments=shipped.experiments if experiments is None else experiments,
        churn=shipped.churn,
        policy=shipped.policy,
    )


def _cost(ground: Ground, brain: Brain, records: Sequence[ShopRecord], count: int, weight: float = 0.0) -> Cost:
    """The cheapest of three stretches: whatever else the machine does only adds to the processor time."""
    lane = HandFedLane(ground, brain)
    share = len(records) // (ROUNDS + 1)
    lane.run(records[:share])  # warm
    costs = []
    with tamed_collector():
        for number in range(1, ROUNDS + 1):
            part = records[number * share : (number + 1) * share]
            spent, redis_before = sum(lane.parts.values()), cpu_s(ground.redis_pid)
            lane.run(part)
            cpu_us = (sum(lane.parts.values()) - spent) / len(part) * 1e6
            costs.append((cpu_us, (cpu_s(ground.redis_pid) - redis_before) / len(part) * 1e6))
    cpu_us, redis_us = min(costs)
    return Cost(count, cpu_us, redis_us, weight)


def _templates(ground: Ground, brain: Brain, now_ms: int) -> list[bytes]:
    ground.clear()
    lane = HandFedLane(ground, brain)
    lane.run(list(shop_events(20 * TEMPLATES, now_ms - LIVE_SPAN_MS, users=TEMPLATES, span_ms=LIVE_SPAN_MS)))
    client = ground.redis()
    names = [keys.profile(LANE, f"user-{number}") for number in range(TEMPLATES)]
    found = cast(list[bytes | None], client.mget(names))
    client.close()
    return [value for value in found if value is not None]


def _filled(ground: Ground, templates: Sequence[bytes], count: int) -> float:
    """Put so many users into Redis; returns the bytes that each of them takes."""
    client = ground.redis()
    before = int(client.info("memory")["used_memory"])
    _populate(client, templates, count)
    taken = int(client.info("memory")["used_memory"]) - before
    wait_until(
        lambda: not client.info("persistence")["aof_rewrite_in_progress"], "the end of Redis's rewriting", 120.0, 0.2
    )
    client.close()
    return taken / count


def _populate(client: redis.Redis, templates: Sequence[bytes], count: int) -> None:
    rng = random.Random(SEED)
    due = {template: decode_profile(template).indexed_due_ms for template in templates}
    share = count // PARTITIONS
    for lane, first in itertools.product(range(LANE, LANE + PARTITIONS), range(0, share, _AT_ONCE)):
        chosen = {f"user-{number}": rng.choice(templates) for number in range(first, min(first + _AT_ONCE, share))}
        client.mset({keys.profile(lane, user): template for user, template in chosen.items()})
        timers = {user: due[template] for user, template in chosen.items() if due[template]}
        if timers:
            client.zadd(keys.timers(lane), timers)
