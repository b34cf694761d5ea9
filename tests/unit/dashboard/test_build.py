"""From raw values to the page's data."""

import dataclasses
import inspect
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.definitions import Campaign, Definitions, Goal
from models.lane import LaneState
from services.dashboard import chosen, context, outcomes
from services.dashboard.build import (
    MODEL_TITLES,
    build_away,
    build_clock,
    build_lag,
    build_latency,
    build_models,
    build_page,
    lag_by_partition,
    sample,
)
from services.dashboard.context import PageContext, Sample
from services.dashboard.ledger import build_funnels, build_proof
from services.dashboard.render import render
from services.dashboard.status import away_status
from services.state.live import RawLive, Snapshot

NOW = 1_700_000_000_000
CART = Campaign.model_validate(
    {
        "id": "abandoned-cart",
        "description": "Remind of a cart",
        "trigger": {"on": "timer", "event": "Product Added", "after": "45m"},
        "channel": "email",
        "template": "abandoned-cart",
    }
)
counts = st.integers(min_value=0, max_value=10**9)


def decide(**changed: Any) -> dict[str, Any]:
    return {"role": "decide", "worker": "w1", "at": NOW, "events_per_s": 100.0, "events_total": 5, **changed}


def lane(applied: int = 10, **changed: Any) -> LaneState:
    return LaneState(**{"watermarks": [NOW] * 4, "received": applied, "applied": applied, **changed})


def page(raw: RawLive, history: tuple[Sample, ...] = ()) -> PageContext:
    return build_page(raw, Definitions(campaigns=(CART,)), history, NOW)


def quiet(at_s: int, rate: float = 0.0) -> Sample:
    return Sample(NOW + at_s * 1000, rate, None, None)


# ---------------------------------------------------------------- is all well?


def test_all_is_well_when_workers_run_and_every_lane_balances() -> None:
    status = page(RawLive(workers=(decide(),), lanes={0: lane(), 1: lane()})).status
    assert (status.level, status.headline) == ("ok", "All is well")
    assert "1 worker up" in status.detail
    assert "2 lanes" in status.detail


def test_an_empty_redis_says_how_to_begin() -> None:
    assert page(RawLive()).status.level == "empty"


def test_a_worker_without_events_is_ready() -> None:
    status = page(RawLive(workers=(decide(events_per_s=0),), lanes={0: LaneState(watermarks=[0] * 4)})).status
    assert (status.level, status.headline) == ("empty", "Ready for the first event")


@pytest.mark.parametrize(
    ("raw", "history", "level", "words"),
    [
        (RawLive(workers=(decide(),), lanes={0: lane(), 1: lane(received=11)}), (), "bad", "lane 1 by +1"),
        (RawLive(silent=(("decide", "w1", NOW),), lanes={0: lane()}), (), "bad", "Worker w1 (decide)"),
        (
            RawLive(workers=(decide(worker="w2"),), silent=(("decide", "w1", NOW),), lanes={0: lane()}),
            (),
            "note",
            "Worker w1 (decide)",
        ),
        (
            RawLive(workers=({"role": "learn", "worker": "w1", "at": NOW},), lanes={0: lane()}),
            (),
            "bad",
            "No worker decides",
        ),
        (
            RawLive(workers=(decide(events_per_s=0, lag={"clickstream-0": 7}),), lanes={0: lane()}),
            tuple(quiet(second) for second in range(12)),
            "bad",
            "7 records wait and none was applied",
        ),
        (
            RawLive(workers=(decide(events_per_s=10, lag={"clickstream-0": 3000}),), lanes={0: lane()}),
            (),
            "note",
            "about 5 minutes",
        ),
        (
            RawLive(workers=(decide(latency_ms={"p50": 1, "p95": 2, "p99": 2300, "n": 5}),), lanes={0: lane()}),
            (),
            "note",
            "2.3 s",
        ),
        (
            RawLive(workers=(decide(),), lanes={0: lane(applied=90, received=100, rejected=10)}),
            (),
            "note",
            "10 records were refused",
        ),
        (
            RawLive(workers=(decide(),), lanes={0: lane()}, campaigns={"abandoned-cart": {"unknown": 2}}),
            (),
            "note",
            "2 messages handed over",
        ),
    ],
)
def test_what_is_not_well_is_named_with_a_remedy(
    raw: RawLive, history: tuple[Sample, ...], level: str, words: str
) -> None:
    status = page(raw, history).status
    assert status.level == level
    assert words in status.problems[0].what
    assert status.problems[0].remedy


