"""A bandit in YAML: what goes with it, and what is refused with file, line and remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from config.experiment import Experiment
from config.loader import DefinitionError, load_definitions
from config.overrides import Override
from config.settings import PACKAGE_CONFIG_DIR

EXPERIMENT = """\
id: subject
variants:
  - {id: a, weight: 0.5}
  - {id: b, weight: 0.5}
expose_on: message
metrics:
  - {id: clicked, event: Email Link Clicked, within: 7d}
"""
BANDIT = EXPERIMENT + "allocation: bandit\n"
RARE = BANDIT.replace("a, weight: 0.5", "a, weight: 0.98").replace("b, weight: 0.5", "b, weight: 0.02")
RATIO = BANDIT.replace("within: 7d", "within: 7d, kind: ratio, denominator_event: Order Completed")


def load(tmp_path: Path, text: str) -> Experiment:
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "a.yaml").write_text(text)
    return load_definitions(tmp_path, check_templates=False).experiments[0]


# (text, line, part of the message, part of the remedy)
MISTAKES = {
    "a word": (EXPERIMENT + "allocation: thompson\n", 8, "'thompson' is no allocation", "allocation: bandit"),
    "its floor": (EXPERIMENT + "allocation: {floor: 0.5}\n", 8, "nothing to move", "lower floor"),
    "no floor": (EXPERIMENT + "allocation: {floor: 0}\n", 8, "`floor` is 0", "0.05"),
    "a weight below it": (RARE, 8, "below the floor", "each at least"),
    "its metric": (EXPERIMENT + "allocation: {metric: klicked}\n", 8, "no metric here", "id of a metric"),
    "coverage": (EXPERIMENT + "coverage: 0.5\nallocation: bandit\n", 9, "need all users", "namespace"),
    "a roll-out": (EXPERIMENT + "rollout: [0.1, 1.0]\nallocation: bandit\n", 9, "sets the shares", "either"),
    "the method": (EXPERIMENT + "method: fixed\nallocation: bandit\n", 9, "is judged by", "method: always-valid"),
    "parts": (EXPERIMENT + "dimensions: [device]\nallocation: bandit\n", 9, "cannot be compared", "no dimensions"),
    "a ratio": (RATIO, 8, "averages per user", "without kind: ratio"),
    "a covariate": (BANDIT.replace("within: 7d", "within: 7d, covariate: money"), 8, "averages per user", "covariate"),
    "outside services": (
        BANDIT.replace("expose_on: message", "expose_on: {event: Experiment Viewed}"),
        8,
        "by shares of before",
        "another event",
    ),
    "an unknown key": (EXPERIMENT + "allocation: {flor: 0.1}\n", 8, "unknown key `flor`", "did you mean floor?"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_it_is_refused_with_file_line_and_remedy(tmp_path: Path, name: str) -> None:
    text, line, message, remedy = MISTAKES[name]
    with pytest.raises(DefinitionError) as caught:
        load(tmp_path, text)
    assert (caught.value.path, caught.value.line) == (tmp_path / "experiments" / "a.yaml", line)
    assert message in caught.value.message
    assert remedy in caught.value.remedy


def test_what_it_goes_by(tmp_path: Path) -> None:
    found = load(tmp_path, BANDIT)
    assert found.allocation is not None
    assert (found.allocation.floor, found.rewarded.id, found.shares) == (0.05, "clicked", (0.5, 0.5))
    assert found.stepped
    assert "allocation" in found.frozen()
    again = Experiment.model_validate_json(found.model_dump_json(by_alias=True))
    assert again == found


def test_it_is_frozen_with_the_rest(tmp_path: Path) -> None:
    found = load(tmp_path, BANDIT)
    plain = Experiment.model_validate(found.model_dump(mode="json", by_alias=True) | {"allocation": None})
    assert plain.changed(found.frozen()) == ("allocation",)
    assert "allocation" not in plain.frozen()


def test_its_shares_only_move_on() -> None:
    first, second = (Override(experiment="x", step=step, weights=(0.5, 0.5)) for step in (1, 2))
    assert second.follows(first)
    assert not first.follows(second)
    assert not Override(experiment="x", step=2, weights=(0.1, 0.9)).follows(second)


def test_the_example_of_the_page_loads() -> None:
    page = (PACKAGE_CONFIG_DIR.parent / "docs" / "experiments.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n# config/experiments/cart-subjects.yaml.*?```", page, re.DOTALL)
    found = Experiment.model_validate(YAML(typ="safe").load(text.strip("`").removeprefix("yaml")))
    assert found.allocation is not None
    assert [variant.id for variant in found.variants] == ["general", "names-product", "question"]
