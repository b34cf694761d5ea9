"""A metric of an experiment as it is written in YAML."""

from __future__ import annotations

from functools import cached_property
from typing import Literal, Self

from pydantic import Field, model_validator

from config.codes import code16
from config.rules import Definition, EventName, Slug
from config.units import DurationMs, mistake

HUNDREDTHS = 100
ORDERED = "Order Completed"

Kind = Literal["proportion", "mean", "ratio", "revenue", "count"]
Covariate = Literal["money", "orders", "events", "sessions"]


class Metric(Definition):
    """What is measured after a user was exposed.

    A user's value is a whole number: of events, or of hundredths (pence, cents) where a property is added up.
    """

    id: Slug = Field(description="its name in tables", examples=["clicked"])
    event: EventName = Field(description="the event that counts", examples=["Email Link Clicked"])
    within_ms: DurationMs = Field(
        alias="within", description="it counts until then after the exposure", examples=["7d"]
    )
    kind: Kind = Field(
        default="proportion",
        description="of users: `proportion` with the event, `count` of events, `revenue`, `mean` of a property's sum; "
        "`ratio` of two sums",
        examples=["proportion"],
    )
    value: str | None = Field(
        default=None,
        min_length=1,
        description="property that is added up (revenue, unless given: `revenue`; ratio, unless given: events)",
        examples=["revenue"],
    )
    denominator_event: EventName | None = Field(
        default=None, description="the event below the line (ratio)", examples=["Order Completed"]
    )
    denominator_value: str | None = Field(
        default=None,
        min_length=1,
        description="property that is added up below the line (ratio); events, unless given",
        examples=["quantity"],
    )
    campaign: Slug | None = Field(
        default=None,
        description="only events about messages of this campaign count",
        examples=["abandoned-cart"],
    )
    cap: float | None = Field(
        default=None,
        gt=0.0,
        description="most that one user can bring (winsorising), in pounds, events or what the property counts",
        examples=["500"],
    )
    role: Literal["primary", "guardrail", "exploratory"] = Field(
        default="primary",
        description="`primary` decides, a `guardrail` may only stop, `exploratory` claims nothing",
        examples=["primary"],
    )
    less_is_better: bool = Field(default=False, description="a fall is the benefit", examples=["false"])
    margin: float = Field(
        default=0.0, ge=0.0, description="how much worse a guardrail may get, in its unit", examples=["0.005"]
    )
    covariate: Covariate | None = Field(
        default=None,
        description="what was known of the user before the exposure and makes the result sharper (CUPED)",
        examples=["money"],
    )

    @model_validator(mode="before")
    @classmethod
    def _money_by_itself(cls, value: object) -> object:
        if isinstance(value, dict) and value.get("kind") == "revenue" and value.get("value") is None:
            return {**value, "value": "revenue"}
        return value

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "ratio" and self.denominator_event is None:
            raise mistake("a ratio needs the event below the line", "denominator_event: Order Completed", "bad_metric")
        if self.kind != "ratio" and (self.denominator_event or self.denominator_value):
            raise mistake("denominator_event and denominator_value belong to a ratio", "kind: ratio", "bad_metric")
        if self.kind == "mean" and self.value is None:
            raise mistake("a mean needs the property that is added up", "value: quantity", "bad_metric")
        if self.kind == "proportion" and self.cap is not None:
            raise mistake("a share of users has no cap", "kind: count", "bad_metric")
        return self

    @cached_property
    def code(self) -> int:
        """What stands for the id in profiles."""
        return code16(self.id)

    @property
    def scale(self) -> int:
        """How many of the counted units make one of the metric's: 100 where a property is added up (above the line)."""
        return HUNDREDTHS if self.kind in {"revenue", "mean"} or (self.kind == "ratio" and self.value) else 1

    @property
    def denominator_scale(self) -> int:
        """The same below the line."""
        return HUNDREDTHS if self.denominator_value else 1

    @cached_property
    def cap_units(self) -> int | None:
        """The cap in the counted units."""
        return None if self.cap is None else round(self.cap * self.scale)

    @property
    def values(self) -> int:
        """How many of a user's values make the outcome."""
        return 2 if self.kind == "ratio" else 1
