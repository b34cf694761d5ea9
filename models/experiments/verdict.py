"""The verdict in plain words: one card per experiment.

Only users whose conversion window has closed decide. Those still inside are shown as preliminary; guardrails may use
them, to stop only. A broken sample ratio suppresses every verdict. Bayesian values are for reading.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from models.experiments.always_valid import LEAST_USERS_PER_ARM, one_sided_reach
from models.experiments.bandit import Batch
from models.experiments.bayes import Posterior, posterior
from models.experiments.compare import Comparison, Memory, arms_of, compare, estimated, watched
from models.experiments.many import benjamini_hochberg, holm
from models.experiments.plan import MetricPlan, Plan
from models.experiments.power import days_to_decide
from models.experiments.sample_ratio import FINISHED_ALARM, LIVE_ALARM, Epoch, chi_squared_p, log_evidence
from models.experiments.sums import WORDS, Moments
from models.experiments.wording import sentence_of

Verdict: TypeAlias = Literal[
    "sample_ratio_alarm", "harm", "better", "worse", "mixed", "no_difference", "not_enough_data", "undecided"
]
Claim: TypeAlias = Literal["better", "worse", "undecided", "harm"]
Action: TypeAlias = Literal["investigate", "stop", "roll_out", "keep_running", "choose"]
Sums: TypeAlias = Mapping[str, Mapping[str, Moments]]

ACTIONS: Mapping[Verdict, Action] = {
    "sample_ratio_alarm": "investigate",
    "harm": "stop",
    "better": "roll_out",
    "worse": "stop",
    "mixed": "choose",
    "no_difference": "stop",
    "not_enough_data": "keep_running",
    "undecided": "keep_running",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """The sums of one moment, by variant and metric.

    Parameters
    ----------
    matured : of users whose conversion window had closed by the watermark. preliminary : of the others.
    epochs : exposures per variant, in the order of the plan, with the weights in force.
    finished : no further user will come; the sample ratio is tested once. per_day : newly exposed users a day.
    batches : of a bandit, by metric, arms in the order of the plan: matured users. early : with those who are not.
    """

    matured: Sums
    epochs: tuple[Epoch, ...]
    preliminary: Sums = field(default_factory=dict)
    finished: bool = False
    per_day: float = 0.0
    batches: Mapping[str, Sequence[Batch]] = field(default_factory=dict)
    early: Mapping[str, Sequence[Batch]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """Result of the sample-ratio test: the evidence of the live test, or the p value of the finished one."""

    alarm: bool
    evidence_log: float | None = None
    p: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison on the card: `claim` is what may be said after all adjustments.

    `p_adjusted` is Holm's for primary metrics, Benjamini and Hochberg's for exploratory ones.
    """

    comparison: Comparison
    p_adjusted: float | None
    claim: Claim
    best: Posterior | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """Everything that is shown of an experiment's state.

    Parameters
    ----------
    verdict : a stable code. sentence : the same for people. action : what is recommended.
    variant : whom the verdict is about. matured, preliminary, planned : users of all arms. days_left : None if
        unknown. lines : all comparisons. cautions : what a reader must know beside the verdict.
    """

    verdict: Verdict
    sentence: str
    action: Action
    variant: str | None
    matured: int
    preliminary: int
    planned: int | None
    days_left: int | None
    sample_ratio: SampleRatio
    lines: tuple[Line, ...]
    cautions: tuple[str, ...]


Memories: TypeAlias = Mapping[tuple[str, str], Memory]


