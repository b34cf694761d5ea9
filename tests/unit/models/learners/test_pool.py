"""The pool: linear, weighted by what its members would have served, calibrated only where that helps."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest

from models.learners.calibration import MIN_DAYS, OnlinePlatt
from models.learners.pool import MAX_PAST, Pool

DAY_MS = 86_400_000


def drifting(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 2))
    y = (rng.random(count) < 1 / (1 + np.exp(-2 * x[:, 0]))).astype(np.int64)
    return x, y


def test_pool_is_the_weighted_mean_of_log_odds() -> None:
    x, y = drifting(800)
    pool = Pool(2)
    pool.learn_many(x, y)
    each = np.stack([member.linear().log_odds(x) for member in pool.members])
    assert pool.uncalibrated().log_odds(x) == pytest.approx(pool.weights() @ each)
    assert pool.weights().sum() == pytest.approx(1.0)


def test_late_labels_judge_the_weights_of_the_time_of_the_score() -> None:
    # Every label comes 90 days after its features: nothing that was learned later may earn weight.
    x, y = drifting(1200)
    pool = Pool(2)
    days = np.arange(1200) // 20
    pool.learn_many(x, y, days * DAY_MS, (days + 90) * DAY_MS)
    assert pool.weights().tolist() == [1 / 3] * 3, "no score had a learned model behind it yet"
    days = days + 100
    pool.learn_many(x, y, days * DAY_MS, (days + 90) * DAY_MS)
    assert pool.weights().tolist() != [1 / 3] * 3
    assert len(pool._past) <= MAX_PAST


def test_member_with_lower_delayed_loss_gets_more_weight() -> None:
    x, y = drifting(3000)
    pool = Pool(2)
    pool.learn_many(x[:1500], y[:1500])
    pool.members[0].learn_many(x[:1500], 1 - y[:1500])  # spoil one of the three
    pool.members[0].learn_many(x[:1500], 1 - y[:1500])
    pool.learn_many(x[1500:], y[1500:])
    assert pool.weights()[0] < 0.01


def test_slope_is_served_only_after_days_of_gain() -> None:
    platt = OnlinePlatt()
    rng = np.random.default_rng(1)
    for day in range(MIN_DAYS + 3):
        for _ in range(400):
            odds = float(rng.normal() * 3)
            platt.learn_one(odds, int(rng.random() < 1 / (1 + exp(-odds / 3))), platt.fitted(), day)
        if day < MIN_DAYS - 1:
            assert platt.coefficients() == (1.0, 0.0)
    a, _ = platt.coefficients()
    assert a == pytest.approx(1 / 3, abs=0.06)


def test_a_level_that_moves_is_not_calibrated_away() -> None:
    # Scores of the past were too low, which the learners themselves have made good since.
    platt = OnlinePlatt()
    rng = np.random.default_rng(2)
    for day in range(20):
        for _ in range(300):
            odds = float(rng.normal())
            platt.learn_one(odds, int(rng.random() < 1 / (1 + exp(-odds - 0.8))), platt.fitted(), day)
    a, b = platt.coefficients()
    assert a == pytest.approx(1.0, abs=0.15)
    assert abs(b) < 0.1
