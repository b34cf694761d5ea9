"""The pure parts of `make bench`: a wrong quantile or a wrong mix would go unseen in its table."""

import doctest
import re
from collections import Counter
from dataclasses import replace
from datetime import date
from importlib import import_module
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
from benchmarks import growth, latency, plot, shop, sizes, whole_job
from benchmarks.growth import Cost
from benchmarks.latency import Latency, quantile, summary
from benchmarks.peers_table import PEERS
from benchmarks.plot import bars
from benchmarks.report import Report, Row, Section
from benchmarks.sections import delay, peers, rules, starts, users
from benchmarks.shop import DAY_SPAN_MS, shop_events
from benchmarks.sizes import Spread, by_field
from benchmarks.starts import Starts
from benchmarks.whole_job import KAIROS, Run
from hypothesis import given
from hypothesis import strategies as st

from config.topics import CLICKSTREAM, PURCHASES
from models.chunk import read_chunk
from models.profile.codec import encode_profile
from models.profile.state import Goods, Profile
from models.wire import Input, Record, decode

END_MS = 1_900_000_000_000
SHOP_EVENTS = {"Product Viewed", "Product Added", "Order Completed", "Products Searched"}


@pytest.mark.parametrize("module", [latency, plot, shop, sizes, whole_job])
def test_doctests(module: ModuleType) -> None:
    assert doctest.testmod(module, raise_on_error=True).attempted > 0


def test_the_shop_has_the_mix_that_the_table_states() -> None:
    records = list(shop_events(20_000, END_MS, span_ms=DAY_SPAN_MS))
    inputs = [decode(Record(i, END_MS, None, one.value), "x", 0) for i, one in enumerate(records)]
    events = [one for one in inputs if isinstance(one, Input)]
    assert len(events) == len(records)
    shares = {name: count / len(events) for name, count in Counter(one.name for one in events).items()}
    assert shares == pytest.approx(
        {"Product Viewed": 0.7, "Product Added": 0.2, "Order Completed": 0.03, "Products Searched": 0.07}, abs=0.01
    )
    assert all(
        (record.topic == PURCHASES.name) == (event.name == "Order Completed")
        for record, event in zip(records, events, strict=True)
    )
    assert 200 < sum(len(one.value) for one in records) / len(records) < 270
    times = [event.at for event in events]
    assert times == sorted(times)
    assert times[0] >= END_MS - DAY_SPAN_MS
    assert times[-1] < END_MS


def test_every_event_of_the_shop_is_accepted() -> None:
    records = [Record(i, END_MS, None, one.value) for i, one in enumerate(shop_events(500, END_MS))]
    batch = read_chunk(
        records, topic=CLICKSTREAM.name, topic_index=0, lane=0, lanes=1, start=0, end=500, future_limit_ms=0
    )
    assert (len(batch.inputs), batch.rejected) == (500, [])
    assert len({event.digest for event in batch.inputs}) == 500


def test_the_same_input_in_every_run() -> None:
    assert list(shop_events(50, END_MS)) == list(shop_events(50, END_MS))