def test_a_pause_is_not_a_stall_before_ten_seconds() -> None:
    raw = RawLive(workers=(decide(events_per_s=0, lag={"clickstream-0": 7}),), lanes={0: lane()})
    assert page(raw, tuple(quiet(second) for second in range(5))).status.level == "ok"
    busy = tuple(quiet(second, 5.0 if second == 8 else 0.0) for second in range(12))
    assert page(raw, busy).status.level == "ok"


def test_what_is_bad_stands_before_what_is_worth_knowing() -> None:
    raw = RawLive(workers=(decide(),), lanes={0: lane(received=11)}, campaigns={"abandoned-cart": {"unknown": 2}})
    assert [problem.level for problem in page(raw).status.problems] == ["bad", "note"]


def test_redis_away_shows_no_number() -> None:
    away = build_away(away_status("127.0.0.1:6379"), (), NOW)
    assert away.status.level == "away"
    assert away.totals.events == 0
    assert "KAIROS_REDIS__URL" in away.status.problems[0].remedy


# ---------------------------------------------------------------- numbers


def test_totals_come_from_the_lanes_without_ticks_and_from_workers_that_live() -> None:
    raw = RawLive(
        workers=(decide(alerts_total=3, offers_total=4), decide(worker="w2", alerts_total=2)),
        lanes={0: lane(10, ticks=4), 3: lane(5)},
        campaigns={"abandoned-cart": {"decided": 9}},
    )
    totals = page(raw).totals
    assert (totals.events, totals.events_per_s) == (11, 200.0)
    assert (totals.alerts, totals.offers, totals.messages) == (5, 4, 9)


def test_latency_is_the_slowest_workers_and_both_parts_stay_apart() -> None:
    latency = build_latency(
        (
            decide(latency_ms={"p50": 5, "p95": 6, "p99": 7, "n": 10}, log_latency_ms={"n": 0}),
            decide(latency_ms={"p50": 1, "p95": 6, "p99": 90, "n": 30}),
            {"role": "learn", "latency_ms": {"p50": 999, "p95": 999, "p99": 999, "n": 1}},
        )
    )
    assert latency.log is None
    assert latency.kairos is not None
    assert (latency.kairos.p50, latency.kairos.p99, latency.kairos.n) == (5, 90, 40)


def test_lag_is_summed_over_partitions_and_a_handed_over_partition_counts_once() -> None:
    workers = (
        decide(at=NOW, lag={"clickstream-0": 5, "clickstream-1": 7}),
        decide(worker="w2", at=NOW - 9, lag={"clickstream-1": 900}),
        {"role": "deliver", "at": NOW, "lag": {"messages-0": 4}},
    )
    rows = {row.topic: row for row in build_lag(lag_by_partition(workers))}
    assert rows["clickstream"].records == 12
    assert rows["purchases"].records == 0
    assert (rows["messages"].records, rows["messages"].reader) == (4, "deliver")
    assert rows["clickstream"].share == 1.0


def test_the_replays_clock_goes_before_the_watermark_and_keeps_its_label() -> None:
    demo = {"clock": "2010-03-14T09:32:00+00:00", "speed": 3000, "label": "simulation"}
    clock = build_clock(RawLive(demo=demo, workers=(decide(watermarks={"0": NOW}),)))
    assert (clock.day, clock.time, clock.speed, clock.label) == (
        "14 Mar 2010",
        "09:32",
        "3,000×",
        "simulation",
    )


def test_a_replay_never_goes_without_a_label() -> None:
    assert build_clock(RawLive(demo={"clock": "2010-03-14T09:32:00+00:00"})).label == "simulation"


def test_the_slowest_lane_is_the_clock_and_lanes_without_time_do_not_count() -> None:
    clock = build_clock(RawLive(workers=(decide(watermarks={"0": NOW, "1": NOW - 60_000, "2": 0}),)))
    assert clock.at_ms == NOW - 60_000
    assert build_clock(RawLive(workers=(decide(),))).at_ms is None


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        (None, "not learned yet"),
        ({"learned": False, "examples": 310, "first_label_ms": 1_267_615_920_000}, "not learned yet"),
        (
            {"learned": True, "examples": 8412, "first_label_ms": 1_267_615_920_000},
            "learned since 3 Mar 2010, from 8,412 known outcomes",
        ),
    ],
)
def test_the_churn_model_says_whether_it_learned(meta: dict[str, Any] | None, words: str) -> None:
    snapshots = {} if meta is None else {"churn": Snapshot("churn", 7, NOW, meta=meta)}
    model = page(RawLive(snapshots=snapshots, workers=(decide(snapshots={"churn": 6}),))).models[0]
    assert model.words.startswith(words)
    assert model.learned == (meta is not None and meta["learned"])
    assert (model.version, model.in_use) == (0 if meta is None else 7, 6)


