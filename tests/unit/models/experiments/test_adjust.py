"""CUPED, ratios and post-stratification against regressions of statsmodels and against the rows themselves."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from models.experiments.adjust import cuped, cuped_ratio, post_stratified, user_variance
from models.experiments.estimate import Estimate, of_means, of_ratios, of_shares
from models.experiments.fixed import welch
from models.experiments.sums import Floats, Mean, Moments, Proportion

RNG = np.random.default_rng(7)
N = 600


def moments(rows: Floats) -> Moments:
    return Moments.of([tuple(float(value) for value in row) for row in rows])


def known(found: object) -> Estimate:
    assert isinstance(found, Estimate), found
    return found


def arms(missing: float = 0.0) -> tuple[Floats, Floats]:
    """Rows of (outcome, covariate, missing) per arm."""
    found = []
    for effect in (0.0, 2.0):
        before = RNG.lognormal(3.0, 1.0, N)
        outcome = 0.6 * before + RNG.normal(0.0, 5.0, N) + effect
        unknown = RNG.random(N) < missing
        found.append(np.column_stack([outcome, np.where(unknown, 0.0, before), unknown]))
    return found[0], found[1]


def rows_of_regression(control: Floats, treatment: Floats) -> tuple[float, float, float]:
    """Difference and both variances from the rows, with the coefficients of a pooled regression."""
    together = np.vstack([control, treatment])
    used = [i for i in (1, 2) if together[:, i].std() > 0]
    fit = sm.OLS(together[:, 0], sm.add_constant(together[:, used])).fit()
    residual = [arm[:, 0] - arm[:, used] @ fit.params[1:] for arm in (control, treatment)]
    return residual[1].mean() - residual[0].mean(), *(float(np.var(r, ddof=1) / N) for r in residual)


@pytest.mark.parametrize("missing", [0.0, 0.5])
def test_cuped_as_a_regression(missing: float) -> None:
    control, treatment = arms(missing)
    found = known(cuped(moments(control), moments(treatment)))
    difference, of_control, of_treatment = rows_of_regression(control, treatment)
    assert found.absolute().value == pytest.approx(difference, rel=1e-8)
    assert (found.variance_control, found.variance_treatment) == pytest.approx((of_control, of_treatment), rel=1e-8)
    plain = known(of_means(*(moments(arm).one(0) for arm in (control, treatment))))
    assert found.absolute().variance < (0.35 if not missing else 0.85) * plain.absolute().variance


def test_zeros_of_missing_covariates_mean_nothing() -> None:
    """Without the indicator the zeros would spoil the coefficient."""
    control, treatment = arms(0.5)
    with_indicator = known(cuped(moments(control), moments(treatment)))
    without = known(cuped(moments(control[:, :2]), moments(treatment[:, :2])))
    assert with_indicator.absolute().variance < without.absolute().variance


def test_cuped_without_anything_known_is_the_plain_estimate() -> None:
    control, treatment = arms()
    control[:, 1:], treatment[:, 1:] = 0.0, 0.0
    found = known(cuped(moments(control), moments(treatment)))
    plain = known(of_means(moments(control).one(0), moments(treatment).one(0)))
    assert found == plain


def test_collinear_covariates_do_no_harm() -> None:
    control, treatment = arms()
    twice = [np.column_stack([arm[:, :2], arm[:, 1] * 3.0]) for arm in (control, treatment)]
    found = known(cuped(*(moments(arm) for arm in twice)))
    plain = known(cuped(*(moments(arm[:, :2]) for arm in (control, treatment))))
    assert found.absolute().value == pytest.approx(plain.absolute().value, rel=1e-6)
    assert found.absolute().variance == pytest.approx(plain.absolute().variance, rel=1e-6)


def test_the_currency_does_not_matter() -> None:
    control, treatment = arms(0.3)
    pounds = known(cuped(moments(control), moments(treatment))).relative()
    in_pence = [arm * np.array([100.0, 1e6, 1.0]) for arm in (control, treatment)]
    pence = known(cuped(*(moments(arm) for arm in in_pence))).relative()
    assert not isinstance(pounds, str)
    assert not isinstance(pence, str)
    assert pence.value == pytest.approx(pounds.value, rel=1e-8)
    assert pence.variance == pytest.approx(pounds.variance, rel=1e-8)


def ratio_rows(lift: float) -> Floats:
    views = RNG.poisson(5.0, N) + 1.0
    clicks = RNG.binomial(views.astype(int), 0.3 * lift)
    return np.column_stack([clicks, views, views + RNG.normal(0, 1.0, N)])


def test_ratio_as_its_linearisation() -> None:
    rows = [ratio_rows(1.0), ratio_rows(1.1)]
    found = known(of_ratios(*(moments(arm[:, :2]) for arm in rows)))
    for arm, value, variance in zip(
        rows, (found.control, found.treatment), (found.variance_control, found.variance_treatment), strict=True
    ):
        ratio = arm[:, 0].sum() / arm[:, 1].sum()
        line = (arm[:, 0] - ratio * arm[:, 1]) / arm[:, 1].mean()
        assert value == pytest.approx(ratio, rel=1e-12)
        assert variance == pytest.approx(np.var(line, ddof=1) / N, rel=1e-8)


def test_adjusted_ratio_is_sharper_and_agrees() -> None:
    rows = [np.column_stack([arm[:, :2], arm[:, 0] + RNG.normal(0, 0.5, N)]) for arm in map(ratio_rows, (1.0, 1.1))]
    plain = known(of_ratios(*(moments(arm[:, :2]) for arm in rows))).absolute()
    adjusted = known(cuped_ratio(*(moments(arm) for arm in rows))).absolute()
    assert adjusted.variance < 0.7 * plain.variance
    assert abs(adjusted.value - plain.value) < 3 * plain.variance**0.5


def test_ratios_wait_for_users_and_for_a_denominator() -> None:
    enough = moments(ratio_rows(1.0)[:, :2])
    assert of_ratios(moments(ratio_rows(1.0)[:99, :2]), enough) == "too_few_users"
    around_zero = moments(np.column_stack([np.ones(N), RNG.normal(0.0, 1.0, N)]))
    assert of_ratios(enough, around_zero) == "denominator_near_zero"
    assert cuped_ratio(moments(ratio_rows(1.0)[:99]), moments(ratio_rows(1.0))) == "too_few_users"
    assert of_ratios(Moments(0, (0, 0), (0, 0, 0)), enough) == "no_users"


def test_post_stratification_as_a_saturated_regression() -> None:
    """Lin's regression with centred strata and HC2 errors is the same estimate and nearly the same variance."""
    stratum = RNG.integers(0, 3, 2 * N)
    treated = RNG.random(2 * N) < 0.4
    outcome = stratum * 10.0 + treated * (1.0 + stratum) + RNG.normal(0, 2.0, 2 * N)
    sums = [{str(s): mean_of(outcome[(stratum == s) & (treated == arm)]) for s in range(3)} for arm in (False, True)]
    found = known(post_stratified(*sums))
    dummies = np.column_stack([(stratum == s).astype(float) for s in (1, 2)])
    centred = dummies - dummies.mean(axis=0)
    design = np.column_stack([np.ones(2 * N), treated, centred, centred * treated[:, None]])
    fit = sm.OLS(outcome, design).fit(cov_type="HC2")
    assert found.absolute().value == pytest.approx(fit.params[1], rel=1e-8)
    assert found.absolute().variance == pytest.approx(fit.bse[1] ** 2, rel=1e-8)


