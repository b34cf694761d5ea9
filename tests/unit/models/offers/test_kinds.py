"""Each kind of candidate, from events to the list: orders are applied, learned, and the next list has it, with why."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from models.brain import Brain
from models.learners.session import LearnSession
from models.offers.recs import Recs
from services.state.step import Output
from support.lane import DAY_MS, LaneRig, definitions, ms, track

START = ms("2010-03-01 12:00")
OFFER = {"id": "plain", "kind": "item", "text": "{item}"}
NAMES = {
    "lantern": "Lantern",
    "oil": "Oil",
    "printer": "Printer",
    "ink": "Ink",
    "blue": "Blue ceramic bowl",
    "red": "Red ceramic bowl",
    "hit": "Hit",
    "tea": "Tea",
}


@dataclass(frozen=True)
class Lying:
    """A record as it lies in `training`."""

    offset: int
    value: bytes
    headers: list[tuple[str, bytes]]


def ordered(user: str, at: int, *items: str) -> bytes:
    lines = [
        {"product_id": item, "name": NAMES.get(item, item), "price": 5.0, "quantity": 1, "category": "all"}
        for item in items
    ]
    return track("Order Completed", user, at, products=lines)


def taught(rig: LaneRig, outputs: Sequence[Output]) -> LaneRig:
    """The lane with the snapshot that the learn role makes of what it published."""
    session = LearnSession("recs")
    baskets = [Lying(n, one.value, []) for n, one in enumerate(o for o in outputs if o.topic == "training")]
    applied = session.apply(baskets, 0, len(baskets))
    assert applied.learned > 0
    assert not applied.refused
    envelope = session.snapshot(1)
    assert envelope is not None
    rig.brain = rig.brain.with_models(rig.brain.churn, Recs.from_envelope(envelope))
    return rig


def shop() -> LaneRig:
    """Forty days: pairs in one order, pairs one after the other, lonely products, a hit, and one very large order."""
    rig = LaneRig(Brain(definitions(offers=[OFFER], policy={"offers": {"explore": 0.0, "size": 60}})))
    for day in range(40):
        at = START + day * DAY_MS
        rig.feed("purchases", ordered(f"pair-{day}", at, "lantern", "oil"))
        rig.feed("purchases", ordered(f"then-{day % 20}", at, "printer" if day < 20 else "ink"))
        rig.feed("purchases", ordered(f"hit-{day}", at, "hit"))
    rig.feed("purchases", ordered("bowls", START + 20 * DAY_MS, "blue"))
    rig.feed("purchases", ordered("other-bowls", START + 21 * DAY_MS, "red"))
    rig.feed("purchases", ordered("tea", START + 22 * DAY_MS, "tea"))
    rig.feed("purchases", ordered("heap", START + 38 * DAY_MS, "spoon", *(f"fork-{number:02}" for number in range(23))))
    return taught(rig, rig.published.outputs)


def why(rig: LaneRig, user: str, *items: str) -> dict[str, str]:
    """Reason of each product in the list after an order."""
    (decision,) = rig.feed("purchases", ordered(user, START + 41 * DAY_MS, *items)).on("offers")
    return {one["item"]: one["reason"] for one in decision["offers"]}


@pytest.mark.parametrize(
    ("bought", "item", "reason"),
    [
        ("lantern", "oil", "often bought with Lantern"),
        ("printer", "ink", "often bought after Printer"),
        ("blue", "red", "similar to Blue ceramic bowl"),
        ("tea", "tea", "bought before"),
        ("unheard-of", "hit", "popular right now"),
    ],
)
def test_a_kind_of_candidate(bought: str, item: str, reason: str) -> None:
    assert why(shop(), "new", bought)[item] == reason


def test_what_was_viewed_counts_at_the_next_list() -> None:
    rig = shop()
    rig.feed("clickstream", track("Product Viewed", "new", START + 40 * DAY_MS, product_id="lantern"))
    assert why(rig, "new", "tea")["oil"] == "because you viewed Lantern"


def test_customers_like_you() -> None:
    """Of a very large order only some products are linked with each other; all of them come through its customer."""
    found = why(shop(), "new", "spoon")
    assert sum(reason == "popular with customers like you" for reason in found.values()) >= 3


def test_what_sells_lately_beats_what_sold_once() -> None:
    rig = LaneRig(Brain(definitions(offers=[OFFER], policy={"offers": {"explore": 0.0}})))
    for day in range(60):
        rig.feed("purchases", ordered(f"u{day}", START + day * DAY_MS, "tea" if day < 45 else "hit"))
    recs = taught(rig, rig.published.outputs).brain.recs
    share = dict(zip(recs.ids, recs.popular.tolist(), strict=True))
    trend = dict(zip(recs.ids, recs.known[1].tolist(), strict=True))
    assert share["hit"] < share["tea"] * 1.5  # in all, tea has sold three times as often
    assert trend["hit"] > 0.0 > trend["tea"]
