"""A bandit in the stream: its batches as they were counted, and the shares of the next one.

A batch are the users who came on one day by one version of the shares. Both are in the names of the counters
(:mod:`models.experiments.fields`), so whoever reads them knows each user's propensity. Days mature as a whole: shares
change once a day at most, and only users whose window has closed change them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from config.experiment import Experiment
from config.metric import Metric
from config.overrides import Override
from models.experiments.always_valid import LEAST_USERS_PER_ARM
from models.experiments.bandit import Batch, allocate, sample_means
from models.experiments.document import Document
from models.experiments.fields import STEP, USERS, WEIGHTS, whole
from models.experiments.reading import Counted
from models.experiments.sample_ratio import Epoch
from models.experiments.sums import Mean
from models.experiments.tally import last_day

BIASED = (
    "Shares followed the results, so the sample means of the variants are biased; the values of the comparisons weigh "
    "each user by the probability of the variant that was given."
)
# Versions of the shares that a card shows; the topic `verdicts` has all.
SHOWN = 30


@dataclass(frozen=True, slots=True)
class Ledger:
    """Counters of a bandit by batch.

    Parameters
    ----------
    shares : by version. cells : counters by day and version, in this order, names without both.
    """

    shares: Mapping[int, tuple[float, ...]]
    cells: Mapping[tuple[int, int], Mapping[str, int]]

    def batches(self, experiment: Experiment, metric: Metric, until: int | None = None) -> list[Batch]:
        """Rewards by batch; `until` : last day."""
        found = []
        for (day, step), cell in self.cells.items():
            if until is None or day <= until:
                rewards = tuple(_reward(cell, variant.id, metric) for variant in experiment.variants)
                found.append(Batch(self.shares[step], rewards))
        return found

    def epochs(self, experiment: Experiment) -> tuple[Epoch, ...]:
        """Users of each variant by version of the shares."""
        users: dict[int, list[int]] = {}
        for (_, step), cell in self.cells.items():
            came = [cell.get(f"{variant.id}|{USERS}", 0) for variant in experiment.variants]
            users[step] = [one + more for one, more in zip(users.get(step, [0] * len(came)), came, strict=True)]
        return tuple(Epoch(tuple(counts), self.shares[step]) for step, counts in sorted(users.items()))


def ledger(counts: Mapping[str, int]) -> Ledger:
    """Read a bandit's counters (added over the lanes)."""
    shares: dict[int, tuple[float, ...]] = {}
    cells: dict[tuple[int, int], dict[str, int]] = {}
    for name, value in counts.items():
        before, found, after = name.partition(f"|{STEP}")
        if not found:
            continue
        if name.startswith(WEIGHTS):
            # Whatever it counts: two users who turn out to be one are taken off the shares of that day.
            shares[int(after)] = tuple(float(text) for text in before.removeprefix(WEIGHTS).split(","))
        else:
            step, _, rest = after.partition("|")
            cells.setdefault((int(before), int(step)), {})[rest] = value
    # The lanes' hashes are read one after the other: users may be there before their shares are.
    known = {place: cell for place, cell in sorted(cells.items()) if place[1] in shares}
    return Ledger(shares, known)


def _reward(cell: Mapping[str, int], variant: str, metric: Metric) -> Mean:
    total, squares = (whole(cell, f"{variant}|{metric.id}|{name}") for name in ("a", "aa"))
    n = cell.get(f"{variant}|{USERS}", 0)
    return Mean(max(n, total) if metric.kind == "proportion" else n, total, squares)


def by_batches(now: Counted, counts: Mapping[str, int], experiment: Experiment, watermark: int) -> Counted:
    """The same moment with the batches that a bandit's arms are compared by."""
    found = ledger(counts)
    matured, every = {}, {}
    for metric in experiment.metrics:
        matured[metric.id] = found.batches(experiment, metric, last_day(experiment, metric, watermark))
        every[metric.id] = found.batches(experiment, metric)
    epochs = found.epochs(experiment)
    return replace(now, shares=_expected(now.shares, epochs), epochs=epochs, batches=matured, early=every)


def _expected(shares: Mapping[str, float], epochs: Sequence[Epoch]) -> Mapping[str, float]:
    """Share of the users that each variant should have: the propensities of all users, added."""
    users = sum(sum(epoch.counts) for epoch in epochs)
    if users <= 0:
        return shares
    sums = (math.fsum(sum(epoch.counts) * epoch.weights[place] for epoch in epochs) for place in range(len(shares)))
    return {name: total / users for name, total in zip(shares, sums, strict=True)}


def next_shares(experiment: Experiment, now: Counted, watermark: int, decided: Override | None) -> Override | None:
    """New shares once another day has matured since the last ones; None: they stay.

    Parameters
    ----------
    now : with batches. decided : the decision in force.

    Notes
    -----
    Below 100 matured users in any variant the weights of the file stay. The sums of all batches are simply added: for
    Thompson sampling the data say the same however they were sampled.
    """
    allocation, metric = experiment.allocation, experiment.rewarded
    if allocation is None or (decided is not None and decided.status != "running"):
        return None
    before = decided if decided is not None and decided.weights else None
    if before is not None and last_day(experiment, metric, watermark) <= last_day(experiment, metric, before.at):
        return None
    arms = sample_means(now.batches.get(metric.id, ()))
    if not arms or min(arm.n for arm in arms) < LEAST_USERS_PER_ARM or not any(arm.variance for arm in arms):
        return None
    shares = allocate(arms, allocation.floor, higher_is_better=not metric.less_is_better)
    if shares == (experiment.shares if before is None else before.weights):
        return None
    users = sum(arm.n for arm in arms)
    said = ", ".join(f"{variant.id} {share:.1%}" for variant, share in zip(experiment.variants, shares, strict=True))
    return Override(
        experiment=experiment.id,
        version=experiment.version,
        step=1 if before is None else before.step + 1,
        weights=shares,
        at=watermark,
        reason=f"Shares after {users:,} matured users, by {metric.id}: {said}.",
    )


def allocation_document(experiment: Experiment, now: Counted, decided: Override | None) -> Document:
    """What a card says of a bandit: shares in force, users by version of the shares, and the biased sample means."""
    names = [variant.id for variant in experiment.variants]
    shares = now.epochs[-1].weights if now.epochs else experiment.shares
    if decided is not None and decided.weights:
        shares = decided.weights
    means = {}
    for metric in experiment.metrics:
        arms = sample_means(now.batches.get(metric.id, ()))
        means[metric.id] = {name: arm.mean / metric.scale for name, arm in zip(names, arms, strict=False)}
    return {
        "metric": experiment.rewarded.id,
        "floor": experiment.allocation.floor if experiment.allocation is not None else 0.0,
        "step": decided.step if decided is not None else 0,
        "shares": dict(zip(names, shares, strict=True)),
        "epochs": [{"shares": list(epoch.weights), "users": list(epoch.counts)} for epoch in now.epochs[-SHOWN:]],
        "biased_sample_means": means,
    }