def test_a_promoted_batch_model_is_told() -> None:
    snapshots = {"churn": Snapshot("churn", 7, NOW, meta={"learned": True, "examples": 9})}
    model = page(RawLive(snapshots=snapshots, workers=(decide(snapshots={"churn-batch": 3}),))).models[0]
    assert model.words.startswith("batch version 3 was promoted")
    assert (model.version, model.in_use) == (7, None)


def test_a_goal_says_how_good_its_scores_were_as_they_were_served() -> None:
    goal = Goal.model_validate({"id": "buy", "event": "Order Completed", "horizon": "30d"})
    judged = {"judged": 900, "auc": 0.7812, "log_loss": 0.41, "rate_log_loss": 0.52, "calibration": 0.021, "rate": 0.3}
    meta = {"learned": True, "examples": 1200, "first_label_ms": 1_267_615_920_000, **judged}
    snapshot = Snapshot("goals", 9, NOW, meta={"goals": {str(goal.code): meta}})
    raw = RawLive(snapshots={"goals": snapshot}, workers=(decide(snapshots={"goals": 8}),))
    row = build_models(raw, (goal,))[-1]
    assert (row.name, row.version, row.in_use, row.learned, row.figures) == ("goal-buy", 9, 8, True, judged)
    assert row.words == (
        "learned since 3 Mar 2010, from 1,200 known outcomes; as served: AUC 0.781, log loss 0.410 (the rate alone "
        "0.520), calibration error 0.021"
    )
    young = build_models(RawLive(), (goal,))[-1]
    assert (young.version, young.figures) == (0, {})
    assert young.words == "not learned yet: nobody is scored; 0 known outcomes so far"
    asks_otherwise = goal.model_copy(update={"horizon_ms": 1})
    del asks_otherwise.__dict__["code"]
    assert not build_models(raw, (asks_otherwise,))[-1].learned
    assert len(build_models(raw, (goal.model_copy(update={"enabled": False}),))) == len(MODEL_TITLES)


def test_value_and_segments_say_whether_they_learned() -> None:
    meta = {"learned": True, "examples": 900, "first_label_ms": 1_267_615_920_000, "horizon_days": 90}
    rows = [
        {"name": "new", "share": 0.3, "recency_days": 5.0, "purchase_days": 1.0, "money": 20.0},
        {"name": "lapsed", "share": 0.7, "recency_days": 150.0, "purchase_days": 1.2, "money": 35.0},
    ]
    snapshots = {
        "value": Snapshot("value", 4, NOW, meta=meta),
        "segments": Snapshot("segments", 2, NOW, meta={"learned": True, "segments": rows}),
    }
    found = page(RawLive(snapshots=snapshots, workers=(decide(snapshots={"value": 3}),)))
    (row,) = [one for one in found.models if one.name == "value"]
    assert (row.version, row.in_use, row.learned) == (4, 3, True)
    assert row.words == "learned since 3 Mar 2010, from 900 known outcomes; money of 90 days"
    assert [(one.name, one.share) for one in found.segments] == [("lapsed", 0.7), ("new", 0.3)]
    html = render("segments", found)
    assert "70 %" in html
    assert "lapsed" in html
    young = page(RawLive())
    assert young.segments == ()
    assert [one.words for one in young.models if one.name == "value"] == [
        "not learned yet: each customer's own pace is told; 0 known outcomes so far"
    ]


def test_a_tail_item_without_its_fields_is_shown_as_far_as_it_goes() -> None:
    item = page(RawLive(tails={"alerts": ({"text": "hello"},)})).tails.alerts[0]
    assert (item.text, item.user, item.when, item.tag) == ("hello", "", "", "")


def test_a_message_held_back_says_why_in_words() -> None:
    held = {"text": "win-back by email", "tag": "suppressed: no_consent", "detail": "churn alert on 3 Mar"}
    item = page(RawLive(tails={"messages": (held,)})).tails.messages[0]
    assert (item.tag, item.detail) == ("held back", "no consent (churn alert on 3 Mar)")


