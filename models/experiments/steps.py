"""A safe roll-out in the stream: which step it is in, and whether the next one may begin.

Users count in the step in which they came (the counters keep steps apart), so each step is compared within itself. All
users may stop it, also those inside their window; only matured ones let it go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from config.experiment import Experiment
from config.overrides import Override
from models.experiments.allocation import by_batches
from models.experiments.always_valid import LEAST_USERS_PER_ARM
from models.experiments.plan import Plan
from models.experiments.reading import Counted, counted
from models.experiments.rollout import Cohort, Decision, next_move
from models.experiments.tally import tally
from models.experiments.verdict import ACTIONS, Card


def step_of(experiment: Experiment, decided: Override | None) -> int:
    """The step in force, from 0."""
    return min(decided.step if decided is not None else 0, max(0, len(experiment.rollout) - 1))


def of_step(counts: Mapping[str, int], experiment: Experiment, watermark: int, decided: Override | None) -> Counted:
    """What the card is about: all users, or of a roll-out those who came in this step."""
    if experiment.allocation is not None:
        return by_batches(counted(counts, experiment, watermark), counts, experiment, watermark)
    if not experiment.rollout:
        return counted(counts, experiment, watermark)
    step = step_of(experiment, decided)
    share = min(experiment.rollout[step], 1.0 - 1e-9)
    control, treatment = (variant.id for variant in experiment.variants)
    shares = {control: 1.0 - share, treatment: share}
    return counted(counts, experiment, watermark, f"step={step}", shares)


def next_step(
    plan: Plan,
    experiment: Experiment,
    counts: Mapping[str, int],
    watermark: int,
    decided: Override | None,
    card: Card,
) -> tuple[Card, Override | None]:
    """The card in a roll-out's words, and the decision that follows; None: it goes on as it is."""
    step, shares = step_of(experiment, decided), experiment.rollout
    # Without a guardrail the primary metrics must not fall.
    named = [metric for metric in plan.metrics if metric.role == "guardrail"]
    guardrails = named or [metric for metric in plan.metrics if metric.role == "primary"]
    treatment = experiment.variants[1].id
    mixtures = {metric.id: plan.mixture(metric, treatment) for metric in guardrails}

    def move(matured_by: int | None) -> Decision:
        cohorts = [_cohort(counts, experiment, number, matured_by) for number in range(step + 1)]
        return next_move(guardrails, cohorts, LEAST_USERS_PER_ARM, mixtures, plan.alpha, shares)

    now = move(None)
    if now.move != "stop":
        now = move(watermark)
        if now.move == "stop":
            now = Decision("hold", shares[step], now.reason)  # all users together do not say so
    where = f"Step {step + 1} of {len(shares)}, {100 * shares[step]:g} % of the users"
    if now.move == "stop":
        reason = f"Stop: {treatment} harms: {now.reason}."
        card = replace(card, verdict="harm", sentence=reason, action=ACTIONS["harm"], variant=treatment)
        return card, _decision(experiment, watermark, step, "stopped", reason)
    if card.sample_ratio.alarm:
        return card, None
    sentence = f"{where}: {now.reason}."
    card = replace(card, verdict="undecided", sentence=sentence, action=ACTIONS["undecided"], variant=treatment)
    if now.move == "hold":
        return card, None
    following = min(step + 1, len(shares) - 1)
    last = now.move == "done" or shares[following] >= 1.0
    return card, _decision(experiment, watermark, following, "rolled_out" if last else "running", sentence)


def _cohort(counts: Mapping[str, int], experiment: Experiment, step: int, matured_by: int | None) -> Cohort:
    arms = tally(counts, experiment, matured_by=matured_by, segment=f"step={step}").arms
    control, treatment = (arms[variant.id].metrics for variant in experiment.variants)
    return Cohort(experiment.rollout[step], control, treatment)


def _decision(experiment: Experiment, at: int, step: int, status: str, reason: str) -> Override:
    return Override.model_validate(
        {
            "experiment": experiment.id,
            "version": experiment.version,
            "status": status,
            "step": step,
            "winner": experiment.variants[1].id if status == "rolled_out" else None,
            "at": at,
            "reason": reason,
        }
    )
