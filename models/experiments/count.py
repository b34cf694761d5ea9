"""Exposures and conversions as exact increments of running counters.

The profile keeps the user's running value of each metric; on a change the counters get new - old and new^2 - old^2, so
that the sums are over users, not over events.

Redis counts in 64 bits and refuses to go beyond them in the middle of a transaction. Squares of money get there (a
user who spent 31 million is enough), so they are kept in two counters: `sumsq` and, in units of 2^32, `sumsq_high`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from config.codes import code16
from config.definitions import Experiment, Metric
from models import decisions
from models.decisions import Cause, effect_id
from models.outcome import Outcome
from models.profile.state import Exposure, Profile
from models.profile.update import order_value_minor, to_minor
from models.wire import Input

HALF = 1 << 32
VALUE_LIMIT = 10**12  # minor units that one user can bring a metric


def counter_key(experiment: str) -> str:
    """Counter hash of an experiment."""
    return f"exp:{experiment}"


def sum_of_squares(counts: Mapping[str, int], variant: str, metric: str) -> int:
    """Sum over users of the squared value of a metric, from the counters of an experiment.

    Examples
    --------
    >>> sum_of_squares({"a:revenue:sumsq": 5, "a:revenue:sumsq_high": 2}, "a", "revenue")
    8589934597
    """
    prefix = f"{variant}:{metric}:sumsq"
    return counts.get(prefix, 0) + HALF * counts.get(f"{prefix}_high", 0)


def expose(
    out: Outcome, profile: Profile, user: str, experiment: Experiment, variant: str, at: int, cause: Cause
) -> None:
    """Count the user's first exposure; later ones change nothing (the first variant stays)."""
    exposures = profile.exposures
    if experiment.code in exposures:
        return
    exposures[experiment.code] = Exposure(code16(variant), at // 1000)
    out.count(counter_key(experiment.id), f"{variant}:exposed")
    out.effects.append(
        decisions.Exposure(
            id=effect_id(experiment.id, "exposure", user, "first"),
            user=user,
            at=at,
            experiment=experiment.id,
            variant=variant,
            cause=cause,
        )
    )


def convert(out: Outcome, profile: Profile, event: Input, metrics: Iterable[tuple[Experiment, Metric]]) -> None:
    """Count `event` for the metrics that wait for it, for users exposed to the experiment and inside the window."""
    exposures = profile.exposures
    for experiment, metric in metrics:
        exposure = exposures.get(experiment.code)
        if exposure is None or not 0 <= event.at - exposure.at * 1000 <= metric.within_ms:
            continue
        if metric.campaign is not None and event.properties.campaign_id != metric.campaign:
            continue
        variant = experiment.variant_by_code.get(exposure.variant)
        if variant is None:
            continue  # it is not in the definitions any more
        old = exposure.values.get(metric.code, 0)
        if metric.kind == "proportion":
            if old:
                continue
            new = 1
        else:
            new = max(-VALUE_LIMIT, min(VALUE_LIMIT, old + _value_minor(event, metric.value)))
        if new == old:
            continue
        exposure.values[metric.code] = new
        key, prefix = counter_key(experiment.id), f"{variant}:{metric.id}:"
        out.count(key, prefix + "users", (new != 0) - (old != 0))
        out.count(key, prefix + "sum", new - old)
        high, low = divmod(new * new - old * old, HALF)
        out.count(key, prefix + "sumsq", low)
        out.count(key, prefix + "sumsq_high", high)


def _value_minor(event: Input, name: str | None) -> int:
    if name is None:
        return 1
    if name == "revenue":
        return order_value_minor(event.properties)
    found = event.document()["properties"].get(name)
    try:
        return to_minor(float(found)) if found is not None else 0
    except (TypeError, ValueError, OverflowError):
        return 0
