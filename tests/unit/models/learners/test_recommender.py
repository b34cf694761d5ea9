"""The recommender against a recomputation from all baskets, with decay, caps, restarts, and what decide reads of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import IncompatibleSnapshotError
from models.learners import recommender
from models.learners.envelope import pack_state, unpack_state
from models.learners.recommender import DAY_MS, Recommender
from models.offers.candidates import KINDS, find
from models.offers.past import Past
from models.offers.recs import Recs

START = 1_700_000_000_000
ITEMS = st.sampled_from("abcdefgh")
Basket = tuple[list[str], list[str], int]
BASKETS = st.lists(
    st.tuples(st.lists(ITEMS, min_size=1, max_size=5), st.lists(ITEMS, max_size=4, unique=True), st.integers(0, 30)),
    max_size=25,
)


def line(item: str, price: int = 100) -> tuple[str, str, int, int]:
    return item, f"item {item}", price, 1


def past(history: Sequence[str], day: int = 1) -> Past:
    return Past.of([(item, 1, day) for item in history], [], len(history), day)


def learned(baskets: Sequence[Basket], model: Recommender | None = None, at: int = START) -> tuple[Recommender, int]:
    model = model or Recommender()
    for items, history, days in baskets:
        at += days * DAY_MS
        model.learn_basket([line(item) for item in items], past(history), at)
    return model, at


def links(model: Recommender, kind: str, item: str) -> dict[str, float]:
    names = list(model.index)
    found = model.links(np.array([model.index[item]]))
    here = found.kinds == KINDS.index(kind)
    targets, weights = found.targets[here], found.weights[here]
    return {names[target]: weight for target, weight in zip(targets.tolist(), weights.tolist(), strict=True)}


@settings(max_examples=40)
@given(BASKETS)
def test_equals_recomputation_from_all_baskets(baskets: list[Basket]) -> None:
    model, now = learned(baskets)
    together: dict[tuple[str, str], float] = {}
    after: dict[tuple[str, str], float] = {}
    seen: dict[str, float] = {}
    at, known = START, set()
    for items, history, days in baskets:
        at += days * DAY_MS
        decay = 0.5 ** ((now - at) / recommender.PAIR_HALF_LIFE_MS)
        basket = set(items)
        known |= basket
        for item in basket:
            seen[item] = seen.get(item, 0.0) + decay
            for other in basket - {item}:
                together[item, other] = together.get((item, other), 0.0) + decay / len(basket) ** 0.5
        for item in set(history) & known:
            for other in basket - {item}:
                after[item, other] = after.get((item, other), 0.0) + decay / len(basket) ** 0.5
    for item in seen:
        for kind, pairs in (("together", together), ("after", after)):
            expected = {
                other: weight / ((seen[source] + recommender.SHRINK) * (seen[other] + recommender.SHRINK)) ** 0.5
                for (source, other), weight in pairs.items()
                if source == item
            }
            assert links(model, kind, item) == pytest.approx(expected)


@settings(max_examples=20)
@given(BASKETS, BASKETS)
def test_restored_model_goes_on_exactly(first: list[Basket], second: list[Basket]) -> None:
    model, at = learned(first)
    twin = Recommender()
    twin.restore(unpack_state(pack_state(model.snapshot())))
    for one in (model, twin):
        learned(second, one, at)
    assert twin.payload() == model.payload()
    assert pack_state(twin.snapshot()) == pack_state(model.snapshot())


def test_decide_ranks_as_learn_does() -> None:
    """The published arrays give the candidates and features of the live state, but for rounding."""
    rng = np.random.default_rng(7)
    baskets: list[Basket] = [
        ([f"i{n}" for n in rng.choice(12, 3)], [f"i{n}" for n in rng.choice(12, 2, replace=False)], 1)
        for _ in range(80)
    ]
    model, at = learned(baskets)
    recs = Recs.from_payload(model.payload(), 7)
    assert recs.ids == tuple(model.index)
    who = Past.of([("i3", 2, at // DAY_MS - 4), ("i5", 1, at // DAY_MS - 40)], ["i7"], 3, at // DAY_MS - 50)
    live, served = model.candidates(who, at), find(recs, who, at // DAY_MS)
    assert live is not None
    assert served is not None
    assert served.ids.tolist() == live.ids.tolist()
    assert served.x == pytest.approx(live.x, abs=0.01)
    assert recs.ranker.tolist() == model.ranker.mean.tolist()


def test_the_order_is_learned() -> None:
    """Customers who always take what goes with their last basket, and never what is popular: the links win."""
    model, at = Recommender(), START
    rng = np.random.default_rng(1)
    for number in range(400):
        at += DAY_MS // 4
        pair = int(rng.integers(0, 20))
        who = past([f"a{pair}"], at // DAY_MS - 3)
        model.learn_basket([line(f"b{pair}")] if number % 2 else [line(f"a{pair}"), line(f"b{pair}")], who, at)
    names = list(model.index)
    hits = 0
    for pair in range(20):
        found = model.candidates(past([f"a{pair}"], at // DAY_MS - 3), at)
        assert found is not None
        fresh = found.ids[~found.owned]
        scores = found.x[~found.owned] @ model.newcomer.mean
        hits += names[fresh[int(np.argmax(scores))]] == f"b{pair}"
    assert hits >= 18


def test_recent_baskets_outweigh_old_ones() -> None:
    model, _ = learned([*[(["a", "b"], [], 0)] * 3, (["a", "c"], [], 300)])
    found = links(model, "together", "a")
    assert found["c"] > found["b"]
    assert dict(model.popular())["b"] < 0.01


def test_landmarks_move_before_floats_overflow() -> None:
    model = Recommender()
    for century in range(30):
        at = century * 36_500 * DAY_MS
        for _ in range(2):
            model.learn_basket([line("a"), line("b")], Past.of(), at)
    assert links(model, "together", "a") == pytest.approx({"b": 2**0.5 / (2 + recommender.SHRINK)})
    assert model.popular() == [("a", 1.0), ("b", 1.0)]


def test_clocks_centuries_apart_break_nothing() -> None:
    model = Recommender()
    for at in (280 * 365 * DAY_MS, 0, 280 * 365 * DAY_MS, 900 * 365 * DAY_MS):
        model.learn_basket([line("a"), line(f"b{at}")], past(["a"]), at)
    assert np.isfinite(model.candidates(past(["a"]), 900 * 365 * DAY_MS).x).all()  # type: ignore[union-attr]
    Recs.from_payload(model.payload())


def test_links_and_items_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommender, "MAX_ITEMS", 300)
    model = Recommender()
    for index in range(500):
        model.learn_basket([line("hub"), line(f"x{index:03}")], past(["hub"]), START + index * DAY_MS)
    assert len(model._together.rows[model.index["hub"]]) <= 2 * recommender.MAX_LINKS
    assert len(model.items) == len(model.index) <= 330
    assert "hub" in model.items
    assert "x499" in model.items
    assert "x000" not in model.items, "the lightest go first"
    assert sorted(model.index.values()) == list(range(len(model.index)))
    twin = Recommender()
    twin.restore(unpack_state(pack_state(model.snapshot())))
    assert twin.payload() == model.payload()


def test_cost_of_a_huge_basket_is_capped() -> None:
    model = Recommender()
    items = [f"i{index}" for index in range(5000)]
    model.learn_basket([line(item) for item in items], past(items), START)
    assert len(model.items) == 5000, "the catalogue learns every name"
    assert (model._counts[0] > 0).sum() == recommender.MAX_BASKET


def test_a_new_item_is_like_those_with_its_words() -> None:
    model = Recommender()
    for number, name in enumerate(("red paper lantern", "blue glass bowl", "green paper lantern")):
        model.learn_basket([(f"p{number}", name, 100, 1)], Past.of(), START)
    assert set(links(model, "alike", "p2")) == {"p0"}
    assert set(links(model, "alike", "p0")) == {"p2"}


def test_catalogue_keeps_the_last_name_price_and_category() -> None:
    model = Recommender()
    model.learn_basket([("a", "Tea", 250, 1)], Past.of(), 0, ["Drinks"])
    model.learn_basket([("a", "", 260, 1)], Past.of(), 1)
    assert model.items == {"a": ("Tea", 260, "Drinks")}
    model.learn_basket([], Past.of(), 2)
    assert model.count == 2


def test_foreign_states_are_refused() -> None:
    for state in ({}, {"name": "recs"}, {"name": "churn"}):
        with pytest.raises(IncompatibleSnapshotError):
            Recommender().restore(state)
