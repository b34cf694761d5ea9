"""Ranked offers: order, reasons, eligibility, and propensities that are true."""

from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.definitions import Offer, OfferPolicy
from models.decisions import RankedOffer
from models.offers.limits import Limits
from models.offers.past import past_of
from models.offers.rank import Ranked, propensity, rank_items, rank_offers
from models.offers.recs import Recs
from models.profile.state import Goods, Profile, bought_entry

ITEMS = {f"p{i}": (f"Product {i}", 100 * i) for i in range(12)}
TOGETHER = {"p0": [("p1", 0.9), ("p2", 0.5)], "p3": [("p2", 0.8)]}
RECS = Recs.of(
    ITEMS,
    TOGETHER,
    popular=[(f"p{i}", 12.0 - i) for i in range(12)],
    version=3,
)


def offer(ident: str, kind: str = "item", **more: Any) -> Offer:
    return Offer.model_validate({"id": ident, "kind": kind, "text": "{item}"} | more)


def rank(
    profile: Profile | None = None,
    offers: tuple[Offer, ...] = (offer("for-you"),),
    occurrence: str = "m1",
    recs: Recs = RECS,
    refuse: tuple[str, ...] = (),
    limits: Limits | None = None,
    **policy: Any,
) -> list[RankedOffer]:
    made = OfferPolicy.model_validate({"size": 5, "explore": 0.0} | policy)
    return rank_offers(
        profile or Profile(),
        "u1",
        recs,
        offers,
        made,
        occurrence=occurrence,
        eligible=lambda one: one.id not in refuse,
        limits=limits or Limits({}, profile or Profile(), 1_000),
    )


def items(profile: Profile, recs: Recs, size: int, *, repeats: bool = True, per_category: int = 0) -> list[Ranked]:
    return rank_items(past_of(profile), recs, day=14_610, size=size, repeats=repeats, per_category=per_category)


# ------------------------------------------------------------------ propensities


@given(st.integers(2, 30), st.floats(0.0, 1.0))
def test_propensities_are_probabilities(n: int, explore: float) -> None:
    """At each place some item stands, and each item stands somewhere: rows and columns sum to one."""
    table = [[propensity(i, place, n, explore) for place in range(n)] for i in range(n)]
    assert all(0.0 <= value <= 1.0 + 1e-12 for row in table for value in row)
    for i in range(n):
        assert sum(table[i]) == pytest.approx(1.0)
        assert sum(row[i] for row in table) == pytest.approx(1.0)


def test_recorded_propensities_are_the_frequencies() -> None:
    """Simulated: over many decisions each item stands at each place as often as its propensity says."""
    seen: Counter[tuple[int, str]] = Counter()
    told: dict[tuple[int, str], float] = {}
    rounds = 4_000
    for number in range(rounds):
        for place, ranked in enumerate(rank(occurrence=f"m{number}", explore=0.4)):
            assert ranked.item is not None
            seen[place, ranked.item] += 1
            assert told.setdefault((place, ranked.item), ranked.propensity) == ranked.propensity
    for key, chance in told.items():
        spread = 5 * (chance * (1 - chance) / rounds) ** 0.5  # five standard deviations
        assert seen[key] / rounds == pytest.approx(chance, abs=spread), key
    by_place: dict[int, float] = defaultdict(float)
    for (place, _), chance in told.items():
        by_place[place] += chance
    assert dict(by_place) == pytest.approx(dict.fromkeys(range(5), 1.0), abs=1e-5)


def test_without_exploring_the_best_stands_first_for_certain() -> None:
    assert [one.propensity for one in rank()] == [1.0] * 5
    assert [one.item for one in rank()] == ["p0", "p1", "p2", "p3", "p4"]


def test_the_same_decision_is_the_same_list() -> None:
    assert rank(occurrence="m7", explore=0.5) == rank(occurrence="m7", explore=0.5)


# ------------------------------------------------------------------ scores


def test_cold_start_is_what_is_popular() -> None:
    found = items(Profile(), RECS, size=3)
    assert [(one.item, one.reason) for one in found] == [(f"p{i}", "popular right now") for i in range(3)]


