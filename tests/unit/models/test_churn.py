"""Churn in the stream: alerts with hysteresis and cool-down, examples at their true delay, no look into the future."""

from typing import Any

import pytest

from models.brain import Brain
from models.churn import grid_due, slot_of
from models.features.churn import raw_churn
from support.lane import DAY_MS, HOUR_MS, LaneRig, definitions, ms, order, track

START = ms("2010-01-04 12:00")
RULES: dict[str, Any] = {
    "horizon": "90d",
    "alert_at": 0.7,
    "clear_below": 0.5,
    "cool_down": "60d",
    "eligible_within": "300d",
    "sample_every": "14d",
}


def rig(**changes: Any) -> LaneRig:
    return LaneRig(Brain(definitions(churn=RULES | changes)))


def days(lane: LaneRig, first: int, last: int) -> list[dict[str, Any]]:
    """Let days pass one by one; returns the alerts."""
    found = []
    for day in range(first, last + 1):
        found += lane.until(START + day * DAY_MS).on("churn-alerts")
    return found


# ------------------------------------------------------------------ alerts


def test_silence_alone_raises_one_alert() -> None:
    """By the rule: one purchase day, silent for n days: odds = (n+1)/46 * (2/3)**-0.8; 0.7 from day 78 on."""
    lane = rig()
    lane.feed("purchases", order("u1", START))
    alerts = days(lane, 1, 130)
    assert len(alerts) == 1
    assert alerts[0]["score"] >= 0.7
    waited = (alerts[0]["at"] - START) / DAY_MS
    assert 77 <= waited < 77 + 15  # at the first tick after it: one every 14 days
    assert alerts[0]["learned"] is False
    assert alerts[0]["cause"]["kind"] == "timer"
    assert alerts[0]["reasons"][0]["text"].startswith("last order ")
    assert lane.profile("u1").alerted


def test_the_next_alert_needs_ease_and_time() -> None:
    """Alert, an order (at ease), silence again: the second alert comes when the score is high again."""
    lane = rig()
    lane.feed("purchases", order("u1", START))
    first = days(lane, 1, 100)
    lane.feed("purchases", order("u1", START + 100 * DAY_MS + HOUR_MS))
    assert not lane.profile("u1").alerted
    second = days(lane, 101, 280)
    assert (len(first), len(second)) == (1, 1)
    assert second[0]["id"] != first[0]["id"]


def test_the_cool_down_holds_an_alert_back_until_it_is_over() -> None:
    lane = rig(cool_down="200d")
    lane.feed("purchases", order("u1", START))
    first = days(lane, 1, 100)
    lane.feed("purchases", order("u1", START + 100 * DAY_MS + HOUR_MS))
    second = days(lane, 101, 299)
    assert (len(first), len(second)) == (1, 1)
    assert second[0]["at"] - first[0]["at"] >= 200 * DAY_MS


def test_no_alert_for_who_is_lost_already_or_never_was_a_customer() -> None:
    lane = rig(eligible_within="60d")
    lane.feed("purchases", order("u1", START))
    lane.feed("clickstream", track("Product Viewed", "u2", START))
    assert days(lane, 1, 150) == []
    view = lane.feed("clickstream", track("Product Viewed", "u1", START + 151 * DAY_MS))
    assert view.on("churn-alerts") == []
    assert lane.profile("u1").score > 0.7  # it is known all the same
    assert lane.profile("u2").score == -1.0


def test_an_alert_on_an_event_names_it() -> None:
    """Just before the tick of silence at which the score would be high enough by itself."""
    lane = rig(alert_at=0.7, sample_every="400d")
    lane.feed("purchases", order("u1", START, mid="first"))
    found = lane.feed("clickstream", track("Product Viewed", "u1", START + 79 * DAY_MS, "look")).on("churn-alerts")
    at = START + 79 * DAY_MS
    assert [one["cause"] for one in found] == [
        {"kind": "event", "message_id": "look", "event": "Product Viewed", "at": at}
    ]


