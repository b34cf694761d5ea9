"""Customers' reactions to mails, simulated and marked so: nobody in the file ever got one.

What a customer does is a hash of the seed and the message's id, so it does not depend on when anything runs.
What is planted in an experiment (``planted`` in its YAML: last variant minus control) is built in here, so
that the summary can show it beside what Kairos measured. Invented orders have a name of their own, `Simulated
Order`, and are never added to real revenue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from config.definitions import Experiment
from config.topics import FEEDBACK, HOUR_MS, PURCHASES
from services.demo.events import SEED, iso, money, share
from services.demo.history import CURRENCY

_MINUTE_MS = 60_000
CONTEXT = '"context":{"source":"kairos-demo","derived":false,"simulated":true}'


@dataclass(frozen=True, slots=True)
class Habits:
    """How the simulated customers behave.

    Parameters
    ----------
    opened : share of delivered mails that are opened.
    clicked : share of delivered mails of the control that are clicked; a variant has its planted effect on
        top.
    ordered : share of clicked mails that lead to a simulated order.
    unsubscribed : share of delivered mails that make the reader leave.
    """

    opened: float = 0.45
    clicked: float = 0.12
    ordered: float = 0.25
    unsubscribed: float = 0.003


class _Properties(msgspec.Struct):
    message_id: str = ""
    campaign_id: str = ""
    variant: str | None = None
    experiment_id: str | None = None


class _Outcome(msgspec.Struct):
    event: str | None = None
    user: str = msgspec.field(default="", name="userId")
    timestamp: int | str | None = None
    properties: _Properties | None = None


_decode = msgspec.json.Decoder(_Outcome).decode


@dataclass(frozen=True, slots=True, order=True)
class Reaction:
    """One simulated event, due at `at_ms` of event time."""

    at_ms: int
    message_id: str
    topic: str = field(compare=False)
    user: str = field(compare=False)
    event: str
    before: str = field(compare=False)
    after: str = field(compare=False)

    def moved_to(self, at_ms: int) -> Reaction:
        """Give the same reaction another time."""
        return replace(self, at_ms=at_ms)

    def value(self, at_ms: int) -> bytes:
        """Bytes of the event, with the time at which it really goes out."""
        return f"{self.before}{iso(at_ms)}{self.after}".encode()


class Reactions:
    """Turn `Email Delivered` into what the customer does next.

    Parameters
    ----------
    experiments : definitions, for the planted effects.
    seed, habits : of the simulation.

    Attributes
    ----------
    counts : reactions decided so far, by event.

    Notes
    -----
    Opened and clicked come from one uniform draw per message: clicked if it lies below the variant's click
    rate, opened if below the open rate. So the planted difference is the exact difference of the two rates.
    """

    def __init__(self, experiments: Iterable[Experiment] = (), seed: int = SEED, habits: Habits | None = None) -> None:
        self._rates = {one.id: _click_rates(one, (habits or Habits()).clicked) for one in experiments}
        self._seed = seed
        self._habits = habits or Habits()
        self._known: set[str] = set()
        self.counts: Counter[str] = Counter()

    def of(self, value: bytes | None) -> list[Reaction]:
        """Reactions to one record of `feedback`; none if it is no delivery of a mail, or was seen before."""
        if not value or b'"Email Delivered"' not in value:
            return []
        outcome = _decode(value)
        about = outcome.properties
        if outcome.event != "Email Delivered" or about is None or not about.message_id:
            return []
        if about.message_id in self._known:  # the log may hold an outcome twice; the customer acts once
            return []
        self._known.add(about.message_id)
        found = self._decide(outcome, about)
        self.counts.update(one.event for one in found)
        return found

    def click_rate(self, experiment: str | None, variant: str | None) -> float:
        """Probability of a click on a delivered mail."""
        if experiment is None or variant is None:
            return self._habits.clicked
        return self._rates.get(experiment, {}).get(variant, self._habits.clicked)

    def _decide(self, outcome: _Outcome, about: _Properties) -> list[Reaction]:
        message, habits = about.message_id, self._habits

        def draw(what: str) -> float:
            return share(self._seed, f"{what} {message}")

        sent_ms = outcome.timestamp if isinstance(outcome.timestamp, int) else 0
        mood = draw("mood")
        opened_ms = sent_ms + 2 * _MINUTE_MS + int(draw("opened") * 6 * HOUR_MS)
        clicked_ms = opened_ms + 20_000 + int(draw("clicked") * 3 * _MINUTE_MS)
        found = []
        clicked = mood < self.click_rate(about.experiment_id, about.variant)
        if clicked or mood < habits.opened:
            found.append(self._event(opened_ms, "Email Opened", outcome, about))
        if clicked:
            found.append(self._event(clicked_ms, "Email Link Clicked", outcome, about))
            if draw("ordered") < habits.ordered:
                ordered_ms = clicked_ms + 3 * _MINUTE_MS + int(draw("hesitates") * 20 * _MINUTE_MS)
                revenue = 500 + int(draw("revenue") * 4500)
                found.append(self._event(ordered_ms, "Simulated Order", outcome, about, revenue))
        elif draw("leaves") < habits.unsubscribed:
            found.append(self._event(opened_ms + 10_000, "Unsubscribed", outcome, about))
        return found

    def _event(
        self, at_ms: int, name: str, outcome: _Outcome, about: _Properties, revenue_minor: int | None = None
    ) -> Reaction:
        properties = {
            "message_id": about.message_id,
            "campaign_id": about.campaign_id,
            "variant": about.variant,
            "experiment_id": about.experiment_id,
        }
        described = msgspec.json.encode({key: value for key, value in properties.items() if value}).decode()
        if revenue_minor is not None:
            described = f'{described[:-1]},"revenue":{money(revenue_minor)},"currency":"{CURRENCY}"}}'
        mark = name.rsplit(maxsplit=1)[-1].lower()
        before = (
            f'{{"type":"track","event":"{name}","userId":{msgspec.json.encode(outcome.user).decode()},'
            f'"messageId":"sim-{about.message_id}-{mark}","timestamp":"'
        )
        after = f'","properties":{described},{CONTEXT}}}'
        topic = PURCHASES.name if name == "Simulated Order" else FEEDBACK.name
        return Reaction(at_ms, about.message_id, topic, outcome.user, name, before, after)


def _click_rates(experiment: Experiment, base: float) -> dict[str, float]:
    """Click rate of each variant: the control's, then evenly up to control plus the planted effect."""
    effect = experiment.planted.get("clicked", 0.0)
    last = len(experiment.variants) - 1
    return {variant.id: base + effect * number / last for number, variant in enumerate(experiment.variants)}


def planted_effects(experiments: Iterable[Experiment]) -> Mapping[str, float]:
    """Planted difference in the share of clicks, last variant minus control, by experiment."""
    return {one.id: one.planted.get("clicked", 0.0) for one in experiments}
