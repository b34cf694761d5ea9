"""Run the simulations: every kind of world has its own seed, so that one may be run without the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from services.jobs.experiments.simulation.adaptive import bandit_worlds, rollout_worlds, unbalanced_worlds
from services.jobs.experiments.simulation.days import day_worlds
from services.jobs.experiments.simulation.figures import Figure, Tick
from services.jobs.experiments.simulation.money import money_worlds
from services.jobs.experiments.simulation.shares import (
    effect_worlds,
    null_worlds,
    rare_worlds,
    ratio_worlds,
    sample_worlds,
)
from services.jobs.experiments.simulation.sooner import sooner_worlds

SEED = 20_110_909
WORLDS = 2_000

KINDS: Mapping[str, Callable[[np.random.Generator, int, Tick], list[Figure]]] = {
    "null": null_worlds,
    "rare": rare_worlds,
    "effect": effect_worlds,
    "sample": sample_worlds,
    "sooner": sooner_worlds,
    "ratio": ratio_worlds,
    "money": money_worlds,
    "bandit": bandit_worlds,
    "rollout": rollout_worlds,
    "unbalanced": unbalanced_worlds,
    "days": day_worlds,
}


def simulate(kind: str, worlds: int = WORLDS, seed: int = SEED, tick: Tick = lambda _: None) -> list[Figure]:
    """Figures of one kind of world."""
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    return KINDS[kind](rng, worlds, tick)


def as_markdown(figures: Sequence[Figure]) -> str:
    """The figures as a table for docs/experiments.md."""
    lines = ["| worlds | method | measure | measured | limit |", "|---|---|---|---|---|"]
    for figure in figures:
        limit = "" if figure.limit is None else f"{figure.sense} {figure.limit:.4g}"
        value = f"{figure.value:,.0f}" if figure.value >= 100 else f"{figure.value:.4f}"
        mark = "" if figure.holds else " **missed**"
        lines.append(f"| {figure.world} | {figure.method} | {figure.measure} | {value}{mark} | {limit} |")
    return "\n".join(lines) + "\n"