def mean_of(values: Floats) -> Mean:
    return Mean(len(values), float(values.sum()), float((values**2).sum()))


@pytest.mark.parametrize("values", [1, 2])
def test_variance_of_a_user_among_all(values: int) -> None:
    rows = ratio_rows(1.0)
    whole = moments(rows[:, [0, 1, 2]])
    line = rows[:, 0]
    if values == 2:
        line = (line - line.sum() / rows[:, 1].sum() * rows[:, 1]) / rows[:, 1].mean()
    fit = sm.OLS(line, sm.add_constant(rows[:, values:])).fit()
    assert user_variance(whole, values) == pytest.approx(np.var(fit.resid, ddof=1), rel=1e-8)
    assert user_variance(moments(rows[:, :1]), 1) == pytest.approx(np.var(rows[:, 0], ddof=1), rel=1e-8)


def test_small_strata_are_taken_together() -> None:
    control = {"a": Mean(50, 100, 300), "b": Mean(1, 2, 4), "c": Mean(3, 3, 5)}
    treatment = {"a": Mean(50, 120, 400), "b": Mean(4, 2, 4)}
    found = known(post_stratified(control, treatment))
    whole = known(
        post_stratified({"a": control["a"], "rest": Mean(4, 5, 9)}, {"a": treatment["a"], "rest": Mean(4, 2, 4)})
    )
    assert found == whole
    assert post_stratified({"a": Mean(1, 1, 1)}, {"b": Mean(1, 1, 1)}) == "no_stratum_has_both_arms"
    assert post_stratified({}, {"b": Mean(1, 1, 1)}) == "no_users"


def test_lift_needs_a_control_away_from_zero() -> None:
    found = known(of_means(Mean(100, 5, 400), Mean(100, 50, 400)))
    assert found.relative() == "control_near_zero"
    assert welch(found, relative=True) is None
    assert welch(found) is not None


def test_lift_of_losses_keeps_its_direction() -> None:
    """A control of -2 and a treatment of -1: better by half."""
    lift = known(of_means(Mean(100, -200, 500), Mean(100, -100, 200))).relative()
    assert not isinstance(lift, str)
    assert lift.value == pytest.approx(0.5)


def test_too_little_has_a_reason() -> None:
    assert of_shares(Proportion(0, 0), Proportion(5, 1)) == "no_users"
    assert of_shares(Proportion(1, 0), Proportion(5, 1)) == "too_few_users"
    assert of_shares(Proportion(10, 10), Proportion(5, 5)) == "no_variance"
    assert cuped(Moments(0, (0, 0), (0, 0, 0)), moments(arms()[0][:, :2])) == "no_users"
