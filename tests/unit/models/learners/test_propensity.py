"""Propensity: rows of any columns, late labels, drift; its parts against their libraries."""

from __future__ import annotations

import numpy as np
import pytest
from river.drift import ADWIN
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import roc_auc_score

from models.errors import IncompatibleSnapshotError
from models.features.tabular import CATEGORY, MAX_SLOTS, NUMBER, WHOLE, TabularEncoder, Value
from models.learners.adagrad import AdaGradLogistic
from models.learners.drift import Adwin
from models.learners.envelope import pack_state, unpack_state
from models.learners.propensity import MEMBERS, Propensity, Scored
from models.learners.second_order import SecondOrderLogistic
from models.learners.trees import BoostedTrees, Forest

KINDS = [NUMBER, WHOLE, CATEGORY]


def visits(count: int, seed: int = 0) -> tuple[list[tuple[Value, ...]], list[int]]:
    """Rows of a number (sometimes missing), a whole number that matters by value, and a word."""
    rng = np.random.default_rng(seed)
    words, rates = ["ad", "mail", "search", "link"], {"ad": -1.0, "mail": 1.5, "search": 0.0, "link": 0.3}
    rows: list[tuple[Value, ...]] = []
    labels = []
    for _ in range(count):
        number, whole, word = float(rng.lognormal(1.0, 1.0)), int(rng.integers(0, 5)), str(rng.choice(words))
        odds = 1.2 * np.log(number) - 2.0 + rates[word] + (1.5 if whole == 3 else 0.0)
        labels.append(int(rng.random() < 1 / (1 + np.exp(-odds))))
        rows.append((None if rng.random() < 0.05 else number, float(whole), word))
    return rows, labels


def run(learner: Propensity, rows: list[tuple[Value, ...]], labels: list[int], delay: int = 0) -> list[float]:
    """Scores, each before its label is learned."""
    waiting: list[Scored] = []
    served = []
    for index, row in enumerate(rows):
        while len(waiting) > delay:
            learner.learn(waiting.pop(0), labels[index - delay - 1])
        if learner.refit_due:
            learner.refit()
        waiting.append(learner.score(row))
        served.append(waiting[-1].probability)
    return served


def test_learns_numbers_values_and_words_even_when_labels_are_late() -> None:
    rows, labels = visits(2500)
    best = roc_auc_score(labels[500:], run(Propensity(KINDS), rows, labels)[500:])
    late = roc_auc_score(labels[500:], run(Propensity(KINDS), rows, labels, delay=200)[500:])
    assert best > 0.8
    assert late > best - 0.02


def test_score_does_not_change_with_labels_that_are_not_known_yet() -> None:
    rows, labels = visits(900)
    turned = [*labels[:600], *(1 - y for y in labels[600:])]
    first, second = (run(Propensity(KINDS), rows, y, delay=100) for y in (labels, turned))
    assert first[:701] == second[:701]
    assert first[701:] != second[701:]


def test_restored_learner_goes_on_bit_by_bit() -> None:
    rows, labels = visits(700)
    first = Propensity(KINDS)
    run(first, rows[:600], labels[:600])
    packed = pack_state(first.snapshot())
    second = Propensity(KINDS)
    second.restore(unpack_state(packed))
    assert pack_state(second.snapshot()) == packed
    assert run(first, rows[600:], labels[600:]) == run(second, rows[600:], labels[600:])
    assert pack_state(first.snapshot()) == pack_state(second.snapshot())
    with pytest.raises(IncompatibleSnapshotError):
        Propensity([NUMBER]).restore(unpack_state(packed))


def test_weights_add_up_and_the_rate_is_served_when_nothing_can_be_known() -> None:
    rng = np.random.default_rng(0)
    rows: list[tuple[Value, ...]] = [(float(x),) for x in rng.normal(size=900)]
    labels = [int(v) for v in rng.random(900) < 0.1]
    learner = Propensity([NUMBER])
    served = run(learner, rows, labels)
    assert learner.weights().sum() == pytest.approx(1.0)
    assert abs(np.mean(served[500:]) - 0.1) < 0.03
    assert learner.weights()[MEMBERS.index("rate")] > 0.15


def test_drift_is_found_and_evidence_forgotten() -> None:
    rows, labels = visits(3000)
    learner = Propensity(KINDS)
    run(learner, rows[:2000], labels[:2000])
    assert learner.drifts == 0
    turned = [1 - y for y in labels[2000:]]
    served = run(learner, rows[2000:], turned)
    assert learner.drifts >= 1
    assert roc_auc_score(turned[500:], served[500:]) > 0.6, "it has turned round, too"


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf"), "word", 1e300, -1e300])
def test_any_value_is_scored(bad: Value) -> None:
    rows, labels = visits(300)
    learner = Propensity(KINDS)
    run(learner, rows, labels)
    for row in ((bad, 1.0, "ad"), (1.0, bad, "ad"), (1.0, 2.0, bad), (bad, bad, bad)):
        learner.learn(learner.score(row), 1)
        assert 0.0 < learner.score(row).probability < 1.0


