"""Worlds in which shares of users change: bandits whose arms are equal, roll-outs that do nothing or harm."""

from __future__ import annotations

import numpy as np

from models.experiments.always_valid import Mixture, look
from models.experiments.bandit import Batch, Weighting, allocate, compare_arms, sample_means
from models.experiments.compare import estimated
from models.experiments.estimate import of_means
from models.experiments.fixed import normal_interval
from models.experiments.plan import MetricPlan, Plan
from models.experiments.rollout import STEPS, Cohort, next_move
from models.experiments.sums import Mean, Moments
from models.experiments.verdict import Memories, Reading, judge
from services.jobs.experiments.simulation.figures import Figure, Tick, false_positives, least
from services.jobs.experiments.simulation.shares import chunks

BATCHES, PER_BATCH = 20, 250
RATE = 0.10
ENDS: dict[Weighting, str] = {
    "ipw": "inverse propensities, at the end",
    "aipw": "AIPW, at the end",
    "adaptive": "adaptively weighted AIPW, at the end",
}
SEQUENCE = "off-policy confidence sequence, always"
NAIVE = "sample means (biased), at the end"


def bandit_worlds(rng: np.random.Generator, worlds: int, tick: Tick) -> list[Figure]:
    """Two equal arms under Thompson sampling, each batch's rewards one batch late: coverage of the true difference."""
    inside = dict.fromkeys([*ENDS.values(), SEQUENCE, NAIVE], 0)
    mixture = Mixture.of_users(BATCHES * PER_BATCH)
    for size in chunks(worlds, 20):
        for _ in range(size):
            batches = _bandit(rng)
            inside[SEQUENCE] += _always_inside(batches, mixture)
            for weighting, name in ENDS.items():
                effect = compare_arms(batches, 0, 1, weighting)
                inside[name] += effect is not None and _holds_zero(*normal_interval(effect))
            naive = of_means(*sample_means(batches))
            inside[NAIVE] += not isinstance(naive, str) and _holds_zero(*normal_interval(naive.absolute()))
        tick(size)
    world = "bandit, equal arms"
    found = []
    for name, count in inside.items():
        judged = name in {ENDS["adaptive"], SEQUENCE}
        # .94 is what 2,000 worlds must show; fewer leave chance more room.
        limit = (0.94 if worlds >= 2_000 else least(0.95, worlds)) if judged else None
        found.append(Figure(world, name, "coverage", count / worlds, worlds, "at least" if judged else "", limit))
    return found


def _bandit(rng: np.random.Generator) -> list[Batch]:
    batches: list[Batch] = []
    for _ in range(BATCHES):
        # The last batch's rewards are not in yet.
        known = sample_means(batches[:-1]) or (Mean(0, 0, 0), Mean(0, 0, 0))
        chances = allocate(known)
        n = int(rng.binomial(PER_BATCH, chances[1]))
        counts = (int(rng.binomial(PER_BATCH - n, RATE)), int(rng.binomial(n, RATE)))
        rewards = tuple(Mean(users, count, count) for users, count in zip((PER_BATCH - n, n), counts, strict=True))
        batches.append(Batch(chances, rewards))
    return batches


def _always_inside(batches: list[Batch], mixture: Mixture) -> bool:
    for number in range(1, len(batches) + 1):
        effect = compare_arms(batches[:number], 0, 1, "aipw")
        if effect is not None and not _holds_zero(*look(effect, mixture)[1]):
            return False
    return True


def _holds_zero(low: float, high: float) -> bool:
    return low <= 0.0 <= high


UNBALANCED = Plan({"control": 0.95, "treatment": 0.05}, (MetricPlan("bought"),), planned=100_000)


def unbalanced_worlds(rng: np.random.Generator, worlds: int, tick: Tick) -> list[Figure]:
    """No difference, 1 % convert, 5 % of the users in the treatment: the card, and the arms' own variances."""
    claimed = naive = 0
    mixture = Mixture.of_users(100_000)
    for size in chunks(worlds, 20):
        for _ in range(size):
            counts = rng.binomial([950, 50], 0.01, (100, 2)).cumsum(axis=0).tolist()
            memories: Memories = {}
            own = False
            for at, (one, two) in enumerate(counts, 1):
                arms = {"control": Moments(950 * at, (one,), (one,)), "treatment": Moments(50 * at, (two,), (two,))}
                reading = Reading({name: {"bought": sums} for name, sums in arms.items()}, ())
                card, memories = judge(UNBALANCED, reading, memories)
                found = estimated(UNBALANCED.metrics[0], *arms.values())
                if at >= 2 and not own and not isinstance(found, str):
                    own = look(found.absolute(), mixture)[0] < UNBALANCED.alpha
            claimed += card.verdict in {"better", "worse"}
            naive += own
        tick(size)
    world = "no difference, 1 %, arms of 95 and 5 %"
    return [
        false_positives(world, "the card, confidence sequence", claimed / worlds, worlds),
        Figure(world, "with the arms' own variances", "false positives", naive / worlds, worlds),
    ]


BOUGHT = MetricPlan("bought", role="guardrail")
PER_READING, LEAST_USERS, MOST_READINGS = 2_000, 200, 60
# The shop is busier on some days than on others: that is Simpson's trap.
RATES = dict(zip(STEPS, (0.05, 0.20, 0.10, 0.10), strict=True))
MIXTURES = {"bought": Mixture.of_users(40_000)}


def rollout_worlds(rng: np.random.Generator, worlds: int, tick: Tick) -> list[Figure]:
    """Changes that do nothing, and changes that halve sales: how many are stopped."""
    stopped = {0.0: 0, -0.5: 0}
    users = 0
    for size in chunks(worlds, 50):
        for _ in range(size):
            for change in stopped:
                was_stopped, treated = _roll_out(rng, change)
                stopped[change] += was_stopped
                users += treated if change and was_stopped else 0
        tick(size)
    harmed = Figure("roll-out that halves sales", "guardrail, always valid", "stopped", stopped[-0.5] / worlds, worlds)
    mean = users / max(1, stopped[-0.5])
    return [
        false_positives("roll-out without effect", "guardrail, always valid", stopped[0.0] / worlds, worlds),
        harmed,
        Figure(harmed.world, harmed.method, "users with the change until then", mean, worlds),
    ]


def _roll_out(rng: np.random.Generator, change: float) -> tuple[bool, int]:
    done: list[Cohort] = []
    share, treated_in_all = STEPS[0], 0
    sums = [0, 0, 0, 0]
    for _ in range(MOST_READINGS):
        treated = int(rng.binomial(PER_READING, share))
        rate = RATES[share]
        treated_in_all += treated
        sums[0] += PER_READING - treated
        sums[1] += int(rng.binomial(PER_READING - treated, rate))
        sums[2] += treated
        sums[3] += int(rng.binomial(treated, rate * (1.0 + change)))
        one, two = Moments(sums[0], (sums[1],), (sums[1],)), Moments(sums[2], (sums[3],), (sums[3],))
        cohort = Cohort(share, {"bought": one}, {"bought": two})
        decision = next_move([BOUGHT], [*done, cohort], LEAST_USERS, MIXTURES)
        if decision.move == "stop":
            return True, treated_in_all
        if decision.move == "advance" and decision.share < 1.0:
            done.append(cohort)
            share, sums = decision.share, [0, 0, 0, 0]
        # At the last step before everybody it stays, so that harm still has a chance to show.
    return False, treated_in_all
