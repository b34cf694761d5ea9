"""What a marketer writes in YAML, as frozen models: campaigns, offers, experiments, churn and policy.

Keys are those of the YAML files; where the value is a duration or a time, the field carries the unit
(``after: 45m`` becomes ``after_ms = 2_700_000``). ``docs/campaigns.md`` explains every key.
"""

from __future__ import annotations

import hashlib
import json
import string
from functools import cached_property
from typing import Literal, Self

from pydantic import Field, model_validator

from config.allocation import Allocation
from config.attributes import AttributeNames
from config.experiment import (
    Dimension,
    Experiment,
    ExperimentPlan,
    ExposeOn,
    Namespace,
    Ruling,
    Variant,
)
from config.goal import Goal
from config.metric import Metric
from config.rules import (
    Cap,
    Churn,
    ChurnAction,
    Definition,
    EventName,
    Fairness,
    OfferPolicy,
    Policy,
    QuietHours,
    RecommendationPolicy,
    ReviewPolicy,
    Slug,
)
from config.units import DurationMs, EndMs, StartMs, mistake

__all__ = [
    "Allocation",
    "Campaign",
    "Cap",
    "Churn",
    "ChurnAction",
    "Conversion",
    "Definition",
    "Definitions",
    "Dimension",
    "Experiment",
    "ExperimentPlan",
    "ExposeOn",
    "Fairness",
    "Goal",
    "Metric",
    "Namespace",
    "Offer",
    "OfferPolicy",
    "Policy",
    "QuietHours",
    "RecommendationPolicy",
    "ReviewPolicy",
    "Ruling",
    "Trigger",
    "Variant",
]

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS


class Trigger(Definition):
    """What starts a campaign for a user."""

    on: Literal["event", "alert", "timer"] = Field(
        description="`event`: at once; `timer`: some time after an event; `alert`: on a churn alert",
        examples=["event"],
    )
    event: EventName | None = Field(
        default=None, description="name of the event (event and timer)", examples=["Product Added"]
    )
    after_ms: DurationMs | None = Field(
        default=None, alias="after", description="time to wait after the event (timer)", examples=["45m"]
    )
    unless: tuple[EventName, ...] = Field(
        default=(), description="events that cancel the wait (timer)", examples=["[Order Completed]"]
    )

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.on == "alert" and self.event is not None:
            raise mistake("a trigger on an alert has no event", "trigger: {on: alert}")
        if self.on != "alert" and self.event is None:
            raise mistake(f"a trigger on {_an(self.on)} needs the event's name", "event: Product Added")
        if self.on == "timer" and self.after_ms is None:
            raise mistake("a trigger on a timer needs the time to wait", "after: 45m")
        if self.on != "timer" and (self.after_ms is not None or self.unless):
            raise mistake("`after` and `unless` belong to a timer", "on: timer")
        return self


