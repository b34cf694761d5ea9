from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from config.topics import DAY_MS
from models.events import Envelope
from models.wire import Input, Record, decode
from services.bus import topic_for
from services.demo.events import SHOPPING_MS, ShopEvent, ShopEvents, iso, money
from services.demo.history import DATA, History, load_history

PRODUCT = r"^\d{5}[A-Za-z]*$"


@pytest.fixture(scope="module")
def history() -> History:
    return load_history()


@pytest.fixture(scope="module")
def year(history: History) -> tuple[ShopEvents, list[ShopEvent]]:
    shop = ShopEvents(history)
    events = []
    for day in range(history.start_ms // DAY_MS, history.end_ms // DAY_MS + 1):
        found = shop.until((day + 1) * DAY_MS)
        assert all(event.at_ms < (day + 1) * DAY_MS for event in found)
        events += found
    return shop, events


def test_counts_equal_what_pyarrow_counts_in_the_file(
    history: History, year: tuple[ShopEvents, list[ShopEvent]]
) -> None:
    table = pq.read_table(DATA)
    known = table.filter(table["customer_id"].is_valid())
    assert history.lines_total == table.num_rows == 525_461
    assert history.lines_without_customer == table.num_rows - known.num_rows == 107_927
    refund = pc.starts_with(known["invoice"], "C")
    orders = known.filter(pc.invert(refund))
    bought = orders.filter(
        pc.and_(pc.greater(orders["price"], 0), pc.match_substring_regex(orders["stock_code"], PRODUCT))
    )
    counts = year[0].counts
    assert counts["Order Completed"] == pc.count_distinct(orders["invoice"]).as_py() == 19_215
    assert counts["Order Refunded"] == pc.count_distinct(known.filter(refund)["invoice"]).as_py()
    assert counts["identify"] == pc.count_distinct(known["customer_id"]).as_py() == len(year[0].users)
    assert counts["Product Viewed"] == counts["Product Added"] == bought.num_rows
    assert sum(counts.values()) == len(year[1])


def test_money_equals_what_pyarrow_sums_in_the_file(year: tuple[ShopEvents, list[ShopEvent]]) -> None:
    table = pq.read_table(DATA, columns=["invoice", "quantity", "price", "customer_id"])
    orders = table.filter(pc.and_(table["customer_id"].is_valid(), pc.invert(pc.starts_with(table["invoice"], "C"))))
    expected = pc.sum(pc.multiply(orders["quantity"], pc.round(pc.multiply(orders["price"], 100)))).as_py()
    found = 0
    for event in year[1]:
        if b'"Order Completed"' in event.value:
            properties = json.loads(event.value)["properties"]
            found += round(properties["total"] * 100)
            assert round(properties["revenue"] * 100) + round(properties["shipping"] * 100) == round(
                properties["total"] * 100
            )
    assert found == expected


def test_the_same_seed_gives_the_same_bytes_in_slices_of_any_length(
    history: History, year: tuple[ShopEvents, list[ShopEvent]]
) -> None:
    shop = ShopEvents(history)
    end_ms = history.start_ms + 20 * DAY_MS
    mine = []
    for hour in range(20 * 24 + 1):
        mine += shop.until(history.start_ms + hour * 3_600_000)
    theirs = [event for event in year[1] if event.at_ms < end_ms]
    assert [(e.at_ms, e.value) for e in mine] == [(e.at_ms, e.value) for e in theirs]
    other = ShopEvents(history, seed=1).until(end_ms)
    assert [e.value for e in other] != [e.value for e in mine]


def test_every_event_keeps_the_contract_and_says_what_it_is(year: tuple[ShopEvents, list[ShopEvent]]) -> None:
    ids, flags = set(), Counter[tuple[str, bool, bool]]()
    for number, event in enumerate(year[1]):
        if number % 97 and number > 3000:
            continue
        document = json.loads(event.value)
        Envelope.model_validate(document)
        decoded = decode(Record(0, 0, event.user.encode(), event.value), "x", 0)
        assert isinstance(decoded, Input)
        assert (decoded.at, decoded.user) == (event.at_ms, event.user)
        assert topic_for(document) == event.topic
        context = document["context"]
        assert context["source"] == "online-retail-ii"
        name = document.get("event", document["type"])
        flags[name, context["derived"], context["simulated"]] += 1
        ids.add(document["messageId"])
        if name == "identify":
            assert document["traits"]["email"] == f"customer-{event.user}@example.test"
    assert len(ids) == sum(flags.values())
    assert {(d, s) for name, d, s in flags if name.startswith("Order")} == {(False, False)}
    assert flags["Product Added", True, True] > 0


def test_views_and_carts_come_shortly_before_their_order(history: History) -> None:
    shop = ShopEvents(history, abandoned=0.0)
    orders: dict[str, int] = {}
    lines: dict[str, list[int]] = defaultdict(list)
    for event in shop.until(history.start_ms + 10 * DAY_MS):
        message = json.loads(event.value)["messageId"].removeprefix("orii-")
        if event.topic == "purchases":
            orders[message] = event.at_ms
        elif event.topic == "clickstream":
            lines[message.split("-")[0]].append(event.at_ms)
    assert len(lines) > 500
    for invoice, times in lines.items():
        if invoice in orders:
            assert orders[invoice] - SHOPPING_MS <= min(times) <= max(times) < orders[invoice]


def test_no_stock_code_for_postage_or_bank_charges_becomes_a_product(
    year: tuple[ShopEvents, list[ShopEvent]],
) -> None:
    for event in year[1][::31]:
        document = json.loads(event.value)
        properties = document.get("properties", {})
        for product in [properties, *properties.get("products", [])]:
            code = product.get("product_id", "10002")
            assert code not in {"POST", "DOT", "M", "D", "C2", "BANK CHARGES", "ADJUST", "PADS", "TEST001"}
            assert product.get("name", "x") != code


def test_a_share_of_customers_gives_no_consent(year: tuple[ShopEvents, list[ShopEvent]]) -> None:
    consents = [json.loads(e.value)["traits"]["consent"]["email"] for e in year[1] if e.topic == "profiles"]
    assert 0.07 < 1 - sum(consents) / len(consents) < 0.13


def test_the_file_is_carried_with_its_credit() -> None:
    credit = (Path(DATA).parent / "CREDIT.md").read_text()
    assert "CC BY 4.0" in credit
    assert "10.24432/C5CG6D" in credit
    assert DATA.stat().st_size > 3_000_000


def test_iso_and_money_are_exact() -> None:
    assert iso(1_266_940_799_999) == "2010-02-23T15:59:59.999Z"
    assert [money(n) for n in (0, 5, 100, -1234)] == ["0.00", "0.05", "1.00", "-12.34"]
