"""One customer, counted again the slow and plain way: an event at a time, a dictionary for everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import xxhash
from chaos.recount.rules import Campaign, Rules
from chaos.recount.trials import Diary, Exposed, Heard, Known

DAY_MS = 86_400_000
ORDER, ADD = "Order Completed", "Product Added"
STAGES = {"Email Delivered": "sent", "Message Delivered": "sent", "Email Opened": "opened"}
STAGES |= {"Email Link Clicked": "clicked"}
ENDS = {"Message Failed": "failed", "Message Unknown": "unknown", "Message Expired": "expired"}
# What is told about a user who was not there; who follows a link was.
ABSENT = {*STAGES, *ENDS, "Email Bounced", "Unsubscribed"} - {"Email Link Clicked"}
WEEK_MS = 7 * DAY_MS
KEPT_SENDS, KEPT_CART = 12, 4


def effect_id(rule: str, step: str, user: str, occurrence: str) -> str:
    """The id that docs/events.md promises for an effect."""
    return xxhash.xxh3_128_hexdigest(f"{rule}\x1f{step}\x1f{user}\x1f{occurrence}".encode())


def pence(amount: float) -> int:
    """Minor units of an amount, rounded as Python rounds the float times a hundred."""
    return int(Decimal(amount * 100).quantize(Decimal(1), ROUND_HALF_EVEN))


@dataclass(slots=True)
class Event:
    """An event that counts."""

    user: str
    at: int
    name: str
    ident: str
    properties: dict[str, Any]
    traits: dict[str, Any]


@dataclass(slots=True)
class Timer:
    """Something to be done at `due`: a campaign's wait, or a message held over the night."""

    due: int
    held: bool
    campaign: str
    set_at: int
    occurrence: str


@dataclass(slots=True)
class Send:
    """A message decided."""

    at: int
    campaign: str
    message: str
    marketing: bool
    stages: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Customer:
    """What is known of one user."""

    name: str
    events: int = 0
    first_seen: int = 0
    last_seen: int = 0
    silence: int = 0
    sessions: int = 0
    session_start: int = 0
    session_events: int = 0
    orders: int = 0
    refunds: int = 0
    money: int = 0
    first_order: int = 0
    last_order: int = 0
    cart: dict[str, int] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    consent: dict[str, bool] = field(default_factory=dict)
    consent_at: int = 0
    sends: list[Send] = field(default_factory=list)
    timers: list[Timer] = field(default_factory=list)
    diary: Diary = field(default_factory=Diary)
    last_alert: int | None = None
    seen: set[str] = field(default_factory=set)

    @property
    def known(self) -> Known:
        """What is known of the user by now."""
        return self.events, self.money, self.orders, self.sessions, self.last_seen


