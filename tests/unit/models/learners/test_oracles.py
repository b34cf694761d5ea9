"""Formulas against libraries that compute the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from river import linear_model, optim, preprocessing
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from models.learners.calibration import log_loss
from models.learners.river_logistic import RiverLogistic
from models.learners.second_order import SecondOrderLogistic, laplace_step

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def data(count: int, seed: int = 3) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 3)) * [2.0, 10.0, 0.1] + [1.0, -40.0, 0.0]
    odds = 0.6 * (x[:, 0] - 1) - 0.08 * (x[:, 1] + 40) + 4.0 * x[:, 2] - 0.5
    return x, (rng.random(count) < 1 / (1 + np.exp(-odds))).astype(np.int64)


def test_second_order_against_scikit_learn_on_the_same_data() -> None:
    x, y = data(4000)
    online = SecondOrderLogistic(3, precision=1.0)
    online.learn_many(x, y)
    standard = (x - x.mean(axis=0)) / x.std(axis=0)
    batch = LogisticRegression(C=1.0).fit(standard, y)
    fresh, truth = data(4000, seed=4)
    expected = batch.predict_proba((fresh - x.mean(axis=0)) / x.std(axis=0))[:, 1]
    found = online.predict_proba_many(fresh)
    assert abs(found - expected).max() < 0.02
    assert online.linear().weights * x.std(axis=0) == pytest.approx(batch.coef_[0], abs=0.04)
    assert abs(roc_auc_score(truth, found) - roc_auc_score(truth, expected)) < 0.001
    assert abs(sklearn_log_loss(truth, found) - sklearn_log_loss(truth, expected)) < 0.001


def test_laplace_step_against_a_newton_step_on_the_exact_posterior() -> None:
    # One observation: covariance must be the inverse of prior precision + h z z', by plain linear algebra.
    rng = np.random.default_rng(0)
    root = rng.normal(size=(4, 4))
    cov = root @ root.T + np.eye(4)
    theta, z = rng.normal(size=4), rng.normal(size=4)
    p = 1 / (1 + np.exp(-theta @ z))
    expected = np.linalg.inv(np.linalg.inv(cov) + p * (1 - p) * np.outer(z, z))
    mean = theta + expected @ z * (1 - p)
    laplace_step(theta, cov, z, 1)
    assert cov == pytest.approx(expected)
    assert theta == pytest.approx(mean)


def test_rescaling_leaves_predictions_alone() -> None:
    x, y = data(1024)
    learner = SecondOrderLogistic(3)
    learner.learn_many(x[:1023], y[:1023])
    before = learner.linear().log_odds(x)
    learner._rescale()
    assert learner.linear().log_odds(x) == pytest.approx(before, abs=1e-8)


def test_running_moments_against_numpy() -> None:
    x, y = data(777)
    learner = SecondOrderLogistic(3)
    learner.learn_many(x, y)
    assert learner.mean == pytest.approx(x.mean(axis=0))
    assert learner.deviation() == pytest.approx(x.std(axis=0))


def test_river_weights_against_rivers_own_predictions() -> None:
    x, y = data(1200)
    ours = RiverLogistic(3)
    theirs = preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.AdaGrad(0.1))
    for row, label in zip(x, y, strict=True):
        features = {str(index): value for index, value in enumerate(row.tolist())}
        theirs.learn_one(features, bool(label))
    ours.learn_many(x, y)
    rows = [{str(index): value for index, value in enumerate(row.tolist())} for row in x[:200]]
    expected = [theirs.predict_proba_one(row)[True] for row in rows]
    assert ours.predict_proba_many(x[:200]) == pytest.approx(expected, abs=1e-9)
    assert [ours.pipeline.predict_proba_one(row)[True] for row in rows] == pytest.approx(expected)


def test_log_loss_against_scikit_learn() -> None:
    odds = np.linspace(-9, 9, 19)
    labels = np.arange(19) % 2
    p = 1 / (1 + np.exp(-odds))
    mean = np.mean([log_loss(value, int(label)) for value, label in zip(odds.tolist(), labels, strict=True)])
    assert mean == pytest.approx(sklearn_log_loss(labels, p))
    assert log_loss(800.0, 0) == 800.0
