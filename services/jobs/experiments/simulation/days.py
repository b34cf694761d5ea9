"""Worlds of a bandit as it runs in the stream: counters by day and version of the shares, the judge's own looks."""

from __future__ import annotations

import numpy as np

from config.experiment import Experiment
from models.experiments.fields import DAY_MS
from models.experiments.watch import Look, look
from services.jobs.experiments.simulation.figures import Figure, Tick, false_positives, least
from services.jobs.experiments.simulation.shares import chunks

DAYS, PER_DAY = 20, 300
RATE = 0.10
EQUAL, BETTER = (RATE, RATE, RATE), (RATE, RATE, 0.2)
BANDIT = Experiment.model_validate(
    {
        "id": "bandit",
        "variants": [{"id": "a", "weight": 0.4}, {"id": "b", "weight": 0.3}, {"id": "c", "weight": 0.3}],
        "allocation": "bandit",
        "expose_on": "message",
        "metrics": [{"id": "clicked", "event": "Email Link Clicked", "within": "1d"}],
        "plan": {"users": DAYS * PER_DAY},
        "lateness": "1h",
    }
)


def day_worlds(rng: np.random.Generator, worlds: int, tick: Tick) -> list[Figure]:
    """Three arms, looked at each day, windows closed two days later: equal ones, and one that is twice as good."""
    claimed = inside = alarms = 0
    best = 0.0
    for size in chunks(worlds, 20):
        for _ in range(size):
            looks, _ = _world(rng, EQUAL)
            claimed += any((one.document or {})["verdict"] in {"better", "worse", "mixed"} for one in looks)
            # What is remembered is the common part of all looks.
            inside += all(one.absolute.low <= 0.0 <= one.absolute.high for _, _, one in looks[-1].record.memories)
            alarms += any((one.document or {})["sample_ratio"]["alarm"] for one in looks)
        tick(size)
    found = max(1, worlds // 10)
    for _ in range(found):
        looks, users = _world(rng, BETTER)
        best += users[2] / sum(users)
    world = "bandit by days, three equal arms"
    # .94 is what 2,000 worlds must show; fewer leave chance more room.
    limit = 0.94 if worlds >= 2_000 else least(0.95, worlds)
    method = "the card, off-policy confidence sequence"
    return [
        Figure(world, method, "coverage at all looks", inside / worlds, worlds, "at least", limit),
        false_positives(world, method, claimed / worlds, worlds),
        Figure(world, "sample ratio, e >= 1000", "false alarms", alarms / worlds, worlds, "at most", 0.005),
        Figure("bandit by days, one arm twice as good", "Thompson", "users with it", best / found, found),
    ]


def _world(rng: np.random.Generator, rates: tuple[float, ...]) -> tuple[list[Look], list[int]]:
    counts: dict[str, int] = {}
    looks: list[Look] = []
    came = [0] * len(rates)
    seen: Look | None = None
    for day in range(DAYS):
        decided = seen.record.decided if seen is not None else None
        step = decided.step if decided is not None else 0
        shares = decided.weights if decided is not None else BANDIT.shares
        users = [int(n) for n in rng.multinomial(PER_DAY, shares)]
        named = ",".join(f"{share:g}" for share in shares)
        counts[f"w|{named}|step={step}"] = counts.get(f"w|{named}|step={step}", 0) + PER_DAY
        for place, (variant, n) in enumerate(zip(BANDIT.variants, users, strict=True)):
            clicks = int(rng.binomial(n, rates[place]))
            came[place] += n
            for part in ("", f"step={step}"):
                cohort = f"{day}|{part}|{variant.id}|"
                counts |= {f"{cohort}n": n, f"{cohort}clicked|a": clicks, f"{cohort}clicked|aa": clicks}
        seen = look(None if seen is None else seen.record, BANDIT, counts, (day + 1) * DAY_MS)
        looks.append(seen)
    return looks, came
