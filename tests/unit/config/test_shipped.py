"""The YAML files that Kairos ships are right, and say what they do."""

from __future__ import annotations

import pytest

from config.definitions import Definitions
from config.loader import load_definitions
from config.settings import PACKAGE_CONFIG_DIR
from models.campaigns.conditions import condition_fault


@pytest.fixture(scope="module")
def shipped() -> Definitions:
    return load_definitions(PACKAGE_CONFIG_DIR, condition_fault)


def test_the_shipped_files_are_right(shipped: Definitions) -> None:
    assert {campaign.trigger.on for campaign in shipped.campaigns} == {"event", "timer", "alert"}
    assert {campaign.channel for campaign in shipped.campaigns} >= {"email", "log"}
    assert {offer.kind for offer in shipped.offers} == {"item", "discount", "shipping"}
    assert shipped.churn.action is not None
    assert Definitions.from_json(shipped.to_json()) == shipped


def test_no_planted_effect_without_the_label_simulated(shipped: Definitions) -> None:
    planted = [experiment for experiment in shipped.experiments if experiment.planted]
    assert planted
    assert all(experiment.simulated for experiment in planted)


def test_every_shipped_file_opens_with_what_it_does() -> None:
    for path in sorted(PACKAGE_CONFIG_DIR.rglob("*.yaml")):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# "), path
        assert len(first) > 40, path
