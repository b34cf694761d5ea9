"""Demand in the learn role: orders become weeks in event time, however they are cut, and restarts change nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decisions import BasketExample
from models.errors import IncompatibleSnapshotError
from models.learners.envelope import pack_state, unpack_state
from models.learners.session import LearnSession
from models.learners.streamed import demand as demand_model
from models.learners.streamed.demand import ALL, DAY_MS, DemandModel, payload_of

WEEK_MS = 7 * DAY_MS
MONDAY_MS = 4 * DAY_MS  # 5 January 1970


@dataclass
class Record:
    offset: int
    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)


def basket(at_ms: int, item: str = "tea", quantity: int = 2, category: str = "drinks") -> bytes:
    example = BasketExample(
        id="x",
        user="u",
        at=at_ms,
        order_id="o",
        items=[(item, item.title(), 500, quantity)],
        history=[],
        categories=[category] if category else [],
    )
    return msgspec.json.encode(example)


def orders(weeks: int, seed: int = 0) -> list[bytes]:
    rng = np.random.default_rng(seed)
    found = []
    for week in range(weeks):
        for day in sorted(rng.integers(0, 7, 6).tolist()):
            at = MONDAY_MS + week * WEEK_MS + day * DAY_MS
            found.append(basket(at, str(rng.choice(["tea", "mug", "pot"])), int(rng.integers(1, 5))))
    return found


def test_units_are_counted_by_week_category_and_product() -> None:
    model = DemandModel()
    for at, item, quantity in ((0, "tea", 2), (6, "mug", 3), (7, "tea", 5), (16, "tea", 1)):
        model.learn(basket(MONDAY_MS + at * DAY_MS, item, quantity))
    series = model.demand.series
    assert series[ALL].history == [5.0, 5.0]
    assert series["category:drinks"].history == [5.0, 5.0]
    assert (series["product:tea"].history, series["product:mug"].history) == ([2.0, 5.0], [3.0, 0.0])
    assert model.weeks == 2


def test_week_is_closed_a_day_after_its_end_and_later_orders_are_late() -> None:
    model = DemandModel()
    model.learn(basket(MONDAY_MS))
    model.learn(basket(MONDAY_MS + WEEK_MS + DAY_MS - 1))
    assert model.weeks == 0
    model.learn(basket(MONDAY_MS + WEEK_MS - 1, quantity=7))  # of another lane, a little later
    model.learn(basket(MONDAY_MS + WEEK_MS + DAY_MS))
    assert model.weeks == 1
    assert model.demand.series[ALL].history == [9.0]
    model.learn(basket(MONDAY_MS))
    assert model.late == 1


def test_silent_weeks_are_weeks_and_a_silent_series_gives_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demand_model, "MOST_SERIES", 3)
    model = DemandModel()
    model.learn(basket(MONDAY_MS, "tea", category=""))
    model.learn(basket(MONDAY_MS, "mug", 1, category=""))
    model.learn(basket(MONDAY_MS + 3 * WEEK_MS, "pot", 9, category=""))
    assert model.demand.series[ALL].history == [3.0, 0.0, 0.0][: model.weeks]
    for week in range(4, 20):
        model.learn(basket(MONDAY_MS + week * WEEK_MS, "pot", 9, category=""))
    assert set(model.demand.series) == {ALL, "product:pot"}
    assert set(model.snapshot()["names"]) == {"pot"}


def test_a_product_that_sells_more_takes_the_place_of_one_that_sells_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demand_model, "MOST_SERIES", 3)
    model = DemandModel()
    for week in range(12):
        for item, quantity in (("tea", 5), ("mug", 2), ("cup", 3 if week < 10 else 4), ("pot", 9 if week > 8 else 0)):
            if quantity:
                model.learn(basket(MONDAY_MS + week * WEEK_MS, item, quantity, category=""))
        # One of those who sell least: the mug was never known, the cup sold less than twice as much, the pot more.
        if week == 9:
            assert set(model.demand.series) == {ALL, "product:tea", "product:cup"}
    assert set(model.demand.series) == {ALL, "product:tea", "product:pot"}


def test_dates_far_ahead_are_refused_and_change_nothing() -> None:
    model = DemandModel()
    model.learn(basket(MONDAY_MS))
    with pytest.raises(msgspec.ValidationError, match="weeks ahead"):
        model.learn(basket(MONDAY_MS + 1000 * WEEK_MS))
    assert model.weeks == 0


@settings(max_examples=15, deadline=None)
@given(cut=st.integers(0, 72))
def test_restored_model_goes_on_bit_by_bit(cut: int) -> None:
    records = orders(12)
    whole, first, second = DemandModel(), DemandModel(), DemandModel()
    for value in records:
        whole.learn(value)
    for value in records[:cut]:
        first.learn(value)
    second.restore(unpack_state(pack_state(first.snapshot())))
    for value in records[cut:]:
        second.learn(value)
    assert pack_state(second.snapshot()) == pack_state(whole.snapshot())
    assert second.payload() == whole.payload()


def test_session_publishes_once_a_week_and_keeps_it_over_a_restart() -> None:
    session, versions = LearnSession("demand"), []
    for offset, value in enumerate(orders(6)):
        session.apply([Record(offset, value)], offset, offset + 1)
        again = LearnSession("demand")
        again.restore(session.checkpoint())
        session = again
        envelope = session.snapshot(1)
        versions += [] if envelope is None else [envelope]
    model = session.model
    assert isinstance(model, DemandModel)
    assert len(versions) == model.weeks == 5
    known = payload_of(versions[-1].schema, versions[-1].payload)
    assert known.week_ends_ms == MONDAY_MS + 5 * WEEK_MS
    assert known.names["tea"] == "Tea"
    assert known.series[ALL].weeks == 5
    assert known.series[ALL].next_week > 0.0
    assert versions[-1].meta["weeks"] == 5


def test_foreign_payloads_and_states_are_refused() -> None:
    with pytest.raises(IncompatibleSnapshotError):
        payload_of(0, b"")
    with pytest.raises(IncompatibleSnapshotError):
        payload_of(demand_model.SCHEMA, b"\x00")
    with pytest.raises(IncompatibleSnapshotError):
        DemandModel().restore({"demand": {}})
    with pytest.raises(msgspec.DecodeError):
        DemandModel().learn(b"{}")
