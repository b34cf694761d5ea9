"""Recommended lists: what was shown at which place, and the clicks, carts and orders that count for it."""

from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from config.definitions import Policy
from models.brain import Brain
from models.offers import rankings
from models.offers.figures import cautions, figures
from models.offers.rankings import KIND, OPEN, PLACES, PRODUCTS, counter_key, ranking_id
from models.offers.recs import Recs
from models.profile.merge import merge
from models.profile.rest import folded, unfolded
from support.lane import DAY_MS, HOUR_MS, LaneRig, definitions, ms, order, track

NOON = ms("2010-03-01 12:00")
DAY = NOON // DAY_MS
ITEMS = {f"p{number}": (f"Product {number}", 1_000) for number in range(6)}
RECS = Recs.of(ITEMS, popular=[(item, 1.0) for item in ITEMS])
FIRST, SECOND = 32 * "a", f"home:{32 * 'b'}"


def shop(**policy: Any) -> LaneRig:
    rules = {"recommendations": {"lists": ["home"]} | policy, "offers": {"decide_on": []}}
    brain = Brain(definitions(policy=rules))
    return LaneRig(brain.with_models(brain.churn, RECS))


def shown(at: int, *items: str, list_id: str = FIRST, user: str = "u", **more: Any) -> bytes:
    products = [{"product_id": item, "position": place} for place, item in enumerate(items, 1)]
    return track("Product List Viewed", user, at, **({"list_id": list_id, "products": products} | more))


def clicked(at: int, item: str, user: str = "u", **more: Any) -> bytes:
    return track("Product Clicked", user, at, product_id=item, **more)


def day(rig: LaneRig, name: str = "offers", number: int = DAY) -> dict[str, int]:
    before = f"d|{number}|"
    return {key.removeprefix(before): value for key, value in rig.counters(counter_key(name)).items() if before in key}


def place(rig: LaneRig, number: int, name: str = "offers") -> dict[str, int]:
    before = f"p|{number}|"
    found = rig.counters(counter_key(name)).items()
    return {key.removeprefix(before): value for key, value in found if key.startswith(before)}


def test_each_answer_counts_at_its_place_once() -> None:
    rig = shop()
    rig.feed("clickstream", shown(NOON, "p0", "p1", "p2"), shown(NOON + 1, "p0", "p1", "p2", "p3"))
    rig.feed("clickstream", clicked(NOON + 2, "p1", list_id=FIRST, position=2), clicked(NOON + 3, "p1"))
    rig.feed("clickstream", track("Product Added", "u", NOON + 4, product_id="p1"))
    lines = [
        {"product_id": "p1", "price": 2.5, "quantity": 3},
        {"product_id": "p1", "price": 2.0},
        {"product_id": "p3", "price": 1.0},
        {"product_id": "unseen", "price": 9.0},
    ]
    rig.feed("purchases", order("u", NOON + 5, products=lines), order("u", NOON + 6, products=lines))
    assert day(rig) == {
        "rankings": 1,
        "rankings_clicked": 1,
        "shown": 4,
        "clicked": 1,
        "added": 1,
        "bought": 2,
        "units": 5,
        "money_minor": 1_050,
        "clicked_bought": 1,
        "clicked_minor": 950,
    }
    assert place(rig, 2) == {
        "shown": 1,
        "clicked": 1,
        "added": 1,
        "bought": 1,
        "units": 4,
        "money_minor": 950,
        "clicked_bought": 1,
        "clicked_minor": 950,
    }
    assert place(rig, 4) == {"shown": 1, "bought": 1, "units": 1, "money_minor": 100}
    assert rig.counters(PRODUCTS)["money_minor|p1"] == 950
    assert rig.counters(PRODUCTS)["shown|p0"] == 1


def test_a_decision_is_answered_by_its_own_id() -> None:
    brain = Brain(definitions(offers=[{"id": "plain", "kind": "item", "text": "{item}"}]))
    rig = LaneRig(brain.with_models(brain.churn, RECS))
    (decided,) = rig.feed("purchases", order("u", NOON)).on("offers")
    items = [one["item"] for one in decided["offers"]]
    rig.feed("clickstream", shown(NOON + 1, *items, list_id=decided["id"]), clicked(NOON + 2, items[4]))
    assert day(rig)["shown"] == len(items)
    assert place(rig, 5)["clicked"] == 1


def test_the_newest_list_counts_unless_an_older_one_was_clicked() -> None:
    rig = shop()
    rig.feed("clickstream", shown(NOON, "p0", "p1"), shown(NOON + 1, "p1", "p0", list_id=SECOND))
    rig.feed("clickstream", clicked(NOON + 2, "p0", list_id=FIRST), clicked(NOON + 3, "p1"))
    rig.feed("clickstream", clicked(NOON + 4, "p0", list_id="summer-sale"))  # another list: no answer to ours
    rig.feed("purchases", order("u", NOON + 5, products=[{"product_id": "p0", "price": 1.0}]))
    assert day(rig)["bought"] == day(rig)["clicked"] == 1
    assert day(rig, "home")["clicked"] == 1
    assert "bought" not in day(rig, "home")


def test_a_click_on_a_list_that_nobody_was_shown_is_told() -> None:
    rig = shop()
    rig.feed("clickstream", clicked(NOON, "p0", list_id=FIRST))
    rig.feed("clickstream", shown(NOON + 1, "p0"), clicked(NOON + 2, "p5", list_id=FIRST))
    assert day(rig) == {"stray": 2, "rankings": 1, "shown": 1}


