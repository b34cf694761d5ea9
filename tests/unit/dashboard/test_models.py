"""What the page says of models beside their versions."""

from __future__ import annotations

import msgspec

from config.definitions import Definitions
from models.learners.contest import Comparison
from models.learners.health import ScoreHealth
from models.uplift import subjects_of
from services.dashboard.build import build_page
from services.dashboard.render import render
from services.state.live import RawLive, Snapshot
from services.state.model_health import Row

NOW = 1_700_000_000_000
CART = {
    "id": "abandoned-cart",
    "trigger": {"on": "timer", "event": "Product Added", "after": "45m"},
    "channel": "email",
    "template": "abandoned-cart",
    "control": "cart-control",
}


def test_a_campaign_says_what_its_message_changes() -> None:
    experiment = {
        "id": "cart-control",
        "variants": [{"id": "none", "weight": 0.5}, {"id": "message", "weight": 0.5}],
        "expose_on": "message",
        "metrics": [{"id": "ordered", "event": "Order Completed", "within": "7d"}],
    }
    made = Definitions.model_validate({"campaigns": [CART], "experiments": [experiment]})
    (subject,) = subjects_of(made)
    young = build_page(RawLive(), made, (), NOW).models[-1]
    assert (young.name, young.learned) == ("uplift-abandoned-cart", False)
    assert young.words == "not learned yet: nobody is told an uplift; 0 written to, 0 held out so far"
    meta = {"learned": True, "examples": 1900, "treated": 1000, "held_out": 900, "qini": 0.0841}
    meta |= {"effect": 0.031, "effect_low": 0.012, "effect_high": 0.05}
    raw = RawLive(snapshots={"uplift": Snapshot("uplift", 4, NOW, meta={"campaigns": {str(subject.code): meta}})})
    row = build_page(raw, made, (), NOW).models[-1]
    assert (row.version, row.learned, row.examples) == (4, True, 1900)
    assert row.words == (
        "1,000 written to, 900 held out; the message changes conversions by +3.1 pts (+1.2 pts to +5.0 pts); Qini 0.084"
    )


def test_health_and_fairness_are_shown_and_told() -> None:
    made = Definitions.model_validate({"policy": {"fairness": {"attribute": "sex", "values": ["f", "m"]}}})
    good = ScoreHealth(learned=True, examples=900, newest_ms=NOW)
    bad = msgspec.structs.replace(good, drifts=2, last_drift_ms=NOW)
    counted = {"messages|f|n": 500, "messages|f|yes": 400, "messages|m|n": 500, "messages|m|yes": 100}
    raw = RawLive(
        health=(Row("churn", "churn", "drifting", bad), Row("recs", "recs", "fine", good)),
        comparison=Comparison(shadow=3, examples=700, difference=0.01, low=0.004, high=0.016),
        counters={"fair:sex": counted},
        workers=({"role": "decide", "worker": "w", "at": NOW, "events_total": 1},),
    )
    page = build_page(raw, made, (), NOW)
    rows = {row.name: row for row in page.models}
    assert (rows["churn"].state, rows["recs"].state) == ("drifting", "fine")
    assert "0.0040 to 0.0160" in rows["churn"].words
    assert {one.what: one.verdict for one in page.fairness} == {
        "scores": "too few",
        "offers": "too few",
        "messages": "uneven",
    }
    told = [problem.what for problem in page.status.problems]
    assert "Churn score: drifting." in told
    assert any(text.startswith("Messages differ by sex: m gets 0.25 of what f gets") for text in told)
    html = render("models", page)
    assert "drifting" in html
    assert "Fairness of messages by sex" in html
