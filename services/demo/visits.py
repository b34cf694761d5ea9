"""Visits at which customers see what was recommended to them, simulated and marked so: nobody in the file ever did.

A seeded share of the lists that Kairos decided is shown some days later, under the name `simulated`; the further down a
product stands, the fewer click it. Orders are never made up here: what is bought afterwards is what the file says.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import msgspec

from config.topics import CLICKSTREAM, DAY_MS, HOUR_MS
from models.offers.rankings import CLICKED_EVENT, SIMULATED, VIEWED_EVENT
from services.demo.events import SEED, share
from services.demo.reactions import CONTEXT, Reaction

_MINUTE_MS: Final = 60_000
# Later than a slice of the replay takes, so that nearly all visits come at their own time.
_AFTER_DAYS: Final = 4


@dataclass(frozen=True, slots=True)
class Browsing:
    """How the simulated customers look at lists.

    Parameters
    ----------
    shown : share of decided lists that are shown.
    clicked : share of the products in the first place that are clicked; in place p it is divided by p to the 0.7.
    """

    shown: float = 0.05
    clicked: float = 0.08


class _Offer(msgspec.Struct):
    item: str | None = None


class _Ranked(msgspec.Struct):
    id: str
    user: str
    at: int
    offers: list[_Offer]


_decode = msgspec.json.Decoder(_Ranked).decode


class Visits:
    """Turn a decision of the topic `offers` into a visit at which the list is seen.

    Parameters
    ----------
    seed, browsing : of the simulation.

    Attributes
    ----------
    counts : events decided so far, by name.
    """

    def __init__(self, seed: int = SEED, browsing: Browsing | None = None) -> None:
        self._seed, self._browsing = seed, browsing or Browsing()
        self._known: set[str] = set()
        self.counts: Counter[str] = Counter()

    def of(self, value: bytes | None) -> list[Reaction]:
        """The visit of one record of `offers`; none if the list is not shown, or was seen before."""
        if not value:
            return []
        ranked = _decode(value)
        items = [one.item for one in ranked.offers if one.item is not None]
        if not items or ranked.id in self._known or self._draw("shown", ranked) >= self._browsing.shown:
            return []
        self._known.add(ranked.id)
        days = _AFTER_DAYS + int(4 * self._draw("days", ranked))
        at = (ranked.at // DAY_MS + days) * DAY_MS + 9 * HOUR_MS + int(9 * HOUR_MS * self._draw("hour", ranked))
        list_id = f"{SIMULATED}:{ranked.id}"
        products = [{"product_id": item, "position": place} for place, item in enumerate(items, 1)]
        found = [_event(at, ranked, VIEWED_EVENT, 0, {"list_id": list_id, "products": products})]
        for place, item in enumerate(items, 1):
            if self._draw(f"clicked {place}", ranked) < self._browsing.clicked / place**0.7:
                about = {"list_id": list_id, "product_id": item, "position": place}
                found.append(_event(at + place * _MINUTE_MS, ranked, CLICKED_EVENT, place, about))
        self.counts.update(one.event for one in found)
        return found

    def _draw(self, what: str, ranked: _Ranked) -> float:
        return share(self._seed, f"list {what} {ranked.id}")


def _event(at_ms: int, ranked: _Ranked, name: str, number: int, properties: dict[str, object]) -> Reaction:
    message = f"{ranked.id}-{number:02}"
    before = (
        f'{{"type":"track","event":"{name}","userId":{msgspec.json.encode(ranked.user).decode()},'
        f'"messageId":"sim-list-{message}","timestamp":"'
    )
    after = f'","properties":{msgspec.json.encode(properties).decode()},{CONTEXT}}}'
    return Reaction(at_ms, message, CLICKSTREAM.name, ranked.user, name, before, after)