def judge(plan: Plan, reading: Reading, memories: Memories | None = None) -> tuple[Card, Memories]:
    """Read an experiment: the card, and what to remember until the next reading.

    Examples
    --------
    >>> plan = Plan({"a": 0.5, "b": 0.5}, (MetricPlan("bought"),), planned=40_000)
    >>> counts = {"a": {"bought": Moments(20_000, (2_000,), (2_000,))},
    ...           "b": {"bought": Moments(20_000, (2_300,), (2_300,))}}
    >>> card, _ = judge(plan, Reading(counts, (Epoch((20_000, 20_000), (0.5, 0.5)),)))
    >>> card.sentence
    'b is better on bought: +15.0 % [4.9, 25.1], you may stop now.'
    """
    kept = dict(memories or {})
    ratio = _sample_ratio(plan, reading)
    lines: list[Line] = []
    for metric in plan.metrics:
        arms = {name: reading.matured[name][metric.id] for name in plan.weights}
        found = []
        for variant in plan.treatments:
            before = kept.get((variant, metric.id), Memory())
            compared, memory = compare(plan, metric, variant, arms, before, reading.batches.get(metric.id, ()))
            if metric.role == "guardrail":
                memory = replace(memory, harmed=memory.harmed or _harmed(plan, metric, variant, reading))
            kept[variant, metric.id] = memory
            claim: Claim = "harm" if metric.role == "guardrail" and memory.harmed else "undecided"
            found.append(Line(compared, compared.p, claim))
        lines += _with_chances(metric, found)
    lines = _claims(plan, reading, lines)
    return _card(plan, reading, ratio, lines, kept), kept


def _surest(line: Line) -> tuple[float, float]:
    """Order of claims: by p, then by standard errors."""
    compared = line.comparison
    return -_p(compared), abs(compared.difference) / compared.error


def _sample_ratio(plan: Plan, reading: Reading) -> SampleRatio:
    if not reading.finished:
        evidence = log_evidence(reading.epochs)
        return SampleRatio(evidence >= math.log(LIVE_ALARM), evidence_log=evidence)
    counts = [sum(epoch.counts[i] for epoch in reading.epochs) for i in range(len(plan.weights))]
    expected = [0.0] * len(counts)
    for epoch in reading.epochs:
        for i, weight in enumerate(epoch.weights):
            expected[i] += weight / sum(epoch.weights) * sum(epoch.counts)
    p = chi_squared_p(counts, expected if sum(counts) else list(plan.weights.values()))
    return SampleRatio(p is not None and p < FINISHED_ALARM, p=p)


def _with_chances(metric: MetricPlan, lines: Sequence[Line]) -> list[Line]:
    """Add the Bayesian values, if all treatments have an estimate."""
    estimates = [line.comparison.estimate for line in lines]
    known = [(one.treatment, one.variance_treatment) for one in estimates if one is not None]
    first = estimates[0]
    if first is None or len(known) < len(lines):
        return list(lines)
    arms = [(first.control, first.variance_control), *known]
    values = posterior(arms, higher_is_better=metric.higher_is_better)
    return [replace(line, best=value) for line, value in zip(lines, values[1:], strict=True)]


def _harmed(plan: Plan, metric: MetricPlan, variant: str, reading: Reading) -> bool:
    """Whether even the most favourable value is worse than the margin allows, with all users, also the early ones."""
    control, treatment = (
        reading.matured[name][metric.id] + reading.preliminary[name][metric.id]
        if name in reading.preliminary
        else reading.matured[name][metric.id]
        for name in (plan.control, variant)
    )
    early = reading.early.get(metric.id)
    found = estimated(metric, control, treatment) if early is None else arms_of(plan, early, variant)
    if isinstance(found, str) or min(control.n, treatment.n) < LEAST_USERS_PER_ARM:
        return False
    effect = watched(metric, control, treatment, found.absolute())
    tau_sq = plan.mixture(metric, variant).tau_sq(effect.variance, effect.n)
    gain = effect.value if metric.higher_is_better else -effect.value
    return bool(gain + one_sided_reach(effect.variance, tau_sq, plan.alpha) < -metric.margin)


def _claims(plan: Plan, reading: Reading, lines: Sequence[Line]) -> list[Line]:
    """Adjust for many comparisons. Only primary metrics claim gains, only guardrails harm, the rest claims nothing."""
    family = [i for i, line in enumerate(lines) if line.comparison.metric.role == "primary"]
    adjusted = holm([_p(lines[i].comparison) for i in family])
    found = list(lines)
    for i, p in zip(family, adjusted, strict=True):
        compared = lines[i].comparison
        if compared.p is None:
            # A group-sequential boundary already carries its part of the error.
            claim = _direction(compared) if compared.crossed else "undecided"
            found[i] = replace(lines[i], p_adjusted=None, claim=claim)
        else:
            # The fixed test has one look: it claims nothing while users still come.
            sure = p < plan.alpha and (plan.method != "fixed" or reading.finished)
            found[i] = replace(lines[i], p_adjusted=p, claim=_direction(compared) if sure else "undecided")
    explored = [i for i, line in enumerate(lines) if line.comparison.metric.role == "exploratory"]
    for i, p in zip(explored, benjamini_hochberg([_p(lines[i].comparison) for i in explored]), strict=True):
        found[i] = replace(lines[i], p_adjusted=None if lines[i].comparison.p is None else p)
    return found


