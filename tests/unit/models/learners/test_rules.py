"""Association rules against a plain count of everything."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from models.errors import IncompatibleSnapshotError
from models.learners.envelope import pack_state, unpack_state
from models.learners.rules import AssociationRules


def baskets(count: int = 200, seed: int = 0) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [[f"item {i}" for i in rng.zipf(1.6, rng.integers(0, 7)) if i < 15] for _ in range(count)]


def counted(history: list[list[str]]) -> AssociationRules:
    model = AssociationRules()
    for basket in history:
        model.learn(basket)
    return model


@pytest.mark.parametrize(("min_support", "min_confidence"), [(0.0, 0.0), (0.05, 0.0), (0.02, 0.4), (0.5, 0.9)])
def test_figures_are_those_of_a_plain_count(min_support: float, min_confidence: float) -> None:
    history = baskets()
    sets = [set(basket) for basket in history]
    expected = {}
    for given, then in permutations(sorted(set().union(*sets)), 2):
        both = sum(given in s and then in s for s in sets)
        first, second = sum(given in s for s in sets), sum(then in s for s in sets)
        if both and both / 200 >= min_support and both / first >= min_confidence:
            expected[given, then] = (both / 200, both / first, both * 200 / first / second)
    found = counted(history).rules(min_support, min_confidence)
    assert {(rule.given, rule.then) for rule in found} == set(expected)
    for rule in found:
        assert (rule.support, rule.confidence, rule.lift) == pytest.approx(expected[rule.given, rule.then])
    assert [rule.lift for rule in found] == sorted((rule.lift for rule in found), reverse=True)


def test_support_of_exactly_the_limit_counts() -> None:
    model = counted([["a", "b"]] * 3 + [["c"]] * 7)
    assert len(model.rules(min_support=0.3)) == 2
    assert not model.rules(min_support=0.31)


def test_restored_counts_go_on() -> None:
    first = counted(baskets())
    second = AssociationRules()
    second.restore(unpack_state(pack_state(first.snapshot())))
    for model in (first, second):
        model.learn(["new", "item 1"])
    assert first.rules(0.0) == second.rules(0.0)
    assert first.snapshot() == second.snapshot()
    with pytest.raises(IncompatibleSnapshotError):
        first.restore({"name": "recs"})


def test_there_is_an_end_to_memory_and_the_error_is_known() -> None:
    """Lossy counting: never too high, too low by at most what is told; what is frequent stays."""
    rng = np.random.default_rng(4)
    exact, bounded = AssociationRules(), AssociationRules(most_pairs=500, most_items=300, longest=20)
    for _ in range(3_000):
        basket = [f"rare {n}" for n in rng.integers(0, 200, 6)] + (["tea", "milk"] if rng.random() < 0.1 else [])
        exact.learn(basket)
        bounded.learn(basket)
        assert bounded.pairs <= 500
    assert bounded.missed > 0
    truth = {(rule.given, rule.then): rule.baskets for rule in exact.every(0)}
    for rule in bounded.every(0):
        assert truth[rule.given, rule.then] - bounded.missed <= rule.baskets <= truth[rule.given, rule.then]
    (frequent,) = {(rule.given, rule.then) for rule in bounded.every(100) if rule.given < rule.then}
    assert frequent == ("milk", "tea")
    assert all(bounded.count(item) == exact.count(item) for item in ("tea", "milk", "rare 7"))
    again = AssociationRules(most_pairs=500, most_items=300, longest=20)
    again.restore(unpack_state(pack_state(bounded.snapshot())))
    for model in (bounded, again):
        for n in range(200):
            model.learn([f"rare {n}", f"rare {(n * 7) % 200}", "tea"])
    assert pack_state(again.snapshot()) == pack_state(bounded.snapshot())
    with pytest.raises(IncompatibleSnapshotError):
        AssociationRules(most_pairs=400).restore(bounded.snapshot())


def test_items_beyond_the_last_place_and_long_baskets_are_told() -> None:
    model = AssociationRules(most_items=3, longest=2)
    for basket in (["a", "b"], ["a", "b", "c"], ["d"]):
        model.learn(basket)
    assert (model.baskets, model.cut, model.count("c"), model.count("d")) == (3, 2, 1, 0)
    assert [(rule.given, rule.then, rule.baskets) for rule in model.every(0)] == [("a", "b", 2), ("b", "a", 2)]