def test_the_window_ends() -> None:
    rig = shop(within="1d")
    rig.feed("clickstream", shown(NOON, "p0"), clicked(NOON + DAY_MS, "p0"))
    rig.feed("purchases", order("u", NOON + DAY_MS - 1, products=[{"product_id": "p0"}]))
    assert day(rig, number=DAY + 1) == {"bought": 1, "units": 1}
    rig.until(NOON + 2 * DAY_MS)
    assert not rig.profile("u").timers
    rig.feed("clickstream", shown(NOON + HOUR_MS, "p0", list_id=SECOND, user="v"))  # told when all was over
    assert day(rig, "home") == {"late": 1}
    assert not rig.profile("v").timers


def test_lists_of_others_cost_a_profile_nothing() -> None:
    plain, ours = shop(), shop()
    for rig, told in ((plain, None), (ours, "summer-sale")):
        more = {} if told is None else {"list_id": told}
        rig.feed("clickstream", track("Product List Viewed", "u", NOON, products=[{"product_id": "p0"}], **more))
        rig.feed("clickstream", clicked(NOON + 1, "p0", **more), track("Product Added", "u", NOON + 2, product_id="p0"))
        rig.feed("purchases", order("u", NOON + 3))
    assert plain.memory.profiles["u"] == ours.memory.profiles["u"]
    assert not ours.profile("u").timers
    assert ours.memory.counters == plain.memory.counters


def test_what_is_kept_is_bounded_and_answered_lists_stay() -> None:
    rig = shop()
    rig.feed("clickstream", shown(NOON, "p0", list_id=f"{0:032x}"), clicked(NOON + 1, "p0"))
    for number in range(1, 40):
        items = [f"i{number}-{one}" for one in range(PLACES + 10)]
        rig.feed("clickstream", shown(NOON + 10 * number, *items, list_id=f"{number:032x}"))
    timers = [timer for timer in rig.profile("u").timers if timer.kind == KIND]
    assert len(timers) == OPEN
    assert f"{0:032x}" in {timer.occurrence for timer in timers}
    assert len(msgspec.msgpack.encode(timers)) < OPEN * 220
    assert day(rig)["shown"] == 1 + 39 * PLACES
    assert rig.counters(PRODUCTS) == {"shown|p0": 1, "clicked|p0": 1}  # the recommender knows none of the others


@pytest.mark.parametrize(
    ("positions", "expected"),
    [([0, 1, 2], [1, 2, 3]), ([1, 2, 3], [1, 2, 3]), ([None, None], [1, 2]), (["4", 21, -1], [4]), ([True], [1])],
)
def test_places_count_from_one(positions: list[Any], expected: list[int]) -> None:
    products = [{"product_id": f"p{number}", "position": place} for number, place in enumerate(positions)]
    assert [place for _, place in rankings._shown(products)] == expected
    assert rankings._shown("no list") == rankings._shown([1, None, {"product_id": 1.5}]) == []


def test_names_that_nobody_declared_count_together() -> None:
    rig = shop()
    rig.feed("clickstream", shown(NOON, "p0", list_id=f"nowhere:{32 * 'c'}"))
    rig.feed("clickstream", shown(NOON, "p0", list_id=ranking_id("asked", "u", 0, 1, ["p0"]), user="v"))
    assert day(rig, "other")["shown"] == day(rig, "asked")["shown"] == 1


def test_it_stays_with_who_rests_and_who_is_merged() -> None:
    rig = shop()
    rig.feed("clickstream", shown(NOON, "p0", "p1"), clicked(NOON + 1, "p1"))
    profile = rig.profile("u")
    assert unfolded(msgspec.msgpack.encode(folded(profile))).timers == profile.timers
    assert merge(profile, merge(rig.profile("u"), profile)).timers == profile.timers


def test_what_a_policy_may_say() -> None:
    for bad in ({"within": "10m"}, {"within": "60d"}, {"lists": ["a", "a"]}, {"lists": ["asked"]}, {"lists": ["A b"]}):
        with pytest.raises(ValidationError):
            Policy.model_validate({"recommendations": bad})


def test_figures_by_place() -> None:
    rig = shop()
    for number in range(100):
        user, at = f"u{number}", NOON + number
        rig.feed("clickstream", shown(at, "p0", "p1", user=user))
        if number % 10 == 0:
            rig.feed("clickstream", clicked(at, "p0", user))
            rig.feed("purchases", order(user, at, products=[{"product_id": "p0", "price": 5.0}]))
    names = {item: name for item, (name, _) in ITEMS.items()}
    found = figures({"offers": rig.counters(counter_key("offers")), "home": {}}, rig.counters(PRODUCTS), names)
    (one,) = found.lists
    assert (one.rankings, one.clicked_rankings, one.total.shown, one.total.bought) == (100, 10, 200, 10)
    assert one.places[1].click_rate.share == 0.1
    low, high = one.places[1].click_rate.low, one.places[1].click_rate.high
    assert low is not None
    assert high is not None
    assert low < 0.1 < high
    assert one.places[2].click_rate.share == 0.0
    assert one.per_1000_minor == one.clicked_per_1000_minor == 50_000
    assert [(each.day, each.money_minor) for each in one.days] == [(DAY, 5_000)]
    assert (found.shown_products, found.catalogue, found.coverage) == (2, 6, 0.3333)
    assert found.products[0].name == "Product 0"
    assert figures({}, {}, {}).coverage is None


def test_what_is_causal_is_said() -> None:
    assert len(cautions(Policy())) == 2
    plain, held, _ = cautions(Policy.model_validate({"holdout": "control", "recommendations": {"within": "2d"}}))
    assert "within 2 days" in plain
    assert "control" in held
