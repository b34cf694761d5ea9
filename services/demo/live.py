"""What the demo watches while the replay runs: messages and their outcomes, and the workers' latency."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from time import monotonic
from typing import Any, Protocol

import msgspec

from config.topics import FEEDBACK, MESSAGES, OFFERS
from services.bus import Record
from services.demo.reactions import Reaction, Reactions
from services.demo.summary import Latency
from services.demo.visits import Visits

_FINAL = frozenset(("Email Delivered", "Message Delivered", "Message Failed", "Message Unknown", "Message Expired"))
# The outbox publishes a moment after the lanes' time has moved: "all done" must stay true for this long.
_QUIET_S = 2.0


class _Message(msgspec.Struct):
    type: str
    id: str


class _About(msgspec.Struct):
    message_id: str | None = None


class _Outcome(msgspec.Struct):
    event: str | None = None
    properties: _About | None = None


_message = msgspec.json.Decoder(_Message).decode
_outcome = msgspec.json.Decoder(_Outcome).decode


class Source(Protocol):
    """What is needed of :class:`services.bus.Follower` on `messages` and `feedback`."""

    def poll(self, timeout_s: float = 0.0) -> list[Record]:
        """Return what came since the last call."""


class Responses:
    """Follow messages and their outcomes: customers react to deliveries, and the end waits for the rest.

    Parameters
    ----------
    source : records of `messages` and `feedback`, and of `offers` if there are visits.
    reactions : what the simulated customers do.
    clock_s : monotonic clock.
    visits : at which they see what was recommended.
    """

    def __init__(
        self,
        source: Source,
        reactions: Reactions,
        clock_s: Callable[[], float] = monotonic,
        visits: Visits | None = None,
    ) -> None:
        self._source, self._reactions, self._clock_s, self._visits = source, reactions, clock_s, visits
        self._commands: set[str] = set()
        self._done: set[str] = set()
        self._new: list[Reaction] = []
        self._changed_s = clock_s()

    def poll(self) -> list[Reaction]:
        """Reactions to what was delivered and recommended since the last call."""
        self._read()
        found, self._new = self._new, []
        return found

    def unfinished(self) -> int:
        """Messages without an outcome; at least 1 until nothing has come for two seconds."""
        left = self.waiting()
        return left or int(self._clock_s() - self._changed_s < _QUIET_S)

    def waiting(self) -> int:
        """Messages that are known to be decided and have no outcome yet."""
        self._read()
        return len(self._commands - self._done)

    def _read(self) -> None:
        for record in self._source.poll():
            if not record.value:
                continue
            if record.topic == MESSAGES.name:
                self._changed_s = self._clock_s()
                command = _message(record.value)
                if command.type != "MessageSuppressed":
                    self._commands.add(command.id)
            elif record.topic == OFFERS.name and self._visits is not None:
                self._new += self._visits.of(record.value)
            elif record.topic == FEEDBACK.name and b'"message_id"' in record.value:
                self._changed_s = self._clock_s()
                outcome = _outcome(record.value)
                if outcome.event in _FINAL and outcome.properties and outcome.properties.message_id:
                    self._done.add(outcome.properties.message_id)
                self._new += self._reactions.of(record.value)


class LatencySamples:
    """Collect what the workers say of their latency, each second."""

    def __init__(self) -> None:
        self._samples: dict[str, list[tuple[float, float]]] = {}

    def add(self, worker: Mapping[str, Any]) -> None:
        """Take the figures of one worker."""
        if worker.get("role") != "decide":
            return
        for name in ("latency_ms", "log_latency_ms"):
            found = worker.get(name)
            if isinstance(found, Mapping) and found.get("n"):
                self._samples.setdefault(name, []).append((float(found["p50"]), float(found["p99"])))

    def of(self, name: str) -> Latency | None:
        """Middle of the medians and the worst 99th percentile; None without samples."""
        samples = self._samples.get(name)
        if not samples:
            return None
        return Latency(median(p50 for p50, _ in samples), max(p99 for _, p99 in samples))
