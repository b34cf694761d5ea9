"""A shop in full swing, as the roles would have written it to Redis: for tests and pictures of the page."""

import json
import math
import time
from typing import Any

import redis

from config.loader import load_definitions
from config.settings import PACKAGE_CONFIG_DIR
from models.experiments.sums import Moments
from models.lane import LaneState, encode
from models.learners.envelope import Envelope
from services.state import keys
from services.state.live import publish_demo, publish_worker, push_tail
from support.cards import card_of, shares

LANES = 4
DAY_MS = 86_400_000
MARCH_14 = 1_268_559_120_000  # 14 Mar 2010, 09:32 UTC

ALERTS = [
    (
        "13085",
        "71 % likely not to return within 90 days",
        "Nothing ordered for 62 days, usually every 24",
        "win-back",
    ),
    ("15311", "74 % likely not to return within 90 days", "Only one order so far, 48 days ago", "win-back"),
    (
        "17850",
        "82 % likely not to return within 90 days",
        "Nothing ordered for 81 days, usually every 30",
        "win-back",
    ),
    ("12748", "70 % likely not to return within 90 days", "Orders have become smaller and rarer", "win-back"),
    ("14606", "76 % likely not to return within 90 days", "Three visits without an order", "win-back"),
]
OFFERS = [
    ("16029", "White hanging heart t-light holder", "bought with Regency cakestand 3 tier by many"),
    ("12921", "Jumbo bag red retrospot", "bought 4 times before, about every 3 weeks"),
    ("14911", "Assorted colour bird ornament, 10 % off", "a regular, and it goes with what is in the cart"),
    ("13089", "Paper craft, little birdie", "rising this week"),
    ("17841", "Pack of 72 retrospot cake cases", "bought with Party bunting by many"),
]
MESSAGES = [
    ("15311", "Win-back e-mail, with Regency cakestand 3 tier", "sent", ""),
    ("16029", "Abandoned cart e-mail, with White hanging heart t-light holder", "sent", ""),
    (
        "14606",
        "Abandoned cart e-mail",
        "suppressed: frequency_cap",
        "Product Added on 14 Mar 2010, nothing for 45 minutes",
    ),
    ("12921", "Second order e-mail, with Jumbo bag red retrospot", "clicked", ""),
    ("17841", "Welcome e-mail", "opened", ""),
]
EVENTS = [
    ("13089", "ordered 12 products for £214.60", "Order Completed"),
    ("16029", "put White hanging heart t-light holder into the cart", "Product Added"),
    ("12921", "looked at Jumbo bag red retrospot", "Product Viewed"),
    ("17841", "opened the welcome e-mail", "Email Opened"),
    ("14911", "looked at Assorted colour bird ornament", "Product Viewed"),
]
CAMPAIGNS: dict[str, dict[str, int]] = {
    "abandoned-cart": {
        "decided": 4210,
        "sent": 2904,
        "opened": 1213,
        "clicked": 402,
        "ordered": 188,
        "ordered_simulated": 61,
        "suppressed:frequency_cap": 812,
        "suppressed:no_consent": 301,
        "suppressed:answered": 164,
        "failed": 4,
    },
    "win-back": {
        "decided": 912,
        "sent": 744,
        "opened": 251,
        "clicked": 63,
        "ordered": 29,
        "suppressed:frequency_cap": 97,
        "suppressed:no_consent": 66,
    },
    "second-order": {
        "decided": 1630,
        "sent": 1498,
        "opened": 633,
        "clicked": 197,
        "ordered": 74,
        "suppressed:no_consent": 128,
    },
    "welcome": {
        "decided": 2104,
        "sent": 1972,
        "opened": 988,
        "clicked": 240,
        "ordered": 102,
        "suppressed:no_consent": 130,
    },
    "order-thanks": {"decided": 9120, "sent": 9118, "opened": 5210, "clicked": 611, "ordered": 903},
}
EXPERIMENTS: dict[str, dict[str, dict[str, Moments]]] = {
    "cart-subject": {
        "general": {"clicked": shares(1448, 142), "simulated-revenue": Moments(1448, (61_240,), (183_720_000,))},
        "names-product": {"clicked": shares(1456, 260), "simulated-revenue": Moments(1456, (88_120,), (273_172_000,))},
    },
    "aa-check": {
        "a": {"ordered": shares(2071, 803), "revenue": Moments(2071, (36_120_400,), (3_250_836_000_000,))},
        "b": {"ordered": shares(2094, 829), "revenue": Moments(2094, (37_041_100,), (3_333_699_000_000,))},
    },
}


