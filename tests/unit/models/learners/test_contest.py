"""Champion against shadow: the same examples, honest figures, an interval that may be looked at at any time."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from models.decisions import ChurnExample
from models.features import churn
from models.learners.base import sigmoid
from models.learners.batch import BatchModel, state_of
from models.learners.contest import GROUPS, Comparison, Contest, interval
from models.learners.envelope import pack_state, unpack_state
from models.learners.session import LearnSession
from models.learners.task import CHURN

DAY_MS = 86_400_000


def batch(weight: float, until_ms: int = 0) -> BatchModel:
    """Log-odds of churn rise with the silence."""
    linear = {"kind": "linear", "w": [weight], "b": -3.6 * weight}
    return BatchModel(state_of([0], [0.0], ([0.0], [1.0]), np.zeros(8), until_ms, linear))


def rows(count: int, seed: int = 1) -> list[tuple[str, int, list[int], int]]:
    """(user, at, x, label): truth is log-odds of 1.5 (log1p(days) - 3.6)."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count):
        days = int(rng.integers(0, 200))
        lost = rng.random() < 1.0 / (1.0 + np.exp(-1.5 * (np.log1p(days) - 3.6)))
        found.append((f"u{rng.integers(0, 400)}", index * 1000, [days, 2, 100, days + 50, 120], int(lost)))
    return found


def run(contest: Contest, found: list[tuple[str, int, list[int], int]]) -> Contest:
    for user, at, x, label in found:
        contest.note(user, at, x, label, 0.0)
    return contest


def test_figures_equal_those_of_scikit_learn() -> None:
    contest, found = Contest(), rows(3000)
    contest.between(0, 3, {3: batch(1.5, until_ms=-1)})
    report = run(contest, found).report()
    labels, scores = [row[3] for row in found], batch(1.5).score(churn.as_matrix([row[2] for row in found]))
    assert report.of_shadow is not None
    assert report.of_shadow.log_loss == pytest.approx(log_loss(labels, scores), abs=1e-4)
    assert report.of_shadow.brier == pytest.approx(brier_score_loss(labels, scores), abs=1e-5)
    assert report.of_shadow.auc == pytest.approx(roc_auc_score(labels, scores), abs=2e-3)
    assert report.of_champion is not None
    assert report.of_champion.auc == 0.5
    assert report.of_champion.log_loss == pytest.approx(np.log(2), abs=1e-6)
    assert (report.examples, report.positives, report.groups) == (3000, sum(labels), GROUPS)
    assert report.difference == pytest.approx(report.of_champion.log_loss - report.of_shadow.log_loss, abs=1e-5)
    assert msgspec.json.decode(msgspec.json.encode(report), type=Comparison) == report
    assert report.low is not None
    assert 0.0 < report.low < (report.difference or 0.0) < (report.high or 0.0)


def test_what_a_model_may_have_learned_from_does_not_count() -> None:
    contest, found = Contest(), rows(1000)
    contest.between(0, 1, {1: batch(1.5, until_ms=found[400][1])})
    report = run(contest, found).report()
    assert (report.examples, report.earlier, report.since_ms) == (599, 401, found[400][1])


def test_another_pair_begins_anew_and_the_same_goes_on() -> None:
    contest = Contest()
    contest.between(0, 1, {1: batch(1.5, -1)})
    run(contest, rows(300))
    contest.between(0, 1, {1: batch(1.5, -1)})
    assert contest.report().examples == 300
    contest.between(0, 1, {}, "version 1 is damaged")
    assert not contest.active
    assert run(contest, rows(10)).report().refused == "version 1 is damaged"
    contest.between(0, 1, {1: batch(1.5, -1)})
    assert contest.report().examples == 300, "what was counted is kept while a model cannot be read"
    contest.between(1, 0, {1: batch(1.5, -1)})
    assert contest.report().examples == 0
    contest.between(0, None, {})
    assert not run(contest, rows(10)).active
    assert contest.report().shadow is None


def test_a_restored_contest_goes_on_bit_by_bit() -> None:
    found, model = rows(700), batch(1.2, -1)
    whole, cut = Contest(), Contest()
    for one in (whole, cut):
        one.between(2, 0, {2: model})
    run(whole, found)
    run(cut, found[:301])
    after = Contest()
    after.restore(unpack_state(pack_state({"contest": cut.snapshot()}))["contest"])
    assert not after.active, "the models come from the registry"
    after.between(2, 0, {2: model})
    run(after, found[301:])
    left, right = after.report(), whole.report()
    assert (left.examples, left.groups, left.positives) == (right.examples, right.groups, right.positives)
    assert left.difference == pytest.approx(right.difference, abs=1e-9)
    assert msgspec.structs.replace(left, difference=0, low=0, high=0) == msgspec.structs.replace(
        right, difference=0, low=0, high=0
    )


def test_alike_models_are_seldom_told_apart_however_often_one_looks() -> None:
    """Users come again with the same bias, so examples are far from independent; 40 looks in each of 300 worlds."""
    rng, wrong, naive = np.random.default_rng(11), 0, 0
    worlds, looks, each, users = 300, 40, 100, 500
    for _ in range(worlds):
        bias = rng.normal(0.0, 0.15, users)  # a user whom one of the two always scores better
        bias -= bias.mean()
        counts, sums, every = np.zeros(GROUPS), np.zeros(GROUPS), []
        found = naively = False
        for _ in range(looks):
            who = rng.integers(0, users, each)
            saved = bias[who] + rng.normal(0.0, 0.3, each)
            np.add.at(counts, who % GROUPS, 1.0)
            np.add.at(sums, who % GROUPS, saved)
            every.extend(saved.tolist())
            mean, reach = interval(counts, sums)
            found = found or (counts.sum() >= 500 and reach is not None and abs(mean) > reach)
            deviation = np.std(every) / np.sqrt(len(every))
            naively = naively or abs(np.mean(every)) > 1.96 * deviation
        wrong, naive = wrong + found, naive + naively
    assert wrong / worlds <= 0.05
    assert naive / worlds > 0.15, "a plain test at every look would promote far too often"


def test_groups_that_say_too_little() -> None:
    assert interval(np.array([5.0, 0.0]), np.array([1.0, 0.0])) == (0.2, None)
    assert interval(np.array([5.0, 5.0]), np.array([1.0, 1.0])) == (0.2, 0.0)


def test_the_session_compares_what_it_learns_from() -> None:
    session = LearnSession("churn")
    session.contests[CHURN].between(0, 1, {1: batch(1.5, -1)})

    class Lying:
        headers: tuple[tuple[str, bytes], ...] = ()

        def __init__(self, offset: int, value: bytes) -> None:
            self.offset, self.value = offset, value

    found = rows(1500)
    records = [
        Lying(
            number,
            msgspec.json.encode(
                ChurnExample(str(number), user, 1 + at * 100, at * 100 + 2, at * 100 + DAY_MS, label, x)
            ),
        )
        for number, (user, at, x, label) in enumerate(found)
    ]
    session.apply(records, 0, len(records))
    report = session.comparisons()[CHURN]
    assert report.examples == 1500
    assert report.of_champion is not None
    assert report.of_shadow is not None
    scores = sigmoid(np.array([1.5 * (np.log1p(row[2][0]) - 3.6) for row in found]))
    assert report.of_shadow.log_loss == pytest.approx(log_loss([row[3] for row in found], scores), abs=1e-4)
    assert 0.5 < (report.of_champion.auc or 0.0) <= 1.0
    assert not LearnSession("recs").comparisons()
