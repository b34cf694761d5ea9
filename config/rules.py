"""Rules over all campaigns, as frozen models (churn.yaml, policy.yaml), and what every definition shares."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from config.units import ClockMinute, DurationMs, TimeZone, mistake

_DAY_MS = 86_400_000

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
EventName = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Definition(BaseModel):
    """Base of all: unknown keys are errors, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Cap(Definition):
    """At most `max` within any stretch of time as long as `per`."""

    max: int = Field(ge=1, description="how many", examples=["1"])
    per_ms: DurationMs = Field(alias="per", description="length of the window", examples=["7d"])


class ChurnAction(Definition):
    """What an alert asks for."""

    campaign: Slug = Field(description="campaign with a trigger `on: alert`", examples=["win-back"])


class Churn(Definition):
    """When a user counts as lost, when to raise an alert, and what then."""

    horizon_ms: DurationMs = Field(
        default=90 * _DAY_MS,
        alias="horizon",
        description="churned: no order within this time",
        examples=["90d"],
    )
    alert_at: Probability = Field(
        default=0.7, description="probability of churn that raises an alert", examples=["0.7"]
    )
    clear_below: Probability = Field(
        default=0.5,
        description="probability below which the user is at ease again and may alert anew",
        examples=["0.5"],
    )
    cool_down_ms: DurationMs = Field(
        default=30 * _DAY_MS,
        alias="cool_down",
        description="least time between two alerts of a user",
        examples=["30d"],
    )
    min_orders: int = Field(
        default=1, ge=0, description="alerts are for users with at least so many orders", examples=["1"]
    )
    eligible_within_ms: DurationMs = Field(
        default=180 * _DAY_MS,
        alias="eligible_within",
        description="users whose last order is older are lost already: no alert",
        examples=["180d"],
    )
    sample_every_ms: DurationMs = Field(
        default=14 * _DAY_MS,
        alias="sample_every",
        description="how often each user gives an example to learn from",
        examples=["14d"],
    )
    action: ChurnAction | None = Field(
        default=None, description="what an alert asks for", examples=["{campaign: win-back}"]
    )
    currency: str = Field(
        default="GBP",
        pattern=r"^[A-Z]{3}$",
        description="ISO 4217 code of the shop's money",
        examples=["GBP"],
    )

    @model_validator(mode="after")
    def _hysteresis(self) -> Self:
        if self.clear_below >= self.alert_at:
            raise mistake("clear_below must lie below alert_at, else alerts flicker", "clear_below: 0.5")
        return self


class QuietHours(Definition):
    """The night, in the user's own time zone."""

    from_minute: ClockMinute = Field(alias="from", description="when it begins", examples=['"21:00"'])
    to_minute: ClockMinute = Field(alias="to", description="when it ends", examples=['"08:00"'])


class OfferPolicy(Definition):
    """How next-best-offers are decided."""

    decide_on: tuple[EventName, ...] = Field(
        default=("Order Completed",),
        description="events after which a user's offers are ranked",
        examples=["[Order Completed]"],
    )
    size: int = Field(default=10, ge=1, le=100, description="length of the ranked list", examples=["10"])
    explore: Probability = Field(
        default=0.05, description="share of decisions that try something else, to learn", examples=["0.05"]
    )
    repeats: Literal["allow", "exclude"] = Field(
        default="allow",
        description="whether products the user bought before may be offered",
        examples=["allow"],
    )
    per_category: int = Field(
        default=0,
        ge=0,
        description="most products of one category in a list, for variety; 0: any number",
        examples=["3"],
    )
    choose: Literal["priority", "bandit"] = Field(
        default="priority",
        description="which offer comes first: the one of the highest priority, or the one that customers answer best",
        examples=["bandit"],
    )
    reward: Literal["order", "click"] = Field(
        default="order",
        description="what the bandit goes by: an order after the offer, or `Promotion Clicked` with its id",
        examples=["click"],
    )
    reward_within_ms: DurationMs = Field(
        default=7 * _DAY_MS,
        alias="reward_within",
        description="how long after the offer an order or a click counts",
        examples=["7d"],
    )
    min_sentiment: float | None = Field(
        default=None,
        ge=-1.0,
        le=1.0,
        description="products whose reviews are worse than this on average, beyond chance, are not recommended",
        examples=["-0.2"],
    )
    weigh_margin: float = Field(
        default=0.0,
        ge=0.0,
        le=5.0,
        description="what a product earns counts as much in its order: 0 not at all, 1 like its chance to be bought",
        examples=["0.5"],
    )


