"""Shares that follow the results, as they are written in YAML: a bandit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from config.rules import Definition, Slug
from config.units import mistake

_REMEDY = "allocation: bandit, or allocation: {metric: clicked, floor: 0.05}"


class Allocation(Definition):
    """The variants' weights are those of the start; then each day's shares follow the users who have matured."""

    metric: Slug | None = Field(
        default=None,
        description="whose average is to become best; the first primary metric, unless given",
        examples=["clicked"],
    )
    floor: float = Field(default=0.05, ge=0.01, le=0.5, description="share that each variant keeps", examples=["0.05"])

    @model_validator(mode="before")
    @classmethod
    def _bandit_alone(cls, value: object) -> object:
        if value == "bandit":
            return {}
        if isinstance(value, str):
            raise mistake(f"{value!r} is no allocation", _REMEDY, "bad_allocation")
        return value

    def fault(self, data: Mapping[str, Any]) -> tuple[str, str] | None:
        """What in the rest of an experiment does not go with it (those keys that are sound): message and remedy."""
        variants, metrics, exposes = data.get("variants", ()), data.get("metrics", ()), data.get("expose_on")
        room, named = self.floor * len(variants) < 1.0, {metric.id for metric in metrics}
        faults = (
            (not room, f"{len(variants)} variants with {self.floor:g} each leave nothing to move", "a lower floor"),
            (
                any(variant.weight < self.floor - 1e-9 for variant in variants),
                f"a weight lies below the floor of {self.floor:g}",
                "weights to begin with, each at least the floor",
            ),
            (
                bool(named) and self.metric is not None and self.metric not in named,
                f"allocation names {self.metric!r}, which is no metric here",
                "the id of a metric",
            ),
            (bool(data.get("rollout")), "a roll-out sets the shares itself", "either rollout or allocation"),
            # Who is covered would move with the shares, and the shares would not be the users' chances any more.
            (
                data.get("coverage", 1.0) < 1.0,
                "shares that move need all users",
                "namespace: {id: some-name, from: 0.0, to: 0.2}, for a part of them",
            ),
            (
                data.get("method", "always-valid") != "always-valid",
                "a bandit is judged by the always-valid method",
                "method: always-valid",
            ),
            (
                any(metric.kind == "ratio" or metric.covariate is not None for metric in metrics),
                "a bandit compares shares and averages per user",
                "metrics without kind: ratio and covariate",
            ),
            (
                bool(data.get("dimensions")),
                "within parts of the users a bandit's arms cannot be compared",
                "no dimensions",
            ),
            (
                exposes is not None and exposes.event == "Experiment Viewed",
                "outside services may show a variant by shares of before",
                "expose_on: message, or another event",
            ),
        )
        return next(((message, remedy) for wrong, message, remedy in faults if wrong), None)
