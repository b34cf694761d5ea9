"""A bandit over offers, products out of stock, reviews and rules, from a shop's events to what is decided next."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from services.jobs.audit import run_audit
from support.lane import DAY_MS, HOUR_MS, ms, order, track
from support.ports import wait_until
from support.shop_stack import ShopStack, kairos, shop_stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
START = ms("2010-03-01 08:00")
USERS = 240
FILES = {
    "offers/plain.yaml": "id: plain\nkind: item\ntext: '{item}'\npriority: 9\n",
    "offers/tenth.yaml": "id: tenth\nkind: discount\npercent: 10\ntext: '10 % off {item}'\n",
    "policy.yaml": "offers: {choose: bandit, reward: click, reward_within: 1d, explore: 0.0}\n",
}
TEA, CUP, LAMP, MUG = "tea", "cup", "lamp", "mug"


@pytest.fixture
def shop(jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShopStack]:
    with shop_stack(jars, tmp_path, FILES, monkeypatch) as made:
        yield made


def orders(shop: ShopStack, at: int) -> None:
    """Two in three order tea with a cup, the others a mug; one in four a lamp as well."""
    for user in range(USERS):
        items = [*([TEA, CUP] if user % 3 else [MUG]), *([LAMP] if user % 4 == 0 else [])]
        products = [{"product_id": item, "name": item.title(), "price": 4.0} for item in items]
        shop.bus.publish("purchases", order(f"u{user}", at + user, products=products), f"u{user}")


def decided(shop: ShopStack, since: int) -> list[dict[str, Any]]:
    return [one for one in shop.once("offers") if one["at"] >= since]


def first_offers(found: list[dict[str, Any]]) -> Counter[str]:
    return Counter(one["choice"]["offer"] for one in found)


def test_what_a_shop_tells_changes_what_is_offered(shop: ShopStack, tmp_path: Path) -> None:
    # A week of which nothing is known: both offers come first about as often.
    orders(shop, START)
    shop.until(START + HOUR_MS)
    wait_until(lambda: len(decided(shop, START)) == USERS, "all were decided", 60, 0.2)
    begun = decided(shop, START)
    for one in begun:
        assert sum(one["choice"]["among"].values()) == pytest.approx(1.0)
    before = first_offers(begun)
    assert min(before["plain"], before["tenth"]) > USERS // 4

    # Four in five answer the tenth, hardly anybody the plain offer.
    for number, one in enumerate(begun):
        if number % 5 if one["choice"]["offer"] == "tenth" else number % 20 == 0:
            click = track("Promotion Clicked", one["user"], START + 2 * HOUR_MS, promotion_id=one["choice"]["offer"])
            shop.bus.publish("clickstream", click, one["user"])
    # Reviews: the cup is liked, the lamp is not; and then the lamp is out of stock.
    said = ((CUP, "A lovely cup, I am very happy.", 5), (LAMP, "Broken, a terrible lamp.", 1))
    for user in range(40):
        for place, (item, text, rating) in enumerate(said):
            told: dict[str, Any] = {"product_id": item, "review_body": text, "rating": rating}
            review = track("Product Reviewed", f"u{user}", START + 3 * HOUR_MS + place, **told)
            shop.bus.publish("clickstream", review, f"u{user}")
    gone = track("Product Stock Changed", "catalogue", START + 4 * HOUR_MS, product_id=LAMP, in_stock=False)
    shop.bus.publish("clickstream", gone, "catalogue")
    shop.until(START + 3 * DAY_MS)  # every window is over

    def windows() -> int:
        return sum(arm["n"] for one in shop.meta("bandit").get("sets", ()) for arm in one["arms"])

    wait_until(lambda: windows() == USERS, "what came of each was learned", 120, 0.2)
    wait_until(lambda: shop.meta("recs").get("baskets") == USERS, "all orders were learned", 120, 0.2)
    wait_until(lambda: shop.decides_with(("bandit", "recs", "stock")), "decisions are made with it", 120, 0.2)

    later = START + 4 * DAY_MS
    orders(shop, later)
    shop.until(later + HOUR_MS)
    wait_until(lambda: len(decided(shop, later)) == USERS, "all were decided", 60, 0.2)
    after = decided(shop, later)
    assert first_offers(after)["tenth"] > 0.9 * USERS, "the offer that is answered comes first"
    assert any(offer["item"] == LAMP for one in begun for offer in one["offers"]), "it was recommended"
    assert not any(offer["item"] == LAMP for one in after for offer in one["offers"]), "and is out of stock now"
    assert all(one["choice"]["among"][one["choice"]["offer"]] >= 0.002 for one in after)

    # What people and services are told.
    (learned,) = kairos("offers", "--json")["sets"]
    rates = {arm["offer"]: arm["rate"] for arm in learned["arms"]}
    assert rates["tenth"] > 0.6
    assert rates["plain"] < 0.2
    assert {one["product"]: one["sentiment"] > 0 for one in kairos("reviews", "--json")} == {CUP: True, LAMP: False}
    rules = {(one["given"], one["then"]): one["confidence"] for one in kairos("rules", "--json")}
    assert rules[(CUP, TEA)] == pytest.approx(1.0)
    assert "put first" in kairos("offers")
    assert "first" in kairos("offers", "u1")
    kairos("evaluate", "bandit", "--from-log", "--prefer", "plain,tenth", f"--json={tmp_path / 'judged.json'}")
    judged = json.loads((tmp_path / "judged.json").read_text())
    assert judged["baselines"]["proposed"]["snips"] < 0.2, "what the other order of offers would have earned"
    assert judged["metrics"]["snips"] > 0.6

    report = run_audit(Settings())
    assert report.ok, report.sentences()
    versions = {one["versions"].get("bandit", 0) for one in shop.values("journal")}
    assert len(versions) > 1, "decided without and with a bandit, and both were replayed"
