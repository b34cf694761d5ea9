"""What a decide worker tells about itself each second: figures and a few things that just happened."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from models.chunk import Batch
from models.decisions import ChurnAlert, MessageCommand, OfferDecision
from models.outcome import Outcome
from models.wire import MERGED, Input
from services.state.live import TailKind
from services.state.step import Done
from streams.guard import DeadLetterGuard
from streams.transport import Chunk

WINDOW_S = 10.0
TAIL_EACH = 5


class Latencies:
    """Weighted quantiles over the last ten seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float, int]] = deque()

    def add(self, value_ms: float, events: int, now_s: float) -> None:
        """`events` events took `value_ms`."""
        self._seen.append((now_s, value_ms, events))
        while self._seen and self._seen[0][0] < now_s - WINDOW_S:
            self._seen.popleft()

    def summary(self) -> dict[str, float]:
        """p50, p95 and p99 in ms, and over how many events."""
        ranked = sorted((value, events) for _, value, events in self._seen)
        total = sum(events for _, events in ranked)
        found: dict[str, float] = {"n": total}
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            below, answer = 0, 0.0
            for value, events in ranked:
                below += events
                answer = value
                if below >= share * total:
                    break
            found[name] = round(answer, 2)
        return found


class DecideMeter:
    """Counts what the lanes of this worker committed."""

    def __init__(self, guard: DeadLetterGuard | None = None) -> None:
        self.guard = guard or DeadLetterGuard()
        self.events = self.batches = self.alerts = self.offers = self.messages = self.dead = 0
        self.latency, self.log_latency = Latencies(), Latencies()
        self.watermarks: dict[str, int] = {}
        self._last = (0, time.monotonic())
        self._tails: dict[TailKind, deque[dict[str, Any]]] = {
            kind: deque(maxlen=TAIL_EACH) for kind in ("events", "alerts", "offers", "messages")
        }

    def committed(self, lane: int, batch: Batch, done: Done, chunks: Sequence[Chunk]) -> None:
        """One transaction is in Redis."""
        now = time.monotonic()
        self.batches += 1
        self.events += len(batch.inputs)
        self.dead += len(done.outcome.dead)
        self.guard.committed(len(batch.inputs), (letter.key or "" for letter in done.outcome.dead))
        self.watermarks[str(lane)] = done.state.watermark
        wall_ms = time.time() * 1000
        for chunk in chunks if batch.inputs else ():
            since_ms = (now - chunk.fetched_at) * 1000
            self.latency.add(since_ms, len(chunk.records), now)
            # Of the first record, which waited longest.
            waited_ms = wall_ms - since_ms - chunk.records[0].timestamp
            self.log_latency.add(max(0.0, waited_ms), len(chunk.records), now)
        self._look(batch, done.outcome)

    def _look(self, batch: Batch, outcome: Outcome) -> None:
        at = int(time.time() * 1000)
        for event in batch.inputs[-2:]:
            if event.type != MERGED:  # a lane's own record, which has no time
                self._tails["events"].append(_event_item(event, at))
        for effect in outcome.effects:
            if isinstance(effect, ChurnAlert):
                self.alerts += 1
                self._tails["alerts"].append(_alert_item(effect, at))
            elif isinstance(effect, OfferDecision):
                self.offers += 1
                self._tails["offers"].append(_offer_item(effect, at))
            elif isinstance(effect, MessageCommand):
                self.messages += 1
                self._tails["messages"].append(_message_item(effect, at))

    def take_tails(self) -> dict[TailKind, list[dict[str, Any]]]:
        """What happened since the last look, oldest first."""
        found = {kind: list(items) for kind, items in self._tails.items() if items}
        for items in self._tails.values():
            items.clear()
        return found

    def payload(
        self, lag: dict[str, int], versions: dict[str, int], cpu_s: float, policy: str = "", config_error: str = ""
    ) -> dict[str, Any]:
        """Figures for `live:worker:decide:*`."""
        now = time.monotonic()
        events, since = self._last
        self._last = (self.events, now)
        return {
            "at": int(time.time() * 1000),
            "events_total": self.events,
            "events_per_s": round((self.events - events) / max(now - since, 1e-3), 1),
            "batches_total": self.batches,
            "lag": lag,
            "watermarks": dict(self.watermarks),
            "latency_ms": self.latency.summary(),
            "log_latency_ms": self.log_latency.summary(),
            "alerts_total": self.alerts,
            "offers_total": self.offers,
            "messages_total": self.messages,
            "dead_total": self.dead,
            "snapshots": versions,
            "policy": policy,
            "config_error": config_error,
            "cpu_s": round(cpu_s, 2),
        }


def _event_item(event: Input, at: int) -> dict[str, Any]:
    properties = event.properties
    what, name = properties.name or "", event.name.removeprefix("$")
    if name.startswith("Order") and properties.revenue is not None:
        what = f"{properties.revenue:,.2f} {properties.currency or ''}".strip()
    return {"at": at, "ts": event.at, "user": event.user, "text": f"{name}: {what}" if what else name}


def _alert_item(alert: ChurnAlert, at: int) -> dict[str, Any]:
    why = "; ".join(reason.text for reason in alert.reasons[:2])
    tag = "learned" if alert.learned else "not learned yet"
    text = f"Churn risk {alert.score:.0%}"
    return {"at": at, "ts": alert.at, "user": alert.user, "text": text, "detail": why, "tag": tag}


def _offer_item(decision: OfferDecision, at: int) -> dict[str, Any]:
    best = decision.offers[0]
    text = best.name or "an offer"
    return {"at": at, "ts": decision.at, "user": decision.user, "text": text, "detail": best.reason}


def _message_item(command: MessageCommand, at: int) -> dict[str, Any]:
    tag = f"suppressed: {command.suppressed}" if command.suppressed else "to send"
    channel = {"email": "e-mail", "log": "note"}.get(command.channel, command.channel)
    text = f"{command.campaign.replace('-', ' ').capitalize()} {channel}"
    items = command.data.get("items") or ()
    if items:
        text += f", with {items[0]['name']}"
    return {"at": at, "ts": command.at, "user": command.user, "text": text, "detail": command.reason, "tag": tag}
