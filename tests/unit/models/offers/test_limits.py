"""Limits of offers: never exceeded, whatever the lanes do, and counted with everything else of a transaction."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from config.codes import code32
from config.definitions import Definitions, Offer
from models.brain import Brain
from models.lane import decode_state
from models.offers.limits import Limits, discount_minor, earned_minor, halved, share
from models.offers.recs import Recs
from models.profile.codec import decode_profile, encode_profile
from models.profile.state import Profile
from services.state.split import sibling_of, split_store
from services.state.store import MemoryLaneStore
from support.lane import DAY_MS, LaneRig, definitions, ms, order

NOON = ms("2010-03-01 12:00")
RECS = Recs.of(
    {"tea": ("Tea", 500), "lamp": ("Lamp", 4_000), "sofa": ("Sofa", 90_000)},
    popular=[("tea", 3.0), ("lamp", 2.0), ("sofa", 1.0)],
    version=1,
)


def offer(**more: Any) -> Offer:
    return Offer.model_validate({"id": "deal", "kind": "discount", "percent": 10, "text": "{item}"} | more)


def rules(*offers: dict[str, Any], **policy: Any) -> Definitions:
    made = [{"id": f"offer-{i}", "kind": "item", "text": "{item}"} | one for i, one in enumerate(offers)]
    return definitions(offers=made, policy={"offers": {"explore": 0.0} | policy})


def shop(*offers: dict[str, Any], lane: int = 0, lanes: int = 1, **policy: Any) -> LaneRig:
    brain = Brain(rules(*offers, **policy))
    return LaneRig(brain.with_models(brain.churn, RECS), lane=lane, lanes=lanes)


def offers_after(rig: LaneRig, user: str, at: int) -> list[tuple[str, str]]:
    """(offer, item) of the list that an order leads to."""
    decided = rig.feed("purchases", order(user, at)).on("offers")
    return [(one["offer"], one["item"]) for one in decided[0]["offers"]] if decided else []


# ------------------------------------------------------------------ shares


@given(st.integers(0, 10_000), st.integers(1, 64))
def test_shares_add_up(total: int, lanes: int) -> None:
    shares = [share(total, lane, lanes) for lane in range(lanes)]
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


@given(st.integers(1, 500), st.integers(1, 8), st.data())
def test_divided_lanes_never_give_more_than_was_left(total: int, lanes: int, data: st.DataObject) -> None:
    for lane in range(lanes):
        mine = share(total, lane, lanes)
        spent = data.draw(st.integers(0, mine))
        half, _ = halved(spent, 0)
        left = sum(max(0, share(total, one, 2 * lanes) - half) for one in (lane, sibling_of(lane, 2 * lanes)))
        assert left <= mine - spent


# ------------------------------------------------------------------ money


def test_what_a_discount_costs_and_leaves() -> None:
    assert discount_minor(offer(), 4_005) == 400
    assert discount_minor(offer(percent=None, value_minor=500), 300) == 300
    assert discount_minor(offer(kind="item", percent=None), 4_000) == 0
    assert earned_minor(offer(margin=0.25), 4_000) == 600
    assert earned_minor(offer(), 4_000) == 3_600


@given(st.lists(st.integers(0, 100_000), max_size=40), st.integers(1, 20_000), st.integers(1, 30))
def test_budget_and_stock_are_never_exceeded(prices: list[int], budget: int, stock: int) -> None:
    given_: dict[str, tuple[int, int]] = {}
    deal = offer(budget_minor=budget, stock=stock)
    for number, price in enumerate(prices):
        limits = Limits(given_, Profile(), NOON + number)
        if limits.allow(deal):
            for one in (price, price // 2, price + 1):  # the products of one list
                if limits.pays(deal, one):
                    limits.give(deal, one)
        count, money = given_.get("deal", (0, 0))
        assert count <= stock
        assert money <= budget


# ------------------------------------------------------------------ in a lane


def test_stock_is_for_all_customers_together() -> None:
    rig = shop({"id": "rare", "stock": 3, "priority": 5}, {"id": "usual"})
    had = [offers_after(rig, f"u{number}", NOON + number) for number in range(5)]
    assert [any(name == "rare" for name, _ in one) for one in had] == [True, True, True, False, False]
    assert all(name == "usual" for name, _ in had[-1])
    assert rig.state.given == {"rare": (3, 0)}
    counted = [done.change.counters["offer:rare"]["given"] for done in rig.done if "offer:rare" in done.change.counters]
    assert sum(counted) == 3


def test_a_cap_is_for_each_customer() -> None:
    rig = shop({"id": "once", "cap": {"max": 1, "per": "30d"}, "priority": 5}, {"id": "usual"})
    days = (0, 10, 29, 31, 40, 62)
    had = [offers_after(rig, "anna", NOON + day * DAY_MS)[0][0] for day in days]
    assert had == ["once", "usual", "usual", "once", "usual", "once"]
    assert offers_after(rig, "bert", NOON + 62 * DAY_MS + 1)[0][0] == "once"


def test_the_budget_counts_the_dearest_discount_of_a_list_and_goes_on_with_cheaper_products() -> None:
    rig = shop(
        {"id": "tenth", "kind": "discount", "percent": 10, "budget_minor": 9_500}, {"id": "usual", "priority": -1}
    )
    assert {item: name for name, item in offers_after(rig, "anna", NOON)} == dict.fromkeys(
        ("tea", "lamp", "sofa"), "tenth"
    )
    assert rig.state.given == {"tenth": (1, 9_000)}
    second = {item: name for name, item in offers_after(rig, "bert", NOON + 1)}
    assert second == {"tea": "tenth", "lamp": "tenth", "sofa": "usual"}
    assert rig.state.given == {"tenth": (2, 9_400)}


def test_an_offer_that_earns_nothing_is_not_made() -> None:
    voucher = {"id": "voucher", "kind": "discount", "value_minor": 500, "margin": 0.3, "priority": 5}
    found = offers_after(shop(voucher, {"id": "usual"}), "anna", NOON)
    assert {item: name for name, item in found} == {"tea": "usual", "lamp": "voucher", "sofa": "voucher"}


def test_products_are_weighed_by_what_they_earn() -> None:
    plain, weighed = shop({"margin": 0.3}), shop({"margin": 0.3}, weigh_margin=1.0)
    assert [item for _, item in offers_after(plain, "anna", NOON)] == ["tea", "lamp", "sofa"]
    assert [item for _, item in offers_after(weighed, "anna", NOON)] == ["sofa", "lamp", "tea"]


def test_a_list_without_limited_offers_writes_nothing_down() -> None:
    rig = shop({})
    offers_after(rig, "anna", NOON)
    assert rig.state.given == {}
    assert isinstance(rig.store, MemoryLaneStore)
    assert decode_profile(rig.store.profiles["anna"]).given == {}


# ------------------------------------------------------------------ kept


def test_a_divided_lane_shares_what_it_has_given() -> None:
    rig = shop({"id": "rare", "stock": 40}, lane=1, lanes=4)
    for number in range(20):
        rig.feed("purchases", order(f"u{number}", NOON))
    spent = rig.state.given["rare"][0]
    assert spent > 1
    assert isinstance(rig.store, MemoryLaneStore)
    other = split_store(rig.store, 1, 8, epoch=2)
    for store in (rig.store, other):
        assert store.state is not None
        assert decode_state(store.state, 4).given == {"rare": halved(spent, 0)}


def test_profiles_remember_what_was_given_active_and_at_rest() -> None:
    for start in (NOON // 1000, 0):
        profile = Profile(session_start=start, given={code32("once"): [NOON // 1000]})
        assert decode_profile(encode_profile(profile)).given == {code32("once"): [NOON // 1000]}
