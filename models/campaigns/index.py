"""Which campaigns listen to which event: looked up for every event, so nothing is searched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from config.definitions import Campaign, Definitions
from models.campaigns.terms import terms_of

_NONE: tuple[Campaign, ...] = ()
_Ranked = tuple[int, Campaign]


class Listeners:
    """The campaigns that one event starts at once, in the order in which they compete.

    Most ask for one value of a property (`properties.category == 'Toys' && ...`): they are looked up by the value that
    the event has, so that the others of their kind cost nothing.

    Parameters
    ----------
    campaigns : all of them, in order.
    """

    __slots__ = ("_by_value", "_conditional", "_others", "_unasking", "every")

    def __init__(self, campaigns: tuple[Campaign, ...]) -> None:
        self.every = campaigns
        self._conditional = any(campaign.when for campaign in campaigns)
        self._by_value: dict[str, dict[str, list[_Ranked]]] = {}
        self._others: list[_Ranked] = []
        for ranked in enumerate(campaigns):
            asked = _asked(ranked[1])
            if asked is None:
                self._others.append(ranked)
            else:
                self._by_value.setdefault(asked[0], {}).setdefault(asked[1], []).append(ranked)
        self._unasking = tuple(campaign for _, campaign in self._others)

    def among(self, document: Callable[[], dict[str, Any]]) -> tuple[tuple[Campaign, ...], dict[str, Any]]:
        """Campaigns whose condition may hold for the event, and the properties to ask it about.

        `document` : the event as a dictionary; not called when there are no conditions.
        """
        if not self._conditional:
            return self.every, {}
        properties: dict[str, Any] = document()["properties"]
        found = self._others
        for name, by_value in self._by_value.items():
            value = properties.get(name)
            if type(value) is str and value in by_value:
                found = found + by_value[value]
        if found is self._others:
            return self._unasking, properties
        return tuple(campaign for _, campaign in sorted(found, key=_rank)), properties


_NOBODY = Listeners(_NONE)


class CampaignIndex:
    """The enabled campaigns by what starts and what cancels them.

    Campaigns that answer the same event come by priority, highest first, then by id: the order in which they
    compete.

    Parameters
    ----------
    definitions : everything that was loaded.

    Attributes
    ----------
    on_alert : campaigns started by a churn alert.
    longest_window_ms : how far back sends have to be remembered for any cap.
    longest_expiry_ms : how late an event may still start a campaign.
    """

    __slots__ = ("_cancelled", "_events", "_timers", "longest_expiry_ms", "longest_window_ms", "on_alert")

    def __init__(self, definitions: Definitions) -> None:
        enabled = sorted(
            (campaign for campaign in definitions.campaigns if campaign.enabled),
            key=lambda campaign: (-campaign.priority, campaign.id),
        )
        events = _by_event(_starts(enabled, "event"))
        self._events = {name: Listeners(campaigns) for name, campaigns in events.items()}
        self._timers = _by_event(_starts(enabled, "timer"))
        self._cancelled = _by_event((name, one) for one in enabled for name in dict.fromkeys(one.trigger.unless))
        self.on_alert = tuple(campaign for campaign in enabled if campaign.trigger.on == "alert")
        caps = [*definitions.policy.frequency_caps, *(campaign.cap for campaign in enabled if campaign.cap)]
        self.longest_expiry_ms = max((campaign.expires_after_ms for campaign in enabled), default=0)
        self.longest_window_ms = max((cap.per_ms for cap in caps), default=0)

    @property
    def names(self) -> set[str]:
        """Every event that starts a campaign or ends a wait."""
        return {*self._events, *self._timers, *self._cancelled}

    def listens(self, event: str) -> bool:
        """Whether the event starts any campaign, at once or later."""
        return event in self._events or event in self._timers

    def on_event(self, event: str) -> Listeners:
        """Campaigns that the event starts at once."""
        return self._events.get(event, _NOBODY)

    def started_by(self, event: str) -> tuple[Campaign, ...]:
        """Campaigns whose wait begins with the event."""
        return self._timers.get(event, _NONE)

    def cancelled_by(self, event: str) -> tuple[Campaign, ...]:
        """Campaigns whose wait the event ends.

        An event that both ends and begins a wait ends the old one first.
        """
        return self._cancelled.get(event, _NONE)


def _asked(campaign: Campaign) -> tuple[str, str] | None:
    """A property and the text that it must be for the campaign's condition to hold, if it asks for one."""
    for term in terms_of(campaign.when or ""):
        if term.root == "properties" and term.comparison == "==" and isinstance(term.literal, str):
            return term.field, term.literal
    return None


def _rank(ranked: _Ranked) -> int:
    return ranked[0]


def _starts(campaigns: Iterable[Campaign], kind: str) -> Iterator[tuple[str, Campaign]]:
    for campaign in campaigns:
        if campaign.trigger.on == kind and campaign.trigger.event is not None:
            yield campaign.trigger.event, campaign


def _by_event(pairs: Iterable[tuple[str, Campaign]]) -> dict[str, tuple[Campaign, ...]]:
    found: dict[str, tuple[Campaign, ...]] = {}
    for event, campaign in pairs:
        found[event] = (*found.get(event, _NONE), campaign)
    return found