def test_nothing_learned_is_no_list() -> None:
    assert items(Profile(), Recs(), size=3) == []
    assert rank(recs=Recs()) == []


def test_before_anything_is_learned_a_user_s_own_purchases_are_the_list() -> None:
    profile = Profile(goods=Goods({"x": bought_entry(1, 14_600), "y": bought_entry(2, 14_590)}))
    found = rank(profile, recs=Recs())
    assert [(one.item, one.reason) for one in found] == [("y", "bought before"), ("x", "bought before")]
    assert items(profile, Recs(), size=5, repeats=False) == []


def test_bought_together_beats_popular_and_says_so() -> None:
    profile = Profile(recent=["p3"])
    best = items(profile, Recs.of(ITEMS, TOGETHER), size=5)
    assert [(one.item, one.reason) for one in best] == [("p2", "because you viewed Product 3")]
    profile = Profile(goods=Goods({"p3": bought_entry(1, 14_600)}))
    best = items(profile, RECS, size=5)
    assert {one.item: one.reason for one in best[:2]} == {"p3": "bought before", "p2": "often bought with Product 3"}


def test_repeats_are_a_policy() -> None:
    profile = Profile(goods=Goods({"p9": bought_entry(3, 14_600), "p0": bought_entry(1, 14_600)}))
    with_repeats = items(profile, RECS, size=12)
    without = items(profile, RECS, size=12, repeats=False)
    assert with_repeats[0].item == "p9"
    assert ("p9", "bought before") in [(one.item, one.reason) for one in with_repeats]
    assert {"p9", "p0"} & {one.item for one in without} == set()


@settings(max_examples=50)
@given(
    st.dictionaries(st.sampled_from(sorted(ITEMS)), st.integers(1, 9), max_size=6),
    st.lists(st.sampled_from(sorted(ITEMS)), max_size=6, unique=True),
    st.integers(1, 12),
)
def test_lists_are_sorted_unique_and_bounded(bought: dict[str, int], recent: list[str], size: int) -> None:
    found = items(Profile(goods=Goods(bought), recent=recent), RECS, size=size)
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    assert len({one.item for one in found}) == len(found) <= size


# ------------------------------------------------------------------ offers


def test_the_offer_of_highest_priority_that_may_be_made() -> None:
    offers = (
        offer("plain"),
        offer("ten", "discount", percent=10, priority=9, items=["p1"]),
        offer("off", "discount", percent=50, priority=99, enabled=False),
        offer("not-for-you", "discount", percent=50, priority=98),
        offer("over", "discount", percent=50, priority=97, valid_until="1970-01-01T00:00:00Z"),
    )
    found = rank(offers=offers, refuse=("not-for-you",))
    assert {one.item: one.offer for one in found} == {"p1": "ten"} | dict.fromkeys(["p0", "p2", "p3", "p4"], "plain")


CATEGORIES = Recs.of(
    {f"p{i}": (f"Product {i}", 100 * i, "Lamps" if i % 3 else "Bowls") for i in range(12)},
    popular=[(f"p{i}", 12.0 - i) for i in range(12)],
)


def test_an_offer_for_some_categories_is_made_for_their_products_only() -> None:
    lamps = offer("lamps", "discount", percent=10, categories=["Lamps"])
    assert rank(offers=(lamps,)) == [], "no category is known"
    found = rank(offers=(lamps, offer("plain")), recs=CATEGORIES, size=6)
    assert {one.item: one.offer for one in found} == {f"p{i}": "lamps" if i % 3 else "plain" for i in range(6)}


def test_variety_is_a_policy() -> None:
    found = items(Profile(), CATEGORIES, size=10, per_category=2)
    assert [one.item for one in found] == ["p0", "p1", "p2", "p3"]


def test_offers_without_a_product_stand_behind_and_read_well() -> None:
    delivery = offer("free-delivery", "shipping", text="Free delivery, for example with {item}", description="Free!")
    assert rank(offers=(offer("for-you"), delivery))[-1].name == "Free delivery, for example with Product 0"
    assert [one.name for one in rank(offers=(offer("for-you"), delivery), recs=Recs())] == ["Free!"]
