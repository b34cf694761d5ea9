"""What a marketer gets wrong about uplift, and what Kairos says."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.loader import DefinitionError, load_definitions
from models.campaigns.conditions import condition_fault

CAMPAIGN = """id: nudge
trigger: {on: event, event: Product Added}
channel: log
template: nudge
"""
EXPERIMENT = """id: control
variants: [{id: none, weight: 0.5}, {id: message, weight: 0.5}]
expose_on: message
metrics: [{id: ordered, event: Order Completed, within: 7d}]
"""
OFFER = """id: later
kind: shipping
text: Free
"""


def load(folder: Path, **files: str) -> None:
    for place, text in files.items():
        path = folder / (place.replace("_", "/") + ".yaml" if place != "policy" else "policy.yaml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    load_definitions(folder, condition_fault, check_templates=False)


def test_what_is_right_loads(tmp_path: Path) -> None:
    asks = OFFER + "when: user.uplift['nudge'] >= 0.02\n"
    learned = CAMPAIGN + "conversion: {event: Signed Up, within: 3d}\nmin_uplift: 0\n"
    load(tmp_path, campaigns_a=learned + "control: control\n", experiments_a=EXPERIMENT, offers_a=asks)
    load(tmp_path, campaigns_a=learned, experiments_a=EXPERIMENT, offers_a=asks, policy="holdout: control\n")


@pytest.mark.parametrize(
    ("files", "line", "message", "remedy"),
    [
        (
            {"campaigns_a": CAMPAIGN, "offers_a": OFFER + "when: user.uplift['nudge'] > 0.0\n"},
            4,
            "there is no campaign with a control group 'nudge'",
            "control: an-experiment, in the campaign nudge",
        ),
        (
            {"experiments_a": EXPERIMENT + "when: user.uplift['nudge'] > 0.0\n"},
            5,
            "an experiment cannot ask for an uplift",
            "user.orders",
        ),
        ({"campaigns_a": CAMPAIGN + "min_uplift: 0.01\n"}, 5, "nobody can tell what the message changes", "a holdout"),
        ({"campaigns_a": CAMPAIGN + "min_uplift: 2.0\n"}, 5, "", ""),
        ({"campaigns_a": CAMPAIGN + "conversion: {within: 5m}\n"}, 5, "between 1h and 365d", "7d"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, files: dict[str, str], line: int, message: str, remedy: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        load(tmp_path, **files)
    assert caught.value.line == line
    assert message in caught.value.message
    assert remedy in caught.value.remedy
