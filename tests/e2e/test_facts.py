"""Value and segments from the stream's own labels to a campaign that goes by them; the audit agrees."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import Settings
from services.jobs.audit import run_audit
from support.lane import DAY_MS, HOUR_MS, identify, ms, order, track
from support.ports import wait_until
from support.shop_stack import ShopStack, kairos, shop_stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
START = ms("2010-03-01 08:00")
USERS, WEEKS, STEP_WEEKS = 240, 14, 2
CHURN = "horizon: 21d\nsample_every: 7d\neligible_within: 120d\nmin_orders: 1\n"
CAMPAIGN = """
id: {0}
trigger: {{on: event, event: Product Viewed}}
when: {1}
channel: log
template: {0}
purpose: transactional
cap: {{max: 1, per: 365d}}
"""
CAMPAIGNS = {"rich": "user.expected_value > 150.0", "gone": "user.segment.startsWith('lapsed')"}


FILES = {"churn.yaml": CHURN}
for name, when in CAMPAIGNS.items():
    FILES |= {f"campaigns/{name}.yaml": CAMPAIGN.format(name, when), f"templates/{name}.txt": "Hello."}


@pytest.fixture
def shop(jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShopStack]:
    with shop_stack(jars, tmp_path, FILES, monkeypatch) as made:
        yield made


def weeks(shop: ShopStack, first: int, rng: random.Random) -> None:
    """Two weeks of the shop: one in four spends much every week, one in four little, and the others ordered once."""
    for week in range(first, first + STEP_WEEKS):
        for user in range(USERS):
            at = START + week * 7 * DAY_MS + user * 60_000 + rng.randrange(HOUR_MS)
            rich = user % 4 == 0
            if user % 4 < 2 or week == user % 3:
                money = rng.uniform(80, 120) if rich else rng.uniform(5, 15)
                shop.bus.publish("purchases", order(f"u{user}", at, round(money, 2)), f"u{user}")
            shop.bus.publish("clickstream", track("Product Viewed", f"u{user}", at + HOUR_MS), f"u{user}")
    shop.until(START + (first + STEP_WEEKS) * 7 * DAY_MS - 1)


def test_from_labels_to_a_campaign(shop: ShopStack) -> None:
    rng, names = random.Random(7), ("value", "segments")
    for user in range(USERS):
        shop.bus.publish("profiles", identify(f"u{user}", START - DAY_MS, consent={"log": True}), f"u{user}")
    for first in range(0, WEEKS, STEP_WEEKS):
        weeks(shop, first, rng)
        told = sum(one["type"] == "churn" for one in shop.values("training"))
        wait_until(lambda: shop.meta("value").get("examples", 0) >= told, "its labels are learned", 120, 0.1)  # noqa: B023
        there = [name for name in names if shop.meta(name)]
        wait_until(lambda: shop.decides_with(there), "decisions are made with them", 120, 0.1)  # noqa: B023
    assert there == list(names)

    # The campaigns go by what was learned, and by nothing before that.
    told_to: dict[str, set[int]] = {name: set() for name in CAMPAIGNS}
    for one in shop.values("messages"):
        told_to[one["campaign"]].add(int(one["user"][1:]))
    rich, gone = told_to["rich"], told_to["gone"]
    assert len(rich) >= USERS // 8
    assert all(user % 4 == 0 for user in rich)
    assert gone
    assert not {user for user in gone if user % 4 < 2}, "whoever orders every week has not lapsed"

    # What anybody is told.
    much, once = kairos("value", "u0", "--json"), kairos("value", "u2", "--json")
    assert much["learned"]
    assert much["expected_value"] > 150
    assert once["expected_value"] < 30
    assert much["probability"] > 0.9
    assert once["probability"] < 0.5
    assert much["segment"].startswith("high-value")
    assert once["segment"].startswith("lapsed")
    assert sum(one["share"] for one in kairos("segments", "--json")["segments"]) == pytest.approx(1.0, abs=0.01)
    assert "expected value" in kairos("story", "u0")

    report = run_audit(Settings())
    assert report.ok, report.sentences()
    journal = shop.values("journal")
    for name in names:
        assert len({one["versions"].get(name, 0) for one in journal}) > 2, "decided with several, and each was replayed"