@given(st.lists(st.integers(0, 500), min_size=1, max_size=300), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_the_one_of_the_ranked_list(ages: list[int], share: float) -> None:
    found = quantile(sorted(Counter(ages).items()), share)
    ranked = sorted(ages)
    assert sum(age <= found for age in ranked) >= share * len(ranked)
    assert sum(age < found for age in ranked) < share * len(ranked)


def test_a_latency_counts_the_measured_seconds_only() -> None:
    found = summary([(9, 9_000, 50), (10, 5, 90), (11, 40, 10), (12, 9_000, 50)], 10, 11)
    assert (found.events, found.rate, found.p50, found.p99, found.worst) == (100, 50.0, 5, 40, 40)


def test_a_missed_goal_is_a_missed_row() -> None:
    kairos, slow = Run(1000, 0.01, 0.02), Run(1000, 0.05, 0.1)
    runs = {KAIROS: [kairos], **{peer.name: [Run(1000, 0.0101 * (peer.goal or 1.0), 1.0)] for peer in PEERS}}
    assert not any(row.met is False for row in peers(runs, [], 230.0).rows)
    missed = [row.what for row in peers({**runs, KAIROS: [slow]}, [], 230.0).rows if row.met is False]
    assert missed == [peer.name for peer in PEERS if peer.goal] + [f"{KAIROS}: events per second"]
    at_rates = [Latency(rate, 1, float(rate), 1, 51, 60, 70, 1.0) for rate in (1_000, 20_000)]
    assert [row.met for row in delay(at_rates).rows] == [None, False]
    quick = Latency(20_000, 1, 20_000.0, 1, 49, 60, 70, 1.0)
    cases = [quick, replace(quick, rate=15_000.0), replace(quick, kept_up=False)]
    assert [row.met for row in delay(cases).rows] == [True, False, False]
    assert delay([]).rows == []
    costs = [Cost(1, 10.0, 1.0), Cost(10, 21.0, 1.0), Cost(100, 19.9, 1.0)]
    assert [row.met for row in users(costs).rows] == [None, False, False]
    assert [row.met for row in rules(costs, costs, costs).rows] == [None, None, True] + [None] * 6
    lost = Starts(1.0, 10.0, 12.0, 13.0, 1_000, 12_000, lost=1, twice=0)
    assert [row.met for row in starts(lost).rows if row.met is not None] == [False]


def test_every_row_has_a_cell_for_every_column() -> None:
    costs = [Cost(1, 10.0, 1.0), Cost(10, 11.0, 1.0)]
    sections = [
        peers({KAIROS: [Run(9, 0.01, 0.02)], PEERS[0].name: [Run(9, 0.5, 0.6, 0.1, 0.1)]}, [], 230.0),
        delay([Latency(20_000, 1, 1.0, 1, 2, 50, 60, 1.0)]),
        users([Cost(one.count, 1.0, 1.0, 300.0) for one in costs]),
        rules(costs, costs, costs),
    ]
    for section in sections:
        assert {len(row.more) + 1 for row in section.rows} == {len(section.columns)}


def test_the_definitions_that_grow_are_different_ones() -> None:
    hundred = growth.campaigns(100)
    assert len({one.id for one in hundred}) == 100
    assert sum(one.trigger.event in SHOP_EVENTS for one in hundred) == 40
    assert all(one.trigger.event in SHOP_EVENTS for one in growth.campaigns(100, all_match=True))
    assert len({one.id for one in growth.experiments(50)}) == 50


def test_every_peer_has_its_program_and_its_requirements() -> None:
    folder = Path(whole_job.__file__).parent / "peers"
    for peer in PEERS:
        assert (folder / f"{peer.module}.py").is_file()
        assert "--hash=sha256:" in (folder / f"{peer.venv}.txt").read_text()


def test_bars_are_as_long_as_the_logarithm() -> None:
    svg = bars("x.svg", "a < b", "us", [("one", 1.0), ("ten", 10.0), ("hundred", 100.0)]).svg
    assert ElementTree.fromstring(svg).find("{http://www.w3.org/2000/svg}title") is not None
    widths = [float(found) for found in re.findall(r"width='([\d.]+)' height='20'", svg)]
    assert widths[2] - widths[1] == pytest.approx(widths[1] - widths[0], abs=0.2)


def test_the_page_holds_every_row_and_says_which_goal_was_missed() -> None:
    rows = [Row("speed", "1 us", "<= 2 us", met=True), Row("size", "9 B", "<= 2 B", met=False), Row("plain", "3")]
    report = Report(date(2010, 12, 9), "a broker", "7.0", sections=[Section("One", rows, ["a note"], "a block")])
    page = report.markdown()
    assert "| speed | 1 us | <= 2 us | yes |" in page
    assert "| size | 9 B | <= 2 B | **NO** |" in page
    assert "2010-12-09" in page
    assert [row.what for row in report.missed] == ["size"]


def test_the_table_of_fields_adds_up_to_the_packed_profile() -> None:
    profile = Profile(events=3, recent=["22423"], categories={"home": 15_000}, goods=Goods({"85123A": 1}))
    rows = by_field(profile, [profile])
    # The rest is the array's own header, three bytes from sixteen fields on.
    assert sum(size for _, size, _ in rows) + 3 == len(encode_profile(profile))


def test_spread_of_nothing() -> None:
    assert Spread.of([]) == Spread(0, 0, 0, 0)


def test_the_peer_keeps_the_same_counts() -> None:
    peer = import_module("benchmarks.peers.shop_job")
    profile: dict[str, str] = {}
    for number in range(3):
        event = {
            "type": "track",
            "event": "Product Viewed",
            "userId": "u",
            "messageId": str(number),
            "timestamp": END_MS + number * 1000,
            "properties": {"product_id": f"p{number}", "category": "c"},
        }
        profile |= {name: str(value) for name, value in peer.updated(profile, peer.Event.model_validate(event)).items()}
    assert float(profile["views_30d"]) == pytest.approx(3.0, abs=0.001)
    assert (profile["sessions"], profile["session_events"], profile["recent"]) == ("1", "3", "p0,p1,p2")