class LiveShop:
    """Writes what the page reads. `client` is emptied first.

    Examples
    --------
    >>> shop = LiveShop(redis.Redis.from_url(server.url)); shop.fill()  # doctest: +SKIP
    """

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        client.flushdb()

    def fill(self, *, demo: bool = True) -> None:
        """All of it; the workers last, so that a page on which all is well has read the rest too."""
        self.tails()
        for lane in range(LANES):
            self.lane(lane)
        for campaign, counts in CAMPAIGNS.items():
            self.count(f"camp:{campaign}", counts)
        defined = load_definitions(PACKAGE_CONFIG_DIR).experiment_by_id
        for experiment, sums in EXPERIMENTS.items():
            card = card_of(defined[experiment], sums)
            self.client.hset(keys.experiment(experiment), "result", json.dumps(card))
        for name, counts in recommended().items():
            self.count(name, counts)
        self.churn_model(version=37, learned=True)
        self.snapshot("recs", 212, {"baskets": 12_204, "items": 3_911})
        if demo:
            publish_demo(
                self.client,
                {
                    "clock": "2010-03-14T09:32:00+00:00",
                    "speed": 3000,
                    "started_at": now_ms() - 240_000,
                    "label": (
                        "simulation: a real shop's orders of 2009-2010; views and carts derived, "
                        "reactions to mails and lists made up"
                    ),
                },
            )
        self.workers()

    def workers(self, *, rate: float = 18_420.0, lag: int = 12, **changed: Any) -> None:
        """Figures of three workers, written as if this second."""
        at = now_ms()
        inputs = {f"{topic}-{lane}": lag for topic in ("clickstream",) for lane in range(LANES)}
        inputs |= {f"{topic}-{lane}": 0 for topic in ("purchases", "profiles", "feedback") for lane in range(LANES)}
        decide = {
            "at": at,
            "events_total": 1_284_310,
            "events_per_s": rate,
            "lag": inputs,
            "watermarks": {str(lane): MARCH_14 + lane * 1000 for lane in range(LANES)},
            "latency_ms": {"p50": 6.2, "p95": 13.8, "p99": 21.4, "n": 912},
            "log_latency_ms": {"p50": 212.0, "p95": 480.0, "p99": 640.0, "n": 912},
            "alerts_total": 912,
            "offers_total": 21_480,
            "messages_total": 17_976,
            "dead_total": 3,
            "snapshots": {"churn": 37, "recs": 212},
            "cpu_s": 61.2,
        }
        publish_worker(self.client, "decide", "w1", decide | changed)
        publish_worker(
            self.client,
            "learn",
            "w1",
            {
                "at": at,
                "events_total": 48_120,
                "events_per_s": 402.0,
                "lag": {"training-0": 0, "training-1": 4},
            },
        )
        publish_worker(
            self.client,
            "deliver",
            "w1",
            {
                "at": at,
                "events_total": 16_240,
                "events_per_s": 118.0,
                "lag": {f"messages-{lane}": lane for lane in range(LANES)},
            },
        )

    def tails(self) -> None:
        """Five of each kind."""
        at = now_ms()

        def stamped(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [{"at": at, "ts": MARCH_14 - 340_000 * number, **row} for number, row in enumerate(rows)][::-1]

        push_tail(self.client, "alerts", stamped([
            {"user": user, "text": text, "detail": why, "tag": action} for user, text, why, action in ALERTS
        ]))  # fmt: skip
        push_tail(self.client, "offers", stamped([
            {"user": user, "text": text, "detail": why} for user, text, why in OFFERS
        ]))  # fmt: skip
        push_tail(self.client, "messages", stamped([
            {"user": user, "text": text, "tag": tag, "detail": why} for user, text, tag, why in MESSAGES
        ]))  # fmt: skip
        push_tail(self.client, "events", stamped([
            {"user": user, "text": text, "detail": name} for user, text, name in EVENTS
        ]))  # fmt: skip

    def lane(self, number: int, **changed: Any) -> None:
        """Proof counters of a lane; by default they balance."""
        applied = 321_040 + 733 * number
        values: dict[str, Any] = {
            "epoch": 1,
            "watermarks": [MARCH_14 + number * 1000] * 4,
            "received": applied + 18 + 1 + number % 2,
            "applied": applied,
            "duplicate": 18,
            "rejected": 1,
            "forwarded": number % 2,
            "ticks": 1440,
        }
        self.client.set(keys.state(number), encode(LaneState(**(values | changed))))

    def count(self, key: str, counts: dict[str, int]) -> None:
        """Set counters, spread over two lanes, so that only a sum over lanes is right."""
        rest = keys.counters(0, key)
        self.client.hset(rest, mapping={field: value - value // 3 for field, value in counts.items()})
        self.client.hset(keys.counters(2, key), mapping={field: value // 3 for field, value in counts.items()})
        self.client.sadd(keys.counter_names(0), key)

    def churn_model(self, *, version: int, learned: bool) -> None:
        """Publish a churn model."""
        meta = {
            "learned": learned,
            "examples": 8412 if learned else 310,
            "first_label_ms": MARCH_14 - 11 * DAY_MS,
        }
        self.snapshot("churn", version, meta)

    def snapshot(self, name: str, version: int, meta: dict[str, Any]) -> None:
        """Publish a model in its envelope."""
        envelope = Envelope(
            name=name,
            schema=1,
            library="river 0.26.1",
            version=version,
            created_ms=now_ms() - 5_000,
            meta=meta,
            payload=b"\x80",
        )
        self.client.set(f"snapshot:{{{name}}}:{version}", envelope.to_bytes())
        self.client.set(f"snapshot:{{{name}}}:latest", version)

    def wave(self, second: int) -> float:
        """A throughput that breathes, for a plot that looks like one."""
        return 17_800 + 2_600 * math.sin(second / 9) + 1_300 * math.sin(second / 2.3)


def recommended() -> dict[str, dict[str, int]]:
    """Counters of two recommended lists: the further down, the fewer look."""
    found: dict[str, dict[str, int]] = {"recs-products": {"shown|22423": 400, "clicked|22423": 30}}
    for name, times in (("home", 9_000), ("cart", 2_400)):
        counts = {"d|14682|rankings": times, "d|14682|rankings_clicked": times // 6}
        for place in range(1, 11):
            clicked = round(times * 0.06 / place**0.8)
            bought = round(times * 0.012 / place**0.5)
            here = {"shown": times, "clicked": clicked, "added": clicked // 3, "bought": bought}
            here |= {"units": bought, "money_minor": 640 * bought, "clicked_bought": clicked // 8}
            here["clicked_minor"] = 640 * here["clicked_bought"]
            for what, value in here.items():
                counts[f"p|{place}|{what}"] = value
                counts[f"d|14682|{what}"] = counts.get(f"d|14682|{what}", 0) + value
        found[f"recs:{name}"] = counts
    return found


def now_ms() -> int:
    """Wall clock, ms."""
    return time.time_ns() // 1_000_000
