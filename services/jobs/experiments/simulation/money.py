"""Worlds of money without a difference: half buy, some for very much. With and without CUPED, and covariates missing.

Each look of each world goes through the very functions that the card uses.
"""

from __future__ import annotations

import numpy as np

from models.experiments.always_valid import Mixture, look
from models.experiments.compare import estimated
from models.experiments.group_sequential import boundaries
from models.experiments.plan import MetricPlan
from models.experiments.sums import Moments
from services.jobs.experiments.simulation.figures import Figure, Tick, false_positives
from services.jobs.experiments.simulation.shares import chunks

USERS = 5_000  # per arm
LOOKS = 100
MONEY = MetricPlan("money", "mean")
# Values (outcome, covariate, missing): which of them each method uses, and whether half of the covariates are missing.
WAYS = {"revenue": 1, "revenue, CUPED": 2, "revenue, CUPED, half missing": 3}


def money_worlds(rng: np.random.Generator, worlds: int, tick: Tick) -> list[Figure]:
    """False positives of the confidence sequence and of O'Brien-Fleming; what CUPED saves."""
    mixture = Mixture.of_users(2 * USERS)
    bounds = boundaries("obrien-fleming", [at / LOOKS for at in range(1, LOOKS + 1)])
    always, planned, saved = (dict.fromkeys(WAYS, 0.0) for _ in range(3))
    for size in chunks(worlds, 20):
        for way, values in WAYS.items():
            for sums in _worlds(rng, values, size):
                hit, crossed, variance, plain = _watch(sums, values, mixture, bounds)
                always[way] += hit
                planned[way] += crossed
                saved[way] += 1.0 - variance / plain
        tick(size)
    found = []
    for way, values in WAYS.items():
        found.append(false_positives(way, "confidence sequence, planned N", always[way] / worlds, worlds))
        found.append(false_positives(way, "O'Brien-Fleming", planned[way] / worlds, worlds))
        if values > 1:
            found.append(Figure(way, "CUPED", "variance saved", saved[way] / worlds, worlds))
    return found


def _worlds(rng: np.random.Generator, values: int, worlds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each world and arm the running sums at each look: sums of the values, then of their products."""
    taste = rng.normal(0.0, 1.0, (worlds, 2, USERS))
    # Half of the users buy, for 7 in the middle; the largest spends a thousand times the median.
    buys = rng.random((worlds, 2, USERS)) < 0.5
    after = np.where(buys, np.round(100.0 * np.exp(2.0 + 1.5 * taste + rng.normal(0.0, 0.5, taste.shape))), 0.0)
    columns = [after]
    if values > 1:
        before = np.round(100.0 * np.exp(2.0 + 1.5 * taste + rng.normal(0.0, 0.5, taste.shape)))
        missing = (rng.random(taste.shape) < 0.5) if values > 2 else np.zeros(taste.shape, dtype=bool)
        columns.append(np.where(missing, 0.0, before))
        if values > 2:
            columns.append(missing.astype(float))
    pairs = [columns[i] * columns[j] for i in range(values) for j in range(i, values)]
    running = [
        column.reshape(worlds, 2, LOOKS, USERS // LOOKS).sum(axis=3).cumsum(axis=2) for column in (*columns, *pairs)
    ]
    stacked = np.stack(running, axis=-1)
    return [(stacked[world, 0], stacked[world, 1]) for world in range(worlds)]


def _watch(
    sums: tuple[np.ndarray, np.ndarray], values: int, mixture: Mixture, bounds: tuple[float, ...]
) -> tuple[bool, bool, float, float]:
    hit = crossed = False
    variance = plain = 1.0
    for at in range(LOOKS):
        n = (at + 1) * (USERS // LOOKS)
        control, treatment = (
            Moments(n, tuple(arm[at, :values].tolist()), tuple(arm[at, values:].tolist())) for arm in sums
        )
        found = estimated(MONEY, control, treatment)
        if isinstance(found, str):
            continue
        effect = found.absolute()
        if n >= 100 and not hit:
            hit = look(effect, mixture)[0] < 0.05
        crossed = crossed or abs(effect.z) >= bounds[at]
        if at == LOOKS - 1:
            raw = estimated(MONEY, *(Moments(n, arm.sums[:1], arm.products[:1]) for arm in (control, treatment)))
            assert not isinstance(raw, str)
            variance, plain = effect.variance, raw.absolute().variance
    return hit, crossed, variance, plain
