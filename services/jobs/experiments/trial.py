"""A file of any A/B test as sums: what is common to rows per user and to rows of sums."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from models.experiments.plan import Kind, MetricPlan
from models.experiments.sums import Mean, Moments
from services.jobs.experiments.faults import refuse


@dataclass(frozen=True, slots=True)
class Options:
    """How a file is to be read; see the command's options."""

    variant: str = "variant"
    control: str = ""
    metrics: tuple[str, ...] = ()
    unit: str = ""
    covariate: str = ""
    strata: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)
    caps: Mapping[str, float] = field(default_factory=dict)
    guardrails: tuple[str, ...] = ()
    less_is_better: tuple[str, ...] = ()
    minimum_effects: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trial:
    """A file's content.

    Parameters
    ----------
    weights : planned shares, control first. metrics : their plans. sums : by variant and metric. users : per variant.
    rows : of the file. strata : by metric, variant and stratum. notes : what was done to the rows.
    """

    weights: Mapping[str, float]
    metrics: tuple[MetricPlan, ...]
    sums: Mapping[str, Mapping[str, Moments]]
    users: Mapping[str, int]
    rows: int
    strata: Mapping[str, Mapping[str, Mapping[str, Mean]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def shares_of(found: Sequence[str], options: Options) -> dict[str, float]:
    """Variants with their shares, control first (without a wish: the alphabetically first)."""
    names = sorted(set(found))
    if len(names) < 2:
        refuse("one_variant", f"{', '.join(names) or 'nothing'} is all there is in column {options.variant!r}")
    control = options.control or names[0]
    if control not in names:
        refuse("unknown_control", f"{control!r} is none of {', '.join(names)}")
    names.sort(key=lambda name: name != control)
    if not options.weights:
        return dict.fromkeys(names, 1.0 / len(names))
    if set(options.weights) != set(names) or not all(0.0 < weight <= 1.0 for weight in options.weights.values()):
        refuse("bad_weights", f"weights of {', '.join(options.weights)}, but variants {', '.join(names)}")
    total = math.fsum(options.weights.values())
    if abs(total - 1.0) > 1e-6:
        refuse("bad_weights", f"they add up to {total:g}, not to 1")
    return {name: options.weights[name] for name in names}


def plan_of(name: str, kind: Kind, options: Options) -> MetricPlan:
    """Plan of a metric, as the options say."""
    return MetricPlan(
        name,
        kind,
        "guardrail" if name in options.guardrails else "primary",
        higher_is_better=name not in options.less_is_better,
        minimum_effect=options.minimum_effects.get(name),
    )


def checked(trial: Trial, options: Options) -> Trial:
    """The trial, if every option names a metric of it."""
    names = {metric.id for metric in trial.metrics}
    named = [*options.guardrails, *options.less_is_better, *options.minimum_effects]
    unknown = sorted(set(named) - names)
    if unknown:
        refuse("bad_option", f"{unknown[0]!r} is no metric here ({', '.join(sorted(names))})")
    return trial


def names_of(text: str) -> tuple[str, ...]:
    """Names of an option such as `a,b`."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def pairs_of(option: str, text: str) -> dict[str, float]:
    """Numbers by name of an option such as `a=0.5,b=0.5`."""
    found = {}
    for part in names_of(text):
        name, equals, value = part.rpartition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            refuse("bad_option", f"{option} {part!r}: name=number,name=number is meant")
    return found
