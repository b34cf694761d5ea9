"""From an experiment's definition and counters to what its statistics need: the plan, and the sums of one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from config.experiment import Experiment
from models.experiments.bandit import Batch
from models.experiments.plan import Kind, MetricPlan, Plan
from models.experiments.sample_ratio import Epoch
from models.experiments.sums import Moments
from models.experiments.tally import Tally, add_up, expected_shares, sheet
from models.experiments.verdict import Reading, Sums

DAY_MS = 86_400_000
KINDS: Mapping[str, Kind] = {"proportion": "proportion", "ratio": "ratio"}


def plan_of(experiment: Experiment) -> Plan:
    """What the file declares, in the form of the statistics; money in minor units, as it is counted."""
    declared = experiment.plan
    metrics = []
    for metric in experiment.metrics:
        scale = metric.scale / metric.denominator_scale
        smallest = declared.minimum_effect.get(metric.id)
        metrics.append(
            MetricPlan(
                metric.id,
                KINDS.get(metric.kind, "mean"),
                metric.role,
                not metric.less_is_better,
                None if smallest is None else smallest * scale,
                metric.margin * scale,
                scale,
            )
        )
    return Plan(
        {variant.id: share for variant, share in zip(experiment.variants, experiment.shares, strict=True)},
        tuple(metrics),
        experiment.method,
        declared.alpha,
        declared.users,
        max(metric.within_ms for metric in experiment.metrics) / DAY_MS,
    )


@dataclass(frozen=True, slots=True)
class Counted:
    """The counters of one moment.

    Parameters
    ----------
    users : exposed users by variant, matured or not. matured, waiting : sums of users whose window has closed by the
        watermark, and of the others. days : on which somebody was exposed. twice : users who were shown two variants.
    shares : expected shares of the variants. epochs, batches, early : of a bandit, see `Reading`.
    """

    users: Mapping[str, int]
    matured: Sums
    waiting: Sums
    days: tuple[int, ...]
    twice: Mapping[str, int]
    shares: Mapping[str, float]
    epochs: tuple[Epoch, ...] = ()
    batches: Mapping[str, Sequence[Batch]] = field(default_factory=dict)
    early: Mapping[str, Sequence[Batch]] = field(default_factory=dict)

    @property
    def exposed(self) -> int:
        """Users of all variants."""
        return sum(self.users.values())

    @property
    def open(self) -> bool:
        """Whether anybody is still inside a window."""
        return any(moments.n for arm in self.waiting.values() for moments in arm.values())

    def reading(self, plan: Plan, watermark: int, *, finished: bool) -> Reading:
        """What the judge reads."""
        names = tuple(plan.weights)
        counts = tuple(self.users[name] for name in names)
        shares = tuple(self.shares[name] for name in names)
        per_day = 0.0
        if self.days:
            per_day = self.exposed / max(1.0, watermark / DAY_MS - min(self.days))
        epochs = self.epochs or (Epoch(counts, shares),)
        return Reading(self.matured, epochs, self.waiting, finished, per_day, self.batches, self.early)


def counted(
    counts: Mapping[str, int],
    experiment: Experiment,
    watermark: int,
    segment: str = "",
    shares: Mapping[str, float] | None = None,
) -> Counted:
    """Read the counters of an experiment (added over the lanes).

    `shares` : expected ones of a segment; None: those in force at each exposure.
    """
    found = sheet(counts, segment)
    every, closed = add_up(found, experiment), add_up(found, experiment, matured_by=watermark)
    matured, whole = sums_of(closed), sums_of(every)
    return Counted(
        users={variant: arm.exposed for variant, arm in every.arms.items()},
        matured=matured,
        waiting={
            variant: {metric: _less(moments, matured[variant][metric]) for metric, moments in arm.items()}
            for variant, arm in whole.items()
        },
        days=every.days,
        twice=every.twice,
        shares=expected_shares(counts, experiment) if shares is None else shares,
    )


def sums_of(found: Tally) -> dict[str, dict[str, Moments]]:
    """The sums of a tally, by variant and metric."""
    return {variant: dict(arm.metrics) for variant, arm in found.arms.items()}


def _less(whole: Moments, part: Moments) -> Moments:
    return Moments(
        whole.n - part.n,
        tuple(a - b for a, b in zip(whole.sums, part.sums, strict=True)),
        tuple(a - b for a, b in zip(whole.products, part.products, strict=True)),
    )
