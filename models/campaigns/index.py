"""Which campaigns listen to which event: looked up for every event, so nothing is searched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from config.definitions import Campaign, Definitions

_NONE: tuple[Campaign, ...] = ()


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
        self._events = _by_event(_starts(enabled, "event"))
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

    def on_event(self, event: str) -> tuple[Campaign, ...]:
        """Campaigns that the event starts at once."""
        return self._events.get(event, _NONE)

    def started_by(self, event: str) -> tuple[Campaign, ...]:
        """Campaigns whose wait begins with the event."""
        return self._timers.get(event, _NONE)

    def cancelled_by(self, event: str) -> tuple[Campaign, ...]:
        """Campaigns whose wait the event ends.

        An event that both ends and begins a wait ends the old one first.
        """
        return self._cancelled.get(event, _NONE)


def _starts(campaigns: Iterable[Campaign], kind: str) -> Iterator[tuple[str, Campaign]]:
    for campaign in campaigns:
        if campaign.trigger.on == kind and campaign.trigger.event is not None:
            yield campaign.trigger.event, campaign


def _by_event(pairs: Iterable[tuple[str, Campaign]]) -> dict[str, tuple[Campaign, ...]]:
    found: dict[str, tuple[Campaign, ...]] = {}
    for event, campaign in pairs:
        found[event] = (*found.get(event, _NONE), campaign)
    return found