def test_encoder_has_slots_for_the_first_values_only() -> None:
    encoder = TabularEncoder([CATEGORY, WHOLE])
    for index in range(3 * MAX_SLOTS):
        encoder.encode((f"word {index}", float(index)))
    assert encoder.width == 2 * MAX_SLOTS + 1 + 3, "values, a rate, and log, value, zero of the number"
    wide = encoder.encode(("word 1", 1.0)).wide
    assert wide.sum() > 1, "a word with a slot keeps it"
    assert len(encoder.indicators) == encoder.width


def test_rate_of_a_word_knows_only_labels_that_came() -> None:
    encoder = TabularEncoder([CATEGORY])
    assert encoder.encode(["a"]).wide[-1] == 0.0
    for _ in range(50):
        encoder.learn(["a"], 1)
        encoder.learn(["b"], 0)
    assert encoder.encode(["a"]).wide[-1] > 0.5


@pytest.mark.parametrize("kind", [SecondOrderLogistic, AdaGradLogistic])
def test_growing_is_as_if_the_features_had_always_been_there(kind: type) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(700, 3))
    x[:400, 2] = 0.0
    y = (rng.random(700) < 1 / (1 + np.exp(-x[:, 0] - x[:, 2]))).astype(np.int64)
    whole, grown = kind(0), kind(0)
    whole.grow([False, False, True])
    grown.grow([False, False])
    whole.learn_many(x, y)
    grown.learn_many(x[:400, :2], y[:400])
    grown.grow([False, False, True])
    grown.learn_many(x[400:], y[400:])
    assert grown.predict_proba_many(x) == pytest.approx(whole.predict_proba_many(x), abs=1e-9)


@pytest.mark.parametrize("holes", [False, True])
def test_trees_as_arrays_say_what_scikit_learn_says(holes: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(900, 4))
    y = (x[:, 0] * x[:, 1] + 0.3 * rng.normal(size=900) > 0).astype(np.int64)
    if holes:
        x[rng.random(x.shape) < 0.1] = np.nan
    boosted, forest = BoostedTrees(), Forest()
    boosted.fit(x, y)
    forest.fit(x, y)
    library = HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=120, max_leaf_nodes=15, l2_regularization=1.0, random_state=0
    ).fit(x, y)
    assert boosted.log_odds(x) == pytest.approx(library.decision_function(x))
    other = RandomForestClassifier(60, min_samples_leaf=10, max_depth=16, random_state=0).fit(x, y)
    inside = abs(other.predict_proba(x)[:, 1] - 0.5) < 0.49
    assert forest.predict_proba_many(x)[inside] == pytest.approx(other.predict_proba(x)[inside, 1])
    twin = BoostedTrees()
    twin.restore(unpack_state(pack_state(boosted.snapshot())))
    assert twin.log_odds(x).tobytes() == boosted.log_odds(x).tobytes()
    with pytest.raises(IncompatibleSnapshotError):
        Forest().restore(boosted.snapshot())
    one_kind = BoostedTrees()
    one_kind.fit(x, np.ones(900, dtype=np.int64))
    assert not one_kind.fitted


@pytest.mark.parametrize("seed", range(5))
def test_adwin_finds_what_rivers_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.random(1500) * 0.5, rng.random(1500) * 0.5 + 0.3])
    ours, theirs = Adwin(), ADWIN()  # type: ignore[no-untyped-call]
    found: list[list[int]] = [[], []]
    for index, value in enumerate(values.tolist()):
        if ours.update(value):
            found[0].append(index)
        theirs.update(value)  # type: ignore[no-untyped-call]
        if theirs.drift_detected:
            found[1].append(index)
    assert 1500 < found[0][0] < 1600
    assert abs(found[0][0] - found[1][0]) <= 64
    assert abs(ours.mean - values[1500:].mean()) < 0.05


def test_adwin_is_quiet_without_change_and_goes_on_from_its_state() -> None:
    rng = np.random.default_rng(3)
    values = rng.random(6000).tolist()
    adwin = Adwin()
    assert sum(adwin.update(value) for value in values[:5000]) == 0
    assert adwin.width == 5000
    twin = Adwin()
    twin.restore(unpack_state(pack_state(adwin.snapshot())))
    for value in values[5000:]:
        assert adwin.update(value + 1.0) == twin.update(value + 1.0)
    assert adwin.snapshot() == twin.snapshot()
