"""From running counters to the sums that comparisons take: the one reader of how experiments are counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from config.definitions import Experiment, Metric
from models.experiments.count import sum_of_squares
from models.experiments.sums import Moments


@dataclass(frozen=True, slots=True)
class Arm:
    """One variant: users exposed, and per metric the sums of those whose window has closed.

    Sums are in counted units: see :attr:`config.experiment.Metric.scale`. The values of a metric are the outcome (of a
    ratio: numerator, denominator), then covariate and missing indicator if it has a covariate.
    """

    exposed: int
    metrics: dict[str, Moments]


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums of an experiment, arms in the order of the definition.

    Parameters
    ----------
    days : with exposures, in days since 1970. twice : users really shown two variants, by their first one.
    """

    arms: dict[str, Arm]
    days: tuple[int, ...] = ()
    twice: dict[str, int] = field(default_factory=dict)


def tally(
    counts: Mapping[str, int],
    experiment: Experiment,
    *,
    matured_by: int | None = None,  # noqa: ARG001
    segment: str = "",
    day: int | None = None,  # noqa: ARG001
) -> Tally:
    """Add up the cohorts of an experiment.

    Parameters
    ----------
    counts : its counters, added over the lanes.
    matured_by : watermark, ms: of each metric only cohorts whose window (and lateness) is over by then; None: all.
    segment : "" for all users, or one of :func:`segments`.
    day : only this cohort (days since 1970); None: all.
    """
    arms = {}
    for variant in experiment.variants:
        exposed = 0 if segment else counts.get(f"{variant.id}:exposed", 0)
        arms[variant.id] = Arm(
            exposed, {metric.id: _moments(counts, variant.id, metric, exposed) for metric in experiment.metrics}
        )
    return Tally(arms, (), {variant.id: 0 for variant in experiment.variants})


def _moments(counts: Mapping[str, int], variant: str, metric: Metric, exposed: int) -> Moments:
    users, total = (counts.get(f"{variant}:{metric.id}:{part}", 0) for part in ("users", "sum"))
    squares = sum_of_squares(counts, variant, metric.id)
    # The hash of each lane is read at its own moment: a conversion may be there before its exposure.
    return Moments(max(exposed, users), (total,), (squares,))


def segments(counts: Mapping[str, int], experiment: Experiment) -> tuple[str, ...]:  # noqa: ARG001
    """Parts of the users that were counted apart, such as "country=Germany"."""
    return ()


def expected_shares(counts: Mapping[str, int], experiment: Experiment) -> dict[str, float]:  # noqa: ARG001
    """Share of the exposed users that each variant should have: the probabilities in force at each exposure, added."""
    shares = dict(zip((variant.id for variant in experiment.variants), experiment.shares, strict=True))
    total = sum(shares.values())
    return {variant: share / total for variant, share in shares.items()}