def _an(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


class Conversion(Definition):
    """What a message is to bring about: an uplift is told about it."""

    event: EventName = Field(
        default="Order Completed", description="event that the message is to bring about", examples=["Order Completed"]
    )
    within_ms: DurationMs = Field(
        default=7 * _DAY_MS,
        alias="within",
        description="it counts until then after the decision: 1h to 365d",
        examples=["7d"],
    )
    attributes: AttributeNames = Field(
        default=(),
        description="attributes of users (identify) that the uplift is learned from besides behaviour; at most 8",
        examples=["[country, plan, age]"],
    )

    @model_validator(mode="after")
    def _can_be_waited_for(self) -> Self:
        if not _HOUR_MS <= self.within_ms <= 365 * _DAY_MS:
            raise mistake("the time must lie between 1h and 365d", "within: 7d")
        return self


class Campaign(Definition):
    """One message that is sent by itself: when, to whom, through which channel, how often."""

    id: Slug = Field(description="its name for good: small letters, digits, hyphens", examples=["abandoned-cart"])
    description: str = Field(default="", description="one sentence for people", examples=["Remind of a forgotten cart"])
    enabled: bool = Field(
        default=True, description="`false` stops the campaign without deleting its file", examples=["true"]
    )
    trigger: Trigger = Field(description="what starts it", examples=["{on: event, event: Order Completed}"])
    when: str | None = Field(
        default=None, description="condition in CEL; without one, always", examples=["user.orders == 1"]
    )
    channel: Literal["email", "push", "log"] = Field(description="how the message travels", examples=["email"])
    template: Slug = Field(description="content, from templates/", examples=["abandoned-cart"])
    purpose: Literal["marketing", "transactional"] = Field(
        default="marketing",
        description="marketing needs consent and obeys the frequency caps, transactional does neither",
        examples=["marketing"],
    )
    cap: Cap | None = Field(
        default=None,
        description="how often this campaign may write to a user",
        examples=["{max: 1, per: 7d}"],
    )
    quiet_hours: Literal["hold", "drop", "ignore"] = Field(
        default="hold",
        description="in the user's night: `hold` until morning, `drop`, or `ignore` the hour",
        examples=["hold"],
    )
    experiment: Slug | None = Field(
        default=None, description="experiment whose variant the message takes", examples=["cart-subject"]
    )
    control: Slug | None = Field(
        default=None,
        description="experiment whose first variant gets no message of this campaign: its control group",
        examples=["welcome-control"],
    )
    conversion: Conversion = Field(
        default=Conversion(),
        description="what the message is to bring about; its uplift is learned from the control group or the holdout",
        examples=["{event: Order Completed, within: 7d}"],
    )
    min_uplift: float | None = Field(
        default=None,
        ge=-1.0,
        le=1.0,
        description="only users whom the message makes so much likelier to convert, once that is learned",
        examples=["0.0"],
    )
    priority: int = Field(
        default=0,
        description="when several campaigns want to write at once, the highest does",
        examples=["10"],
    )
    expires_after_ms: DurationMs = Field(
        default=_DAY_MS,
        alias="expires_after",
        description="a message not sent by then is dropped",
        examples=["24h"],
    )
    items: Literal["recommended", "cart", "none"] = Field(
        default="none", description="products that the message shows", examples=["recommended"]
    )


class Offer(Definition):
    """One thing that may be offered, and to whom."""

    id: Slug = Field(description="its name for good", examples=["free-shipping"])
    description: str = Field(
        default="", description="one sentence for people", examples=["Free delivery for newcomers"]
    )
    enabled: bool = Field(
        default=True, description="`false` takes the offer away without deleting its file", examples=["true"]
    )
    kind: Literal["item", "discount", "shipping"] = Field(
        description="`item`: a product as it is; `discount`: money off a product; `shipping`: free delivery",
        examples=["item"],
    )
    when: str | None = Field(
        default=None,
        description="condition in CEL over `user`: who may get it",
        examples=["user.orders >= 1"],
    )
    categories: tuple[str, ...] = Field(
        default=(), description="only products of these categories (none given: all)", examples=["[Lighting]"]
    )
    items: tuple[str, ...] = Field(
        default=(), description="only these product ids (none given: all)", examples=['["85123A"]']
    )
    percent: int | None = Field(default=None, ge=1, le=100, description="discount in percent", examples=["10"])
    value_minor: int | None = Field(
        default=None,
        ge=1,
        description="discount as money, in pence or cents of the shop's currency",
        examples=["500"],
    )
    priority: int = Field(default=0, description="between equally good offers, the highest wins", examples=["0"])
    cap: Cap | None = Field(
        default=None,
        description="how often one customer may get it: `max` lists in any stretch of time as long as `per`",
        examples=["{max: 1, per: 30d}"],
    )
    stock: int | None = Field(
        default=None, ge=1, description="how many lists may carry it, of all customers", examples=["500"]
    )
    budget_minor: int | None = Field(
        default=None,
        ge=1,
        description="what its discounts may cost in all, in pence or cents; of each list the dearest counts",
        examples=["100000"],
    )
    margin: float | None = Field(
        default=None,
        gt=0.0,
        le=1.0,
        description="share of the price that is earned; it is not made where the discount takes all of that",
        examples=["0.35"],
    )
    valid_from_ms: StartMs | None = Field(
        default=None,
        alias="valid_from",
        description="first moment (a date: its start, UTC)",
        examples=["2010-11-01"],
    )
    valid_until_ms: EndMs | None = Field(
        default=None,
        alias="valid_until",
        description="end (a date: including that day, UTC)",
        examples=["2010-12-24"],
    )
    text: str = Field(
        min_length=1,
        max_length=200,
        description="what the customer reads; `{item}` stands for the product's name",
        examples=["'{item}: you may like this'"],
    )

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "discount" and (self.percent is None) == (self.value_minor is None):
            raise mistake("a discount needs either percent or value_minor", "percent: 10")
        if self.kind != "discount" and (self.percent is not None or self.value_minor is not None):
            raise mistake("percent and value_minor belong to a discount", "kind: discount")
        if self.kind != "discount" and self.budget_minor is not None:
            raise mistake("only discounts spend a budget", "stock: 500")
        if self.kind == "shipping" and self.margin is not None:
            raise mistake("margin belongs to offers of products", "kind: item")
        start, end = self.valid_from_ms, self.valid_until_ms
        if start is not None and end is not None and start >= end:
            raise mistake("valid_until lies before valid_from", "a later valid_until")
        remedy = "text with {item} as its only placeholder"
        try:
            names = [part[1:] for part in string.Formatter().parse(self.text) if part[1] is not None]
        except ValueError:
            raise mistake("a brace in text has no partner", remedy) from None
        if any(name != ("item", "", None) for name in names):
            raise mistake("text knows only the placeholder {item}", remedy)
        return self

    def valid_at(self, at_ms: int) -> bool:
        """Whether the offer runs at this time (epoch ms)."""
        return (self.valid_from_ms is None or at_ms >= self.valid_from_ms) and (
            self.valid_until_ms is None or at_ms < self.valid_until_ms
        )


class Definitions(Definition):
    """Everything that marketers wrote, checked. Build it with :func:`config.loader.load_definitions`."""

    campaigns: tuple[Campaign, ...] = ()
    offers: tuple[Offer, ...] = ()
    experiments: tuple[Experiment, ...] = ()
    goals: tuple[Goal, ...] = ()
    churn: Churn = Churn()
    policy: Policy = Policy()

    @model_validator(mode="after")
    def _experiments_can_be_told_apart(self) -> Self:
        ids = {experiment.id for experiment in self.experiments}
        if len({experiment.code for experiment in self.experiments}) < len(ids):
            raise mistake("two ids of experiments have the same code (a rare accident)", "another id for one")
        return self

    @cached_property
    def campaign_by_id(self) -> dict[str, Campaign]:
        """Campaigns by id."""
        return {campaign.id: campaign for campaign in self.campaigns}

    @cached_property
    def offer_by_id(self) -> dict[str, Offer]:
        """Offers by id."""
        return {offer.id: offer for offer in self.offers}

    @cached_property
    def experiment_by_id(self) -> dict[str, Experiment]:
        """Experiments by id."""
        return {experiment.id: experiment for experiment in self.experiments}

    @cached_property
    def goal_by_id(self) -> dict[str, Goal]:
        """Goals by id."""
        return {goal.id: goal for goal in self.goals}

    def to_json(self) -> str:
        """Canonical JSON (sorted keys, no spaces), in the form of the YAML files."""
        tree = self.model_dump(mode="json", by_alias=True)
        return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Definitions:
        """Read what :meth:`to_json` wrote; the result equals the original."""
        return cls.model_validate(json.loads(text))

    def version(self) -> str:
        """Sixteen hex digits that change when anything changes."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]
