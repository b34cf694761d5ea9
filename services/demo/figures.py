"""What Kairos published during the demo, read back from the topics and counted, not from its counters."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from config.topics import CHURN_ALERTS, DEAD_LETTERS, FEEDBACK, MESSAGES, OFFERS, PURCHASES
from services.bus import Record, read_topic
from services.demo.verdict import Alert, Ranked

_OUTCOMES = {
    "Email Delivered": "sent",
    "Message Delivered": "sent",
    "Email Opened": "opened",
    "Email Link Clicked": "clicked",
    "Unsubscribed": "unsubscribed",
    "Message Failed": "failed",
    "Message Unknown": "unknown",
    "Message Expired": "expired",
}
FINAL = frozenset(("sent", "failed", "unknown", "expired"))


class _Alert(msgspec.Struct):
    id: str
    user: str
    at: int
    score: float
    learned: bool


class _RankedOffer(msgspec.Struct):
    item: str | None = None


class _Offers(msgspec.Struct):
    id: str
    user: str
    at: int
    offers: list[_RankedOffer]


class _Cause(msgspec.Struct):
    at: int


class _Message(msgspec.Struct):
    type: str
    id: str
    user: str
    campaign: str
    cause: _Cause
    suppressed: str | None = None


class _About(msgspec.Struct):
    message_id: str | None = None
    campaign_id: str | None = None
    revenue: float | None = None


class _Feedback(msgspec.Struct):
    type: str
    event: str | None = None
    user: str | int | None = msgspec.field(default=None, name="userId")
    properties: _About | None = None


_alert = msgspec.json.Decoder(_Alert).decode
_offers = msgspec.json.Decoder(_Offers).decode
_message = msgspec.json.Decoder(_Message).decode
_feedback = msgspec.json.Decoder(_Feedback).decode


@dataclass(slots=True)
class Funnel:
    """One campaign's messages: ids by stage, so that a record that lies twice in the log counts once.

    `causes` holds user and event time of what each message that was sent answers.
    """

    commanded: set[str] = field(default_factory=set)
    suppressed: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    stages: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    causes: list[tuple[str, int]] = field(default_factory=list)

    @property
    def decided(self) -> int:
        """Messages that were decided on, sent or not."""
        return len(self.commanded) + self.suppressed_total

    @property
    def suppressed_total(self) -> int:
        """Messages that were not to be sent, for any reason."""
        return sum(len(ids) for ids in self.suppressed.values())

    @property
    def unfinished(self) -> int:
        """Messages handed to deliver of which nobody knows what became."""
        done = set().union(*(self.stages[stage] for stage in FINAL if stage in self.stages))
        return len(self.commanded - done)

    def at(self, stage: str) -> int:
        """Messages that came as far as this stage."""
        return len(self.stages.get(stage, ()))


@dataclass(slots=True)
class Figures:
    """Everything that was published, counted.

    Parameters
    ----------
    alerts, answers : claims to be judged. funnels : by campaign. dead : refused records, by reason.
    simulated_revenue_minor : of invented orders; never part of any real sum. clicked : (message, user) of
        clicks.
    """

    alerts: list[Alert] = field(default_factory=list)
    answers: list[Ranked] = field(default_factory=list)
    funnels: dict[str, Funnel] = field(default_factory=lambda: defaultdict(Funnel))
    dead: Counter[str] = field(default_factory=Counter)
    simulated_revenue_minor: int = 0
    clicked: list[tuple[str, str]] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    @property
    def messages(self) -> int:
        """Messages that were decided on."""
        return sum(funnel.decided for funnel in self.funnels.values())

    def add_alert(self, value: bytes) -> None:
        """Count one record of `churn-alerts`."""
        found = _alert(value)
        if self._new(found.id):
            self.alerts.append(Alert(found.user, found.at, found.score, found.learned))

    def add_offers(self, value: bytes) -> None:
        """Count one record of `offers`."""
        found = _offers(value)
        if self._new(found.id):
            items = tuple(dict.fromkeys(one.item for one in found.offers if one.item is not None))
            self.answers.append(Ranked(found.user, found.at, items))

    def add_message(self, value: bytes) -> None:
        """Count one record of `messages`."""
        found = _message(value)
        funnel = self.funnels[found.campaign]
        if found.type == "MessageSuppressed":
            funnel.suppressed[found.suppressed or "unknown"].add(found.id)
        else:
            if found.id not in funnel.commanded:
                funnel.causes.append((found.user, found.cause.at))
            funnel.commanded.add(found.id)

    def add_feedback(self, value: bytes) -> None:
        """Count one record of `feedback`, or a simulated order."""
        found = _feedback(value)
        about = found.properties
        if about is None or not about.message_id or not about.campaign_id:
            return
        funnel = self.funnels[about.campaign_id]
        if found.event == "Simulated Order":
            if about.message_id not in funnel.stages["ordered"]:
                self.simulated_revenue_minor += round((about.revenue or 0.0) * 100)
            funnel.stages["ordered"].add(about.message_id)
            return
        stage = _OUTCOMES.get(found.event or "")
        if stage is None:
            return
        if stage == "clicked" and about.message_id not in funnel.stages["clicked"]:
            self.clicked.append((about.message_id, str(found.user)))
        funnel.stages[stage].add(about.message_id)

    def add_purchase(self, value: bytes) -> None:
        """Count one record of `purchases`, if it is a simulated order."""
        if b'"Simulated Order"' in value:  # real orders are judged from the file, and are large
            self.add_feedback(value)

    def add_dead_letter(self, value: bytes) -> None:
        """Count one record of `dead-letters`."""
        found: Any = msgspec.json.decode(value)
        self.dead[str(found.get("reason", "unknown"))] += 1

    def _new(self, identifier: str) -> bool:
        if identifier in self._seen:
            return False
        self._seen.add(identifier)
        return True


def gather(bootstrap: str) -> Figures:
    """Read all outputs of the demo.

    Raises
    ------
    TransientError
        The broker cannot be reached or stops answering.
    """
    figures = Figures()
    for topic, add in (
        (CHURN_ALERTS.name, figures.add_alert),
        (OFFERS.name, figures.add_offers),
        (MESSAGES.name, figures.add_message),
        (FEEDBACK.name, figures.add_feedback),
        (PURCHASES.name, figures.add_purchase),
        (DEAD_LETTERS.name, figures.add_dead_letter),
    ):
        for value in _values(read_topic(bootstrap, topic)):
            add(value)
    return figures


def _values(records: Iterable[Record]) -> Iterable[bytes]:
    return (record.value for record in records if record.value)