def _direction(compared: Comparison) -> Claim:
    return "better" if compared.rises == compared.metric.higher_is_better else "worse"


def _p(compared: Comparison) -> float:
    return 1.0 if compared.p is None else compared.p


def _card(plan: Plan, reading: Reading, ratio: SampleRatio, lines: Sequence[Line], kept: Memories) -> Card:
    first = plan.metrics[0].id
    matured = sum(reading.matured[name][first].n for name in plan.weights)
    waiting = sum(arms[first].n for arms in reading.preliminary.values() if first in arms)
    verdict, line = _verdict(plan, reading, ratio, lines, matured, kept)
    days = None
    if plan.planned is not None and verdict in {"undecided", "not_enough_data"}:
        days = days_to_decide(plan.planned, matured, waiting, reading.per_day, plan.window_days)
    return Card(
        verdict=verdict,
        sentence=sentence_of(verdict, line.comparison if line is not None else None, days),
        action=ACTIONS[verdict],
        variant=line.comparison.variant if line is not None else None,
        matured=matured,
        preliminary=waiting,
        planned=plan.planned,
        days_left=days,
        sample_ratio=ratio,
        lines=tuple(lines),
        cautions=tuple(_cautions(plan, verdict, matured, waiting, lines, kept)),
    )


def _verdict(
    plan: Plan, reading: Reading, ratio: SampleRatio, lines: Sequence[Line], matured: int, kept: Memories
) -> tuple[Verdict, Line | None]:
    if ratio.alarm:
        return "sample_ratio_alarm", None
    harmful = next((line for line in lines if line.claim == "harm"), None)
    if harmful is not None:
        return "harm", harmful
    primary = [line for line in lines if line.comparison.metric.role == "primary"]
    gains = [line for line in primary if line.claim == "better"]
    losses = [line for line in primary if line.claim == "worse"]
    # A variant that gains on one metric and loses on another is nobody's winner.
    torn = {line.comparison.variant for line in losses}
    clear = [line for line in gains if line.comparison.variant not in torn]
    if clear:
        return "better", max(clear, key=_surest)
    if gains:
        return "mixed", gains[0]
    if losses and len(torn) == len(plan.treatments):
        return "worse", losses[0]
    shown = primary or list(lines)
    if all(line.comparison.shortage is not None for line in shown):
        return "not_enough_data", shown[0]
    lead = min(shown, key=lambda line: _p(line.comparison))
    done = plan.planned is not None and matured >= plan.planned
    clocks = [kept[line.comparison.variant, line.comparison.metric.id].clock for line in shown]
    if plan.method in {"obrien-fleming", "pocock"}:
        done = all(clock is not None and clock.over for clock in clocks)
    return ("no_difference" if done or reading.finished else "undecided"), lead


def _cautions(
    plan: Plan, verdict: Verdict, matured: int, waiting: int, lines: Sequence[Line], kept: Memories
) -> list[str]:
    told = []
    if verdict in {"better", "worse", "harm"} and plan.planned is not None and matured < plan.planned:
        told.append("An early stop overstates the effect: expect somewhat less.")
    if plan.method == "fixed":
        told.append("The fixed test holds for one look, at the end; looking often needs an always-valid one.")
    if waiting:
        told.append(f"{waiting:,} users are still inside their window; they are preliminary and decide nothing.")
    if any(memory.absolute.state == "drifting" for memory in kept.values()):
        told.append("The intervals of different times have no value in common: the effect changes over time.")
    short = sorted({line.comparison.shortage for line in lines if line.comparison.shortage is not None})
    told.extend(f"Not every comparison has a result: {WORDS[code]}." for code in short)
    return told
