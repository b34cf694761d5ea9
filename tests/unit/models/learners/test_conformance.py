"""The suite that every registered learner runs: what `models.learners.base.Learner` promises."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ConfigurationError, IncompatibleSnapshotError
from models.learners.envelope import pack_state, unpack_state
from models.learners.registry import make_learner, registry

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

WIDTH = 4
NAMES = sorted(registry())
every_learner = pytest.mark.parametrize("name", NAMES)


def examples(count: int, seed: int = 0, shift: float = 0.0) -> tuple[FloatArray, IntArray]:
    """Unscaled, correlated features (one constant) with a linear truth."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, WIDTH)) * [1.0, 50.0, 0.01, 0.0] + [0.0, 300.0 + shift, -2.0, 7.0]
    x[:, 2] += x[:, 0] * 0.01
    return x, (rng.random(count) < 1 / (1 + np.exp(-odds_of(x)))).astype(np.int64)


def odds_of(x: FloatArray) -> FloatArray:
    """True log-odds of rows."""
    return np.asarray(1.5 * x[:, 0] + (x[:, 1] - 300.0) / 50.0 - 0.4)


def test_registry_holds_what_the_churn_pool_needs() -> None:
    assert {"pool", "river_logistic", "second_order"} <= set(NAMES)
    with pytest.raises(ConfigurationError, match="one of"):
        make_learner("no such learner", 2)


@every_learner
def test_name_is_the_registered_one_and_class_is_documented(name: str) -> None:
    learner = make_learner(name, WIDTH)
    assert learner.name == name
    assert ">>>" in (type(learner).__doc__ or "")
    assert "References" in (type(learner).__doc__ or "") or name == "pool"


@every_learner
def test_unlearned_says_half(name: str) -> None:
    x, _ = examples(5)
    assert make_learner(name, WIDTH).predict_proba_many(x).tolist() == [0.5] * 5
    assert make_learner(name, WIDTH).predict_proba_many(x[:0]).shape == (0,)


@every_learner
def test_learns_unscaled_features(name: str) -> None:
    x, y = examples(3000)
    learner = make_learner(name, WIDTH)
    learner.learn_many(x, y)
    fresh, truth = examples(3000, seed=1)
    p = learner.predict_proba_many(fresh)
    assert np.isfinite(p).all()
    assert ((p > 0) & (p < 1)).all()
    best = ((odds_of(fresh) > 0) == truth).mean()
    assert best > 0.7
    assert ((p > 0.5) == truth).mean() > best - 0.02
    assert abs(p.mean() - truth.mean()) < 0.05


@every_learner
def test_linear_form_is_the_prediction(name: str) -> None:
    x, y = examples(700)
    learner = make_learner(name, WIDTH)
    learner.learn_many(x, y)
    linear = learner.linear()
    p = 1 / (1 + np.exp(-(x @ linear.weights + linear.bias)))
    assert learner.predict_proba_many(x) == pytest.approx(p, abs=1e-9)


@every_learner
@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(0, 600), max_size=4))
def test_cut_of_the_stream_does_not_matter(name: str, cuts: list[int]) -> None:
    x, y = examples(600)
    whole, pieces = make_learner(name, WIDTH), make_learner(name, WIDTH)
    whole.learn_many(x, y)
    edges = [0, *sorted(cuts), 600]
    for start, end in pairwise(edges):
        pieces.learn_many(x[start:end], y[start:end])
    assert pack_state(whole.snapshot()) == pack_state(pieces.snapshot())


@every_learner
@pytest.mark.parametrize("before", [0, 1, 2, 100, 255, 256, 257, 1500])
def test_restored_learner_goes_on_bit_by_bit(name: str, before: int) -> None:
    x, y = examples(before + 300)
    first = make_learner(name, WIDTH)
    first.learn_many(x[:before], y[:before])
    packed = pack_state(first.snapshot())
    second = make_learner(name, WIDTH)
    second.restore(unpack_state(packed))
    assert pack_state(second.snapshot()) == packed
    assert second.predict_proba_many(x).tobytes() == first.predict_proba_many(x).tobytes()
    for learner in (first, second):
        learner.learn_many(x[before:], y[before:])
    assert pack_state(second.snapshot()) == pack_state(first.snapshot())


@every_learner
def test_snapshot_is_a_copy(name: str) -> None:
    x, y = examples(400)
    learner = make_learner(name, WIDTH)
    learner.learn_many(x[:300], y[:300])
    state = learner.snapshot()
    packed = pack_state(state)
    learner.learn_many(x[300:], y[300:])
    assert pack_state(state) == packed
    twin = make_learner(name, WIDTH)
    twin.restore(state)
    twin.learn_many(x[300:], y[300:])
    assert pack_state(state) == packed, "restore must copy, too"


@every_learner
def test_restore_forgets_what_was_learned(name: str) -> None:
    x, y = examples(400)
    learner = make_learner(name, WIDTH)
    empty = pack_state(learner.snapshot())
    learner.learn_many(x, y)
    learner.restore(unpack_state(empty))
    assert pack_state(learner.snapshot()) == empty


@every_learner
def test_foreign_states_are_refused(name: str) -> None:
    other = make_learner("river_logistic" if name != "river_logistic" else "second_order", WIDTH)
    with pytest.raises(IncompatibleSnapshotError):
        make_learner(name, WIDTH).restore(other.snapshot())
    with pytest.raises(IncompatibleSnapshotError):
        make_learner(name, WIDTH).restore(make_learner(name, WIDTH + 1).snapshot())
    with pytest.raises(IncompatibleSnapshotError):
        make_learner(name, WIDTH).restore({})


@every_learner
@pytest.mark.parametrize("label", [0, 1])
def test_one_kind_of_label_stays_finite(name: str, label: int) -> None:
    x, _ = examples(600)
    learner = make_learner(name, WIDTH)
    learner.learn_many(x, np.full(600, label))
    p = learner.predict_proba_many(x)
    assert np.isfinite(p).all()
    assert (abs(p - label) < 0.2).all()


@every_learner
def test_outliers_do_not_break_it(name: str) -> None:
    x, y = examples(600)
    learner = make_learner(name, WIDTH)
    learner.learn_many(x, y)
    learner.learn_one(np.full(WIDTH, 1e9), 0)
    learner.learn_one(np.full(WIDTH, -1e9), 1)
    assert np.isfinite(learner.predict_proba_many(np.vstack([x, np.full(WIDTH, 1e9)]))).all()
