"""Count again what Kairos counted, in plain Python over the log, sharing no code with the core."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from services.bus.reader import Record, read_topic

INPUTS = ("clickstream", "purchases", "profiles", "feedback")
DAY_MS = 86_400_000


def _ms(text: str | int) -> int:
    if isinstance(text, int):
        return text
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def _pence(amount: float) -> int:
    return int((Decimal(str(amount)) * 100).quantize(Decimal(1), ROUND_HALF_UP))


def events(bootstrap: str, refused: Collection[tuple[str, int, int]] = ()) -> list[dict[str, Any]]:
    """Every event of the inputs once (by messageId, or where it lay first), without ticks and `refused` positions."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for topic in INPUTS:
        for record in read_topic(bootstrap, topic):
            event = json.loads(record.value or b"{}")
            place = (topic, record.partition, record.offset)
            if event.get("type") == "tick" or place in refused:
                continue
            user = str(event.get("userId") or event.get("anonymousId"))
            origin = dict(record.headers).get("kairos-origin", "-".join(map(str, place)).encode())
            ident = event.get("messageId") or origin.decode()
            found.setdefault((user, ident), {**event, "user": user, "at": _ms(event["timestamp"])})
    return list(found.values())


def refused(bootstrap: str) -> Counter[tuple[str, int, int, str]]:
    """Topic, partition, offset and reason of each dead letter."""
    letters = [json.loads(record.value or b"{}") for record in read_topic(bootstrap, "dead-letters")]
    letters = [letter for letter in letters if letter["topic"] != "timers"]  # no record of the log
    return Counter((one["topic"], one["partition"], one["offset"], one["reason"]) for one in letters)


def unlucky(bootstrap: str) -> set[str]:
    """Users whose timers were put aside."""
    letters = (json.loads(record.value or b"{}") for record in read_topic(bootstrap, "dead-letters"))
    return {letter["key"] for letter in letters if letter["topic"] == "timers"}


def surviving(bootstrap: str, until: Mapping[int, int]) -> Callable[[Record], bool]:
    """Tell outputs that Redis still knows of from those of a stretch that it forgot and went through again.

    Of two batches with one number the one of the later epoch counts; `until` is the last number of each lane.
    """
    epochs: dict[tuple[int, int], int] = {}
    for record in read_topic(bootstrap, "journal"):
        lane, epoch, seq = _place(record)
        epochs[lane, seq] = max(epoch, epochs.get((lane, seq), 0))

    def counts(record: Record) -> bool:
        lane, epoch, seq = _place(record)
        return seq <= until[lane] and epochs.get((lane, seq), epoch) == epoch

    return counts


def forgotten(bootstrap: str) -> int:
    """How many numbers of batches were given twice."""
    seen: dict[tuple[int, int], set[int]] = defaultdict(set)
    for record in read_topic(bootstrap, "journal"):
        lane, epoch, seq = _place(record)
        seen[lane, seq].add(epoch)
    return sum(1 for epochs in seen.values() if len(epochs) > 1)


def _place(record: Record) -> tuple[int, int, int]:
    headers = dict(record.headers)
    return int(headers["kairos-lane"]), int(headers["kairos-epoch"]), int(headers["kairos-seq"])


def _always(_: Record) -> bool:
    return True


def orders_and_money(log: Iterable[dict[str, Any]]) -> tuple[Counter[str], Counter[str]]:
    """Orders and money (minor units, refunds taken off) of each user."""
    orders: Counter[str] = Counter()
    money: Counter[str] = Counter()
    for event in log:
        if event.get("event") == "Order Completed":
            orders[event["user"]] += 1
            money[event["user"]] += _pence(event["properties"]["revenue"])
        elif event.get("event") == "Order Refunded":
            money[event["user"]] -= abs(_pence(event["properties"]["revenue"]))
    return orders, money


def exposures(bootstrap: str, counts: Callable[[Record], bool] = _always) -> dict[str, dict[str, tuple[str, int, str]]]:
    """Experiment -> user -> (variant, time, messageId of the cause), from the topic; one exposure per user."""
    found: dict[str, dict[str, tuple[str, int, str]]] = defaultdict(dict)
    for record in filter(counts, read_topic(bootstrap, "exposures")):
        seen = json.loads(record.value or b"{}")
        found[seen["experiment"]].setdefault(seen["user"], (seen["variant"], seen["at"], seen["cause"]["message_id"]))
    return found


def converted(
    log: Iterable[dict[str, Any]], exposed: dict[str, tuple[str, int, str]], name: str, within_ms: int
) -> Counter[str]:
    """Users by variant with an event `name` inside the window after their exposure. An order must be later than it."""
    users: dict[str, set[str]] = defaultdict(set)
    for event in log:
        seen = exposed.get(event["user"])
        if event.get("event") != name or seen is None or event["messageId"] == seen[2]:
            continue
        if (name == "Order Completed") <= event["at"] - seen[1] <= within_ms:
            users[seen[0]].add(event["user"])
    return Counter({variant: len(found) for variant, found in users.items()})


def stages(log: Iterable[dict[str, Any]], name: str) -> Counter[str]:
    """Messages by campaign for which feedback `name` came, each once."""
    seen = {
        (event["properties"]["campaign_id"], event["properties"]["message_id"])
        for event in log
        if event.get("event") == name
    }
    return Counter(campaign for campaign, _ in seen)


def decided(bootstrap: str, counts: Callable[[Record], bool] = _always) -> tuple[Counter[str], Counter[str], set[str]]:
    """Commands by campaign, suppressed by "campaign:reason", and the ids of what is to be sent."""
    commands: dict[str, dict[str, Any]] = {}
    for record in filter(counts, read_topic(bootstrap, "messages")):
        command = json.loads(record.value or b"{}")
        commands.setdefault(command["id"], command)
    sent: Counter[str] = Counter()
    suppressed: Counter[str] = Counter()
    for command in commands.values():
        if command["suppressed"]:
            suppressed[f"{command['campaign']}:{command['suppressed']}"] += 1
        else:
            sent[command["campaign"]] += 1
    return sent, suppressed, {ident for ident, command in commands.items() if not command["suppressed"]}


def held_back(bootstrap: str) -> set[str]:
    """Ids of messages that were suppressed when they were decided, at least once."""
    commands = (json.loads(record.value or b"{}") for record in read_topic(bootstrap, "messages"))
    return {command["id"] for command in commands if command["suppressed"]}