def test_who_comes_back_is_watched_again() -> None:
    """A user given up after 40 days, with labels still waiting, orders: the ticks of silence begin anew at once."""
    lane = rig(eligible_within="40d", alert_at=0.6, horizon="90d")
    lane.feed("purchases", order("u1", START))
    days(lane, 1, 60)
    waiting = lane.profile("u1").tick_due
    lane.feed("purchases", order("u1", START + 61 * DAY_MS))
    profile = lane.profile("u1")
    assert profile.tick_due * 1000 <= START + (61 + 14) * DAY_MS < waiting * 1000
    assert lane.memory.timers["u1"] == profile.tick_due * 1000


# ------------------------------------------------------------------ examples


def test_labels_come_when_they_are_known_and_not_before() -> None:
    lane = rig()
    lane.feed("purchases", order("u1", START))
    examples: list[dict[str, Any]] = []
    for day in range(1, 240):
        at = START + day * DAY_MS
        if day == 130:
            lane.feed("purchases", order("u1", at - HOUR_MS))
        for example in lane.until(at).on("training"):
            if example["type"] == "churn":
                assert example["due"] <= example["known_at"] <= at
                examples.append(example)
    taken = [example["at"] for example in examples]
    assert taken == sorted(set(taken))
    assert len(taken) == pytest.approx((239 - 90) / 14, abs=1)
    for example in examples:
        assert example["due"] == example["at"] + 90 * DAY_MS
        returned_ms = START + 130 * DAY_MS - HOUR_MS
        came = example["at"] <= returned_ms < example["due"]
        assert example["label"] == (0 if came else 1), example
    assert {example["label"] for example in examples} == {0, 1}


def test_features_of_an_example_hold_nothing_from_after_it() -> None:
    """Whatever came into the same chunk: a tick that is due before an event sees the state before it."""
    slot, every = slot_of("u1"), 14 * 86_400
    tick_s = grid_due(slot, START // 1000 + 30 * 86_400, every)
    lane = rig()
    lane.feed("purchases", order("u1", START, 10.0))
    lane.until(tick_s * 1000 - 10_000)
    # One chunk: an order just after the tick, and one long after it.
    lane.feed("purchases", order("u1", tick_s * 1000 + 1_000, 99.0), order("u1", tick_s * 1000 + 20 * DAY_MS, 98.0))
    sample = next(sample for sample in lane.profile("u1").samples if sample.at == tick_s)
    assert sample.x == raw_churn(START, START, 1, 1000, 1.0, tick_s * 1000)
    assert sample.returned


def test_the_same_in_whatever_chunks_it_comes() -> None:
    orders = [order("u1", START + day * DAY_MS, 10.0 + day) for day in (0, 3, 40, 41, 150, 151, 290)]
    whole, single = rig(), rig()
    whole.feed("purchases", *orders)
    for one in orders:
        single.feed("purchases", one)
    for lane in (whole, single):
        lane.until(START + 400 * DAY_MS)
    assert whole.profile("u1") == single.profile("u1")
    assert [e for e in whole.published.on("training") if e["type"] == "churn"] == [
        e for e in single.published.on("training") if e["type"] == "churn"
    ]


def test_a_label_is_told_though_the_user_is_gone() -> None:
    lane = rig(eligible_within="20d")
    lane.feed("purchases", order("u1", START))
    days(lane, 1, 130)
    examples = [one for one in lane.published.on("training") if one["type"] == "churn"]
    assert {one["label"] for one in examples} == {1}
    assert lane.profile("u1").samples == []
    assert lane.profile("u1").tick_due == 0
    assert lane.memory.timers == {}


@pytest.mark.parametrize(("slot", "after"), [(0, 0), (10, 100), (10**9, 5), (59, 60), (60, 60)])
def test_the_grid(slot: int, after: int) -> None:
    due = grid_due(slot, after, 60)
    assert after < due <= after + 60
    assert (due - slot) % 60 == 0
