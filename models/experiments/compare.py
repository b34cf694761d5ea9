"""One metric, one treatment against the control: every method's result from the same sums."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from models.experiments.adjust import cuped, cuped_ratio, user_variance
from models.experiments.always_valid import LEAST_USERS_PER_ARM, Mixture, Running, look
from models.experiments.bandit import Batch, Weighting, estimate_arms
from models.experiments.estimate import Effect, Estimate, of_means, of_ratios, of_shares
from models.experiments.fixed import Interval, newcombe_interval, two_proportion_z, welch
from models.experiments.group_sequential import Clock, Spending, repeated_interval
from models.experiments.many import simultaneous
from models.experiments.plan import MetricPlan, Plan
from models.experiments.sums import Moments, Proportion, Shortage


@dataclass(frozen=True, slots=True)
class Memory:
    """What has to be remembered of a comparison between two readings; stored with the experiment.

    Parameters
    ----------
    absolute, lift : running minimum of p and running intersection of the intervals. clock : looks of a
        group-sequential test. harmed : a guardrail's bound was crossed; it stays crossed.
    """

    absolute: Running = field(default_factory=Running)
    lift: Running = field(default_factory=Running)
    clock: Clock | None = None
    harmed: bool = False


@dataclass(frozen=True, slots=True)
class Once:
    """Result of the fixed test: valid if looked at once, at the end."""

    statistic: float
    p: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Comparison:
    """A treatment against the control on one metric.

    Parameters
    ----------
    shortage : why there is no result, if there is none. control, treatment : averages (adjusted, with covariates).
    difference, lift : absolute, and relative to the control (None near zero). fixed : the test for one look, alone.
    p, interval, lift_interval : of the method in force; the p is not yet adjusted for many comparisons (a
        group-sequential test has none). crossed : z of the look that reached a group-sequential boundary, else 0.
    """

    variant: str
    metric: MetricPlan
    n_control: int
    n_treatment: int
    shortage: Shortage | None = None
    control: float = 0.0
    treatment: float = 0.0
    difference: float = 0.0
    error: float = 0.0
    lift: float | None = None
    fixed: Once | None = None
    always_valid: Running = field(default_factory=Running)
    p: float | None = None
    interval: Interval | None = None
    lift_interval: Interval | None = None
    crossed: float = 0.0
    estimate: Estimate | None = None

    @property
    def rises(self) -> bool:
        """Direction of what was found: that of the deciding look, of the interval, else of the estimate."""
        if self.crossed:
            return self.crossed > 0.0
        if self.interval is not None and (self.interval.low > 0.0 or self.interval.high < 0.0):
            return self.interval.low > 0.0
        return self.difference > 0.0


def estimated(
    metric: MetricPlan, control: Moments, treatment: Moments, pooled: Moments | None = None
) -> Estimate | Shortage:
    """Averages and variances by the metric's kind, adjusted for the covariates that the sums carry.

    Examples
    --------
    >>> one, two = Moments(1000, (100,), (100,)), Moments(1000, (130,), (130,))
    >>> found = estimated(MetricPlan("bought"), one, two)
    >>> round(found.absolute().value, 3)
    0.03
    """
    adjustable = len(control.sums) > metric.values
    if metric.kind == "ratio":
        return cuped_ratio(control, treatment, pooled) if adjustable else of_ratios(control, treatment)
    if adjustable:
        return cuped(control, treatment, pooled)
    if metric.kind == "proportion":
        return of_shares(*(share(arm) for arm in (control, treatment)))
    return of_means(control.one(0), treatment.one(0))


def watched(metric: MetricPlan, control: Moments, treatment: Moments, effect: Effect) -> Effect:
    """The effect with a variance that may be looked at early.

    Notes
    -----
    In an arm with few users of many, too little has happened at first to tell its own variance: one that saw nothing by
    chance would seem certain of it. Of arms of unlike size the larger is trusted for both (the variance of all users
    together), wherever that is more cautious. Watched at 5 %, 1 % of the users in one arm and an event that 1 % have,
    the arms' own variances raised a false alarm in 40 % of the worlds, these in at most 3 %.
    """
    small, large = sorted((control.n, treatment.n))
    if 2 * small >= large:
        return effect
    together = user_variance(control + treatment, metric.values) * (1.0 / control.n + 1.0 / treatment.n)
    return effect._replace(variance=max(effect.variance, together))


def share(arm: Moments) -> Proportion:
    """Users and those with the event; sums may lag behind each other for a moment, so they are held in order."""
    successes = max(0, int(arm.sums[0]))
    return Proportion(max(arm.n, successes), successes)


def arms_of(plan: Plan, batches: Sequence[Batch], variant: str, weighting: Weighting = "aipw") -> Estimate | Shortage:
    """Averages of the control and one treatment of a bandit, by the propensities."""
    names = list(plan.weights)
    return estimate_arms(batches, 0, names.index(variant), weighting)


def compare(
    plan: Plan,
    metric: MetricPlan,
    variant: str,
    arms: Mapping[str, Moments],
    memory: Memory,
    batches: Sequence[Batch] = (),
) -> tuple[Comparison, Memory]:
    """Compare one treatment with the control, and take the reading into the memory.

    `batches` : of a bandit; its arms are compared by their propensities, and the fixed test is that of the adaptively
    weighted estimate.
    """
    control, treatment = arms[plan.control], arms[variant]
    result = Comparison(variant, metric, control.n, treatment.n)
    pooled = None
    if len(arms) > 2:
        pooled = control
        for name in plan.treatments:
            pooled = pooled + arms[name]
    found = arms_of(plan, batches, variant) if batches else estimated(metric, control, treatment, pooled)
    if isinstance(found, str):
        return replace(result, shortage=found), memory
    alpha = simultaneous(plan.alpha, plan.family) if metric.role == "primary" else plan.alpha
    lift = found.relative()
    effect = watched(metric, control, treatment, found.absolute())
    if not isinstance(lift, str):
        lift = lift._replace(variance=lift.variance * effect.variance / found.absolute().variance)
    memory = _remember(plan, metric, variant, (effect, lift), alpha, found, memory)
    result = replace(
        result,
        control=found.control,
        treatment=found.treatment,
        difference=effect.value,
        error=math.sqrt(found.absolute().variance),
        lift=None if isinstance(lift, str) else lift.value,
        fixed=_at_the_end(plan, batches, variant)
        if batches
        else once(metric, control, treatment, found, 1.0 - plan.alpha),
        always_valid=memory.absolute,
        estimate=found,
    )
    return _in_force(plan, result, (control, treatment), (effect, lift), alpha, memory), memory


def _remember(
    plan: Plan,
    metric: MetricPlan,
    variant: str,
    effects: tuple[Effect, Effect | Shortage],
    alpha: float,
    found: Estimate,
    memory: Memory,
) -> Memory:
    if min(found.n_control, found.n_treatment) < LEAST_USERS_PER_ARM:
        # With so few users the estimates are not normal yet: no method looks.
        return memory
    effect, lift = effects
    mixture = plan.mixture(metric, variant)
    memory = replace(memory, absolute=memory.absolute.seen(*look(effect, mixture, alpha)))
    if not isinstance(lift, str):
        memory = replace(memory, lift=memory.lift.seen(*look(lift, _relative(mixture, found.control), alpha)))
    planned = plan.planned_pair(variant)
    if plan.method in {"obrien-fleming", "pocock"} and planned is not None:
        spending: Spending = "pocock" if plan.method == "pocock" else "obrien-fleming"
        clock = memory.clock or Clock(spending, alpha)
        memory = replace(memory, clock=clock.look(effect.n / planned, effect.z))
    return memory


def _relative(mixture: Mixture, control: float) -> Mixture:
    """The same mixture for the lift: an effect's size is divided by the control's average."""
    return mixture if mixture.tau is None else Mixture(tau=mixture.tau / abs(control))


def once(metric: MetricPlan, control: Moments, treatment: Moments, found: Estimate, level: float) -> Once | None:
    """The fixed test: z and Newcombe's interval for shares, Welch's t for everything else."""
    if metric.kind == "proportion" and len(control.sums) == 1:
        one, two = share(control), share(treatment)
        test, interval = two_proportion_z(one, two), newcombe_interval(one, two, level)
        return None if test is None or interval is None else Once(test.z, test.p, interval)
    test_t = welch(found, level)
    return None if test_t is None else Once(test_t.t, test_t.p, test_t.interval)


def _at_the_end(plan: Plan, batches: Sequence[Batch], variant: str) -> Once | None:
    found = arms_of(plan, batches, variant, "adaptive")
    test = None if isinstance(found, str) else welch(found, 1.0 - plan.alpha)
    return None if test is None else Once(test.t, test.p, test.interval)


def _in_force(
    plan: Plan,
    result: Comparison,
    arms: tuple[Moments, Moments],
    effects: tuple[Effect, Effect | Shortage],
    alpha: float,
    memory: Memory,
) -> Comparison:
    """The result of the method that decides: intervals of a family hold together."""
    effect, lift = effects
    if plan.method == "fixed":
        assert result.estimate is not None
        level = 1.0 - alpha
        control, treatment = arms
        one = once(result.metric, control, treatment, result.estimate, level)
        relative = welch(result.estimate, level, relative=True)
        if one is None:
            return result
        return replace(
            result, p=one.p, interval=one.interval, lift_interval=None if relative is None else relative.interval
        )
    if plan.method == "always-valid":
        of_lift = memory.lift.interval if memory.lift.state == "sound" else None
        interval = memory.absolute.interval if memory.absolute.state == "sound" else None
        return replace(result, p=memory.absolute.p, interval=interval, lift_interval=of_lift)
    clock = memory.clock
    if clock is None or clock.last is None or math.isinf(clock.last.bound):
        return result
    # Between looks the last boundary is shown; whether it was crossed is asked at looks only.
    bound = clock.last.bound
    interval = repeated_interval(effect, bound)
    of_lift = None if isinstance(lift, str) else repeated_interval(lift, bound)
    crossed = clock.verdict.z if clock.verdict is not None else 0.0
    return replace(result, crossed=crossed, interval=interval, lift_interval=of_lift)
