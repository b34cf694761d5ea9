"""The uplift learner: it finds the truth of made-up experiments, and goes on bit by bit after a restart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import IncompatibleSnapshotError
from models.learners.effect import LinearEffect
from models.learners.envelope import pack_state, unpack_state
from models.learners.trees import EffectTrees
from models.learners.uplift import MEMBERS, Uplift

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def trial(count: int, effect: float, seed: int = 0) -> tuple[FloatArray, IntArray, IntArray, FloatArray]:
    """Features, treatment, outcome, true uplift: `effect` on log-odds times the first feature, beside a main one."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 3))
    treated = rng.integers(0, 2, count)
    odds = [-1.0 + 0.8 * x[:, 1] + t * effect * x[:, 0] for t in (0, 1)]
    chances = [1 / (1 + np.exp(-one)) for one in odds]
    y = (rng.random(count) < np.where(treated, chances[1], chances[0])).astype(np.int64)
    return x, treated, y, chances[1] - chances[0]


def learned(learner: Uplift, x: FloatArray, treated: IntArray, y: IntArray) -> Uplift:
    for row, t, label in zip(x.tolist(), treated.tolist(), y.tolist(), strict=True):
        learner.learn(learner.score(row), t, label)
    return learner


def test_ranks_by_the_true_uplift() -> None:
    x, treated, y, truth = trial(3000, 1.0)
    learner = learned(Uplift(["number"] * 3), x, treated, y)
    served = np.array([learner.score(row).uplift for row in x.tolist()])
    assert np.corrcoef(served, truth)[0, 1] > 0.9
    assert abs(served.mean() - truth.mean()) < 0.03


def test_without_an_effect_nobody_is_told_apart() -> None:
    x, treated, y, _ = trial(3000, 0.0)
    learner = learned(Uplift(["number"] * 3), x, treated, y)
    served = np.array([learner.score(row).uplift for row in x.tolist()])
    apart = np.array([learner.score(row).members for row in x.tolist()])
    # A model of each group alone takes its noise for differences.
    assert served.std() < 0.5 * apart[:, MEMBERS.index("t_learner")].std()


def test_weights_add_up_and_leave_those_that_were_wrong() -> None:
    x, treated, y, _ = trial(3000, 1.5)
    learner = Uplift(["number"] * 3)
    assert learner.weights() == pytest.approx(1 / len(MEMBERS))
    learned(learner, x, treated, y)
    weights = dict(zip(MEMBERS, learner.weights().tolist(), strict=True))
    assert sum(weights.values()) == pytest.approx(1.0)
    assert weights["effect_on_odds_100000"] < 0.01


@pytest.mark.parametrize("before", [0, 1, 63, 64, 65, 400])
def test_restored_learner_goes_on_bit_by_bit(before: int) -> None:
    x, treated, y, _ = trial(before + 150, 1.0)
    first = learned(Uplift(["number"] * 3), x[:before], treated[:before], y[:before])
    if before == 400:
        first.refit()
        assert first.trees.fitted
    packed = pack_state(first.snapshot())
    second = Uplift(["number"] * 3)
    second.restore(unpack_state(packed))
    assert pack_state(second.snapshot()) == packed
    for learner in (first, second):
        learned(learner, x[before:], treated[before:], y[before:])
    assert pack_state(second.snapshot()) == pack_state(first.snapshot())


def test_foreign_states_are_refused() -> None:
    with pytest.raises(IncompatibleSnapshotError):
        Uplift(["number"]).restore({})
    with pytest.raises(IncompatibleSnapshotError):
        Uplift(["number"]).restore(Uplift(["category"]).snapshot())
    with pytest.raises(IncompatibleSnapshotError):
        LinearEffect(10.0).restore(LinearEffect(20.0).snapshot())


@pytest.mark.parametrize("on_odds", [True, False])
def test_effect_is_the_posterior_of_a_ridge_regression(on_odds: bool) -> None:
    """Where the effect is small its odds are linear, and the weights are those of weighted least squares."""
    x, treated, y, _ = trial(2000, 0.4)
    base, d = 0.3, treated - 0.5
    effect = LinearEffect(5.0, on_odds=on_odds)
    for row, label, part in zip(x, y.tolist(), d.tolist(), strict=True):
        effect.learn_one(row, label, base, part)
    found = np.array([effect.uplift(row, base, 0.5) for row in x])
    z = np.column_stack([np.ones(len(x)), (x - x.mean(axis=0)) / x.std(axis=0)]) * d[:, None]
    h = base * (1 - base)
    theta = np.linalg.solve(h * z.T @ z + np.diag([1.0, 5.0, 5.0, 5.0]), z.T @ (y - base))
    expected = h * (z / d[:, None]) @ theta
    assert np.corrcoef(found, expected)[0, 1] > 0.99
    assert found.std() == pytest.approx(expected.std(), rel=0.15)


def test_trees_say_of_unseen_rows_what_they_say_when_asked() -> None:
    rng = np.random.default_rng(1)
    x, treated = rng.random((3000, 2)), rng.integers(0, 2, 3000)
    x[rng.random(3000) < 0.1, 1] = np.nan
    y = (rng.random(3000) < 0.3 + 0.4 * treated * (x[:, 0] > 0.5)).astype(np.int64)
    trees = EffectTrees()
    unseen = trees.fit_effect(x, treated, y)
    assert unseen is not None
    assert np.corrcoef(unseen, trees.effect(x))[0, 1] > 0.9
    assert abs(trees.effect(x).mean() - 0.2) < 0.05
    assert trees.fit_effect(x[:40], treated[:40], y[:40]) is None
