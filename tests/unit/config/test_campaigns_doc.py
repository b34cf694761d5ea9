"""docs/campaigns.md explains every key that a YAML file may have, with its default, and its examples load."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from ruamel.yaml import YAML

from config import definitions as d
from config.definitions import Definition
from config.overrides import Override
from config.settings import PACKAGE_CONFIG_DIR
from config.webhook import Webhook
from models.campaigns.conditions import USER_FIELDS, condition_fault

DOC = (PACKAGE_CONFIG_DIR.parent / "docs" / "campaigns.md").read_text(encoding="utf-8")
MODELS: dict[str, type[Definition]] = {
    "Campaign": d.Campaign,
    "Trigger": d.Trigger,
    "Conversion": d.Conversion,
    "Cap": d.Cap,
    "Offer": d.Offer,
    "Experiment": d.Experiment,
    "Variant": d.Variant,
    "Metric": d.Metric,
    "Exposure": d.ExposeOn,
    "Namespace": d.Namespace,
    "Dimension": d.Dimension,
    "Plan": d.ExperimentPlan,
    "Allocation": d.Allocation,
    "Ruling": d.Ruling,
    "Goal": d.Goal,
    "Webhook": Webhook,
    "Churn": d.Churn,
    "Action": d.ChurnAction,
    "Policy": d.Policy,
    "Fairness": d.Fairness,
    "Quiet hours": d.QuietHours,
    "Offers decision": d.OfferPolicy,
    "Recommendations": d.RecommendationPolicy,
    "Reviews": d.ReviewPolicy,
}
ROWS = {
    (heading.strip(), row[0]): row
    for heading, body in re.findall(r"^#+ Keys: (.+?)\n(.*?)(?=^#|\Z)", DOC, re.M | re.S)
    for row in re.findall(r"^\| `([a-z_]+)` \| (.*?) \| (.*?) \|$", body, re.M)
}


def keys(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


@pytest.mark.parametrize("heading", MODELS)
def test_every_key_has_its_row_with_what_it_means(heading: str) -> None:
    for key, field in keys(MODELS[heading]).items():
        assert (heading, key) in ROWS, f"docs/campaigns.md lacks {key} under 'Keys: {heading}'"
        _, default, meaning = ROWS[heading, key]
        assert field.description == meaning, f"{heading}.{key}"
        assert (default == "**required**") == (field.default is PydanticUndefined and field.default_factory is None)
        assert field.examples, f"{heading}.{key} has no example, which the error messages show"


def test_no_row_is_left_over() -> None:
    assert {(heading, key) for heading, model in MODELS.items() for key in keys(model)} == set(ROWS)


def test_every_model_is_in_the_list() -> None:
    every = {model for model in Definition.__subclasses__() if model not in {d.Definitions, Override}}
    assert every == set(MODELS.values())


def test_every_field_of_user_is_explained() -> None:
    explained = set(re.findall(r"^\| `user\.(\w+)` \|", DOC, re.M))
    assert explained == set(USER_FIELDS)


def test_the_examples_load() -> None:
    kinds: dict[str, type[Definition]] = {
        "campaigns": d.Campaign,
        "offers": d.Offer,
        "experiments": d.Experiment,
        "goals": d.Goal,
        "webhooks": Webhook,
    }
    found = re.findall(r"```yaml\n# config/(\w+)/([\w-]+)\.yaml\n(.*?)```", DOC, re.S)
    assert {kind for kind, _, _ in found} == set(kinds)
    for kind, _, text in found:
        loaded = kinds[kind].model_validate(YAML(typ="safe", pure=True).load(text))
        when = getattr(loaded, "when", None)
        assert when is None or condition_fault(when) is None


def test_the_conditions_in_the_text_compile() -> None:
    section = DOC.split("## Conditions")[1].split("\n## ")[0]
    examples = re.findall(r"^    (\S.*)$", section, re.M)
    assert len(examples) >= 4
    for text in examples:
        assert condition_fault(text) is None, text


def test_the_error_shown_is_the_error_that_comes(tmp_path: Path) -> None:
    from config.loader import DefinitionError, load_definitions

    shown = re.search(r"```text\n(\S+):(\d+): (.*)\n  write: (.*)\n```", DOC)
    assert shown is not None
    name, line, message, remedy = shown.groups()
    source = (PACKAGE_CONFIG_DIR / "campaigns" / Path(name).name).read_text(encoding="utf-8")
    path = tmp_path / "campaigns" / Path(name).name
    path.parent.mkdir()
    path.write_text(source.replace("channel: email", "chanel: email"), encoding="utf-8")
    with pytest.raises(DefinitionError) as caught:
        load_definitions(tmp_path, condition_fault, check_templates=False)
    told = [(one.line, one.message, one.remedy) for one in (caught.value, *caught.value.others)]
    assert (int(line), message, remedy) in told
