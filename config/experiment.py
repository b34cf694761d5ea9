"""An experiment as it is written in YAML, as frozen models. ``docs/experiments.md`` explains them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator

from config.allocation import Allocation
from config.codes import code16, code32
from config.metric import Metric
from config.rules import Definition, EventName, Slug
from config.units import DurationMs, EndMs, StartMs, mistake

OTHER = "other"
_DAY_MS = 86_400_000

# What tells a dimension's value in the names of counters must not end it.
Value = Annotated[str, StringConstraints(pattern=r"^[^|=,]+$", min_length=1, max_length=64)]
Method = Literal["always-valid", "obrien-fleming", "pocock", "fixed"]


class Variant(Definition):
    """One arm of an experiment."""

    id: Slug = Field(description="its name for good", examples=["short-subject"])
    weight: float = Field(gt=0.0, le=1.0, description="its share of the users; all together 1", examples=["0.5"])

    @cached_property
    def code(self) -> int:
        """What stands for the id in profiles."""
        return code16(self.id)


class ExposeOn(Definition):
    """When a user begins to count: at an event, or (`event` None) when a message of it is decided."""

    event: EventName | None = Field(
        default=None,
        description="the user's first event of this name is the exposure",
        examples=["Product Viewed"],
    )

    @model_validator(mode="before")
    @classmethod
    def _message(cls, value: object) -> object:
        if value == "message":
            return {}
        if isinstance(value, str):
            remedy = "expose_on: message, or expose_on: {event: Product Viewed}"
            raise mistake(f"{value!r} is not an exposure", remedy)
        return value


class Namespace(Definition):
    """A stretch of users: experiments with separate stretches of a namespace exclude each other, as in GrowthBook."""

    id: Slug = Field(description="name of the namespace", examples=["checkout"])
    start: float = Field(alias="from", ge=0.0, le=1.0, description="where the stretch begins, 0 to 1", examples=["0.0"])
    end: float = Field(alias="to", ge=0.0, le=1.0, description="where it ends", examples=["0.5"])

    @model_validator(mode="after")
    def _is_a_stretch(self) -> Self:
        if self.start >= self.end:
            raise mistake("`to` must lie above `from`", "{id: checkout, from: 0.0, to: 0.5}", "bad_namespace")
        return self


_FIXED_VALUES: dict[str, tuple[str, ...]] = {
    "new_returning": ("new", "returning"),
    "device": ("desktop", "mobile", "tablet"),
}


class Dimension(Definition):
    """What results are told apart by, frozen at the exposure."""

    id: Literal["country", "device", "new_returning"] = Field(description="which", examples=["country"])
    values: tuple[Value, ...] = Field(
        default=(),
        max_length=50,
        description="values that are told apart (country: needed); users with another one are `other`",
        examples=["[United Kingdom, Germany]"],
    )

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: object) -> object:
        return {"id": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_values(self) -> Self:
        if self.id == "country" and not self.values:
            remedy = "{id: country, values: [United Kingdom, Germany]}"
            raise mistake("countries have to be named; all others count as `other`", remedy, "bad_dimension")
        if self.id == "new_returning" and self.values:
            raise mistake("new_returning has the values new and returning", "new_returning", "bad_dimension")
        if len(set(self.values)) < len(self.values):
            raise mistake("a value stands here twice", "each value once", "bad_dimension")
        return self

    @property
    def told_apart(self) -> tuple[str, ...]:
        """Values that counters name; any other is :data:`OTHER`."""
        return self.values or _FIXED_VALUES.get(self.id, ())


class ExperimentPlan(Definition):
    """What is decided before the start: how many users, and which effects matter."""

    users: int | None = Field(default=None, ge=100, description="users of all arms together", examples=["20000"])
    power: float = Field(
        default=0.8, gt=0.0, lt=1.0, description="wanted chance to find the smallest effect", examples=["0.8"]
    )
    alpha: float = Field(
        default=0.05, gt=0.0, le=0.5, description="accepted chance of a false claim", examples=["0.05"]
    )
    minimum_effect: dict[Slug, Annotated[float, Field(gt=0.0)]] = Field(
        default_factory=dict,
        description="smallest difference that matters, by metric, in its unit",
        examples=["{clicked: 0.02}"],
    )


class Ruling(Definition):
    """What became of a running experiment. Kairos writes it, no file has it."""

    status: Literal["running", "stopped", "rolled_out"] = Field(
        default="running", description="whether it still runs", examples=["running"]
    )
    step: int = Field(
        default=0, ge=0, description="step of the roll-out, or version of the bandit's shares", examples=["0"]
    )
    weights: tuple[float, ...] = Field(
        default=(), description="shares in force, in the order of the variants (bandit)", examples=["[0.3, 0.7]"]
    )
    winner: Slug | None = Field(default=None, description="variant that everybody gets", examples=["named"])


# What decides who gets which variant, and what is counted and judged: it never changes once somebody was exposed.
FROZEN = (
    *("seed", "variants", "coverage", "namespace", "when", "expose_on", "metrics", "dimensions", "plan", "method"),
    *("start_ms", "refund_window_ms", "lateness_ms", "rollout", "allocation"),
)


class Experiment(Definition):
    """A running A/B test; the first variant is the control."""

    id: Slug = Field(description="its name for good", examples=["cart-subject"])
    version: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="raise it to change a running experiment: counting begins anew",
        examples=["1"],
    )
    description: str = Field(
        default="", description="one sentence for people", examples=["Two subjects for the cart mail"]
    )
    hypothesis: str = Field(default="", description="what you expect and why", examples=["A name draws more clicks"])
    varies: Literal["message", "template", "offer-policy", "campaign-step", "nothing"] | None = Field(
        default=None, description="what differs between the variants, for people", examples=["message"]
    )
    enabled: bool = Field(default=True, description="`false`: nobody new is exposed", examples=["true"])
    seed: str = Field(
        default="",
        max_length=64,
        description="what users are shuffled with; the id, unless given",
        examples=["cart-subject"],
    )
    variants: tuple[Variant, ...] = Field(
        min_length=2,
        max_length=20,
        description="the arms, control first",
        examples=["[{id: control, weight: 0.5}, ...]"],
    )
    coverage: float = Field(default=1.0, gt=0.0, le=1.0, description="share of users that take part", examples=["1.0"])
    namespace: Namespace | None = Field(
        default=None,
        description="stretch of users, for experiments that exclude each other",
        examples=["{id: checkout, from: 0.0, to: 0.5}"],
    )
    when: str | None = Field(
        default=None,
        description="condition in CEL at the exposure: who may take part",
        examples=["user.orders >= 1"],
    )
    testers: dict[Annotated[str, Field(max_length=200)], Slug] = Field(
        default_factory=dict,
        max_length=1000,
        description="users who always get this variant and never count",
        examples=["{anna: named}"],
    )
    expose_on: ExposeOn = Field(
        description="`message`, or the event at which a user begins to count", examples=["message"]
    )
    metrics: tuple[Metric, ...] = Field(
        min_length=1,
        max_length=50,
        description="what is measured",
        examples=["[{id: clicked, event: Email Link Clicked, within: 7d}]"],
    )
    dimensions: tuple[Dimension, ...] = Field(
        default=(),
        max_length=3,
        description="what results are told apart by",
        examples=["[new_returning, device]"],
    )
    plan: ExperimentPlan = Field(
        default=ExperimentPlan(),
        description="what is decided before the start",
        examples=["{users: 20000, minimum_effect: {clicked: 0.02}}"],
    )
    method: Method = Field(
        default="always-valid", description="how results are judged (docs/experiments.md)", examples=["always-valid"]
    )
    start_ms: StartMs | None = Field(
        default=None, alias="start", description="first moment of exposures", examples=["2010-11-01"]
    )
    end_ms: EndMs | None = Field(
        default=None,
        alias="end",
        description="end of exposures (a date: including that day, UTC)",
        examples=["2010-12-24"],
    )
    refund_window_ms: DurationMs | None = Field(
        default=None,
        alias="refund_window",
        description="refunds and cancellations reduce what their order brought until then after the order",
        examples=["30d"],
    )
    lateness_ms: DurationMs = Field(
        default=_DAY_MS,
        alias="lateness",
        description="how late an event may come and still count; results are final after that",
        examples=["24h"],
    )
    rollout: tuple[Annotated[float, Field(gt=0.0, le=1.0)], ...] = Field(
        default=(),
        max_length=20,
        description="shares of the users that get the second variant, step by step",
        examples=["[0.01, 0.05, 0.25, 1.0]"],
    )
    allocation: Allocation | None = Field(
        default=None,
        description="`bandit`: the shares follow the results (docs/experiments.md)",
        examples=["bandit"],
    )
    on_verdict: Literal["none", "stop", "roll_out"] = Field(
        default="none",
        description="`stop`: ends by itself on harm or a verdict; `roll_out`: the winner goes to everybody",
        examples=["none"],
    )
    simulated: bool = Field(
        default=False,
        description="reactions come from the demo's simulator, not from people",
        examples=["false"],
    )
    planted: dict[Slug, float] = Field(
        default_factory=dict,
        description="demo only: effect (last variant minus control) that the simulator builds in, by metric",
        examples=["{clicked: 0.1}"],
    )
    ruling: Ruling | None = Field(
        default=None, description="what Kairos decided about it; not for files", examples=["nothing: leave it out"]
    )

    @model_validator(mode="before")
    @classmethod
    def _seed_is_the_id(cls, value: object) -> object:
        if isinstance(value, dict) and "seed" not in value and isinstance(value.get("id"), str):
            return {**value, "seed": value["id"]}
        return value

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        total = math.fsum(variant.weight for variant in self.variants)
        if abs(total - 1.0) > 1e-9:
            remedy = "weights such as 0.5 and 0.5"
            raise mistake(f"the weights add up to {total:g}, not to 1", remedy, "bad_weights")
        named = (("variant", [v.id for v in self.variants]), ("metric", [m.id for m in self.metrics]))
        for what, names in named:
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise mistake(f"two {what}s have the id {twice[0]!r}", f"an id of its own for each {what}", "same_id")
            if len({code16(name) for name in names}) < len(names):
                raise mistake(f"two ids of {what}s have the same short code (a rare accident)", "another id for one")
        if len({dimension.id for dimension in self.dimensions}) < len(self.dimensions):
            raise mistake("a dimension stands here twice", "each dimension once", "bad_dimension")
        return self

    @model_validator(mode="after")
    def _names_what_is_there(self) -> Self:
        metrics = {metric.id for metric in self.metrics}
        for where, names in (("planted", self.planted), ("minimum_effect", self.plan.minimum_effect)):
            unknown = sorted(set(names) - metrics)
            if unknown:
                message = f"{where} names {unknown[0]!r}, which is no metric here"
                raise mistake(message, "the id of a metric", "unknown_metric")
        arms = {variant.id for variant in self.variants}
        strange = sorted(set(self.testers.values()) - arms)
        if strange:
            message = f"testers names {strange[0]!r}, which is no variant here"
            raise mistake(message, "the id of a variant", "unknown_variant")
        return self

    @model_validator(mode="after")
    def _can_be_judged(self) -> Self:
        if self.method in {"obrien-fleming", "pocock"} and self.plan.users is None:
            remedy = "plan: {users: 20000} (kairos experiments plan says how many)"
            raise mistake(f"{self.method} needs the planned number of users", remedy, "no_plan")
        if self.start_ms is not None and self.end_ms is not None and self.start_ms >= self.end_ms:
            raise mistake("end lies before start", "a later end", "bad_dates")
        if self.rollout and (len(self.variants) != 2 or list(self.rollout) != sorted(set(self.rollout))):
            remedy = "rollout: [0.01, 0.05, 0.25, 1.0], with two variants"
            raise mistake("a roll-out has two variants and steps that grow", remedy, "bad_rollout")
        return self

    @field_validator("allocation")
    @classmethod
    def _has_a_bandits_rest(cls, value: Allocation | None, info: ValidationInfo) -> Allocation | None:
        fault = None if value is None else value.fault(info.data)
        if fault is not None:
            raise mistake(*fault, "bad_allocation")
        return value

    @property
    def key(self) -> str:
        """Name of this version in counters and profiles."""
        return self.id if self.version == 1 else f"{self.id}@{self.version}"

    @cached_property
    def code(self) -> int:
        """What stands for this version in profiles."""
        return code32(self.key)

    @cached_property
    def variant_by_code(self) -> dict[int, str]:
        """Ids of the variants by their codes."""
        return {variant.code: variant.id for variant in self.variants}

    @property
    def control(self) -> Variant:
        """The variant that the others are compared with."""
        return self.variants[0]

    @cached_property
    def shares(self) -> tuple[float, ...]:
        """Weights in force: those of the variants, of the roll-out's step, or the bandit's last ones."""
        if self.rollout:
            step = self.ruling.step if self.ruling is not None else 0
            share = self.rollout[min(step, len(self.rollout) - 1)]
            return (1.0 - share, share)
        if self.allocation is not None and self.ruling is not None and self.ruling.weights:
            return self.ruling.weights
        return tuple(variant.weight for variant in self.variants)

    @property
    def stepped(self) -> bool:
        """Whether users are counted by the shares that were in force when they came."""
        return bool(self.rollout) or self.allocation is not None

    @cached_property
    def rewarded(self) -> Metric:
        """The metric that a bandit goes by."""
        named = self.allocation.metric if self.allocation is not None else None
        wanted = (one for one in self.metrics if (one.role == "primary" if named is None else one.id == named))
        return next(wanted, self.metrics[0])

    @property
    def final_after_ms(self) -> int:
        """How long after the end of a cohort's day nothing about it changes any more."""
        longest = max(metric.within_ms for metric in self.metrics)
        return longest + (self.refund_window_ms or 0) + self.lateness_ms

    def frozen(self) -> dict[str, Any]:
        """What must not change while it runs, in the form of the YAML files."""
        # Without what is left at its default: a key that a later release adds is then no change.
        found = self.model_dump(mode="json", by_alias=True, include=set(FROZEN), exclude_defaults=True)
        return {name: found[name] for name in sorted(found)}

    def changed(self, before: Mapping[str, Any]) -> tuple[str, ...]:
        """Keys that must not differ from what :meth:`frozen` gave before, and do."""
        now = self.frozen()
        return tuple(name for name in sorted({*now, *before}) if now.get(name) != before.get(name))
