"""Health of what is no probability: lists, forecasts, amounts, groups."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from models.learners.envelope import pack_state, unpack_state
from models.learners.list_watch import ListWatch
from models.learners.segment_centres import silhouette
from models.learners.session import LearnSession
from models.learners.streamed.demand import DAY_MS, DemandModel
from models.learners.streamed.value import ValueModel
from support.training_examples import examples

RNG = np.random.default_rng(5)


def test_ndcg_is_that_of_scikit_learn() -> None:
    found, wanted = ListWatch(), []
    for at in range(50):
        scores, popular = RNG.permutation(40).astype(float), RNG.permutation(40).astype(float)
        y = np.zeros(40)
        y[RNG.choice(40, 6, replace=False)] = 1.0
        found.add(scores, popular, y, 6, at)
        wanted.append(
            (ndcg_score([y], [scores], k=10), y[np.argsort(-scores)[:10]].any(), ndcg_score([y], [popular], k=10))
        )
    # The figures forget; over fifty lists that is less than two in a hundred.
    assert list(found.figures()["figures"].values()) == pytest.approx(np.mean(wanted, axis=0), abs=0.01)


def test_what_was_no_candidate_is_missed() -> None:
    watch = ListWatch()
    watch.add(np.array([1.0, 0.0]), np.zeros(2), np.array([1.0, 0.0]), 3, 0)
    assert watch.figures()["figures"]["ndcg_10"] == pytest.approx(1.0 / (1.0 + 1.0 / np.log2(3) + 0.5), abs=1e-4)


def test_an_alarm_is_raised_when_lists_get_worse_and_only_then() -> None:
    watch = ListWatch()
    order, good, bad = np.arange(12.0, 0.0, -1.0), np.eye(12)[0], np.eye(12)[9]
    for at in range(3_000):
        drifted = watch.add(order, order, good if at < 1_500 else bad, 1, at)
        assert not (drifted and at < 1_500)
    assert watch.drifts >= 1
    better = ListWatch()
    for at in range(3_000):
        better.add(order, order, bad if at < 1_500 else good, 1, at)
    assert better.drifts == 0


def test_it_goes_on_bit_by_bit() -> None:
    first, second = ListWatch(), ListWatch()
    for at in range(300):
        y = (RNG.random(15) < 0.2).astype(float)
        scores, popular = RNG.random(15), RNG.random(15)
        for one in (first, second):
            one.add(scores, popular, y, int(y.sum()), at)
        restored = ListWatch()
        restored.restore(unpack_state(pack_state(second.snapshot())))
        second = restored
    assert pack_state(first.snapshot()) == pack_state(second.snapshot())


def test_a_forecast_is_judged_when_its_week_is_over() -> None:
    model = DemandModel()
    for week in range(60):
        model.add([("tea", "Tea", 500, 10 + 5 * (week % 2))], [], week * 7 * DAY_MS + 5 * DAY_MS)
    told = model.health()[""].figures
    # Sales go up and down by turns, and the mean of four weeks is always half a step off.
    assert told["wape_of_four_week_mean"] == pytest.approx(2.5 / 12.5, abs=0.02)
    assert 0.0 <= told["wape_next_week"] < 1.0
    again = DemandModel()
    again.restore(unpack_state(pack_state(model.snapshot())))
    assert again.health() == model.health()


def test_amounts_are_judged_as_they_were_served() -> None:
    model = ValueModel()
    assert model.learn_many(examples("churn", 3_000)) == [None] * 3_000
    health = model.health()[""]
    assert health.judged > 500
    assert 0.0 < health.figures["mae_learned"] < 100.0
    assert 0.0 <= health.figures["own_share"] <= 1.0


def test_groups_far_apart_have_a_high_silhouette() -> None:
    centres = np.array([[0.0, 0.0], [10.0, 0.0]])
    near = np.concatenate([centres[0] + RNG.normal(size=(50, 2)), centres[1] + RNG.normal(size=(50, 2))])
    assert silhouette(near, centres, np.ones(2)) > 0.8
    assert silhouette(RNG.random((100, 2)), np.array([[0.4, 0.5], [0.6, 0.5]]), np.ones(2)) < 0.6


def test_the_recommender_tells_its_lists_with_the_checkpoint() -> None:
    session = LearnSession("recs")
    for value in examples("basket", 200):
        session.model.learn(value)
    told = session.health()[""]
    assert told.judged > 100
    assert set(told.figures) == {"ndcg_10", "hit_rate_10", "ndcg_10_by_popularity"}
    second = LearnSession("recs")
    second.restore(session.checkpoint())
    assert second.model.health() == session.model.health()
