"""One lane, counted again: the records of its inputs in the order in which the journal says they were applied.

Taken for granted: the journal's word for the order of the four inputs among each other, for which users' timers were
looked at with a batch, and the alerts (which depend on what was learned; the audit computes them again). Everything
else is worked out here. That the journal leaves nothing out and takes nothing twice is checked: the positions of its
batches must be one unbroken chain from the first record of every input to the last.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.log import Found
from chaos.recount.customer import Customer, Event, Shopkeeper, Tally
from chaos.recount.rules import Rules
from chaos.recount.trials import fields
from chaos.shop import BREAKS, TOPICS, lane_of

TYPES = {"track", "identify"}
FUTURE_MS = 300_000
Refused = tuple[str, int, int, str]


class PoisonError(Exception):
    """A record that has to be refused; the text is the reason. `at` is its time, if that counts all the same."""

    def __init__(self, reason: str, at: int = 0) -> None:
        super().__init__(reason)
        self.at = at


@dataclass(slots=True)
class Counted:
    """What a lane must hold.

    Parameters
    ----------
    customers : by name. tally : counters and effects. fates : how many records went which way.
    refused : (topic, partition, offset, reason) of dead letters. faults : what is wrong with journal or alerts.
    alerts : ids of alerts, once for each time raised.
    """

    customers: dict[str, Customer] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    fates: Counter[str] = field(default_factory=Counter)
    refused: set[Refused] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    overdue: int = 0


def read_event(found: Found, position: str) -> Event | int:
    """A record as an event, or the time of a tick.

    Raises
    ------
    PoisonError
        It has to be refused.
    """
    try:
        tree = json.loads((found.value or b"").decode())
    except ValueError:
        raise PoisonError("unreadable") from None
    if tree["type"] == "tick":
        return int(tree["timestamp"])
    if tree["type"] not in TYPES:
        raise PoisonError("unknown_type")
    properties = tree.get("properties") or {}
    at = tree.get("timestamp")
    if isinstance(properties.get("price", 0), str):
        raise PoisonError("wrong_type")
    if isinstance(at, str):
        raise PoisonError("bad_timestamp")
    if not tree.get("userId"):
        raise PoisonError("missing_user")
    if properties.get("order_id") == BREAKS:
        raise PoisonError("failed", at)  # it could be read, but not applied
    name = tree.get("event") if tree["type"] == "track" else tree["type"]
    if not name:
        raise PoisonError("wrong_type")
    if at > found.broker_ms + FUTURE_MS:
        raise PoisonError("far_future")
    ident = tree.get("messageId") or found.headers.get("kairos-origin", position.encode()).decode()
    return Event(tree["userId"], min(at, found.broker_ms), name, ident, properties, tree.get("traits") or {})


def place(found: Found) -> tuple[int, int, int, int]:
    """(lane, epoch, seq, n) of something that Kairos published."""
    lane, epoch, seq, n = (int(found.headers[f"kairos-{name}"]) for name in ("lane", "epoch", "seq", "n"))
    return lane, epoch, seq, n


def timeline(journal: Sequence[Found], last: int, faults: list[str]) -> dict[int, dict[str, Any]]:
    """Batches that count, by number: of several with one number (Redis went back in time) that of the last epoch."""
    counted: dict[int, dict[str, Any]] = {}
    for found in journal:
        entry = json.loads(found.value or b"")
        known = counted.get(entry["seq"])
        if known is not None and known["epoch"] == entry["epoch"] and known != entry:
            faults.append(f"journal: {entry['seq']} of epoch {entry['epoch']} says two things")
        if known is None or known["epoch"] < entry["epoch"]:
            counted[entry["seq"]] = entry
    for seq in [seq for seq in counted if seq > last]:
        del counted[seq]
    missing = [seq for seq in range(1, last + 1) if seq not in counted]
    if missing:
        faults.append(f"journal: {len(missing)} batches are missing, the first is {missing[0]}")
    return dict(sorted(counted.items()))


class LaneRecount:
    """Go through a lane once.

    Parameters
    ----------
    lane, lanes : its number, and how many there are. rules : from the YAML files.
    records : of each input, offset 0 first. alerts : that count, by batch, in their order.
    """

    def __init__(
        self,
        lane: int,
        lanes: int,
        rules: Rules,
        records: Mapping[str, Sequence[Found]],
        alerts: Mapping[int, list[dict[str, Any]]],
    ) -> None:
        self._lane, self._lanes, self._rules = lane, lanes, rules
        self._records, self._alerts = records, alerts
        self._next = dict.fromkeys(TOPICS, 0)
        self._marks = dict.fromkeys(TOPICS, 0)
        self._keeper = Shopkeeper(rules)
        self.out = Counted(tally=self._keeper.tally)

    def run(self, batches: Mapping[int, dict[str, Any]]) -> Counted:
        """Everything, batch by batch."""
        for entry in batches.values():
            if entry["kind"] == "batch":
                self._batch(entry)
        for topic, at in self._next.items():
            if at != len(self._records[topic]):
                self.out.faults.append(
                    f"{topic}-{self._lane}: applied to {at}, the log has {len(self._records[topic])}"
                )
        diaries = [who.diary for who in self.out.customers.values()]
        self.out.tally.counts.update(fields(self._rules.experiments, diaries))
        watermark = min(self._marks.values())
        self.out.overdue = sum(
            1 for who in self.out.customers.values() for timer in who.timers if timer.due <= watermark
        )
        return self.out

    def _batch(self, entry: dict[str, Any]) -> None:
        events: list[tuple[int, Event, bool]] = []
        newest: dict[str, int] = {}
        for topic, start, end in entry["sources"]:
            if max(start, 0) != self._next[topic]:
                self.out.faults.append(
                    f"{topic}-{self._lane}: batch {entry['seq']} takes {start}, not {self._next[topic]}"
                )
            self._next[topic] = end
            for offset in range(max(start, 0), end):
                self._read(topic, offset, events, newest)
        if len(entry["sources"]) > 1:  # inputs are merged by event time; one alone is applied as it lies in the log
            events.sort(key=lambda one: one[0])
        self._keeper.watermark = min(self._marks.values())
        applied: set[tuple[str, str]] = set()
        for _, event, forwarded in events:
            if self._owner(event, forwarded):
                self._event(event, applied)
        for topic, at in newest.items():
            self._marks[topic] = max(self._marks[topic], at)
        watermark = min(self._marks.values())
        if watermark != entry["watermark"]:
            self.out.faults.append(f"batch {entry['seq']}: watermark {entry['watermark']}, must be {watermark}")
        for user in entry["fired"]:
            self._keeper.fire(self.out.customers[user], watermark)
        for alert in self._alerts.get(entry["seq"], ()):
            self._alert(alert, applied, watermark)

    def _read(self, topic: str, offset: int, events: list[tuple[int, Event, bool]], newest: dict[str, int]) -> None:
        found = self._records[topic][offset]
        self.out.fates["received"] += 1
        try:
            event = read_event(found, f"{topic}-{self._lane}-{offset}")
        except PoisonError as error:
            self.out.fates["rejected"] += 1
            self.out.refused.add((topic, self._lane, offset, str(error)))
            if error.at:
                newest[topic] = max(newest.get(topic, 0), error.at)
            return
        at = event if isinstance(event, int) else event.at
        newest[topic] = max(newest.get(topic, 0), at)
        if isinstance(event, int):
            self.out.fates["applied"] += 1
            self.out.fates["ticks"] += 1
        else:
            events.append((at, event, "kairos-origin" in found.headers))

    def _owner(self, event: Event, forwarded: bool) -> bool:
        if lane_of(event.user, self._lanes) == self._lane:
            return True
        if forwarded:
            self.out.faults.append(f"{event.ident} of {event.user} was forwarded to the wrong partition {self._lane}")
        self.out.fates["forwarded"] += 1
        return False

    def _event(self, event: Event, applied: set[tuple[str, str]]) -> None:
        who = self.out.customers.setdefault(event.user, Customer(event.user))
        if event.ident in who.seen:
            self.out.fates["duplicate"] += 1
            return
        who.seen.add(event.ident)
        self.out.fates["applied"] += 1
        applied.add((event.user, event.ident))
        self._keeper.apply(who, event)

    def _alert(self, alert: dict[str, Any], applied: set[tuple[str, str]], watermark: int) -> None:
        """Alerts hang on what was learned. What can be said of one without the model is said here."""
        who, at, rules = self.out.customers[alert["user"]], alert["at"], self._rules
        cause = alert["cause"]
        said = f"alert {alert['id']} of {who.name}"
        if cause["kind"] == "event" and (who.name, cause["message_id"]) not in applied:
            self.out.faults.append(f"{said}: no event {cause['message_id']} in its batch")
        if cause["kind"] == "timer" and not (
            cause["message_id"] == f"tick-{at}" and at <= max(watermark, who.last_seen)
        ):
            self.out.faults.append(f"{said}: from the future")
        if alert["score"] < rules.alert_at or who.orders < rules.min_orders:
            self.out.faults.append(f"{said}: score {alert['score']}, {who.orders} orders")
        if who.last_alert is not None and at - who.last_alert < rules.cool_down_ms:
            self.out.faults.append(f"{said}: {at - who.last_alert} ms after the one before")
        who.last_alert = at // 1000 * 1000
        self.out.alerts.append(alert["id"])
        self._keeper.alert(who, alert)


def alerts_by_batch(topic: Sequence[Found], counted: Mapping[int, dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    """Alerts of the batches that count; one that was published twice (same place) once."""
    seen: dict[tuple[int, int], dict[str, Any]] = {}
    for found in topic:
        _, epoch, seq, n = place(found)
        if seq in counted and counted[seq]["epoch"] == epoch:
            seen[seq, n] = json.loads(found.value or b"")
    alerts: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for (seq, _), alert in sorted(seen.items(), key=lambda item: item[0]):
        alerts[seq].append(alert)
    return alerts
