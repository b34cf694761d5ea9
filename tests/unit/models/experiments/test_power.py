"""Power and sample size against statsmodels; several comparisons against statsmodels; Bayesian values by sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower

from models.experiments.bayes import posterior
from models.experiments.many import benjamini_hochberg, holm, simultaneous
from models.experiments.power import (
    METHODS,
    Design,
    Method,
    days_to_decide,
    detectable,
    inflation,
    power_of,
    users_needed,
)


@pytest.mark.parametrize("ratio", [1.0, 0.25, 3.0])
@pytest.mark.parametrize(("alpha", "power"), [(0.05, 0.8), (0.01, 0.9)])
def test_sample_as_statsmodels(ratio: float, alpha: float, power: float) -> None:
    design = Design(4.0, 4.0, 0.1, alpha, power, ratio)
    expected = NormalIndPower().solve_power(0.1 / 2.0, alpha=alpha, power=power, ratio=ratio)
    assert users_needed(design)[0] == math.ceil(expected)
    assert power_of(design, 3_000, int(3_000 * ratio)) == pytest.approx(
        NormalIndPower().power(0.05, 3_000, alpha, ratio=ratio), rel=1e-8
    )
    needed = users_needed(design)
    assert detectable(design, *needed) == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_the_sample_has_the_power_it_promises(method: Method) -> None:
    design = Design.of_shares(0.10, 0.01)
    assert power_of(design, *users_needed(design, method), method) == pytest.approx(0.8, abs=2e-4)


def test_what_each_method_costs() -> None:
    """The figures of the paper on the design: power for 10 % against 11 %, 20,000 an arm; sample for 80 %."""
    design = Design.of_shares(0.10, 0.01)
    assert power_of(design, 20_000, 20_000, "always-valid") >= 0.68
    assert power_of(design, 20_000, 20_000, "obrien-fleming") >= 0.87
    assert inflation("always-valid") <= 1.70
    assert inflation("fixed") < inflation("obrien-fleming") < inflation("pocock") < inflation("always-valid")


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: Design.of_shares(0.0, 0.1),
        lambda: Design.of_shares(0.95, 0.1),
        lambda: Design(1.0, 1.0, 0.0),
        lambda: Design(0.0, 1.0, 1.0),
        lambda: Design(1.0, 1.0, 1.0, alpha=0.0),
        lambda: Design(1.0, 1.0, 1.0, power=1.0),
        lambda: Design(1.0, 1.0, 1.0, power=0.04),
    ],
)
def test_a_design_that_makes_no_sense(mistake: type[Design]) -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1|above alpha"):
        mistake()  # type: ignore[call-arg]


def test_days() -> None:
    assert days_to_decide(1_000, 400, 600, per_day=0, window_days=7) == 7
    assert days_to_decide(1_000, 400, 100, per_day=0, window_days=7) is None
    assert days_to_decide(1_000, 0, 0, per_day=100, window_days=3) == 13


@pytest.mark.parametrize("number", [1, 2, 3, 7, 20])
def test_holm_and_benjamini_hochberg_as_statsmodels(number: int) -> None:
    p_values = [float(p) for p in np.random.default_rng(number).beta(0.3, 1.0, number).round(3)]
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], rel=1e-8, abs=1e-300)
    expected = multipletests(p_values, method="fdr_bh")[1]
    assert benjamini_hochberg(p_values) == pytest.approx(expected, rel=1e-8, abs=1e-300)


def test_nothing_to_adjust() -> None:
    assert holm([]) == benjamini_hochberg([]) == []
    assert simultaneous(0.05, 0) == 0.05


def test_best_of_four_by_sampling() -> None:
    arms = [(1.0, 0.01), (1.1, 0.04), (1.05, 0.0025), (0.2, 0.01)]
    draws = np.random.default_rng(8).normal([m for m, _ in arms], [v**0.5 for _, v in arms], (400_000, 4))
    found = posterior(arms)
    best = (draws.argmax(axis=1)[:, None] == np.arange(4)).mean(axis=0)
    loss = (draws.max(axis=1)[:, None] - draws).mean(axis=0)
    assert [arm.best for arm in found] == pytest.approx(best.tolist(), abs=0.004)
    assert [arm.loss for arm in found] == pytest.approx(loss.tolist(), abs=0.002)
    assert sum(arm.best for arm in found) == pytest.approx(1.0, abs=1e-9)


def test_losses_differ_by_the_averages() -> None:
    """E[max] is the same for all arms, however unlike their errors."""
    arms = [(0.10, 1e-6), (0.13, 4e-3), (-5.0, 1e-8), (0.12, 1e-7)]
    found = posterior(arms)
    for (mean, _), arm in zip(arms, found, strict=True):
        assert mean + arm.loss == pytest.approx(arms[1][0] + found[1].loss, abs=1e-9)


def test_less_is_better() -> None:
    up = posterior([(1.0, 0.01), (1.2, 0.02)])
    down = posterior([(-1.0, 0.01), (-1.2, 0.02)], higher_is_better=False)
    assert up == down


def test_certain_arms() -> None:
    assert posterior([(1.0, 0.0), (2.0, 0.0)]) == [(0.0, 1.0), (1.0, 0.0)]
    assert posterior([(1.0, 0.0), (2.0, 1e-4)])[1].best == pytest.approx(1.0, abs=1e-6)
