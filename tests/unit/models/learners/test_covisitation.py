"""Co-visitation against a recomputation from all baskets, with decay, caps and restarts."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.learners import covisitation
from models.learners.covisitation import DAY_MS, CoVisitation
from models.learners.envelope import pack_state, unpack_state
from models.offers.recs import RecsPayload

ITEMS = st.sampled_from("abcdefgh")
BASKETS = st.lists(
    st.tuples(st.lists(ITEMS, min_size=1, max_size=5), st.lists(ITEMS, max_size=4), st.integers(0, 30)),
    max_size=25,
)


def line(item: str, price: int = 100) -> tuple[str, str, int, int]:
    return item, f"item {item}", price, 1


def learned(baskets: Sequence[tuple[list[str], list[str], int]]) -> tuple[CoVisitation, int]:
    model, at = CoVisitation(), 1_700_000_000_000
    for items, history, days in baskets:
        at += days * DAY_MS
        model.learn_basket([line(item) for item in items], history, at)
    return model, at


@given(BASKETS)
def test_equals_recomputation_from_all_baskets(baskets: list[tuple[list[str], list[str], int]]) -> None:
    model, now = learned(baskets)
    pairs: dict[tuple[str, str], float] = {}
    seen: dict[str, float] = {}
    at, known = 1_700_000_000_000, set()
    for items, history, days in baskets:
        at += days * DAY_MS
        decay = 0.5 ** ((now - at) / covisitation.PAIR_HALF_LIFE_MS)
        basket = set(items)
        known |= basket
        for item in basket:
            seen[item] = seen.get(item, 0.0) + decay
            for other in basket - {item}:
                pairs[item, other] = pairs.get((item, other), 0.0) + decay / len(basket) ** 0.5
        for item in set(history) & known:
            for other in basket - {item}:
                pairs[item, other] = pairs.get((item, other), 0.0) + 0.5 * decay / len(basket) ** 0.5
    for item in "abcdefgh":
        expected = {
            other: weight / (seen[source] * seen[other]) ** 0.5
            for (source, other), weight in pairs.items()
            if source == item
        }
        assert dict(model.neighbours(item)) == pytest.approx(expected)


@settings(max_examples=30)
@given(BASKETS, BASKETS)
def test_restored_model_goes_on_exactly(
    first: list[tuple[list[str], list[str], int]], second: list[tuple[list[str], list[str], int]]
) -> None:
    model, at = learned(first)
    twin = CoVisitation()
    twin.restore(unpack_state(pack_state(model.snapshot())))
    for items, history, days in second:
        at += days * DAY_MS
        for one in (model, twin):
            one.learn_basket([line(item) for item in items], history, at)
    assert twin.payload() == model.payload()
    assert pack_state(twin.snapshot()) == pack_state(model.snapshot())


def test_recent_baskets_outweigh_old_ones() -> None:
    model, _ = learned([*[(["a", "b"], [], 0)] * 3, (["a", "c"], [], 300)])
    assert model.neighbours("a")[0][0] == "c"
    assert model.popular()[0][0] in {"a", "c"}
    assert dict(model.popular())["b"] < 0.01


def test_landmarks_move_before_floats_overflow() -> None:
    model = CoVisitation()
    for century in range(30):
        at = century * 36_500 * DAY_MS
        model.learn_basket([line("a"), line("b")], [], at)
        model.learn_basket([line("a"), line("b")], [], at)
    assert dict(model.neighbours("a")) == pytest.approx({"b": 2**-0.5})
    assert model.popular() == [("b", 1.0), ("a", 1.0)]


def test_late_basket_counts_less() -> None:
    model = CoVisitation()
    model.learn_basket([line("a"), line("b")], [], 120 * DAY_MS)
    model.learn_basket([line("a"), line("c")], [], 0)
    weights = dict(model.neighbours("a"))
    assert weights["c"] < weights["b"]


def test_neighbours_and_items_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covisitation, "MAX_ITEMS", 300)
    model = CoVisitation()
    for index in range(500):
        model.learn_basket([line("hub"), line(f"x{index:03}")], [], index * DAY_MS)
    assert len(model._pairs["hub"]) <= 2 * covisitation.MAX_NEIGHBOURS
    assert len(model.items) <= 330
    assert "hub" in model.items
    assert "x499" in model.items
    assert "x000" not in model.items, "the lightest go first"
    CoVisitation().restore(unpack_state(pack_state(model.snapshot())))


def test_cost_of_a_huge_basket_is_capped() -> None:
    model = CoVisitation()
    model.learn_basket([line(f"i{index}") for index in range(5000)], [f"i{index}" for index in range(5000)], 0)
    assert len(model.items) == 5000, "the catalogue learns every name"
    assert len(model._seen) == covisitation.MAX_BASKET


def test_payload_is_what_decide_reads() -> None:
    model, _ = learned([(["a", "b", "a"], ["c"], 0), (["c"], ["a"], 1)])
    payload = msgspec.msgpack.decode(model.payload(), type=RecsPayload)
    assert payload.items["a"] == ("item a", 100)
    assert {item for item, _ in payload.neighbours["a"]} == {"b", "c"}
    assert payload.popular[0][1] == 1.0


def test_catalogue_keeps_the_last_name_and_price() -> None:
    model = CoVisitation()
    model.learn_basket([("a", "Tea", 250, 1)], [], 0)
    model.learn_basket([("a", "", 260, 1)], [], 1)
    assert model.items == {"a": ("Tea", 260)}
    model.learn_basket([], [], 2)
    assert model.count == 2


def test_clocks_centuries_apart_break_nothing() -> None:
    model = CoVisitation()
    for at in (280 * 365 * DAY_MS, 0, 280 * 365 * DAY_MS):
        model.learn_basket([line("a"), line(f"b{at}")], [], at)
    model.learn_basket([line("z"), line("y")], [], 900 * 365 * DAY_MS)
    assert model.neighbours("a") == []
    assert [item for item, _ in model.neighbours("z")] == ["y"]
    assert msgspec.msgpack.decode(model.payload(), type=RecsPayload).popular
