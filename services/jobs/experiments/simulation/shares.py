"""Worlds of shares: 10 % convert in one arm and as many, or more, in the other; watched at 100 equal looks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from models.experiments.always_valid import LEAST_USERS_PER_ARM, Mixture, half_width, p_value
from models.experiments.group_sequential import Spending, boundaries
from models.experiments.power import METHODS, Design, Method, inflation, users_needed
from models.experiments.sample_ratio import LIVE_ALARM, multinomial_log_e
from models.experiments.sums import Floats
from services.jobs.experiments.simulation.figures import LOOKS, Figure, Sense, Tick, false_positives, least

ALPHA = 0.05
USERS = 20_000  # per arm
EFFECT = 0.01
CHUNK = 200
INFORMATION = tuple(look / LOOKS for look in range(1, LOOKS + 1))


@dataclass(frozen=True, slots=True)
class Watched:
    """Differences, their variances and users at each look, a row per world; `truth` is the real difference."""

    value: Floats
    variance: Floats
    n: Floats
    truth: float


def watched(rng: np.random.Generator, rates: tuple[float, float], users: int, worlds: int) -> Watched:
    """Two shares at equal looks."""
    size = max(1, round(users / LOOKS))
    n = size * np.arange(1.0, LOOKS + 1)
    one, two = (rng.binomial(size, rate, (worlds, LOOKS)).cumsum(axis=1) / n for rate in rates)
    variance = (one * (1.0 - one) + two * (1.0 - two)) / n
    return Watched(two - one, np.maximum(variance, 1e-12), 2.0 * n, rates[1] - rates[0])


def rejected_by_fixed(seen: Watched, level: float = 1.0 - ALPHA / 2.0) -> np.ndarray:
    """Looks at which a normal test rejects."""
    return np.abs(seen.value) > float(ndtri(level)) * np.sqrt(seen.variance)


def rejected_by_mixture(seen: Watched, mixture: Mixture) -> np.ndarray:
    """Looks at which the always-valid p is below alpha."""
    p = p_value(seen.value, seen.variance, mixture.tau_sq(seen.variance, seen.n))
    return np.asarray((p < ALPHA) & (seen.n >= 2 * LEAST_USERS_PER_ARM))


def rejected_by_boundary(seen: Watched, spending: Spending) -> np.ndarray:
    """Looks at which a group-sequential boundary is reached."""
    bounds = np.array(boundaries(spending, INFORMATION, ALPHA))
    return np.asarray(np.abs(seen.value) >= bounds * np.sqrt(seen.variance))


def covered(seen: Watched, reach: Floats) -> Floats:
    """Worlds in which the interval held the truth at every look."""
    return np.asarray((np.abs(seen.value - seen.truth) <= reach).all(axis=1), dtype=np.float64)


Rule = Callable[[Watched], np.ndarray]


def rules(users: int) -> Mapping[str, Rule]:
    """Methods by name, planned for so many users of both arms."""
    return {
        "mSPRT, minimum effect": lambda seen: rejected_by_mixture(seen, Mixture.of_effect(EFFECT)),
        "confidence sequence, planned N": lambda seen: rejected_by_mixture(seen, Mixture.of_users(users)),
        "confidence sequence, N = 5,000": lambda seen: rejected_by_mixture(seen, Mixture.of_users()),
        "O'Brien-Fleming": lambda seen: rejected_by_boundary(seen, "obrien-fleming"),
        "Pocock": lambda seen: rejected_by_boundary(seen, "pocock"),
    }


UNSOUND: Mapping[str, Rule] = {
    "fixed test, watched": rejected_by_fixed,
    # Flat priors: the posterior probability is the one-sided p.
    "Bayesian, P > .95, watched": lambda seen: rejected_by_fixed(seen, 0.95),
}


def null_worlds(rng: np.random.Generator, worlds: int, tick: Tick, rate: float = 0.10) -> list[Figure]:
    """No difference: false positives while watched, and coverage of intervals at all looks together."""
    methods = rules(2 * USERS)
    hits = dict.fromkeys([*methods, *UNSOUND], 0.0)
    inside = dict.fromkeys(("confidence sequence, planned N", "O'Brien-Fleming"), 0.0)
    bounds = np.array(boundaries("obrien-fleming", INFORMATION, ALPHA))
    for size in chunks(worlds):
        seen = watched(rng, (rate, rate), USERS, size)
        for name, rule in {**methods, **UNSOUND}.items():
            hits[name] += float(rule(seen).any(axis=1).sum())
        reach = half_width(seen.variance, Mixture.of_users(2 * USERS).tau_sq(seen.variance, seen.n))
        inside["confidence sequence, planned N"] += float(covered(seen, reach).sum())
        inside["O'Brien-Fleming"] += float(covered(seen, bounds * np.sqrt(seen.variance)).sum())
        tick(size)
    world = f"no difference, {rate:.0%}"
    found = [false_positives(world, name, hits[name] / worlds, worlds) for name in methods]
    found += [Figure(world, name, "false positives", hits[name] / worlds, worlds) for name in UNSOUND]
    for name, count in inside.items():
        found.append(_coverage(world, name, count, worlds))
    return found


def rare_worlds(rng: np.random.Generator, worlds: int, tick: Tick) -> list[Figure]:
    """The same with 1 %: normal approximations have it harder."""
    return [figure for figure in null_worlds(rng, worlds, tick, 0.01) if figure.limit is not None]


POWER = {"mSPRT, minimum effect": 0.68, "confidence sequence, planned N": 0.68, "O'Brien-Fleming": 0.87}


def effect_worlds(rng: np.random.Generator, worlds: int, tick: Tick) -> list[Figure]:
    """10 % against 11 %, 20,000 users an arm: power, and the users that it took."""
    methods = rules(2 * USERS)
    hits, users, inside = dict.fromkeys(methods, 0.0), dict.fromkeys(methods, 0.0), 0.0
    for size in chunks(worlds):
        seen = watched(rng, (0.10, 0.10 + EFFECT), USERS, size)
        for name, rule in methods.items():
            rejected = rule(seen)
            any_look = rejected.any(axis=1)
            hits[name] += float(any_look.sum())
            first = np.where(any_look, rejected.argmax(axis=1), LOOKS - 1)
            users[name] += float(seen.n[first].sum())
        tau_sq = Mixture.of_users(2 * USERS).tau_sq(seen.variance, seen.n)
        inside += float(covered(seen, half_width(seen.variance, tau_sq)).sum())
        tick(size)
    world = "10 % against 11 %, 20,000 an arm"
    found = []
    for name in methods:
        limit = POWER.get(name)
        value = hits[name] / worlds
        # With fewer worlds than the figure was stated for, chance has more room.
        bound = None if limit is None else limit if worlds >= 2_000 else least(limit, worlds)
        found.append(Figure(world, name, "power", value, worlds, "" if limit is None else "at least", bound))
        part = users[name] / worlds / (2 * USERS)
        found.append(Figure(world, name, "users until stopped, of the plan", part, worlds))
    name = "confidence sequence, planned N"
    found.append(_coverage(world, name, inside, worlds))
    return found


def sample_worlds(rng: np.random.Generator, worlds: int, tick: Tick) -> list[Figure]:
    """The sample that each method needs for 80 % power: computed by integration, then tried."""
    design = Design.of_shares(0.10, EFFECT)
    names: Mapping[Method, str] = {
        "always-valid": "confidence sequence, planned N",
        "obrien-fleming": "O'Brien-Fleming",
        "pocock": "Pocock",
    }
    needed = {method: users_needed(design, method)[0] for method in METHODS}
    hits = dict.fromkeys(names, 0.0)
    for size in chunks(worlds):
        for method, name in names.items():
            seen = watched(rng, (0.10, 0.10 + EFFECT), needed[method], size)
            hits[method] += float(rules(2 * needed[method])[name](seen).any(axis=1).sum())
        tick(size)
    found = []
    for method, name in names.items():
        times = inflation(method)
        sense: Sense = "at most" if method == "always-valid" else ""
        limit = 1.70 if sense else None
        world = "10 % against 11 %, sample for 80 %"
        found.append(Figure(world, name, "users, of the fixed test", times, worlds, sense, limit))
        power = hits[method] / worlds
        found.append(Figure(world, name, "power with them", power, worlds, "at least", least(0.8, worlds)))
    return found


def ratio_worlds(rng: np.random.Generator, worlds: int, tick: Tick) -> list[Figure]:
    """Sound assignments: false alarms of the sample-ratio test while it is watched."""
    alarms = chi = 0.0
    n = 400 * np.arange(1, LOOKS + 1)
    for size in chunks(worlds):
        first = rng.binomial(400, 0.5, (size, LOOKS)).cumsum(axis=1)
        evidence = multinomial_log_e(np.stack([first, n - first], axis=-1), (0.5, 0.5))
        alarms += float((evidence.max(axis=1) >= math.log(LIVE_ALARM)).sum())
        chi += float((((2 * first - n) ** 2 / n) > float(ndtri(0.995)) ** 2).any(axis=1).sum())
        tick(size)
    world = "sound assignment"
    limit = 0.001 + 2.33 * math.sqrt(0.001 / worlds)
    return [
        Figure(world, "multinomial e-process, e >= 1000", "false alarms", alarms / worlds, worlds, "at most", limit),
        Figure(world, "chi-squared p < .01, watched", "false alarms", chi / worlds, worlds),
    ]


def _coverage(world: str, method: str, count: float, worlds: int) -> Figure:
    return Figure(world, method, "coverage at all looks", count / worlds, worlds, "at least", least(0.95, worlds))


def chunks(worlds: int, size: int = CHUNK) -> list[int]:
    """Sizes of the parts in which worlds are computed."""
    return [size] * (worlds // size) + ([worlds % size] if worlds % size else [])
