"""Safe roll-out: steps compared within themselves, harm stopped early, sound changes let through."""

from __future__ import annotations

import numpy as np
import pytest

from models.experiments.always_valid import Mixture
from models.experiments.plan import MetricPlan
from models.experiments.rollout import STEPS, Cohort, combined, next_move
from models.experiments.sums import Moments

BOUGHT = MetricPlan("bought", role="guardrail")
MIXTURES = {"bought": Mixture.of_users(40_000)}


def cohort(share: float, control: tuple[int, int], treatment: tuple[int, int]) -> Cohort:
    one, two = (Moments(n, (s,), (s,)) for n, s in (control, treatment))
    return Cohort(share, {"bought": one}, {"bought": two})


def test_simpson() -> None:
    """The change does nothing; the later step has busier days and more of its users. Thrown together it seems to."""
    quiet = cohort(0.05, (19_000, 950), (1_000, 50))
    busy = cohort(0.25, (15_000, 3_000), (5_000, 1_000))
    effect = combined(BOUGHT, [quiet, busy])
    assert effect is not None
    assert effect.value == pytest.approx(0.0, abs=1e-12)
    thrown_together = 1_050 / 6_000 - 3_950 / 34_000
    assert thrown_together > 0.05


def test_steps_follow_one_another() -> None:
    shares = [0.01]
    while shares[-1] < 1.0:
        found = next_move([BOUGHT], [cohort(share, (9_900, 990), (500, 50)) for share in shares], 500, MIXTURES)
        assert found.move == "advance"
        shares.append(found.share)
    assert tuple(shares) == STEPS
    assert next_move([BOUGHT], [cohort(1.0, (0, 0), (500, 50))], 500).move == "done"


def test_too_few_users_hold() -> None:
    found = next_move([BOUGHT], [cohort(0.01, (900, 90), (9, 1))], 200)
    assert (found.move, found.share) == ("hold", 0.01)
    assert found.reason == "9 of 200 users with the change in this step"


def test_harm_stops_with_its_reason() -> None:
    found = next_move([BOUGHT], [cohort(0.05, (19_000, 1_900), (1_000, 40))], 1_000, MIXTURES)
    assert (found.move, found.share, found.metric) == ("stop", 0.0, "bought")
    assert found.reason.startswith("bought changed by -0.06")
    errors = MetricPlan("bought", role="guardrail", higher_is_better=False)
    assert next_move([errors], [cohort(0.05, (19_000, 1_900), (1_000, 40))], 1_000, MIXTURES).move == "advance"
    lenient = MetricPlan("bought", role="guardrail", margin=0.05)
    assert next_move([lenient], [cohort(0.05, (19_000, 1_900), (1_000, 40))], 1_000, MIXTURES).move == "advance"


def test_nothing_to_compare_is_no_harm() -> None:
    assert combined(BOUGHT, [cohort(0.01, (100, 0), (100, 0))]) is None
    assert next_move([BOUGHT], [cohort(0.01, (100, 0), (200, 0))], 200).move == "advance"


def watched(rng: np.random.Generator, change: float) -> tuple[str, int]:
    """One roll-out, asked after every 2,000 users; the base rate differs from step to step."""
    cohorts: list[Cohort] = []
    users = 0
    share = STEPS[0]
    sums = np.zeros(4, dtype=int)
    rates = dict(zip(STEPS, (0.05, 0.2, 0.1, 0.1), strict=True))
    while True:
        treated = int(rng.binomial(2_000, share))
        sums += (
            2_000 - treated,
            rng.binomial(2_000 - treated, rates[share]),
            treated,
            rng.binomial(treated, rates[share] * (1 + change)),
        )
        users += 2_000
        now = cohort(share, (int(sums[0]), int(sums[1])), (int(sums[2]), int(sums[3])))
        found = next_move([BOUGHT], [*cohorts, now], 200, MIXTURES)
        if found.move in {"stop", "done"} or users > 200_000:
            return found.move, users
        if found.move == "advance":
            if found.share >= 1.0:
                return "done", users
            cohorts.append(now)
            sums = np.zeros(4, dtype=int)
            share = found.share


def test_sound_changes_pass_and_harmful_ones_stop() -> None:
    rng = np.random.default_rng(3)
    sound = [watched(rng, 0.0)[0] for _ in range(200)]
    assert sound.count("stop") <= 200 * 0.05 + 2.33 * (200 * 0.05 * 0.95) ** 0.5
    harmful = [watched(rng, -0.7)[0] for _ in range(100)]
    assert harmful.count("stop") >= 90
