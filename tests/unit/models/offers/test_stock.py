"""What the shop has not in stock: told by events, kept by the learn role, recommended by nobody."""

from typing import Any

import msgspec
import pytest

from models.brain import Brain
from models.errors import IncompatibleSnapshotError
from models.learners.envelope import Envelope
from models.learners.streamed.stock import StockModel
from models.offers.past import Past
from models.offers.rank import rank_items
from models.offers.recs import Recs
from models.offers.stock import CHANGED, NAME, SCHEMA, Stock
from support.lane import LaneRig, definitions, ms, order, track

NOON = ms("2010-03-01 12:00")
RECS = Recs.of({"p1": ("Lantern", 2_000), "tea": ("Tea", 500)}, popular=[("tea", 3.0), ("p1", 2.0)], version=1)
OFFER = {"id": "plain", "kind": "item", "text": "{item}"}


def shop(stock: Stock | None = None) -> LaneRig:
    brain = Brain(definitions(offers=[OFFER], policy={"offers": {"explore": 0.0}}))
    return LaneRig(brain.with_models(brain.churn, RECS, stock=stock))


def told(rig: LaneRig, at: int, **properties: Any) -> list[dict[str, Any]]:
    published = rig.feed("clickstream", track(CHANGED, "catalogue", at, **properties))
    return [one for one in published.on("training") if one["type"] == "stock"]


def items(rig: LaneRig, user: str) -> list[str]:
    decided = rig.feed("purchases", order(user, NOON)).on("offers")
    return [one["item"] for one in decided[0]["offers"]] if decided else []


@pytest.mark.parametrize(
    ("said", "out"),
    [
        ({"product_id": "tea", "in_stock": False}, True),
        ({"product_id": "tea", "in_stock": True, "quantity": 0}, False),
        ({"sku": "tea", "quantity": 0}, True),
        ({"product_id": "tea", "quantity": 3}, False),
        ({"product_id": "tea"}, None),
        ({"quantity": 0}, None),
        ({"product_id": "tea", "in_stock": "no"}, None),
    ],
)
def test_the_shop_tells(said: dict[str, Any], out: bool | None) -> None:
    assert [one["out"] for one in told(shop(), NOON, **said)] == ([] if out is None else [out])


def test_what_is_out_of_stock_is_not_offered() -> None:
    assert items(shop(), "u") == ["p1", "tea"]
    assert items(shop(Stock(["p1", "unknown"], 3)), "u") == ["tea"]
    assert items(shop(Stock(["p1", "tea"], 3)), "u") == []
    assert "stock" not in shop().brain.versions
    assert shop(Stock(["p1"], 3)).brain.versions["stock"] == 3


def test_messages_do_not_recommend_it() -> None:
    mail = {
        "id": "thanks",
        "channel": "log",
        "trigger": {"on": "event", "event": "Order Completed"},
        "template": "order-thanks",
    }
    rules = definitions(campaigns=[mail | {"items": "recommended", "purpose": "transactional"}])
    brain = Brain(rules)
    rig = LaneRig(brain.with_models(brain.churn, RECS, stock=Stock(["tea"], 2)))
    (message,) = rig.feed("purchases", order("u", NOON)).on("messages")
    assert [item["id"] for item in message["data"]["items"]] == ["p1"]


def test_what_was_bought_is_not_recommended_from_an_empty_shelf() -> None:
    past = Past.of([("lamp", 2, 0), ("tea", 1, 0)], [])
    found = rank_items(past, Recs(), day=14_610, size=5, repeats=True, without=frozenset(["lamp"]))
    assert [one.item for one in found] == ["tea"]


def test_a_list_of_given_candidates_leaves_it_out() -> None:
    def ranked(**more: Any) -> list[str]:
        found = rank_items(Past.of([("p1", 1, 14_600)], []), RECS, day=14_610, size=5, repeats=True, **more)
        return [one.item for one in found]

    assert ranked() == ["p1", "tea"]
    assert ranked(among=["tea", "nobody", "tea"]) == ["tea"]
    assert ranked(among=["tea", "p1"], without=frozenset(["p1"])) == ["tea"]
    assert ranked(among=[]) == []


def test_the_newest_word_counts_and_only_changes_are_published() -> None:
    model = StockModel()

    def tell(item: str, at: int, *, out: bool) -> bool:
        made = {"id": f"{item}{at}", "user": "catalogue", "at": at, "item": item, "out": out, "type": "stock"}
        model.learn(msgspec.json.encode(made))
        return model.worth_publishing()

    assert tell("lamp", 10, out=True)
    assert not tell("lamp", 20, out=True)
    assert not tell("tea", 5, out=False)
    assert not tell("lamp", 15, out=False)  # told late
    assert model.meta() == {"products": 2, "out": 1}
    again = StockModel()
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(model.snapshot())))
    assert again.payload() == model.payload()
    assert tell("lamp", 30, out=False)
    envelope = Envelope(
        name=NAME, schema=SCHEMA, library="", version=7, created_ms=0, meta={}, payload=again.payload()
    )  # fmt: skip
    assert Stock.from_envelope(envelope).out == frozenset(["lamp"])
    assert Stock.from_envelope(envelope).version == 7
    with pytest.raises(IncompatibleSnapshotError):
        Stock.from_envelope(msgspec.structs.replace(envelope, schema=9))


def test_the_shops_own_events_are_no_visit() -> None:
    rig = shop()
    told(rig, NOON, product_id="tea", quantity=0)
    assert (rig.profile("catalogue").sessions, rig.profile("catalogue").events) == (0, 1)
