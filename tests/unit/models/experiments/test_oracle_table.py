"""The same sums, the same formula, the same result as gbstats and spotify-confidence (a frozen table of theirs).

tests/support/experiment_oracles.py made the table and says why it is frozen.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.experiments.adjust import cuped
from models.experiments.always_valid import Mixture, look
from models.experiments.bayes import posterior
from models.experiments.crossing import crossing
from models.experiments.estimate import Estimate, of_means, of_ratios, of_shares
from models.experiments.fixed import normal_p, wald_interval, welch
from models.experiments.sums import Moments, Proportion

TABLE = json.loads((Path(__file__).parent / "oracles.json").read_text())
CASES = [pytest.param(case, id=f"{case['kind']}-{case['control']['n']}") for case in TABLE["cases"]]
# Under CUPED gbstats divides the adjusted difference by the unadjusted average of the control, Kairos by the adjusted.
SIDED = [
    pytest.param(case, side, id=f"{case['kind']}-{case['control']['n']}-{side}")
    for case in TABLE["cases"]
    for side in ("absolute", "relative")
    if (case["kind"], side) != ("cuped", "relative")
]


def moments(sums: dict[str, Any]) -> Moments:
    return Moments(sums["n"], tuple(sums["sums"]), tuple(sums["products"]))


def shares(case: dict[str, Any]) -> tuple[Proportion, Proportion]:
    one, two = (Proportion(case[arm]["n"], case[arm]["successes"]) for arm in ("control", "treatment"))
    return one, two


def estimate(case: dict[str, Any]) -> Estimate:
    if case["kind"] == "proportion":
        found = of_shares(*shares(case))
    else:
        one, two = moments(case["control"]), moments(case["treatment"])
        if case["kind"] == "mean":
            found = of_means(one.one(0), two.one(0))
        else:
            found = of_ratios(one, two) if case["kind"] == "ratio" else cuped(one, two)
    assert isinstance(found, Estimate)
    return found


@pytest.mark.parametrize(("case", "side"), SIDED)
def test_welch_as_gbstats(case: dict[str, Any], side: str) -> None:
    expected = case["gbstats"][side]
    found = welch(estimate(case), relative=side == "relative")
    assert found is not None
    assert found.difference == pytest.approx(expected["value"], rel=1e-8)
    assert found.p == pytest.approx(expected["p"], rel=1e-8, abs=1e-14)
    assert found.interval == pytest.approx(expected["interval"], rel=1e-8)


@pytest.mark.parametrize("users", [5000, 20000])
@pytest.mark.parametrize(("case", "side"), SIDED)
def test_confidence_sequence_as_gbstats(case: dict[str, Any], side: str, users: int) -> None:
    expected = case["gbstats"][f"sequential_{users}_{side}"]
    both = estimate(case)
    effect = both.relative() if side == "relative" else both.absolute()
    assert not isinstance(effect, str)
    p, interval = look(effect, Mixture.of_users(users))
    assert p == pytest.approx(expected["p"], rel=1e-8)
    assert interval == pytest.approx(expected["interval"], rel=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_bayesian_values_as_gbstats(case: dict[str, Any]) -> None:
    expected = case["gbstats"]["bayes"]
    both = estimate(case)
    control, treatment = posterior([(both.control, both.variance_control), (both.treatment, both.variance_treatment)])
    assert treatment.best == pytest.approx(expected["chance"], rel=1e-8)
    assert (control.loss, treatment.loss) == pytest.approx(expected["loss"], rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("case", [case for case in TABLE["cases"] if "spotify" in case])
def test_shares_as_spotify_confidence(case: dict[str, Any]) -> None:
    expected = case["spotify"]
    effect, interval = estimate(case).absolute(), wald_interval(*shares(case))
    assert effect.value == pytest.approx(expected["value"], rel=1e-8)
    assert normal_p(effect) == pytest.approx(expected["p"], rel=1e-8)
    assert interval == pytest.approx(expected["interval"], rel=1e-8)


@pytest.mark.parametrize("spending", TABLE["power_family"])
def test_boundaries_of_spotify_confidence_spend_what_they_should(spending: dict[str, Any]) -> None:
    """Their solver (Lan and DeMets's program) has other spending functions; the integration is the same."""
    found = crossing(spending["looks"], spending["bounds"])
    assert found == pytest.approx(0.05 * np.array(spending["looks"]) ** spending["phi"], abs=1e-5)
