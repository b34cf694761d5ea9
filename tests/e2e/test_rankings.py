"""Recommended lists through the real stack: shown, clicked, bought; a worker dies, and the audit agrees."""

import os
import signal
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
USERS = 120


FILES = {
    "offers/plain.yaml": "id: plain\nkind: item\ntext: '{item}'\n",
    "policy.yaml": "recommendations: {within: 2d}\n",
}


@pytest.fixture
def shop(jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShopStack]:
    with shop_stack(jars, tmp_path, FILES, monkeypatch, roles=("decide",)) as made:
        yield made


def basket(user: int) -> list[dict[str, Any]]:
    return [{"product_id": f"p{user % 7 + each}", "name": "Thing", "price": 2.0} for each in range(4)]


def test_what_was_shown_is_counted_once(shop: ShopStack) -> None:
    for user in range(USERS):
        shop.bus.publish("purchases", order(f"u{user}", START + user, products=basket(user)), f"u{user}")
    shop.until(START + HOUR_MS)
    wait_until(lambda: len(shop.once("offers")) == USERS, "all have a list", 60, 0.2)
    at = START + 2 * HOUR_MS
    for one in shop.once("offers"):
        user, items = one["user"], [offer["item"] for offer in one["offers"]]
        number = int(user[1:])
        products = [{"product_id": item, "position": place} for place, item in enumerate(items, 1)]
        view = track("Product List Viewed", user, at, list_id=one["id"], products=products)
        click = track("Product Clicked", user, at + 1, list_id=one["id"], product_id=items[number % 2])
        for value in (view, view, *([click, click] if number % 4 < 2 else [])):
            shop.bus.publish("clickstream", value, user)
        if number == USERS // 2:
            shop.bus.flush()
            os.kill(shop.stack.supervisor.pids()["decide"], signal.SIGKILL)
    shop.until(at + HOUR_MS)
    for one in shop.once("offers"):
        number, item = int(one["user"][1:]), one["offers"][0]["item"]
        if number % 3 == 0:
            again = order(one["user"], at + 2 * HOUR_MS, products=[{"product_id": item, "price": 3.0, "quantity": 2}])
            shop.bus.publish("purchases", again, one["user"])
    shop.until(at + DAY_MS)
    (told,) = kairos("recommendations", "--json")["lists"]
    places, total = told["places"], told["total"]
    assert (told["name"], told["rankings"], told["clicked_rankings"], told["stray"]) == (
        "offers",
        USERS,
        USERS // 2,
        0,
    )
    assert [places[str(place)]["shown"] for place in range(1, 5)] == [USERS] * 4
    assert [places[str(place)]["clicked"] for place in range(1, 5)] == [USERS // 4, USERS // 4, 0, 0]
    assert (places["1"]["bought"], total["units"], total["money_minor"]) == (
        USERS // 3,
        2 * USERS // 3,
        200 * USERS,
    )
    shop.until(at + 4 * DAY_MS)  # windows end: nobody carries anything any more
    report = run_audit(Settings())
    assert report.ok, report.sentences()
    text = kairos("recommendations")
    assert "shown 120 times" in text
    assert "Attributed, not caused" in text
