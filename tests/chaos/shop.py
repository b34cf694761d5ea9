"""The known input: events of a made-up shop, always the same for a seed, written to a file before anything runs.

One JSON array a line: ``[topic, partition, key, value, kind]``. `value` is text (bytes that are not UTF-8 as Latin-1),
`kind` says what the line is there for:

========== ============================================================================================
event      an event that has to count once
again      a line from before once more (a sender that retries)
stray      an event in a partition that is not its user's; it has to count once, where it belongs
nameless   an event without messageId: its first place in the log is its name
poison:R   a record that has to be refused for reason R
tick       the time, for every partition of every input
========== ============================================================================================

Users come in visits (a few events some minutes apart). Some events arrive hours late, some users stay away for good.
Feedback (opened, clicked) is about messages that the campaigns would send; whether they do is for Kairos to decide.
Nobody is silent for more than twenty days and comes back: what Kairos forgets of the silent is not checked.
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import xxhash
from kafka.partitioner.default import murmur2

START_MS = 1_704_067_200_000  # 1 January 2024
DAY_MS = 86_400_000
SPAN_MS = 150 * DAY_MS
EVENTS_PER_USER = 50
TICK_EVERY = 200
TOPICS = ("clickstream", "purchases", "profiles", "feedback")
NEXT_TOPIC = "stock"  # read by a next version only
BREAKS = "the-core-breaks-here"  # order id
COUNTRIES = ("United Kingdom", "Germany", "Atlantis", None)
ZONES = ("Europe/London", "America/New_York", "Asia/Tokyo", "Nowhere/Land", None)

Line = tuple[str, int, str | None, str, str]


def lane_of(user: str, lanes: int) -> int:
    """Partition of a user, as Kafka's own clients choose it."""
    return int((murmur2(user.encode()) & 0x7FFFFFFF) % lanes)


def message_id(campaign: str, user: str, occurrence: str) -> str:
    """Id of the message that a campaign sends for an occurrence (docs/events.md)."""
    return xxhash.xxh3_128_hexdigest(f"{campaign}\x1f1\x1f{user}\x1f{occurrence}".encode())


@dataclass(slots=True)
class _User:
    name: str
    address: bool
    consent: bool
    zone: str | None
    country: str | None
    visits: int = 0
    orders: list[str] = field(default_factory=list)


