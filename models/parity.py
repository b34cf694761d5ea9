"""Whether groups of users are treated alike: judges what :mod:`models.fairness` counted by the ratio of their rates."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, log, sqrt
from typing import Final, Literal

import msgspec

from config.rules import Fairness
from models.experiments.fixed import quantile, wilson_interval
from models.experiments.sums import Proportion
from models.fairness import OTHER

Verdict = Literal["even", "uneven", "not clear", "too few"]

ERROR: Final = 0.05


class Group(msgspec.Struct, frozen=True):
    """Users with one value: decisions about them, those in their favour, the rate with its 95 % interval."""

    value: str
    decided: int
    favoured: int
    rate: float
    low: float
    high: float


class Parity(msgspec.Struct, frozen=True):
    """Whether groups are treated alike in one respect.

    Parameters
    ----------
    groups : those that are large enough, the highest rate first. small : number of those that are not.
    ratio : lowest rate over highest, with an interval (95 %, for all pairs of groups together). least : tolerated.
    verdict : `uneven` where even the upper bound lies below `least`, `even` where the lower bound does not.
    """

    attribute: str
    what: str
    verdict: Verdict
    least: float
    groups: list[Group] = []
    small: int = 0
    ratio: float | None = None
    low: float | None = None
    high: float | None = None


def parities(rules: Fairness, counts: Mapping[str, int]) -> list[Parity]:
    """Judge what was counted.

    Parameters
    ----------
    counts : fields of :func:`models.fairness.counter_key`, of all lanes together.

    References
    ----------
    D. Katz et al., "Obtaining confidence intervals for the risk ratio in cohort studies", Biometrics 34 (1978).
    """
    return [_parity(rules, what, counts) for what in rules.what]


def _parity(rules: Fairness, what: str, counts: Mapping[str, int]) -> Parity:
    groups, small = [], 0
    for value in (*rules.values, OTHER):
        decided, favoured = (counts.get(f"{what}|{value}|{name}", 0) for name in ("n", "yes"))
        if decided < rules.min_group:
            small += decided > 0
            continue
        sample = Proportion(decided, favoured)
        interval = wilson_interval(sample)
        assert interval is not None
        groups.append(Group(value, decided, favoured, sample.rate, *map(float, interval)))
    groups.sort(key=lambda one: (-one.rate, one.value))
    plain = Parity(rules.attribute, what, "too few", rules.ratio, groups, small)
    if len(groups) < 2:
        return plain
    if groups[0].favoured == 0:
        return msgspec.structs.replace(plain, verdict="even", ratio=1.0, low=1.0, high=1.0)
    ratio = groups[-1].rate / groups[0].rate
    low, high = _ratio_interval(groups[-1], groups[0], len(groups) * (len(groups) - 1) // 2)
    verdict: Verdict = "uneven" if high < rules.ratio else "even" if low >= rules.ratio else "not clear"
    return msgspec.structs.replace(plain, verdict=verdict, ratio=ratio, low=low, high=high)


def _ratio_interval(lower: Group, upper: Group, pairs: int) -> tuple[float, float]:
    """Interval of the ratio of two rates; half a user more on either side keeps it defined at 0."""
    z = quantile(1.0 - ERROR / pairs)
    a, b = lower.favoured + 0.5, upper.favoured + 0.5
    n, m = lower.decided + 0.5, upper.decided + 0.5
    middle = log((a / n) / (b / m))
    width = z * sqrt(max(1.0 / a - 1.0 / n + 1.0 / b - 1.0 / m, 0.0))
    return exp(middle - width), exp(middle + width)
