"""One YAML file: decide asks, learn learns, decide scores with it and a campaign goes by it; the audit agrees."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from config.settings import Settings
from services.cli.main import app
from services.jobs.audit import run_audit
from support.lane import DAY_MS, HOUR_MS, MINUTE_MS, identify, ms, track
from support.ports import wait_until
from support.shop_stack import ShopStack, kairos, shop_stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
GOAL = """
id: sign
description: Signs up within a day
event: Signed Up
horizon: 1d
"""
UPGRADE = """
id: upgrade
event: Upgraded
horizon: 1d
attributes: [plan, country]
"""
CAMPAIGN = """
id: nudge
trigger: {on: event, event: Product Viewed}
when: user.propensity['sign'] >= 0.5
channel: log
template: nudge
purpose: transactional
cap: {max: 1, per: 365d}
"""
START = ms("2010-03-01 08:00")
USERS, DAYS = 400, 8


FILES = {
    "goals/sign.yaml": GOAL,
    "goals/upgrade.yaml": UPGRADE,
    "campaigns/nudge.yaml": CAMPAIGN,
    "templates/nudge.txt": "Come and join us.",
}


@pytest.fixture
def shop(jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShopStack]:
    with shop_stack(jars, tmp_path, FILES, monkeypatch) as made:
        yield made


def day(shop: ShopStack, number: int, rng: random.Random) -> None:
    """A day of the shop: whoever looks at much signs up in the evening, and only the plan tells who upgrades."""
    begin = START + number * DAY_MS
    for user in range(USERS):
        eager = user % 4 == 0
        at = begin + user * 1000
        for view in range(rng.randint(6, 9) if eager else rng.randint(1, 2)):
            shop.bus.publish("clickstream", track("Product Viewed", f"u{user}", at + view * MINUTE_MS), f"u{user}")
        if rng.random() < (0.8 if eager else 0.05):
            shop.bus.publish("clickstream", track("Signed Up", f"u{user}", at + 10 * HOUR_MS), f"u{user}")
        if rng.random() < (0.7 if plan_of(user) == "basic" else 0.1):
            shop.bus.publish("clickstream", track("Upgraded", f"u{user}", at + 11 * HOUR_MS), f"u{user}")
    shop.until(begin + DAY_MS - 1)


def plan_of(user: int) -> str:
    """What a user told of himself; it has nothing to do with who is eager."""
    return "basic" if user % 3 == 0 else "pro"


def test_from_a_file_to_a_decision(shop: ShopStack) -> None:
    rng = random.Random(4)

    def meta(goal: str = "sign") -> dict[str, Any]:
        found = shop.meta("goals").get("goals", {})
        return next((one for one in found.values() if one["goal"] == goal), {})

    for user in range(USERS):
        told_of = identify(f"u{user}", START - DAY_MS, plan=plan_of(user), consent={"log": True})
        shop.bus.publish("profiles", told_of, f"u{user}")
    for number in range(DAYS):
        day(shop, number, rng)
        told = [one for one in shop.values("training") if one["type"] == "goal" and one["goal"] == "sign"]
        wait_until(lambda: meta().get("examples", 0) >= len(told), "its labels are learned", 60, 0.1)  # noqa: B023
        if meta().get("learned"):
            wait_until(lambda: shop.decides_with(["goals"]), "it is used", 60, 0.1)
    found, about = meta(), meta("upgrade")

    # What was learned, judged as it was served.
    assert found["learned"]
    assert found["judged"] > 100
    assert found["auc"] > 0.75
    assert found["log_loss"] < found["rate_log_loss"]
    told = [one for one in shop.values("training") if one["type"] == "goal"]
    assert all(one["known_at"] >= one["due"] for one in told)

    # The campaign goes by it: nobody before it was learned, and the eager ones then.
    nudged = {int(one["user"][1:]) for one in shop.values("messages")}
    assert len(nudged) > USERS // 8
    assert sum(user % 4 == 0 for user in nudged) > 0.8 * len(nudged)

    # What anybody is told.
    eager, upgrading = kairos("propensity", "u0", "--json")["propensities"]
    other, staying = kairos("propensity", "u1", "--json")["propensities"]
    assert eager["probability"] > other["probability"]
    odds = eager["base"] + eager["others"] + sum(one["share"] for one in eager["reasons"])
    assert abs(1 / (1 + 2.718281828459045**-odds) - eager["probability"]) < 0.001

    # What is known about a user counts for the goal that names it, and is told.
    assert about["auc"] > 0.7
    assert upgrading["probability"] > 2.0 * staying["probability"]
    assert (upgrading["reasons"][0]["text"], staying["reasons"][0]["text"]) == ("plan is basic", "plan is pro")
    assert "will sign" in kairos("story", "u0")
    assert CliRunner().invoke(app, ["propensity", "nobody"]).exit_code == 1

    report = run_audit(Settings())
    assert report.ok, report.sentences()
    versions = {one["versions"]["goals"] for one in shop.values("journal")}
    assert len(versions) > 2, "decisions were made with several versions, and the audit replayed each"
