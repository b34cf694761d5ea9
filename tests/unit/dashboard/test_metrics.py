"""docs/metrics.md says what /metrics answers and what the workers write, no more and no less."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from config.loader import load_definitions
from config.settings import PACKAGE_CONFIG_DIR, Settings
from models.lane import LaneState
from models.offers.figures import figures
from services.dashboard.build import build_page
from services.dashboard.metrics import NAMES, exposition
from services.state import live
from services.state.live import TAIL_KINDS, RawLive, Snapshot, tail_key, worker_key
from streams.judge import JudgeRole
from streams.metrics import DecideMeter
from support.cards import card_of, shares
from support.metrics_doc import DOC, documented_fields, documented_keys, documented_metrics

ROOT = PACKAGE_CONFIG_DIR.parent
NOW = 1_700_000_000_000
QUANTILES = {"p50": 1.0, "p95": 2.0, "p99": 3.0, "n": 9}
DECIDE = {
    "role": "decide",
    "worker": "w1",
    "at": NOW,
    "events_total": 5,
    "events_per_s": 2.0,
    "lag": {"purchases-0": 7},
    "latency_ms": QUANTILES,
    "log_latency_ms": QUANTILES,
    "alerts_total": 1,
    "offers_total": 2,
    "messages_total": 3,
    "watermarks": {"0": NOW},
    "cpu_s": 4.0,
}
CART = load_definitions(PACKAGE_CONFIG_DIR).experiment_by_id["cart-subject"]
CARD = card_of(CART, {"general": {"clicked": shares(10, 2)}, "names-product": {"clicked": shares(11, 3)}})
GOAL = load_definitions(PACKAGE_CONFIG_DIR).goal_by_id["buy-again"]
JUDGED = {"judged": 9, "auc": 0.8, "log_loss": 0.4, "rate_log_loss": 0.6, "calibration": 0.02, "rate": 0.3}
GOALS = {"goals": {str(GOAL.code): {"learned": True, "examples": 9, "first_label_ms": NOW, **JUDGED}}}
FULL = RawLive(
    workers=(DECIDE,),
    silent=(("learn", "w2", NOW - 60_000),),
    lanes={0: LaneState(watermarks=[NOW] * 4, received=12, applied=9, duplicate=1, rejected=1, forwarded=1)},
    campaigns={"order-thanks": {"decided": 5, "sent": 4, "opened": 1, "suppressed:no_consent": 2, "unknown": 1}},
    cards={"cart-subject": CARD},
    recommended=figures({"home": {"d|1|rankings": 2, "d|1|shown": 20, "d|1|money_minor": 5, "p|1|shown": 2}}, {}, {}),
    snapshots={"churn": Snapshot("churn", 3, NOW - 1000), "goals": Snapshot("goals", 2, NOW - 1000, meta=GOALS)},
)


def served(raw: RawLive = FULL) -> dict[str, tuple[str, set[frozenset[str]]]]:
    """Type and label sets by sample name, as a scraper reads them."""
    text = exposition(build_page(raw, load_definitions(PACKAGE_CONFIG_DIR), (), NOW)).decode()
    found: dict[str, tuple[str, set[frozenset[str]]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, (family.type, set()))[1].add(frozenset(sample.labels))
    return found


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    told = documented_metrics()
    answered = served()
    assert answered.keys() == told.keys()
    for name, (kind, labels) in answered.items():
        assert kind == told[name].kind, name
        assert labels == {told[name].labels}, name
        assert told[name].meaning, name


def test_every_name_is_served() -> None:
    """A name in the list that no page can show would be documented for nothing."""
    assert {name.removesuffix("_total") for name in served()} == set(NAMES)


def test_the_values_of_labels_that_are_few_are_documented() -> None:
    text = exposition(build_page(FULL, load_definitions(PACKAGE_CONFIG_DIR), (), NOW)).decode()
    for name, label in (
        ("kairos_records_total", "outcome"),
        ("kairos_messages_total", "state"),
        ("kairos_recommended_total", "what"),
        ("kairos_recommended_money_total", "attribution"),
    ):
        values = set(re.findall(rf'^{name}{{.*?{label}="(\w+)"', text, re.M))
        meaning = documented_metrics()[name].meaning
        assert values
        assert not {value for value in values if value not in re.findall(r"\w+", meaning)}


def test_no_metric_holds_a_user() -> None:
    assert not {name for name, (_, sets) in served().items() if any({"user", "user_id"} & labels for labels in sets)}


def test_the_rules_of_the_page_name_metrics_that_exist() -> None:
    rules = re.findall(r"expr: (.*)", DOC)
    assert rules
    for rule in rules:
        assert set(re.findall(r"kairos_\w+", rule)) <= documented_metrics().keys()


# ------------------------------------------------------------------ Redis


def test_every_key_is_documented() -> None:
    keys = {live.WORKERS_KEY, live.DEMO_KEY, worker_key("<role>", "<worker>"), tail_key("<kind>")}  # type: ignore[arg-type]
    assert documented_keys() == keys
    assert all(kind in DOC.partition("`live:tail:<kind>`")[2].partition("\n")[0] for kind in TAIL_KINDS)


def test_no_other_key_is_written_elsewhere() -> None:
    """Keys are named in `services/state` alone."""
    found = {
        str(path.relative_to(ROOT)): name
        for package in ("models", "services", "streams")
        for path in Path(ROOT, package).rglob("*.py")
        for name in re.findall(r"""["'](live:[\w:{}]+)["']""", path.read_text(encoding="utf-8"))
    }
    assert set(found) == {"services/state/live.py"}


def test_every_field_of_a_decide_worker_is_documented() -> None:
    """Those of learn and deliver: tests/e2e/test_compose_local.py, where they run."""
    told = DecideMeter().payload({}, {}, 0.0).keys() | {"role", "worker"}
    assert documented_fields()["decide"] == told


def test_every_field_of_the_judge_is_documented() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.judge.Publisher", lambda *_, **__: None)  # nothing is published here
        role = JudgeRole(Settings(), lambda: NOW)
    assert documented_fields()["judge"] == role._figures(1.0).keys() | {"role", "worker"}
