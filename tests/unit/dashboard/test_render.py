"""HTML and Prometheus text of the page's data."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from config.definitions import Definitions
from config.settings import PACKAGE_CONFIG_DIR
from models.lane import LaneState
from models.offers.figures import figures
from services.dashboard.build import build_away, build_page
from services.dashboard.metrics import NAMES, exposition
from services.dashboard.render import PARTS, render, render_unsubscribe
from services.dashboard.status import away_status
from services.state.alerts import ToldAlert
from services.state.live import RawLive, Snapshot

NOW = 1_700_000_000_000
EVIL = '<img src=x onerror=alert(1)>"&'


def full() -> RawLive:
    return RawLive(
        workers=(
            {
                "role": "decide", "worker": "w1", "at": NOW, "events_per_s": 12.0,
                "lag": {"clickstream-0": 3},
                "watermarks": {"0": NOW}, "latency_ms": {"p50": 1, "p95": 2, "p99": 3, "n": 4}, "cpu_s": 1.5,
            },
        ),
        silent=(("learn", EVIL, NOW),),
        tails=dict.fromkeys(("alerts", "events"), (dict.fromkeys(("text", "user", "tag", "detail"), EVIL),)),
        demo={"clock": "2010-03-14T09:32:00+00:00", "label": EVIL},
        lanes={0: LaneState(0, [NOW] * 4, 10, 10)},
        alerts=(ToldAlert(EVIL, "churn-alert", EVIL, NOW, 0.8, [EVIL], EVIL, False, True, None, {}),),
        recommended=figures(
            {EVIL: {"d|1|rankings": 2, "d|1|shown": 20, "p|1|shown": 2}, "simulated": {"d|1|rankings": 1}},
            {f"shown|{EVIL}": 1},
            {EVIL: EVIL},
        ),
        snapshots={"bandit": Snapshot("bandit", 3, NOW, meta={"sets": [
            {"reward": EVIL, "within_ms": 1000, "contextual": True, "arms": [
                {"offer": EVIL, "n": 4, "rewards": 1, "rate": 0.25, "low": 0.1, "high": 0.5, "share_e6": 900_000},
                {"offer": "b", "n": 0, "rewards": 0, "rate": None, "low": 0.0, "high": 1.0, "share_e6": 100_000},
            ]}] * 4})},
        counters={"offer:plain": {"first": 4}},
    )  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("raw", [RawLive(), full()], ids=["empty", "full"])
def test_every_part_renders_and_nothing_from_outside_becomes_markup(part: str, raw: RawLive) -> None:
    html = render(part, build_page(raw, Definitions(), (), NOW))
    assert html.strip()
    assert "<img" not in html
    assert "<script" not in html


@pytest.mark.parametrize("part", PARTS)
def test_every_part_renders_while_redis_is_away(part: str) -> None:
    assert render(part, build_away(away_status("127.0.0.1:1"), (), NOW)).strip()


def test_the_cards_of_offers_and_recommended_products() -> None:
    offer = {"id": "plain", "kind": "item", "text": "{item}"}
    bandit = Definitions.model_validate({"policy": {"offers": {"choose": "bandit"}}, "offers": [offer]})
    told = render("bandit", build_page(full(), bandit, (), NOW))
    assert "rewarded 1 of 4 times: 25.0 % (10.0 % to 50.0 %)" in told
    assert "The 3 sets chosen from last, of 4" in told
    assert "first 4 times" in told
    assert "equal shares" in render("bandit", build_page(RawLive(), bandit, (), NOW))
    assert "The one of the highest priority" in render("bandit", build_page(full(), Definitions(), (), NOW))
    told = render("recommended", build_page(full(), Definitions(), (), NOW))
    assert "1 of 1 product" in told
    assert "views and clicks are made up" in told
    assert "Attributed, not caused" in told


def test_metrics_parse_and_every_name_is_declared() -> None:
    page = build_page(full(), Definitions(), (), NOW)
    families = {family.name: family for family in text_string_to_metric_families(exposition(page).decode())}
    assert set(families) <= set(NAMES)
    assert families["kairos_redis_up"].samples[0].value == 1
    assert families["kairos_ledger_balanced"].samples[0].value == 1
    applied = [s for s in families["kairos_records"].samples if s.labels["outcome"] == "applied"]
    assert [(sample.name, sample.value) for sample in applied] == [("kairos_records_total", 10)]
    quantiles = {s.labels["quantile"]: s.value for s in families["kairos_latency_seconds"].samples}
    assert quantiles == {"0.5": 0.001, "0.95": 0.002, "0.99": 0.003}


def test_away_reports_only_that() -> None:
    text = exposition(build_away(away_status("127.0.0.1:1"), (), NOW)).decode()
    families = list(text_string_to_metric_families(text))
    assert [(one.name, one.samples[0].value) for one in families] == [("kairos_redis_up", 0)]


def test_every_metric_is_explained_where_it_is_declared() -> None:
    source = (PACKAGE_CONFIG_DIR.parent / "services" / "dashboard" / "metrics.py").read_text()
    for name in NAMES:
        assert re.search(rf"# [^\n]+\n    \"{name}\",", source), f"{name} has no comment above it"


@pytest.mark.parametrize("state", ["ask", "done", "invalid", "later"])
def test_the_unsubscribe_page_stands_alone(state: str) -> None:
    html = render_unsubscribe(state=state, token='a"b')
    assert ("<form" in html) == (state == "ask")
    assert 'a"b' not in html
    assert "http" not in html
    assert "<script" not in html