@dataclass(slots=True)
class Tally:
    """What all customers of a lane add up to; message, exposure and offer by id."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    messages: dict[str, tuple[str, str, int, str | None, str | None]] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)
    exposures: dict[str, tuple[str, str, str, int]] = field(default_factory=dict)
    offers: dict[str, tuple[str, int]] = field(default_factory=dict)
    baskets: set[str] = field(default_factory=set)
    timers_set: int = 0
    timers_fired: int = 0
    timers_cancelled: int = 0


class Shopkeeper:
    """Applies events and timers to customers.

    Parameters
    ----------
    rules : from the YAML files.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules, self.tally = rules, Tally()
        self.watermark = 0  # of the lane before the batch
        self.by_id = {campaign.id: campaign for campaign in rules.campaigns}
        self._tests = {experiment.id: experiment for experiment in rules.experiments}

    # -- an event

    def apply(self, who: Customer, event: Event) -> None:
        """One event that was not seen before."""
        known = who.known
        self._touch(who, event)
        getattr(self, "_" + event.name.lower().replace(" ", "_"), _nothing)(who, event)
        if event.name in STAGES or event.name in ENDS:
            self._feedback(who, event)
        self._experiments(who, event, known)
        self._answer(who, event)
        self._start(who, event)
        if event.name in self.rules.offers_on:
            ident = effect_id("offers", "ranked", who.name, event.ident)
            self.tally.offers[ident] = (who.name, event.at)

    def _touch(self, who: Customer, event: Event) -> None:
        who.events += 1
        if event.name in ABSENT:
            return
        second = event.at // 1000
        who.first_seen = second if who.first_seen == 0 else min(who.first_seen, second)
        if who.last_seen:
            # By the lane's time too: what comes late may have been waited for in vain.
            who.silence = max(who.silence, max(event.at, self.watermark) - who.last_seen)
        if event.at < who.last_seen:
            return
        if event.at - who.last_seen > self.rules.session_gap_ms:
            who.sessions, who.session_start, who.session_events = who.sessions + 1, second, 0
        who.session_events += 1
        who.last_seen = event.at

    def _product_added(self, who: Customer, event: Event) -> None:
        item = str(event.properties["product_id"])
        if event.at > who.last_order and item not in who.cart:
            who.cart[item] = pence(event.properties["price"])
            if len(who.cart) > KEPT_CART:
                del who.cart[next(iter(who.cart))]

    def _product_removed(self, who: Customer, event: Event) -> None:
        who.cart.pop(str(event.properties["product_id"]), None)

    def _order_completed(self, who: Customer, event: Event) -> None:
        second = event.at // 1000
        who.first_order = second if who.orders == 0 else min(who.first_order, second)
        who.last_order = max(who.last_order, event.at)
        who.orders += 1
        who.money += pence(event.properties["revenue"])
        if event.at >= who.last_order:
            who.cart.clear()
        for send in who.sends:
            if "sent" in send.stages and "ordered" not in send.stages and 0 <= event.at - send.at <= WEEK_MS:
                send.stages.add("ordered")
                self._count(send.campaign, "ordered")
        self.tally.baskets.add(effect_id("recs", "basket", who.name, event.ident))

    def _order_refunded(self, who: Customer, event: Event) -> None:
        who.refunds += 1
        who.money -= pence(event.properties["revenue"])

    _order_cancelled = _order_refunded

    def _identify(self, who: Customer, event: Event) -> None:
        for name, value in event.traits.items():
            if name == "consent":
                self._consent(who, value, event.at)
            else:
                who.attributes[name] = value

    def _consent(self, who: Customer, said: dict[str, bool], at: int) -> None:
        second = at // 1000
        for channel, granted in said.items():
            late_yes = granted and second < who.consent_at and channel in who.consent
            if not late_yes:
                who.consent[channel] = granted
        who.consent_at = max(who.consent_at, second)

    def _unsubscribed(self, who: Customer, event: Event) -> None:
        self._consent(who, {"email": False}, event.at)

    def _email_bounced(self, who: Customer, _: Event) -> None:
        who.consent["suppressed"] = True

    def _feedback(self, who: Customer, event: Event) -> None:
        campaign = event.properties["campaign_id"]
        if event.name in ENDS:
            self._count(campaign, ENDS[event.name])
            return
        stage, message = STAGES[event.name], event.properties["message_id"]
        for send in who.sends:
            if send.message == message:
                if stage not in send.stages:
                    send.stages.add(stage)
                    self._count(campaign, stage)
                return

    # -- experiments

    def _experiments(self, who: Customer, event: Event, known: Known) -> None:
        late_ms, diary = max(0, self.watermark - event.at), who.diary
        for test in self.rules.experiments:
            seen = diary.exposed.get(test.id)
            if seen is not None and seen.counted and late_ms > test.lateness_ms:
                self.tally.counts[f"exp:{test.id}", "late"] += sum(
                    name == event.name
                    and (name != ORDER or event.at > seen.at)
                    and 0 <= event.at - seen.at <= metric.within_ms
                    and metric.campaign in {None, event.properties.get("campaign_id")}
                    for metric in test.metrics
                    for name in (metric.event, metric.below)
                )
        money = pence(event.properties["revenue"]) if event.name.startswith("Order") else 0
        diary.heard.append(Heard(event.name, event.at, event.properties, money, late_ms))
        for test in self.rules.experiments:
            if test.expose_on == event.name:
                self._expose(who, test.id, event.at, known)
            seen = diary.exposed.get(test.id)
            about = event.name == "Experiment Viewed" and event.properties["experiment_id"] == test.id
            if about and seen is not None and seen.counted and seen.variant != event.properties["variation_id"]:
                seen.twice = True

    def _expose(self, who: Customer, name: str, at: int, known: Known) -> str:
        test = self._tests[name]
        if name in who.diary.exposed:
            return who.diary.exposed[name].variant
        variant, counted = test.variant(who.name), self.watermark - at <= test.lateness_ms
        facts = {"new_returning": "new" if who.sessions <= 1 else "returning", "country": who.attributes.get("country")}
        parts = [f"{what}={facts[what] if facts[what] in told else 'other'}" for what, told in test.dimensions]
        heard = len(who.diary.heard)
        who.diary.exposed[name] = Exposed(variant, at, counted, known, parts, heard)
        if counted:
            ident = effect_id(name, "exposure", who.name, "first")
            if ident in self.tally.exposures:
                self.tally.repeated.append(f"exposure {ident}")
            self.tally.exposures[ident] = (who.name, name, variant, at)
        else:
            self.tally.counts[f"exp:{name}", "late"] += 1
        return variant

    # -- waits

    def _answer(self, who: Customer, event: Event) -> None:
        kept: list[Timer] = []
        for timer in who.timers:
            campaign = self.by_id[timer.campaign]
            if event.name not in campaign.unless or not timer.set_at <= event.at <= timer.due:
                kept.append(timer)
                continue
            self.tally.timers_cancelled += 1
            if timer.held:
                self._decide(who, campaign, timer.occurrence, event.at, released=True, answered=True)
        # What a decision above put in stays: only what was there before was looked at.
        who.timers = kept

    def _start(self, who: Customer, event: Event) -> None:
        for campaign in self.rules.campaigns:
            trigger = campaign.trigger
            if (
                trigger["on"] == "event"
                and trigger["event"] == event.name
                and event.at + campaign.expires_ms >= self.watermark
            ):
                self._decide(who, campaign, event.ident, event.at)
        for campaign in self.rules.campaigns:
            if campaign.trigger["on"] != "timer" or campaign.trigger["event"] != event.name:
                continue
            due = event.at + campaign.after_ms
            if due <= self.watermark or self._came_before(who, campaign, event):
                continue
            mine = [timer for timer in who.timers if not timer.held and timer.campaign == campaign.id]
            if any(timer.set_at > event.at for timer in mine):
                continue
            who.timers = [timer for timer in who.timers if timer not in mine]
            who.timers.append(Timer(due, False, campaign.id, event.at, event.ident))
            self.tally.timers_set += 1

    def _came_before(self, who: Customer, campaign: Campaign, event: Event) -> bool:
        assert set(campaign.unless) <= {ORDER}
        if ORDER not in campaign.unless:
            return False
        return who.last_order > event.at or (who.last_order == event.at and event.name != ORDER)

    def fire(self, who: Customer, watermark: int) -> None:
        """Do what is due at the watermark."""
        due = sorted((t for t in who.timers if t.due <= watermark), key=lambda t: (t.due, t.campaign))
        who.timers = [timer for timer in who.timers if timer.due > watermark]
        for timer in due:
            self.tally.timers_fired += 1
            campaign = self.by_id[timer.campaign]
            occurrence = timer.occurrence if timer.held else f"{timer.occurrence}@{timer.due}"
            self._decide(who, campaign, occurrence, timer.due, released=timer.held, set_at=timer.set_at)

    def alert(self, who: Customer, alert: dict[str, Any]) -> None:
        """A churn alert that Kairos raised: the campaign that answers it."""
        for campaign in self.rules.campaigns:
            if campaign.trigger["on"] == "alert" and campaign.id == self.rules.action:
                self._decide(who, campaign, alert["id"], alert["at"])

    # -- a message

    def _decide(
        self,
        who: Customer,
        campaign: Campaign,
        occurrence: str,
        at: int,
        *,
        released: bool = False,
        answered: bool = False,
        set_at: int | None = None,
    ) -> None:
        if not released and not campaign.holds(who.orders):
            return
        message = effect_id(campaign.id, "1", who.name, occurrence)
        if released:
            who.sends = [send for send in who.sends if send.message != message]
        else:
            self._count(campaign.id, "decided")
        reason = "answered" if answered else self._why_not(who, campaign, at)
        if reason is None and campaign.quiet == "hold" and not released:
            until = self._night_ends(str(who.attributes.get("timezone") or self.rules.zone), at)
            if until is not None:
                self._count(campaign.id, "held")
                begun = at if set_at is None else set_at
                who.timers.append(Timer(until, True, campaign.id, begun, occurrence))
                self._remember(who, Send(until, campaign.id, message, campaign.marketing))
                self.tally.timers_set += 1
                return
        variant = None
        if reason is None:
            self._remember(who, Send(at, campaign.id, message, campaign.marketing))
            if campaign.experiment is not None:
                variant = self._expose(who, campaign.experiment, at, who.known)
        else:
            self._count(campaign.id, f"suppressed:{reason}")
        if message in self.tally.messages:
            self.tally.repeated.append(f"message {message}")
        self.tally.messages[message] = (who.name, campaign.id, at, reason, variant)

    def _why_not(self, who: Customer, campaign: Campaign, at: int) -> str | None:
        if who.consent.get("suppressed"):
            return "suppressed_address"
        if campaign.marketing and not who.consent.get(campaign.channel, campaign.channel == "log"):
            return "no_consent"
        if campaign.channel == "email" and not who.attributes.get("email"):
            return "no_address"
        if campaign.cart and not who.cart:
            return "empty_cart"
        own = [send.at for send in who.sends if send.campaign == campaign.id]
        if campaign.cap and not _room(own, at, *campaign.cap):
            return "campaign_cap"
        marketing = [send.at for send in who.sends if send.marketing]
        if campaign.marketing and not all(_room(marketing, at, *cap) for cap in self.rules.caps):
            return "frequency_cap"
        return None

    def _remember(self, who: Customer, send: Send) -> None:
        """Keep the send; above twelve those go first, oldest first, that no cap can count any more."""
        who.sends.append(send)
        since = min(send.at, self.watermark) - self.rules.memory_ms
        for old in list(who.sends[:-1]):
            capped = self.by_id[old.campaign].cap is not None
            if len(who.sends) > KEPT_SENDS and not (old.at > since and (capped or old.marketing)):
                who.sends.remove(old)

    def _night_ends(self, zone_name: str, at: int) -> int | None:
        """End of the quiet hours around `at` in the customer's zone; None when it is day."""
        try:
            zone = ZoneInfo(zone_name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            zone = ZoneInfo(self.rules.zone)
        local = datetime.fromtimestamp(at / 1000, UTC).astimezone(zone)
        minute = local.hour * 60 + local.minute
        start, end = self.rules.night
        if not (minute >= start or minute < end):
            return None
        day = local.date() + timedelta(days=1 if minute >= start else 0)
        morning = datetime(day.year, day.month, day.day, end // 60, end % 60, tzinfo=zone)
        return round(morning.timestamp() * 1000)

    def _count(self, campaign: str, name: str) -> None:
        self.tally.counts[f"camp:{campaign}", name] += 1


def _nothing(who: Customer, event: Event) -> None:
    """Nothing of its own happens for most events."""


def _room(sent: list[int], at: int, most: int, per_ms: int) -> bool:
    """Whether one more at `at` leaves every stretch of `per_ms` with at most `most`."""
    times = sorted([*sent, at])
    near = [one for one in times if abs(one - at) < per_ms]
    return all(later - near[i] >= per_ms for i, later in _pairs(near, most))


def _pairs(times: list[int], apart: int) -> Iterator[tuple[int, int]]:
    yield from enumerate(times[apart:])
