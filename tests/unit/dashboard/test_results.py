"""The experiments' tables, held against statsmodels and scipy."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_ind_from_stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

from config.definitions import Experiment
from services.dashboard.outcomes import ExperimentResult, VariantResult
from services.dashboard.results import build_experiments
from support.experiment_counts import counted

EXPERIMENT = Experiment.model_validate(
    {
        "id": "cart-subject",
        "description": "Two subjects",
        "variants": [{"id": "a", "weight": 0.5}, {"id": "b", "weight": 0.5}],
        "expose_on": "message",
        "metrics": [
            {"id": "clicked", "event": "Email Link Clicked", "within": "7d"},
            {
                "id": "revenue",
                "event": "Order Completed",
                "within": "30d",
                "kind": "revenue",
                "value": "revenue",
            },
        ],
        "simulated": True,
        "planted": {"clicked": 0.1},
    }
)


def result(**counts: int) -> ExperimentResult:
    fields = counted({name.replace("__", ":"): value for name, value in counts.items()})
    return build_experiments({"cart-subject": fields}, [EXPERIMENT], "GBP")[0]


def clicked(a: tuple[int, int], b: tuple[int, int]) -> VariantResult:
    return (
        result(a__exposed=a[0], a__clicked__users=a[1], b__exposed=b[0], b__clicked__users=b[1]).metrics[0].variants[1]
    )


def test_shares_agree_with_statsmodels() -> None:
    row = clicked((1448, 142), (1456, 260))
    z, p = proportions_ztest([260, 142], [1456, 1448])
    assert row.z == pytest.approx(z)
    assert row.p == pytest.approx(p)
    low, high = confint_proportions_2indep(260, 1456, 142, 1448, method="newcomb", compare="diff")
    assert row.interval == f"+{100 * low:.1f} to +{100 * high:.1f} pts"
    assert (row.value, row.difference) == ("17.9 %", "+8.1 pts")
    assert (row.verdict, row.words) == ("ahead", "ahead")
    assert row.planted == "+10.0 pts"


def test_revenue_agrees_with_welchs_test() -> None:
    rng = np.random.default_rng(7)
    values = {name: (rng.random(400) < 0.3) * rng.integers(500, 9000, 400) for name in "ab"}
    row = result(
        **{f"{name}__exposed": 400 for name in "ab"},
        **{f"{name}__revenue__users": int((found > 0).sum()) for name, found in values.items()},
        **{f"{name}__revenue__sum": int(found.sum()) for name, found in values.items()},
        **{f"{name}__revenue__sumsq": int((found**2).sum()) for name, found in values.items()},
    ).metrics[1].variants[1]  # fmt: skip
    a, b = values["a"], values["b"]
    oracle = ttest_ind_from_stats(b.mean(), b.std(ddof=1), 400, a.mean(), a.std(ddof=1), 400, equal_var=False)
    assert row.z == pytest.approx(oracle.statistic)
    assert row.p == pytest.approx(oracle.pvalue)
    assert row.value == f"£{b.mean() / 100:.2f}"


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ((1000, 100), (1000, 104), "undecided"),
        ((1000, 140), (1000, 90), "behind"),
        ((50, 2), (50, 12), "too-few"),
        ((100, 99), (100, 80), "too-few"),
        ((0, 0), (10, 1), "too-few"),
        ((10, 0), (10, 0), "too-few"),
    ],
)
def test_nothing_is_claimed_that_the_counts_do_not_carry(a: tuple[int, int], b: tuple[int, int], verdict: str) -> None:
    assert clicked(a, b).verdict == verdict


def test_where_test_and_interval_disagree_nothing_is_claimed() -> None:
    only_interval, only_test = clicked((60, 27), (180, 56)), clicked((60, 9), (60, 18))
    assert only_interval.p is not None
    assert only_interval.p > 0.05
    assert only_test.p is not None
    assert only_test.p < 0.05
    assert (only_interval.verdict, only_test.verdict) == ("undecided", "undecided")


def test_an_a_a_test_stays_undecided_about_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(11)
    trials = 2000
    drawn = rng.binomial(1500, 0.1, size=(trials, 2))
    decided = sum(clicked((1500, int(a)), (1500, int(b))).verdict != "undecided" for a, b in drawn)
    # 5 % of 2,000, within four standard errors.
    assert abs(decided / trials - 0.05) < 4 * math.sqrt(0.05 * 0.95 / trials)


def test_a_conversion_read_before_its_exposure_does_no_harm() -> None:
    row = clicked((0, 3), (10, 2))
    assert row.exposed == 10
    assert row.verdict == "too-few"


def test_bars_of_a_table_share_one_scale() -> None:
    row = clicked((1000, 100), (1000, 104))
    assert row.low is not None
    assert row.high is not None
    assert row.point is not None
    assert -1 <= row.low < row.point < row.high <= 1
    assert max(abs(row.low), abs(row.high)) == pytest.approx(1)


def test_nobody_exposed_is_no_result() -> None:
    assert result().exposed == 0
    assert result().metrics[0].variants[1].words == "too few yet"


def test_simulated_experiments_stand_last_and_carry_their_mark() -> None:
    real = EXPERIMENT.model_copy(update={"id": "zz-real", "simulated": False, "planted": {}})
    results = build_experiments({}, [EXPERIMENT, real], "GBP")
    assert [(one.experiment, one.simulated) for one in results] == [
        ("zz-real", False),
        ("cart-subject", True),
    ]
