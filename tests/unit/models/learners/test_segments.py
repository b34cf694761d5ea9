"""Segments: the centres are the means of the members, labels last from fit to fit, and it goes on from its state."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans

from models.errors import IncompatibleSnapshotError
from models.learners.envelope import pack_state, unpack_state
from models.learners.segments import NONE, Segments


def groups(count: int = 300, seed: int = 0) -> np.ndarray:
    """Three groups, one feature a thousand times as wide as the other."""
    rng = np.random.default_rng(seed)
    centres = np.array([[0.0, 0.0], [4000.0, 0.0], [0.0, 4.0]])
    return np.asarray(centres[rng.integers(0, 3, count)] + rng.normal(size=(count, 2)) * [300.0, 0.3])


def test_no_label_before_the_first_fit() -> None:
    segments = Segments(3, 2)
    assert segments.move(None, NONE, np.zeros(2)) == NONE
    assert segments.assign(np.zeros((2, 2))).tolist() == [NONE, NONE]
    assert not segments.ready


def test_fit_is_the_librarys_and_standardised() -> None:
    places = groups()
    labels = Segments(3, 2).refit(places)
    best = KMeans(3, n_init=10, random_state=0).fit(places / places.std(axis=0))
    assert [len(set(labels[best.labels_ == k].tolist())) for k in range(3)] == [1, 1, 1]


def test_centres_stay_the_means_of_the_members_while_they_move() -> None:
    rng = np.random.default_rng(1)
    places = groups(120)
    segments = Segments(3, 2)
    labels = segments.refit(places)
    for index in rng.integers(0, 120, 500).tolist():
        new = places[index] + rng.normal(size=2) * [200.0, 0.2]
        labels[index] = segments.move(places[index], int(labels[index]), new)
        places[index] = new
    late = places + rng.normal(size=places.shape)
    labels = segments.move_many(places, labels, late)
    newcomer = np.array([4000.0, 0.0])
    label = segments.move(None, NONE, newcomer)
    everyone, whole = np.vstack([late, newcomer]), np.append(labels, label)
    for k in range(3):
        assert segments.centres()[k] == pytest.approx(everyone[whole == k].mean(axis=0))
    assert segments.scale() == pytest.approx(everyone.std(axis=0))
    assert segments.count == 121


def test_many_moves_at_once_are_counted_like_single_ones() -> None:
    places = groups(90)
    one, many = Segments(3, 2), Segments(3, 2)
    labels = one.refit(places)
    assert many.refit(places).tolist() == labels.tolist()
    new = places + np.array([10.0, 0.01])
    many.move_many(places, labels, new)
    for old, label, here in zip(places, labels.tolist(), new, strict=True):
        one.move(old, label, here)
    assert one.centres() == pytest.approx(many.centres())


def test_labels_mean_the_same_after_another_fit() -> None:
    places = groups()
    segments = Segments(3, 2, seed=0)
    before = segments.refit(places)
    segments.seed = 5
    after = segments.refit(places + np.array([5.0, 0.01]))
    assert (before == after).mean() > 0.98


def test_restored_model_goes_on_bit_by_bit() -> None:
    places = groups()
    first = Segments(3, 2)
    labels = first.refit(places)
    packed = pack_state(first.snapshot())
    second = Segments(3, 2)
    second.restore(unpack_state(packed))
    assert pack_state(second.snapshot()) == packed
    for model in (first, second):
        model.move(places[0], int(labels[0]), places[1])
    assert pack_state(second.snapshot()) == pack_state(first.snapshot())
    with pytest.raises(IncompatibleSnapshotError):
        Segments(4, 2).restore(unpack_state(packed))


def test_equal_places_and_constant_features_break_nothing() -> None:
    segments = Segments(2, 2)
    with pytest.warns(match="distinct clusters"):
        labels = segments.refit(np.ones((30, 2)))
    assert np.isfinite(segments.centres()).all()
    assert segments.move(np.ones(2), int(labels[0]), np.ones(2)) in (0, 1)
