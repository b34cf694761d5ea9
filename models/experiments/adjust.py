"""Sharper estimates from what was known before: CUPED and post-stratification.

A covariate is frozen at the user's first exposure from data strictly before it. A user without such data has the
covariate 0 and 1 in an indicator, which is a second covariate: so nobody is left out, and the zeros mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from models.experiments.estimate import Estimate, checked, ratio_shortage
from models.experiments.sums import Floats, Mean, Moments, Shortage


def theta(pooled: Moments, outcome: Floats, covariates: Sequence[int]) -> Floats:
    """Coefficients of the covariates: least squares on the sums of all arms together.

    Parameters
    ----------
    pooled : sums over all arms. outcome : weights of the values that make the outcome.
    covariates : places of the covariates among the values.

    Notes
    -----
    A covariate without variance, or one that others determine, takes no part (pseudo-inverse).
    """
    spread = pooled.covariances
    of_covariates = spread[np.ix_(covariates, covariates)]
    with_outcome = spread[covariates] @ outcome
    # Scaled to correlations first: the cut-off of the pseudo-inverse must not depend on the currency.
    scale = np.sqrt(np.diag(of_covariates))
    used = scale > 0.0
    solved = np.zeros(len(covariates))
    if used.any():
        unit = scale[used]
        matrix, right = of_covariates[np.ix_(used, used)] / np.outer(unit, unit), with_outcome[used] / unit
        sound = np.linalg.det(matrix) > 1e-8
        solved[used] = (np.linalg.solve(matrix, right) if sound else np.linalg.pinv(matrix, rcond=1e-10) @ right) / unit
    return solved


def cuped(control: Moments, treatment: Moments, pooled: Moments | None = None) -> Estimate | Shortage:
    """Averages of value 0, adjusted for the values after it.

    Parameters
    ----------
    control, treatment : sums of (outcome, covariate, ...). pooled : sums of all arms, when there are more than two;
        every pair of arms is adjusted with the same coefficients.

    References
    ----------
    A. Deng, Y. Xu, R. Kohavi, T. Walker, "Improving the sensitivity of online controlled experiments by utilizing
    pre-experiment data", WSDM 2013.

    Examples
    --------
    >>> before_after = [(1, 1), (2, 2), (3, 3), (5, 4)], [(3, 1), (4, 2), (5, 3), (6, 5)]
    >>> found = cuped(*(Moments.of(rows) for rows in before_after))
    >>> round(found.absolute().value, 3)
    1.5
    """
    if not min(control.n, treatment.n):
        return "no_users"
    whole = pooled or control + treatment
    outcome = np.zeros(len(whole.sums))
    outcome[0] = 1.0
    averages = (control.mean(0), treatment.mean(0))
    return _adjusted((control, treatment), (outcome, outcome), averages, whole, outcome, first_covariate=1)


def cuped_ratio(control: Moments, treatment: Moments, pooled: Moments | None = None) -> Estimate | Shortage:
    """Ratios of value 0 over value 1, adjusted for the values after them (delta method, then CUPED).

    References
    ----------
    A. Deng et al., WSDM 2013, appendix B: the ratio is linearised, (a - R b) / mean(b) takes the outcome's place.
    """
    whole = pooled or control + treatment
    for arm in (control, treatment):
        short = ratio_shortage(arm)
        if short is not None:
            return short
    lines = tuple(_linearised(arm) for arm in (control, treatment))
    ratios = (control.sums[0] / control.sums[1], treatment.sums[0] / treatment.sums[1])
    return _adjusted((control, treatment), lines, ratios, whole, _linearised(whole), first_covariate=2)


def _linearised(arm: Moments) -> Floats:
    line = np.zeros(len(arm.sums))
    line[0], line[1] = 1.0 / arm.mean(1), -(arm.sums[0] / arm.sums[1]) / arm.mean(1)
    return line


def _adjusted(
    arms: tuple[Moments, Moments],
    outcomes: tuple[Floats, ...],
    averages: tuple[float, float],
    whole: Moments,
    pooled_outcome: Floats,
    *,
    first_covariate: int,
) -> Estimate | Shortage:
    covariates = list(range(first_covariate, len(whole.sums)))
    solved = theta(whole, pooled_outcome, covariates)
    found = []
    for arm, outcome, average in zip(arms, outcomes, averages, strict=True):
        residual = outcome.copy()
        residual[covariates] -= solved
        shift = float(solved @ (arm.means[covariates] - whole.means[covariates]))
        # The variance of what is left, not of the outcome.
        spread = max(0.0, float(residual @ arm.covariances @ residual))
        found.append((average - shift, spread / arm.n))
    (first, of_first), (second, of_second) = found
    return checked(Estimate(first, second, of_first, of_second, arms[0].n, arms[1].n))


def user_variance(whole: Moments, values: int) -> float:
    """Variance of one user's value (adjusted for the covariates) among all users together.

    Parameters
    ----------
    whole : sums of both arms. values : 1 for an average, 2 for a ratio; covariates come after them.
    """
    outcome = _linearised(whole) if values == 2 else np.eye(1, len(whole.sums))[0]
    covariates = list(range(values, len(whole.sums)))
    residual = outcome.copy()
    if covariates:
        residual[covariates] -= theta(whole, outcome, covariates)
    return max(0.0, float(residual @ whole.covariances @ residual))


def post_stratified(control: Mapping[str, Mean], treatment: Mapping[str, Mean]) -> Estimate | Shortage:
    """Averages over strata (country, device, new or returning), each weighted by its share of all users.

    Notes
    -----
    Strata with fewer than two users in an arm are taken together as one; if that one is still too small, it is left
    out, and the result speaks of the other users only.

    References
    ----------
    L. W. Miratrix, J. S. Sekhon, B. Yu, "Adjusting treatment effect estimates by post-stratification in randomized
    experiments", JRSS B 75 (2013). H. Xie, J. Aurisset, "Improving the sensitivity of online controlled experiments:
    case studies at Netflix", KDD 2016.
    """
    nobody = Mean(0, 0, 0)
    pairs = [(control.get(name, nobody), treatment.get(name, nobody)) for name in sorted({*control, *treatment})]
    if not sum(one.n for one, _ in pairs) or not sum(two.n for _, two in pairs):
        return "no_users"
    whole = [pair for pair in pairs if min(pair[0].n, pair[1].n) >= 2]
    rest = (nobody, nobody)
    for one, two in pairs:
        if min(one.n, two.n) < 2:
            rest = (rest[0] + one, rest[1] + two)
    if min(rest[0].n, rest[1].n) >= 2:
        whole.append(rest)
    if not whole:
        return "no_stratum_has_both_arms"
    users = sum(one.n + two.n for one, two in whole)
    shares = [(one.n + two.n) / users for one, two in whole]
    first, second = (
        (
            sum(share * pair[i].mean for share, pair in zip(shares, whole, strict=True)),
            sum(share**2 * pair[i].variance / pair[i].n for share, pair in zip(shares, whole, strict=True)),
            sum(pair[i].n for pair in whole),
        )
        for i in (0, 1)
    )
    return checked(Estimate(first[0], second[0], first[1], second[1], first[2], second[2]))