def test_a_sample_is_what_the_page_shows() -> None:
    raw = RawLive(workers=(decide(latency_ms={"p50": 5, "p95": 6, "p99": 7, "n": 10}),))
    assert sample(page(raw)) == Sample(NOW, 100.0, 5.0, 7.0)


# ---------------------------------------------------------------- proof ledger and funnels


@given(
    applied=counts,
    duplicate=counts,
    rejected=counts,
    forwarded=counts,
    waiting=counts,
    off=st.integers(-3, 3),
)
def test_green_only_when_every_record_has_exactly_one_fate(
    applied: int, duplicate: int, rejected: int, forwarded: int, waiting: int, off: int
) -> None:
    received = max(0, applied + duplicate + rejected + forwarded + off)
    state = LaneState(0, [0] * 4, received, applied, duplicate, rejected, forwarded)
    proof = build_proof({0: state, 1: lane()}, {"clickstream-0": waiting, "messages-0": 5})
    row = proof.lanes[0]
    assert row.in_flight == waiting
    fates = row.applied + row.duplicate + row.rejected + row.forwarded + row.in_flight
    assert row.difference == row.received - fates
    assert proof.balances == state.balances()


def test_one_lanes_surplus_does_not_hide_anothers_loss() -> None:
    proof = build_proof({0: lane(10, received=11), 1: lane(10, received=9)}, {})
    assert proof.total is not None
    assert proof.total.difference == 0
    assert not proof.balances


def test_nothing_received_is_nothing_proven() -> None:
    proof = build_proof({0: LaneState(watermarks=[0] * 4)}, {})
    assert (proof.total, proof.balances) == (None, False)


def test_a_funnel_names_the_reasons_and_keeps_simulated_orders_apart() -> None:
    fields = {
        "decided": 100, "suppressed:no_consent": 10, "suppressed:frequency_cap": 20, "sent": 50, "failed": 2,
        "unknown": 1, "expired": 3, "opened": 25, "clicked": 5, "ordered": 10, "ordered_simulated": 4,
    }  # fmt: skip
    funnel = build_funnels({"abandoned-cart": fields}, [CART])[0]
    assert [(one.words, one.count) for one in funnel.suppressions] == [
        ("had enough messages", 20),
        ("no consent", 10),
    ]
    assert (funnel.suppressed, funnel.failed, funnel.unknown, funnel.expired, funnel.underway) == (
        30,
        2,
        1,
        3,
        14,
    )
    assert [(step.name, step.count) for step in funnel.steps] == [
        ("decided", 100), ("sent", 50), ("opened", 25), ("clicked", 5), ("ordered", 10)
    ]  # fmt: skip
    assert [step.rate for step in funnel.steps] == [
        "",
        "50 % of decided",
        "50 % of sent",
        "10 % of sent",
        "20 % of sent",
    ]
    assert funnel.ordered_simulated == 4


def test_a_campaign_without_counts_is_a_row_of_zeros() -> None:
    funnel = build_funnels({}, [CART])[0]
    assert {step.count for step in funnel.steps} == {0}
    assert funnel.underway == 0


# ---------------------------------------------------------------- documentation and JSON


@pytest.mark.parametrize(
    "kind",
    [
        one
        for room in (context, outcomes, chosen)
        for _, one in inspect.getmembers(room, dataclasses.is_dataclass)
        if one.__module__.startswith("services.dashboard")
    ],
    ids=lambda kind: kind.__name__,
)
def test_every_field_of_the_page_is_documented(kind: type) -> None:
    described = {
        name.strip()
        for line in (inspect.getdoc(kind) or "").splitlines()
        if " : " in line
        for name in line.split(" : ")[0].split(",")
    }
    fields = {field.name for field in dataclasses.fields(kind)}
    assert fields <= described, f"{kind.__name__}: {sorted(fields - described)} not described"
    assert described <= fields, f"{kind.__name__}: {sorted(described - fields)} described, but not there"


def test_the_page_survives_json() -> None:
    raw = RawLive(workers=(decide(lag={"clickstream-0": 1}),), lanes={0: lane()})
    whole = page(raw, (quiet(0),))
    assert msgspec.json.decode(msgspec.json.encode(whole), type=PageContext) == whole
