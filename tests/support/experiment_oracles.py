"""Make tests/unit/models/experiments/oracles.json: what other libraries give for the same sums.

Their releases pin a numpy and a pandas that Kairos has left behind, so they live in an environment of their own:

    python -m venv /tmp/oracles
    /tmp/oracles/bin/pip install gbstats==0.8.0 spotify-confidence==4.1.0
    /tmp/oracles/bin/python tests/support/experiment_oracles.py > tests/unit/models/experiments/oracles.json
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from gbstats.bayesian.tests import EffectBayesianABTest, EffectBayesianConfig
from gbstats.frequentist.tests import FrequentistConfig, SequentialConfig, SequentialTwoSidedTTest, TwoSidedTTest
from gbstats.models.statistics import (
    ProportionStatistic,
    RatioStatistic,
    RegressionAdjustedStatistic,
    SampleMeanStatistic,
    compute_theta,
)
from spotify_confidence import ZTest
from spotify_confidence.analysis.frequentist.sequential_bound_solver import bounds

LIBRARIES = ("gbstats", "spotify-confidence", "numpy", "pandas", "scipy")


def columns(seed: int, n: int, lift: float) -> dict[str, list[int]]:
    """Users of an arm: whole numbers, so that their sums are exact everywhere."""
    rng = np.random.default_rng(seed)
    before = np.round(rng.lognormal(3.0, 1.0, n)).astype(int)
    views = rng.poisson(4.0, n) + 1
    clicks = rng.binomial(views, 0.2 * lift)
    money = np.round(before * 0.7 * lift + rng.lognormal(2.0, 1.2, n)).astype(int)
    return {
        "bought": rng.binomial(1, 0.1 * lift, n).tolist(),
        "money": money.tolist(),
        "before": before.tolist(),
        "clicks": clicks.tolist(),
        "views": views.tolist(),
    }


def dot(arm: dict[str, list[int]], one: str, two: str) -> int:
    return sum(a * b for a, b in zip(arm[one], arm[two], strict=True))


def mean(arm: dict[str, list[int]], name: str) -> Any:
    return SampleMeanStatistic(n=len(arm[name]), sum=sum(arm[name]), sum_squares=dot(arm, name, name))


def statistic(kind: str, arm: dict[str, list[int]]) -> Any:
    n = len(arm["money"])
    if kind == "proportion":
        return ProportionStatistic(n=n, sum=sum(arm["bought"]))
    if kind == "mean":
        return mean(arm, "money")
    if kind == "ratio":
        products = dot(arm, "clicks", "views")
        return RatioStatistic(
            n=n, m_statistic=mean(arm, "clicks"), d_statistic=mean(arm, "views"), m_d_sum_of_products=products
        )
    return RegressionAdjustedStatistic(
        n=n,
        post_statistic=mean(arm, "money"),
        pre_statistic=mean(arm, "before"),
        post_pre_sum_of_products=dot(arm, "money", "before"),
        theta=0.0,
    )


def sums(kind: str, arm: dict[str, list[int]]) -> dict[str, Any]:
    """The same as Kairos's sufficient statistics."""
    n = len(arm["money"])
    if kind == "proportion":
        return {"n": n, "successes": sum(arm["bought"])}
    names = {"mean": ["money"], "ratio": ["clicks", "views"], "cuped": ["money", "before"]}[kind]
    pairs = [(one, two) for i, one in enumerate(names) for two in names[i:]]
    return {"n": n, "sums": [sum(arm[name]) for name in names], "products": [dot(arm, *pair) for pair in pairs]}


def growthbook(kind: str, one: dict[str, list[int]], two: dict[str, list[int]]) -> dict[str, Any]:
    a, b = statistic(kind, one), statistic(kind, two)
    if kind == "cuped":
        a.theta = b.theta = compute_theta(a, b)
    found: dict[str, Any] = {}
    for difference in ("absolute", "relative"):
        fixed = TwoSidedTTest(a, b, FrequentistConfig(difference_type=difference))
        for tuning in (5000, 20000):
            config = SequentialConfig(difference_type=difference, sequential_tuning_parameter=tuning)
            test = SequentialTwoSidedTTest(a, b, config)
            found[f"sequential_{tuning}_{difference}"] = {"p": test.p_value, "interval": list(test.confidence_interval)}
        found[difference] = {
            "value": fixed.point_estimate,
            "p": fixed.p_value,
            "interval": list(fixed.confidence_interval),
        }
    config = EffectBayesianConfig(difference_type="absolute", prior_type="absolute")
    bayes = EffectBayesianABTest(a, b, config).compute_result()
    found["bayes"] = {"chance": bayes.chance_to_win, "loss": bayes.risk}
    return found


def spotify(one: dict[str, list[int]], two: dict[str, list[int]]) -> dict[str, Any]:
    frame = pd.DataFrame(
        {
            "variant": ["control", "treatment"],
            "bought": [sum(one["bought"]), sum(two["bought"])],
            "users": [len(one["bought"]), len(two["bought"])],
        }
    )
    test = ZTest(
        frame,
        numerator_column="bought",
        numerator_sum_squares_column="bought",
        denominator_column="users",
        categorical_group_columns="variant",
    )
    row = test.difference(level_1="control", level_2="treatment").iloc[0]
    return {"value": row["difference"], "p": row["p-value"], "interval": [row["ci_lower"], row["ci_upper"]]}


def main() -> None:
    pairs = [(columns(1, 400, 1.0), columns(2, 500, 1.1)), (columns(3, 5000, 1.0), columns(4, 4800, 1.05))]
    cases = []
    for one, two in pairs:
        for kind in ("proportion", "mean", "ratio", "cuped"):
            case = {"kind": kind, "control": sums(kind, one), "treatment": sums(kind, two)}
            case["gbstats"] = growthbook(kind, one, two)
            if kind == "proportion":
                case["spotify"] = spotify(one, two)
            cases.append(case)
    looks = np.array([0.1, 0.25, 0.5, 0.7, 1.0])
    spending = [
        {"phi": phi, "looks": looks.tolist(), "bounds": bounds(looks, 0.05, phi, 8.0, 2).bounds.tolist()}
        for phi in (1.0, 3.0)
    ]
    libraries = {name: version(name) for name in LIBRARIES}
    json.dump({"libraries": libraries, "cases": cases, "power_family": spending}, sys.stdout, indent=1, default=float)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
