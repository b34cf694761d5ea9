"""Bandit data: the estimators on rows, their coverage in worlds where sample means fail."""

from __future__ import annotations

import numpy as np
import pytest

from models.experiments.always_valid import Mixture, look
from models.experiments.bandit import Batch, Weighting, allocate, compare_arms, sample_means
from models.experiments.fixed import normal_interval
from models.experiments.sums import Floats, Mean


def mean_of(values: Floats) -> Mean:
    return Mean(len(values), float(values.sum()), float((values**2).sum()))


def rows_and_batches(seed: int) -> tuple[list[tuple[Floats, Floats, tuple[float, ...]]], list[Batch]]:
    rng = np.random.default_rng(seed)
    rows: list[tuple[Floats, Floats, tuple[float, ...]]] = []
    batches = []
    for chances in ((1 / 3, 1 / 3, 1 / 3), (0.6, 0.3, 0.1), (0.05, 0.05, 0.9)):
        arms = rng.choice(3, 200, p=chances).astype(float)
        rewards = rng.exponential(1.0 + arms)
        rows.append((arms, rewards, chances))
        batches.append(Batch(chances, tuple(mean_of(rewards[arms == arm]) for arm in range(3))))
    return rows, batches


@pytest.mark.parametrize("weighting", ["ipw", "aipw", "adaptive"])
def test_sums_give_what_the_rows_give(weighting: Weighting) -> None:
    """The estimators written out over single users."""
    rows, batches = rows_and_batches(1)
    scores: dict[int, list[float]] = {0: [], 2: []}
    weights: dict[int, list[float]] = {0: [], 2: []}
    seen: dict[int, list[float]] = {0: [], 2: []}
    for arms, rewards, chances in rows:
        for arm in (0, 2):
            middle = float(np.mean(seen[arm])) if seen[arm] and weighting != "ipw" else 0.0
            scores[arm].extend(middle + (arms == arm) * (rewards - middle) / chances[arm])
            weights[arm].extend([chances[arm] ** 0.5 if weighting == "adaptive" else 1.0] * len(arms))
        for arm in (0, 2):
            seen[arm].extend(rewards[arms == arm])
    averages, parts, shares = {}, {}, {}
    for arm in (0, 2):
        weight, score = np.array(weights[arm]), np.array(scores[arm])
        averages[arm] = (weight * score).sum() / weight.sum()
        shares[arm] = weight / weight.sum()
        parts[arm] = shares[arm] * (score - averages[arm])
    found = compare_arms(batches, 0, 2, weighting)
    assert found is not None
    assert found.value == pytest.approx(averages[2] - averages[0], rel=1e-9)
    observed = ((parts[2] - parts[0]) ** 2).sum()
    # What is to be expected of 1{given} (y - m) / e, user by user, with the variance of both arms together.
    both = np.concatenate([rewards[np.isin(arms, (0, 2))] for arms, rewards, _ in rows])
    expected, known = 0.0, {0: [0.0], 2: [0.0]}
    for place, (arms, rewards, chances) in enumerate(rows):
        gap = {arm: averages[arm] - (np.mean(known[arm]) if weighting != "ipw" else 0.0) for arm in (0, 2)}
        one = {}
        for arm in (0, 2):
            own = np.concatenate([r[a == arm] for a, r, _ in rows])
            spread = max(np.var(own, ddof=1), np.var(both, ddof=1))
            one[arm] = (spread + gap[arm] ** 2) / chances[arm] - gap[arm] ** 2
            share = shares[arm][200 * place]
            expected += 200 * share**2 * one[arm]
        expected += 2 * 200 * shares[0][200 * place] * shares[2][200 * place] * gap[0] * gap[2]
        known = {arm: [*(known[arm] if place else []), *rewards[arms == arm]] for arm in (0, 2)}
    assert found.variance == pytest.approx(max(observed, expected), rel=1e-9)
    assert found.n == 600


def test_propensities_add_up_and_keep_their_floor() -> None:
    arms = [Mean(1_000, 100, 100), Mean(1_000, 150, 150), Mean(1_000, 20, 20)]
    parts = allocate(arms)
    assert sum(parts) == pytest.approx(1.0, abs=1e-12)
    assert min(parts) >= 0.05
    assert parts[1] > 0.85
    assert allocate(arms, higher_is_better=False)[2] > 0.85
    assert allocate([Mean(0, 0, 0), Mean(5, 1, 1)]) == (0.5, 0.5)
    assert allocate([Mean(10, 0, 0), Mean(10, 0, 0)]) == (0.5, 0.5)
    with pytest.raises(ValueError, match="floor"):
        allocate(arms, 0.4)


def test_an_arm_without_successes_stays_uncertain() -> None:
    assert allocate([Mean(20, 0, 0), Mean(20, 3, 3)])[0] > 0.05


def test_nothing_yet() -> None:
    assert compare_arms([], 0, 1) is None
    assert compare_arms([Batch((0.5, 0.5), (Mean(0, 0, 0), Mean(0, 0, 0)))], 0, 1) is None
    assert sample_means([]) == ()
    with pytest.raises(ValueError, match="positive propensity"):
        Batch((1.0, 0.0), (Mean(0, 0, 0), Mean(0, 0, 0)))


def test_always_valid_on_bandit_data() -> None:
    """A hundred and twenty null worlds, watched after every batch, rewards one batch late."""
    rng = np.random.default_rng(4)
    missed = 0
    for _ in range(120):
        batches: list[Batch] = []
        arms = [Mean(0, 0, 0), Mean(0, 0, 0)]
        out = False
        for number in range(20):
            known = sample_means(batches[:-1]) if number > 1 else arms
            chances = allocate(known)
            n = rng.binomial(200, chances[1])
            counts = [rng.binomial(200 - n, 0.2), rng.binomial(n, 0.2)]
            rewards = tuple(Mean(m, int(c), int(c)) for m, c in zip((200 - n, n), counts, strict=True))
            batches.append(Batch(chances, rewards))
            found = compare_arms(batches[:-1], 0, 1, "aipw")
            if found is not None and found.n >= 400:
                _, interval = look(found, Mixture.of_users(4_000))
                out |= not interval.low <= 0.0 <= interval.high
        missed += out
    assert missed <= 120 * 0.05 + 2.33 * (120 * 0.05 * 0.95) ** 0.5


def test_one_look_at_the_end_covers() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(150):
        batches: list[Batch] = []
        for _ in range(10):
            chances = allocate(sample_means(batches)) if batches else (0.5, 0.5)
            n = rng.binomial(300, chances[1])
            counts = [rng.binomial(300 - n, 0.3), rng.binomial(n, 0.3)]
            rewards = tuple(Mean(m, int(c), int(c)) for m, c in zip((300 - n, n), counts, strict=True))
            batches.append(Batch(chances, rewards))
        effect = compare_arms(batches, 0, 1)
        assert effect is not None
        interval = normal_interval(effect)
        covered += interval.low <= 0.0 <= interval.high
    assert covered / 150 >= 0.95 - 2.33 * (0.05 * 0.95 / 150) ** 0.5
