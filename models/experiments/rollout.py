"""Safe roll-out: a change goes to 1, 5, 25, then all of the users, and is stopped by itself where it harms.

Users of different steps are never thrown together: the mix of old and new users, of quiet and busy days, changes from
step to step with the share that gets the change (Simpson's paradox). Each step is compared within itself, then the
differences are combined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from models.experiments.always_valid import LEAST_USERS_PER_ARM, Mixture, half_width, one_sided_reach
from models.experiments.compare import estimated, watched
from models.experiments.estimate import Effect
from models.experiments.plan import MetricPlan
from models.experiments.sums import Moments

Move: TypeAlias = Literal["stop", "hold", "advance", "done"]

STEPS = (0.01, 0.05, 0.25, 1.0)


@dataclass(frozen=True, slots=True)
class Cohort:
    """Users who came during one step: sums of each guardrail, without and with the change."""

    share: float
    control: Mapping[str, Moments]
    treatment: Mapping[str, Moments]


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, with the reason in plain words; `share` is the share of users from now on."""

    move: Move
    share: float
    reason: str
    metric: str | None = None


def combined(metric: MetricPlan, cohorts: Sequence[Cohort]) -> Effect | None:
    """Difference over all steps, each weighted by its users; None as long as no step can be compared.

    Notes
    -----
    Weights n_c n_t / (n_c + n_t), as Cochran's, do not depend on outcomes; inverse variances would favour the steps
    in which by chance little happened.

    References
    ----------
    W. G. Cochran, "Some methods for strengthening the common chi-squared tests", Biometrics 10 (1954).
    E. H. Simpson, "The interpretation of interaction in contingency tables", JRSS B 13 (1951).

    Examples
    --------
    >>> quiet = Cohort(0.01, {"bought": Moments(9900, (990,), (990,))}, {"bought": Moments(100, (10,), (10,))})
    >>> busy = Cohort(0.25, {"bought": Moments(7500, (2250,), (2250,))}, {"bought": Moments(2500, (750,), (750,))})
    >>> combined(MetricPlan("bought"), [quiet, busy]).value
    0.0
    """
    total = value = variance = 0.0
    users = 0
    for cohort in cohorts:
        control, treatment = cohort.control[metric.id], cohort.treatment[metric.id]
        found = estimated(metric, control, treatment)
        if isinstance(found, str):
            continue
        effect = watched(metric, control, treatment, found.absolute())
        weight = control.n * treatment.n / (control.n + treatment.n)
        total += weight
        value += weight * effect.value
        variance += weight**2 * effect.variance
        users += effect.n
    if not total or variance <= 0.0:
        return None
    return Effect(value / total, variance / total**2, users)


def next_move(
    guardrails: Sequence[MetricPlan],
    cohorts: Sequence[Cohort],
    least_users: int,
    mixtures: Mapping[str, Mixture] | None = None,
    alpha: float = 0.05,
    steps: Sequence[float] = STEPS,
) -> Decision:
    """What to do after this reading; may be asked at every moment, because the bounds are always valid.

    Parameters
    ----------
    guardrails : what must not get worse by more than its margin. cohorts : one per step so far, in order.
    least_users : users with the change that a step needs before the next one. mixtures : by guardrail.
    steps : shares of the users, ascending.

    Notes
    -----
    Guardrails share alpha (Bonferroni): one careless bound among many would stop sound changes.
    """
    current = cohorts[-1].share
    each = alpha / max(1, len(guardrails))
    for metric in guardrails:
        effect = combined(metric, cohorts)
        treated = sum(cohort.treatment[metric.id].n for cohort in cohorts)
        if effect is None or treated < LEAST_USERS_PER_ARM:
            continue
        mixture = (mixtures or {}).get(metric.id) or Mixture.of_users()
        tau_sq = mixture.tau_sq(effect.variance, effect.n)
        gain = effect.value if metric.higher_is_better else -effect.value
        if gain + float(one_sided_reach(effect.variance, tau_sq, each)) < -metric.margin:
            reach = float(half_width(effect.variance, tau_sq, each))
            bounds = f"[{effect.value - reach:.4g}, {effect.value + reach:.4g}]"
            reason = f"{metric.id} changed by {effect.value:+.4g} {bounds}, worse than the margin of {metric.margin:g}"
            return Decision("stop", 0.0, reason, metric.id)
    if current >= steps[-1]:
        return Decision("done", current, "every user has the change")
    seen = min((cohorts[-1].treatment[metric.id].n for metric in guardrails), default=least_users)
    if seen < least_users:
        return Decision("hold", current, f"{seen:,} of {least_users:,} users with the change in this step")
    following = next(step for step in steps if step > current)
    return Decision("advance", following, f"no guardrail is crossed after {seen:,} users with the change in this step")
