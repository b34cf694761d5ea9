"""From running counters to the sums that comparisons take: the one reader of how experiments are counted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from config.definitions import Experiment, Metric
from models.experiments.fields import DAY_MS, MISMATCH, SUMS, TWICE, USERS, WEIGHTS, whole
from models.experiments.sums import Moments

ONCE = "twice=no"
_Cell = tuple[str, str]  # variant, metric ("": users)


@dataclass(frozen=True, slots=True)
class Arm:
    """One variant: users exposed, and per metric the sums of those whose window has closed.

    Sums are in counted units: see :attr:`config.metric.Metric.scale`. The values of a metric are the outcome (of a
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


@dataclass(frozen=True, slots=True)
class Sheet:
    """The counters of one part of the users, by what they count: one read serves several moments.

    Parameters
    ----------
    columns : by part of the users, variant and :data:`USERS` (or metric and sum): values by day. days : all of them, by
        how names spell them.
    """

    segment: str
    columns: dict[tuple[str, ...], dict[str, int]]
    days: dict[str, int]


def sheet(counts: Mapping[str, int], segment: str = "") -> Sheet:
    """Read counters (added over the lanes) of one part of the users, see :func:`tally`.

    Names are many (each day has its own), what they count is little: only the latter is taken apart.
    """
    # Neither variants nor metrics are empty or hold "=": this tells a part's names from all others.
    wanted, twice = f"|{'' if segment == ONCE else segment}|", f"|{TWICE}|"
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for name, value in counts.items():
        if value and (wanted in name or twice in name):
            day, _, rest = name.partition("|")
            found[rest][day] = value
    # Part, variant and what is counted; with fewer it is no name of a cohort.
    columns = {parts: held for rest, held in found.items() if len(parts := tuple(rest.split("|"))) >= 3}
    return Sheet(segment, columns, {day: int(day) for day in set().union(*columns.values())})


def tally(
    counts: Mapping[str, int],
    experiment: Experiment,
    *,
    matured_by: int | None = None,
    segment: str = "",
    day: int | None = None,
) -> Tally:
    """Add up the cohorts of an experiment.

    Parameters
    ----------
    counts : its counters, added over the lanes.
    matured_by : watermark, ms: of each metric only cohorts whose window (and lateness) is over by then; None: all.
    segment : "" for all users, one of :func:`segments`, or :data:`ONCE` for all but users who saw two variants.
    day : only this cohort (days since 1970); None: all.
    """
    return add_up(sheet(counts, segment), experiment, matured_by=matured_by, day=day)


def add_up(found: Sheet, experiment: Experiment, *, matured_by: int | None = None, day: int | None = None) -> Tally:
    """Add up the cohorts of a sheet, see :func:`tally`."""
    # Days that were not asked for: all but one, or the few whose window is open.
    others = {text for text, cohort in found.days.items() if day is not None and cohort != day}
    without = {metric.id: others for metric in experiment.metrics}
    if matured_by is not None:
        for metric in experiment.metrics:
            until = last_day(experiment, metric, matured_by)
            without[metric.id] = others | {text for text, cohort in found.days.items() if cohort > until}
    sums: dict[_Cell, dict[str, int]] = {}
    users: dict[_Cell, int] = {}
    days: set[int] = set()
    twice = {variant.id: 0 for variant in experiment.variants}
    for (part, variant, what, *rest), column in found.columns.items():
        if part == TWICE and what == USERS and not rest:
            twice[variant] = twice.get(variant, 0) + sum(column.values())
        sign = _sign(part, found.segment)
        if not sign:
            continue
        if rest:
            if what in without:
                held = sums.setdefault((variant, what), {})
                held[rest[0]] = held.get(rest[0], 0) + sign * _all_but(without[what], column)
        elif what == USERS:
            days.update(found.days[text] for text in column.keys() - others)
            for name, texts in [("", others), *without.items()]:
                users[variant, name] = users.get((variant, name), 0) + sign * _all_but(texts, column)
    arms = {
        variant.id: Arm(
            users.get((variant.id, ""), 0),
            {
                metric.id: _moments(
                    metric, users.get((variant.id, metric.id), 0), sums.get((variant.id, metric.id), {})
                )
                for metric in experiment.metrics
            },
        )
        for variant in experiment.variants
    }
    return Tally(arms, tuple(sorted(days)), twice)


def _all_but(days: set[str], column: Mapping[str, int]) -> int:
    """A column's sum without some days, which are few where cohorts are many."""
    return sum(column.values()) - sum(column.get(day, 0) for day in days)


def _sign(part: str, segment: str) -> int:
    """How a part of the users goes into what was asked for: 1, -1 or not at all."""
    if segment == ONCE:
        return 1 if not part else -1 if part == TWICE else 0
    return 1 if part == segment else 0


def last_day(experiment: Experiment, metric: Metric, watermark: int) -> int:
    """Last day whose cohort is over for a metric: the day, the window after its last moment, and the lateness."""
    return (watermark - metric.within_ms - experiment.lateness_ms) // DAY_MS - 1


def final(experiment: Experiment, day: int) -> int:
    """When nothing about a cohort changes any more, refunds included: watermark, ms."""
    return (day + 1) * DAY_MS + experiment.final_after_ms


def _moments(metric: Metric, n: int, held: Mapping[str, int]) -> Moments:
    found = {name: whole(held, name) for name in SUMS[metric.kind == "ratio", metric.covariate is not None]}
    if metric.kind == "proportion":
        # The hash of each lane is read at its own moment: a conversion may be there before its exposure.
        n = max(n, found["a"])
    values = ["a", "b"] if metric.kind == "ratio" else ["a"]
    if metric.covariate is not None:
        values += ["x", "m"]
        found |= {"xm": 0, "mm": found["m"]}
    products = tuple(found[one + other] for place, one in enumerate(values) for other in values[place:])
    return Moments(n, tuple(found[name] for name in values), products)


def segments(counts: Mapping[str, int], experiment: Experiment) -> tuple[str, ...]:
    """Parts of the users that were counted apart, such as "country=Germany", in the order of the definition."""
    names = [dimension.id for dimension in experiment.dimensions] + (["step"] if experiment.rollout else [])
    found = {parts[1] for name in counts if len(parts := name.split("|")) > 3 and "=" in parts[1]}
    ranked = [(names.index(part.split("=")[0]), part) for part in found if part.split("=")[0] in names]
    return tuple(part for _, part in sorted(ranked))


def expected_shares(counts: Mapping[str, int], experiment: Experiment) -> dict[str, float]:
    """Share of the exposed users that each variant should have: the probabilities in force at each exposure, added."""
    ids = [variant.id for variant in experiment.variants]
    expected = dict.fromkeys(ids, 0.0)
    users = 0
    for name in [name for name in counts if name.startswith(WEIGHTS)]:
        shares = [float(text) for text in name.removeprefix(WEIGHTS).partition("|")[0].split(",")]
        value = counts[name]
        if len(shares) == len(ids) and value > 0:
            users += value
            for variant, share in zip(ids, shares, strict=True):
                expected[variant] += value * share / sum(shares)
    if not users:
        total = sum(experiment.shares)
        return {variant: share / total for variant, share in zip(ids, experiment.shares, strict=True)}
    return {variant: share / users for variant, share in expected.items()}


def mismatches(counts: Mapping[str, int]) -> dict[str, int]:
    """Users to whom an outside service showed another variant than the hash gives, by the variant shown."""
    return {name.removeprefix(MISMATCH): value for name, value in counts.items() if name.startswith(MISMATCH)}