class RecommendationPolicy(Definition):
    """How it is counted what comes of recommended lists."""

    within_ms: DurationMs = Field(
        default=7 * _DAY_MS,
        ge=3_600_000,
        le=30 * _DAY_MS,
        alias="within",
        description="how long after a list was shown a click or an order counts for it: 1h to 30d",
        examples=["7d"],
    )
    lists: tuple[Slug, ...] = Field(
        default=(),
        max_length=20,
        description="names of places on your site that are counted apart: `GET /v1/offers?list=home`",
        examples=["[home, cart]"],
    )

    @model_validator(mode="after")
    def _names(self) -> Self:
        if len(set(self.lists)) < len(self.lists):
            raise mistake("a list stands twice", "each name once")
        taken = sorted({"offers", "asked", "other", "simulated"} & set(self.lists))
        if taken:
            raise mistake(f"`{taken[0]}` is a list of Kairos' own", "lists: [home, cart]")
        return self


class ReviewPolicy(Definition):
    """How reviews of products are read."""

    best_rating: int = Field(
        default=5, ge=2, le=100, description="the best rating that your shop knows; the worst is 1", examples=["5"]
    )
    positive_from: float = Field(
        default=4.0, description="rating from which a review counts as praise, to learn from", examples=["4"]
    )
    negative_to: float = Field(
        default=2.0, description="rating up to which a review counts as a complaint, to learn from", examples=["2"]
    )
    learn_texts: bool = Field(
        default=False,
        description="whether words of rated reviews go to the topic `training`, to learn how customers here write",
        examples=["true"],
    )

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if not 1 <= self.negative_to < self.positive_from <= self.best_rating:
            raise mistake(
                "1 <= negative_to < positive_from <= best_rating must hold", "negative_to: 2, positive_from: 4"
            )
        return self


class Fairness(Definition):
    """Groups of users that are to be treated alike."""

    attribute: str = Field(
        min_length=1,
        max_length=64,
        description="attribute of users (identify) that tells the groups apart; users without it are not counted",
        examples=["gender"],
    )
    values: tuple[str, ...] = Field(
        min_length=1,
        max_length=20,
        description="values that are told apart; all others are `other`",
        examples=["[f, m]"],
    )
    what: tuple[Literal["scores", "offers", "messages"], ...] = Field(
        default=("scores", "offers", "messages"),
        min_length=1,
        description="what is compared: `scores` of churn, `offers` that save money, marketing `messages` sent",
        examples=["[messages]"],
    )
    min_group: int = Field(
        default=100, ge=10, description="groups with fewer decisions are not compared", examples=["100"]
    )
    ratio: float = Field(
        default=0.8,
        gt=0.0,
        le=1.0,
        description="least tolerated ratio of the lowest rate to the highest; 0.8 is the four-fifths rule",
        examples=["0.8"],
    )

    @model_validator(mode="after")
    def _can_be_told_apart(self) -> Self:
        if len(set(self.values)) < len(self.values):
            raise mistake("a value stands twice", "each value once")
        if any("|" in value or value == "other" for value in self.values):
            raise mistake("`other` and `|` cannot be part of values", "values: [f, m]")
        return self


class Policy(Definition):
    """Rules over all campaigns."""

    frequency_caps: tuple[Cap, ...] = Field(
        default=(),
        description="most marketing messages to a user, over all campaigns",
        examples=["[{max: 1, per: 24h}]"],
    )
    quiet_hours: QuietHours | None = Field(
        default=None,
        description="the night, in the user's time zone",
        examples=['{from: "21:00", to: "08:00"}'],
    )
    default_timezone: TimeZone = Field(
        default="UTC", description="zone of users who told none", examples=["Europe/London"]
    )
    session_gap_ms: DurationMs = Field(
        default=30 * 60_000, alias="session_gap", description="silence that ends a visit", examples=["30m"]
    )
    holdout: Slug | None = Field(
        default=None,
        description="experiment whose first variant gets no marketing at all: the holdout group",
        examples=["holdout"],
    )
    offers: OfferPolicy = Field(default=OfferPolicy(), description="how offers are decided", examples=["{size: 10}"])
    recommendations: RecommendationPolicy = Field(
        default=RecommendationPolicy(), description="how recommended lists are counted", examples=["{within: 7d}"]
    )
    reviews: ReviewPolicy = Field(
        default=ReviewPolicy(), description="how reviews are read", examples=["{best_rating: 5}"]
    )
    fairness: Fairness | None = Field(
        default=None,
        description="groups of users that are to be treated alike, watched where decisions are made",
        examples=["{attribute: gender, values: [f, m]}"],
    )
