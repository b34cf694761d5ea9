"""Why maturity comes first: both arms convert equally in the end, one of them merely sooner."""

from __future__ import annotations

import numpy as np

from models.experiments.always_valid import Mixture
from services.jobs.experiments.simulation.figures import LOOKS, Figure, Tick, false_positives
from services.jobs.experiments.simulation.shares import Watched, chunks, rejected_by_mixture

PER_LOOK = 200  # users of an arm between two looks
WINDOW = 23  # looks: seven days of thirty
RATE = 0.10
MEAN_DELAY = (12.0, 3.0)  # looks


def sooner_worlds(rng: np.random.Generator, worlds: int, tick: Tick) -> list[Figure]:
    """Watched with all exposed users, and with those only whose window has closed."""
    mixture = Mixture.of_users(2 * PER_LOOK * LOOKS)
    live = matured = 0.0
    for size in chunks(worlds, 100):
        arms = [conversions(rng, delay, size) for delay in MEAN_DELAY]
        live += float(rejected_by_mixture(_live(arms), mixture).any(axis=1).sum())
        matured += float(rejected_by_mixture(_matured(arms), mixture).any(axis=1).sum())
        tick(size)
    world = "same final rate, one arm sooner"
    return [
        false_positives(world, "confidence sequence, matured users", matured / worlds, worlds),
        Figure(world, "confidence sequence, all exposed users", "false positives", live / worlds, worlds),
    ]


def conversions(rng: np.random.Generator, mean_delay: float, worlds: int) -> np.ndarray:
    """Conversions by world, look of the exposure and delay in looks, all within the window."""
    ends = 1.0 - np.exp(-np.arange(WINDOW + 1) / mean_delay)
    delays = np.diff(ends) / ends[-1] * RATE
    counts = rng.multinomial(PER_LOOK, [*delays, 1.0 - delays.sum()], (worlds, LOOKS))
    return np.asarray(counts[..., :-1])


def _live(arms: list[np.ndarray]) -> Watched:
    """At each look: all users exposed by then, and what they have done by then."""
    totals = []
    for arm in arms:
        by_delay = arm.cumsum(axis=2)
        total = np.zeros(arm.shape[:2])
        for look in range(LOOKS):
            age = np.minimum(look - np.arange(look + 1), WINDOW - 1)
            total[:, look] = by_delay[:, np.arange(look + 1), age].sum(axis=1)
        totals.append(total)
    return _shares(totals, PER_LOOK * np.arange(1.0, LOOKS + 1))


def _matured(arms: list[np.ndarray]) -> Watched:
    """At each look: users exposed a whole window ago."""
    looks = LOOKS - WINDOW
    totals = [arm.sum(axis=2)[:, :looks].cumsum(axis=1).astype(float) for arm in arms]
    return _shares(totals, PER_LOOK * np.arange(1.0, looks + 1))


def _shares(totals: list[np.ndarray], n: np.ndarray) -> Watched:
    one, two = (total / n for total in totals)
    variance = np.maximum((one * (1.0 - one) + two * (1.0 - two)) / n, 1e-12)
    return Watched(two - one, variance, 2.0 * n, 0.0)
