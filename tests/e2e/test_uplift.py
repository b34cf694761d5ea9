"""A message that helps some and puts off others: learn finds whom, a campaign goes by it, and the audit agrees."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from config.loader import load_definitions
from config.settings import Settings
from models.experiments.trial import Trial
from services.cli.main import app
from services.jobs.audit import run_audit
from support.lane import DAY_MS, HOUR_MS, MINUTE_MS, ms, track
from support.ports import wait_until
from support.shop_stack import ShopStack, kairos, shop_stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
START = ms("2010-03-01 08:00")
USERS, DAYS = 300, 8
FILES = {
    "experiments/nudge-control.yaml": """
id: nudge-control
variants: [{id: none, weight: 0.5}, {id: message, weight: 0.5}]
expose_on: message
metrics: [{id: signed, event: Signed Up, within: 12h}]
""",
    "campaigns/nudge.yaml": """
id: nudge
trigger: {on: event, event: Product Added}
channel: log
template: nudge
control: nudge-control
conversion: {event: Signed Up, within: 12h}
""",
    "campaigns/ask.yaml": """
id: ask
trigger: {on: event, event: Asked}
when: user.uplift['nudge'] >= 0.1
channel: log
template: nudge
purpose: transactional
""",
    "templates/nudge.txt": "Come and join us.",
}


@pytest.fixture
def shop(jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShopStack]:
    with shop_stack(jars, tmp_path, FILES, monkeypatch) as made:
        yield made


def day(shop: ShopStack, number: int, rng: random.Random, trial: Trial) -> None:
    """A day of the shop: the message helps whoever looks at much, and puts off the others."""
    begin = START + number * DAY_MS
    for n in range(USERS):
        user, keen, at = f"u{n}", n % 2 == 0, begin + n * 1000
        for view in range(rng.randint(6, 9) if keen else rng.randint(1, 2)):
            shop.bus.publish("clickstream", track("Product Viewed", user, at + view * MINUTE_MS), user)
        shop.bus.publish("clickstream", track("Product Added", user, at + HOUR_MS, product_id="p1"), user)
        treated = trial.variant(user) == "message"
        chance = (0.6 if treated else 0.1) if keen else (0.1 if treated else 0.4)
        if rng.random() < chance:
            shop.bus.publish("clickstream", track("Signed Up", user, at + 5 * HOUR_MS), user)
        if number == DAYS - 1:
            shop.bus.publish("clickstream", track("Asked", user, at + 20 * HOUR_MS), user)
    shop.until(begin + DAY_MS - 1)


def test_whom_a_message_changes_is_found(shop: ShopStack) -> None:
    rng = random.Random(4)
    trial = Trial(load_definitions(Settings().config_dir).experiment_by_id["nudge-control"])

    def learned() -> int:
        return sum(one["examples"] for one in shop.meta("uplift").get("campaigns", {}).values())

    for number in range(DAYS):
        day(shop, number, rng, trial)
        told = sum(one["type"] == "uplift" for one in shop.values("training"))
        wait_until(lambda: learned() >= told, "its outcomes are learned", 60, 0.2)  # noqa: B023
        wait_until(lambda: not told or shop.decides_with(["uplift"]), "it is used", 60, 0.1)  # noqa: B023

    (found,) = kairos("uplift", "--json")["campaigns"]
    assert found["learned"]
    assert found["treated"] + found["held_out"] >= USERS * (DAYS - 2)
    assert found["effect_low"] < found["effect"] < found["effect_high"]
    assert found["judged"] > USERS
    assert found["qini"] > 0.15
    first, *_, last = found["groups"]
    assert first["effect"] > 0.2 > -0.1 > last["effect"]
    assert "nudge" in kairos("uplift")

    # A campaign goes by it.
    asked = {int(one["user"][1:]) for one in shop.values("messages") if one["campaign"] == "ask"}
    assert len(asked) > USERS // 3
    assert sum(n % 2 == 0 for n in asked) > 0.9 * len(asked)

    # What anybody is told.
    (keen,) = kairos("uplift", "u0", "--json")["uplift"]
    (other,) = kairos("uplift", "u1", "--json")["uplift"]
    assert keen["uplift"] > 0.1
    assert other["uplift"] < 0.0
    assert "do not disturb" in kairos("uplift", "u1")
    assert CliRunner().invoke(app, ["uplift", "nobody"]).exit_code == 1

    report = run_audit(Settings())
    assert report.ok, report.sentences()
    versions = {one["versions"]["uplift"] for one in shop.values("journal")}
    assert len(versions) > 2, "decisions were made with several versions, and the audit replayed each"
