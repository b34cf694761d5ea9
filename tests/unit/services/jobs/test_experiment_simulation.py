"""The figures of the simulation on fixed seeds, with fewer worlds than the command's (docs/experiments.md)."""

from __future__ import annotations

import pytest

from services.jobs.experiments.simulation.figures import Figure, least, most_false
from services.jobs.experiments.simulation.run import KINDS, as_markdown, simulate

# As many worlds as keep each under three seconds.
WORLDS = {
    "null": 600,
    "rare": 400,
    "effect": 600,
    "sample": 300,
    "sooner": 100,
    "ratio": 400,
    "money": 20,
    "bandit": 60,
    "rollout": 150,
    "unbalanced": 30,
    "days": 30,
}


def test_every_kind_of_world_is_tested() -> None:
    assert set(WORLDS) == set(KINDS)


@pytest.mark.parametrize("kind", list(WORLDS))
def test_figures_keep_their_limits(kind: str) -> None:
    figures = simulate(kind, WORLDS[kind])
    assert any(figure.limit is not None for figure in figures)
    missed = [figure for figure in figures if not figure.holds]
    assert not missed


def value(figures: list[Figure], method: str, measure: str) -> float:
    return next(figure.value for figure in figures if (figure.method, figure.measure) == (method, measure))


def test_what_the_rules_protect_from() -> None:
    """Unsound ways fail in the same worlds: so the worlds are able to show it."""
    null = simulate("null", 300)
    assert value(null, "fixed test, watched", "false positives") > 0.3
    assert value(null, "Bayesian, P > .95, watched", "false positives") > 0.5
    sooner = simulate("sooner", 40)
    assert value(sooner, "confidence sequence, all exposed users", "false positives") > 0.9


def test_the_same_seed_gives_the_same_worlds() -> None:
    assert simulate("effect", 50) == simulate("effect", 50)
    assert simulate("effect", 50) != simulate("effect", 50, seed=1)


def test_a_missed_limit_is_seen() -> None:
    figure = Figure("w", "m", "false positives", 0.2, 2_000, "at most", most_false(2_000))
    assert not figure.holds
    assert "**missed**" in as_markdown([figure])
    assert Figure("w", "m", "power", 0.7, 2_000, "at least", least(0.68, 2_000)).holds


def test_progress_is_told() -> None:
    seen: list[int] = []
    simulate("ratio", 250, tick=seen.append)
    assert sum(seen) == 250
