"""The experiments' tables: from counters to rates, differences, intervals and a verdict in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from config.definitions import Experiment, Metric
from config.units import spell_duration
from models.experiments.compare import share
from models.experiments.fixed import newcombe_interval, two_proportion_z, welch_t
from models.experiments.sums import Proportion
from models.experiments.tally import Tally, tally
from services.dashboard import words
from services.dashboard.outcomes import ExperimentResult, MetricResult, VariantResult, Verdict

ALPHA = 0.05
# Below this many users with the event (or without it) in an arm, a test of two shares says little.
LEAST_USERS = 5


@dataclass(frozen=True, slots=True)
class _Compared:
    """A difference against the control, before it is put into words."""

    difference: float
    low: float
    high: float
    z: float
    p: float


def build_experiments(
    counters: Mapping[str, Mapping[str, int]], experiments: Iterable[Experiment], currency: str
) -> tuple[ExperimentResult, ...]:
    """One result per experiment, simulated ones last.

    Parameters
    ----------
    counters : by experiment; see :mod:`models.experiments.fields`.
    experiments : their definitions; the first variant is the control.
    currency : ISO 4217 code of the money in revenue metrics.
    """
    results = [_experiment(one, counters.get(one.id, {}), currency) for one in experiments]
    return tuple(sorted(results, key=lambda result: (result.simulated, result.experiment)))


def _experiment(experiment: Experiment, counts: Mapping[str, int], currency: str) -> ExperimentResult:
    found = tally(counts, experiment)
    return ExperimentResult(
        experiment=experiment.id,
        description=experiment.description,
        hypothesis=experiment.hypothesis,
        simulated=experiment.simulated,
        exposed=sum(arm.exposed for arm in found.arms.values()),
        metrics=tuple(
            _metric(experiment, metric, found, currency)
            for metric in experiment.metrics
            if metric.kind in {"proportion", "revenue"}
        ),
    )


def _metric(experiment: Experiment, metric: Metric, found: Tally, currency: str) -> MetricResult:
    ids = [variant.id for variant in experiment.variants]
    is_share = metric.kind == "proportion"
    rows = _shares(ids, metric, found) if is_share else _averages(ids, metric, found, currency)
    planted = experiment.planted.get(metric.id)
    if planted is not None:
        # The simulator plants the effect in the last variant only.
        shown = words.points(planted) if is_share else words.signed_money(planted, currency)
        rows[-1] = replace(rows[-1], planted=shown)
    return MetricResult(metric.id, _title(metric), metric.kind, tuple(_scaled(rows)))


def _title(metric: Metric) -> str:
    what = metric.event if metric.kind == "proportion" else f"Revenue ({metric.event})"
    return f"{what} within {spell_duration(metric.within_ms)}"


def _shares(ids: Sequence[str], metric: Metric, found: Tally) -> list[VariantResult]:
    arms: list[Proportion] = [share(found.arms[one].metrics[metric.id]) for one in ids]
    control = arms[0]
    rows = [VariantResult(ids[0], True, control.n, control.successes, words.percent(control.rate))]
    for variant, arm in zip(ids[1:], arms[1:], strict=True):
        row = VariantResult(variant, False, arm.n, arm.successes, words.percent(arm.rate))
        test, interval = two_proportion_z(control, arm), newcombe_interval(control, arm)
        if test is None or interval is None:
            rows.append(_too_few(row))
            continue
        compared = _Compared(test.difference, interval.low, interval.high, test.z, test.p)
        enough = min(arm.successes, arm.n - arm.successes, control.successes, control.n - control.successes)
        judged = _judged(row, compared, words.points(test.difference), enough >= LEAST_USERS)
        low, high = words.points(interval.low), words.points(interval.high)
        rows.append(replace(judged, interval=f"{low.removesuffix(' pts')} to {high}"))
    return rows


def _averages(ids: Sequence[str], metric: Metric, found: Tally, currency: str) -> list[VariantResult]:
    arms = [found.arms[one].metrics[metric.id].one(0) for one in ids]
    rows = [VariantResult(ids[0], True, arms[0].n, arms[0].n, words.money(arms[0].mean, currency))]
    for variant, arm in zip(ids[1:], arms[1:], strict=True):
        row = VariantResult(variant, False, arm.n, arm.n, words.money(arm.mean, currency))
        test = welch_t(arms[0], arm)
        if test is None:
            rows.append(_too_few(row))
            continue
        compared = _Compared(test.difference, test.interval.low, test.interval.high, test.t, test.p)
        shown = words.signed_money(test.difference, currency)
        low, high = (words.signed_money(bound, currency) for bound in test.interval)
        judged = _judged(row, compared, shown, min(arm.n, arms[0].n) >= LEAST_USERS)
        rows.append(replace(judged, interval=f"{low} to {high}"))
    return rows


def _judged(row: VariantResult, compared: _Compared, difference: str, enough: bool) -> VariantResult:
    verdict: Verdict = "undecided"
    if not enough:
        verdict = "too-few"
    # Test and interval are made by different methods; only where both agree is anything claimed.
    elif compared.p < ALPHA and (compared.low > 0 or compared.high < 0):
        verdict = "ahead" if compared.difference > 0 else "behind"
    return replace(
        row,
        difference=difference,
        z=compared.z,
        p=compared.p,
        verdict=verdict,
        words="too few yet" if verdict == "too-few" else verdict,
        low=compared.low,
        high=compared.high,
        point=compared.difference,
    )


def _too_few(row: VariantResult) -> VariantResult:
    return replace(row, verdict="too-few", words="too few yet")


def _scaled(rows: Sequence[VariantResult]) -> list[VariantResult]:
    """Bring a table's intervals onto one scale of -1 to 1, so that they can be compared by eye."""
    reach = max((max(abs(row.low or 0.0), abs(row.high or 0.0)) for row in rows), default=0.0)
    if not reach:
        return [replace(row, low=None, high=None, point=None) for row in rows]
    return [
        row
        if row.low is None or row.high is None or row.point is None
        else replace(row, low=row.low / reach, high=row.high / reach, point=row.point / reach)
        for row in rows
    ]
