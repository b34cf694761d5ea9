"""A goal that a marketer declares, as a frozen model: Kairos learns how likely each user is to reach it."""

from __future__ import annotations

from functools import cached_property
from typing import Self

from pydantic import Field, model_validator

from config.attributes import AttributeNames
from config.codes import code16
from config.rules import Definition, EventName, Slug
from config.units import DurationMs, mistake

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
LONGEST_DAYS = 365
MOST_GOALS = 16


class Goal(Definition):
    """What a user may do, and within which time: the propensity is the probability of it."""

    id: Slug = Field(description="its name for good: `user.propensity['<id>']` in conditions", examples=["buy-again"])
    description: str = Field(
        default="", description="one sentence for people", examples=["Orders again within a month"]
    )
    enabled: bool = Field(
        default=True, description="`false` stops asking and learning without deleting the file", examples=["true"]
    )
    event: EventName = Field(description="event that reaches the goal", examples=["Order Completed"])
    when: str | None = Field(
        default=None,
        description="condition in CEL over the event; without one, any such event",
        examples=["properties.revenue >= 50.0"],
    )
    horizon_ms: DurationMs = Field(
        alias="horizon", description="time within which it has to happen: 1h to 365d", examples=["30d"]
    )
    min_orders: int = Field(
        default=0,
        ge=0,
        description="only users with at least so many orders are scored and learned from",
        examples=["1"],
    )

    attributes: AttributeNames = Field(
        default=(),
        description="attributes of users (identify) that the goal is learned from besides behaviour; at most 8",
        examples=["[country, plan, age]"],
    )

    @model_validator(mode="after")
    def _can_be_waited_for(self) -> Self:
        if not _HOUR_MS <= self.horizon_ms <= LONGEST_DAYS * _DAY_MS:
            raise mistake(f"the horizon must lie between 1h and {LONGEST_DAYS}d", "horizon: 30d")
        return self

    @cached_property
    def code(self) -> int:
        """Number of what is asked, in profiles and snapshots: a goal that asks something else is learned anew."""
        text = f"{self.id}\n{self.event}\n{self.when or ''}\n{self.horizon_ms}\n{self.min_orders}"
        return code16("\n".join([text, *self.attributes]))
