"""What was declared before an experiment started, as its statistics need it. It is frozen then, and shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

from models.experiments.always_valid import DEFAULT_USERS, Mixture
from models.experiments.power import Method

Kind: TypeAlias = Literal["proportion", "mean", "ratio"]
Role: TypeAlias = Literal["primary", "guardrail", "exploratory"]


@dataclass(frozen=True, slots=True)
class MetricPlan:
    """One metric.

    Parameters
    ----------
    id : its name. kind : a proportion has values 0 and 1; a mean is any value per user (revenue, a count); a ratio
        is a sum over a sum. role : primary metrics decide, guardrails may only stop, the rest is exploratory.
    higher_is_better : the direction of a benefit. minimum_effect : smallest difference that matters, in the metric's
        unit. margin : how much worse a guardrail may get, in its unit. scale : counted units in one of the unit that
        people read (money is counted in pence); everything here is in counted units.
    """

    id: str
    kind: Kind = "proportion"
    role: Role = "primary"
    higher_is_better: bool = True
    minimum_effect: float | None = None
    margin: float = 0.0
    scale: float = 1.0

    @property
    def values(self) -> int:
        """How many of a user's values make the outcome; covariates come after them."""
        return 2 if self.kind == "ratio" else 1


@dataclass(frozen=True)
class Plan:
    """An experiment: arms (control first) with their weights, metrics, method, planned users of all arms.

    Examples
    --------
    >>> plan = Plan({"a": 0.5, "b": 0.25, "c": 0.25}, (MetricPlan("bought"),), planned=20_000)
    >>> plan.family, plan.planned_pair("c")
    (2, 15000.0)
    """

    weights: Mapping[str, float]
    metrics: tuple[MetricPlan, ...]
    method: Method = "always-valid"
    alpha: float = 0.05
    planned: int | None = None
    window_days: float = 0.0

    def __post_init__(self) -> None:
        if len(self.weights) < 2 or min(self.weights.values()) <= 0.0:
            raise ValueError("a positive weight for each of at least two arms")
        if self.method in {"obrien-fleming", "pocock"} and self.planned is None:
            raise ValueError("a group-sequential test needs the planned number of users")

    @cached_property
    def control(self) -> str:
        """The arm that the others are compared with."""
        return next(iter(self.weights))

    @cached_property
    def treatments(self) -> tuple[str, ...]:
        """The other arms."""
        return tuple(self.weights)[1:]

    @cached_property
    def family(self) -> int:
        """Number of comparisons that share the error: treatments times primary metrics."""
        return max(1, len(self.treatments) * sum(metric.role == "primary" for metric in self.metrics))

    def planned_pair(self, treatment: str) -> float | None:
        """Planned users of the control and one treatment together."""
        if self.planned is None:
            return None
        return self.planned * (self.weights[self.control] + self.weights[treatment]) / sum(self.weights.values())

    def mixture(self, metric: MetricPlan, treatment: str) -> Mixture:
        """Mixture of the always-valid test: from the minimum effect, else from the planned users."""
        if metric.minimum_effect is not None:
            return Mixture.of_effect(metric.minimum_effect)
        return Mixture.of_users(max(2, round(self.planned_pair(treatment) or DEFAULT_USERS)), self.alpha)