class Shop:
    """Events in the order in which they are sent.

    Parameters
    ----------
    seed : of everything. events : how many lines that are no ticks (the last few may be late ones).
    lanes : partitions.
    """

    def __init__(self, seed: int, events: int, lanes: int) -> None:
        self._draw = random.Random(f"shop {seed}")
        self._events, self._lanes = events, lanes
        self._users = max(20, events // EVENTS_PER_USER)
        self._number = 0

    def lines(self) -> Iterator[Line]:
        """Every line of the file."""
        for sent, (at_ms, line) in enumerate(islice(self._by_arrival(), self._events), 1):
            yield line
            if sent % TICK_EVERY == 0 or sent == self._events:
                # The last one is later than any event: clicks lie ahead by minutes, and strict order waits for them.
                tick = json.dumps({"type": "tick", "timestamp": at_ms + (DAY_MS if sent == self._events else 0)})
                for topic in TOPICS:
                    for lane in range(self._lanes):
                        yield topic, lane, None, tick, "tick"

    # -- when

    def _by_arrival(self) -> Iterator[tuple[int, Line]]:
        """Lines with the time at which they are sent, in its order; late ones wait for their turn."""
        held: list[tuple[int, int, Line]] = []
        for number, (at_ms, line) in enumerate(self._by_time()):
            delay_ms = 0
            if self._draw.random() < 0.03:
                delay_ms = int(self._draw.expovariate(1 / 10_000_000))  # three hours at the mean, two days at most
            heapq.heappush(held, (at_ms + min(delay_ms, 2 * DAY_MS), number, line))
            if line[4] in {"event", "stray"} and self._draw.random() < 0.03:
                again = (*line[:4], "again")
                if line[4] == "stray":  # this time it finds its way
                    again = (line[0], lane_of(line[2] or "", self._lanes), *line[2:4], "again")
                heapq.heappush(held, (at_ms + self._draw.randrange(1, DAY_MS), number + 1_000_000_000, again))
            while held and held[0][0] <= at_ms:
                due_ms, _, ready = heapq.heappop(held)
                yield due_ms, ready
        while held:
            due_ms, _, ready = heapq.heappop(held)
            yield due_ms, ready

    def _by_time(self) -> Iterator[tuple[int, Line]]:
        """Lines in the order of event time: the next one of the user whose turn it is."""
        draw, mean_gap_ms = self._draw, SPAN_MS * 3.3 / EVENTS_PER_USER
        turns = []
        for number in range(self._users):
            user = _User(
                f"u{number}", draw.random() < 0.6, draw.random() < 0.4, draw.choice(ZONES), draw.choice(COUNTRIES)
            )
            turns.append((START_MS + int(draw.random() * mean_gap_ms), number, user))
        heapq.heapify(turns)
        while turns:
            at_ms, number, user = heapq.heappop(turns)
            if at_ms > START_MS + 2 * SPAN_MS:
                continue
            yield from self._event(user, at_ms)
            user.visits += 1
            if draw.random() < 0.7:
                after_ms = draw.randrange(5_000, 900_000)
            elif draw.random() < 0.02:
                continue  # never again
            else:
                after_ms = min(int(draw.expovariate(1 / mean_gap_ms)), 20 * DAY_MS) + 1
            heapq.heappush(turns, (at_ms + after_ms, number, user))

    # -- what

    def _event(self, user: _User, at_ms: int) -> Iterator[tuple[int, Line]]:
        draw = self._draw
        if draw.random() < 0.005:
            yield at_ms, self._poison(user, at_ms)
        if user.visits == 0 or draw.random() < 0.01:
            yield at_ms, self._identify(user, at_ms)
            return
        name = draw.choices(
            (
                *("Product Viewed", "Product Added", "Product Removed", "Signed Up", "Experiment Viewed"),
                *("Order Completed", "Order Refunded", "Order Cancelled"),
            ),
            (680, 220, 25, 15, 5, 45, 7, 3),
        )[0]
        item = f"p{draw.randrange(200)}"
        price = draw.randrange(100, 10_000) / 100
        line = {"product_id": item, "name": f"Lantern {item}", "price": price, "quantity": draw.randrange(1, 4)}
        properties: dict[str, Any] = line
        if name.startswith("Order"):
            order_id = f"o{self._number}"
            if name == "Order Completed":
                user.orders.append(order_id)
            elif user.orders and draw.random() < 0.9:
                order_id = draw.choice(user.orders)
            properties = {"order_id": order_id, "revenue": price, "currency": "GBP", "products": [line]}
        elif name == "Experiment Viewed":
            properties = {"experiment_id": "aa-check", "variation_id": draw.choice("ab")}
        made = {"type": "track", "event": name, "properties": properties}
        topic = "purchases" if name.startswith("Order") else "clickstream"
        ident = self._next()
        yield at_ms, self._line(topic, user, made, ident, at_ms)
        occurrence = None
        if name == "Order Completed":
            campaign, occurrence = "order-thanks", ident
        elif name == "Product Added":
            campaign, occurrence = "abandoned-cart", f"{ident}@{at_ms + 3_600_000}"
        if occurrence is not None and user.address and draw.random() < 0.4:
            message = message_id(campaign, user.name, occurrence)
            stages = ("Email Opened", "Email Link Clicked") if draw.random() < 0.5 else ("Email Opened",)
            after_ms = at_ms + 3_600_000
            for stage in stages:
                after_ms += draw.randrange(60_000, 4 * 3_600_000)
                about = {"message_id": message, "campaign_id": campaign, "channel": "email"}
                told = {"type": "track", "event": stage, "properties": about}
                yield after_ms, self._line("feedback", user, told, self._next(), after_ms, kind="event")
        if draw.random() < 0.001:
            gone: dict[str, Any] = {
                "type": "track",
                "event": draw.choice(("Unsubscribed", "Email Bounced")),
                "properties": {},
            }
            yield at_ms, self._line("feedback", user, gone, self._next(), at_ms)

    def _identify(self, user: _User, at_ms: int) -> Line:
        traits: dict[str, Any] = {"consent": {"email": user.consent}, "name": user.name}
        if user.address:
            traits["email"] = f"{user.name}@example.test"
        if user.country is not None:
            traits["country"] = user.country
        if user.zone is not None:
            traits["timezone"] = user.zone
        return self._line("profiles", user, {"type": "identify", "traits": traits}, self._next(), at_ms)

    def _line(self, topic: str, user: _User, made: dict[str, Any], ident: str, at_ms: int, kind: str = "") -> Line:
        event = {"userId": user.name, "messageId": ident, "timestamp": at_ms, **made}
        lane = lane_of(user.name, self._lanes)
        drawn = self._draw.random()
        if not kind:
            kind = "stray" if drawn < 0.01 else "nameless" if drawn < 0.02 else "event"
        if kind == "stray":
            lane = (lane + 1) % self._lanes
        if kind == "nameless":
            del event["messageId"]
        return topic, lane, user.name, json.dumps(event), kind

    def _poison(self, user: _User, at_ms: int) -> Line:
        good = {"type": "track", "event": "Product Viewed", "userId": user.name, "messageId": self._next()}
        reason, value = self._draw.choice(
            (
                ("unreadable", "{"),
                ("unreadable", "\xff\xfe{}"),
                ("unknown_type", json.dumps(good | {"type": "rumour"})),
                ("missing_user", json.dumps({**good, "userId": None, "timestamp": at_ms})),
                ("wrong_type", json.dumps({**good, "event": None, "timestamp": at_ms})),
                ("wrong_type", json.dumps({**good, "timestamp": at_ms, "properties": {"price": "a lot"}})),
                ("bad_timestamp", json.dumps(good | {"timestamp": "tomorrow"})),
                ("far_future", json.dumps(good | {"timestamp": 4_102_444_800_000})),
            )
        )
        topic = "clickstream"
        if self._draw.random() < 0.1:
            broken = {
                "event": "Order Completed",
                "timestamp": at_ms,
                "properties": {"order_id": BREAKS, "revenue": 1.0},
            }
            topic, reason, value = "purchases", "failed", json.dumps(good | broken)
        return topic, lane_of(user.name, self._lanes), user.name, value, f"poison:{reason}"

    def _next(self) -> str:
        self._number += 1
        return f"e{self._number}"


def write_input(path: Path, seed: int, events: int, lanes: int) -> int:
    """Write the file; returns how many lines it has."""
    lines = 0
    with path.open("w", encoding="utf-8") as file:
        for line in Shop(seed, events, lanes).lines():
            file.write(json.dumps(line) + "\n")
            lines += 1
    return lines


def read_input(path: Path) -> Iterator[Line]:
    """Lines of the file."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            topic, lane, key, value, kind = json.loads(line)
            yield topic, lane, key, value, kind


def value_of(line: Line) -> bytes:
    """The bytes that are published for a line."""
    return line[3].encode("latin-1") if line[4].startswith("poison") else line[3].encode()
