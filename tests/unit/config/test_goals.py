"""What can be wrong with a goal, and what Kairos says: file, line, what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.definitions import Definitions
from config.goal import MOST_GOALS, Goal
from config.loader import DefinitionError, load_definitions
from models.campaigns.conditions import condition_fault

GOAL = "id: buy\nevent: Order Completed\nhorizon: 30d\n"
CAMPAIGN = "id: hi\ntrigger: {on: event, event: Signed Up}\nchannel: log\ntemplate: hi\n"
WRONG = {
    "no horizon": (GOAL.replace("horizon: 30d\n", ""), 1, "`horizon` is missing", "horizon: 30d"),
    "horizon too long": (GOAL.replace("30d", "366d"), 1, "between 1h and 365d", "horizon: 30d"),
    "horizon too short": (GOAL.replace("30d", "59m"), 1, "between 1h and 365d", "horizon: 30d"),
    "no duration": (GOAL.replace("30d", "a month"), 3, "'a month' is not a duration", "7d"),
    "unknown key": (GOAL + "within: 30d\n", 4, "unknown key `within`", "did you mean when?"),
    "condition": (GOAL + "when: properties.revenue >\n", 4, "breaks off", "condition such as"),
    "unknown goal in a condition": (GOAL + "when: user.propensity['by'] > 0.1\n", 4, "no goal 'by'", "mean buy?"),
    "an attribute of one person": (
        GOAL + "attributes: [plan, email]\n",
        4,
        "email tells one",
        "[country, plan]",
    ),
    "an attribute twice": (GOAL + "attributes: [plan, plan]\n", 4, "named twice", "each attribute once"),
    "too many attributes": (GOAL + f"attributes: {[f'a{n}' for n in range(9)]}\n", 4, "attributes", "[country"),
    "few orders": (GOAL + "min_orders: -1\n", 4, "min_orders", "1"),
}


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".yaml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def refused(folder: Path) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        load_definitions(folder, condition_fault, check_templates=False)
    return caught.value


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_told_with_its_line_and_remedy(tmp_path: Path, case: str) -> None:
    text, line, message, remedy = WRONG[case]
    error = refused(written(tmp_path, goals__buy=text))
    assert (error.path.name, error.line) == ("buy.yaml", line)
    assert message in error.message
    assert remedy in error.remedy


def test_a_campaign_may_name_only_goals_that_are_defined(tmp_path: Path) -> None:
    when = 'when: |\n  user.orders > 1 &&\n  user.propensity["byu"] >= 0.5\n'
    error = refused(written(tmp_path, goals__buy=GOAL, campaigns__hi=CAMPAIGN + when))
    assert (error.path.name, error.line, error.remedy) == ("hi.yaml", 7, "did you mean buy?")
    (tmp_path / "without").mkdir()
    assert refused(written(tmp_path / "without", campaigns__hi=CAMPAIGN + when)).remedy == "a file goals/byu.yaml"


def test_an_experiment_may_not_ask_for_a_propensity(tmp_path: Path) -> None:
    text = (
        "id: test\nvariants: [{id: a, weight: 0.5}, {id: b, weight: 0.5}]\nexpose_on: {event: Signed Up}\n"
        "metrics: [{id: bought, event: Order Completed, within: 1d}]\nwhen: user.propensity['buy'] > 0.5\n"
    )
    error = refused(written(tmp_path, goals__buy=GOAL, experiments__test=text))
    assert (error.path.name, error.line) == ("test.yaml", 5)
    assert "cannot ask for a propensity" in error.message


def test_ids_and_their_number_are_limited(tmp_path: Path) -> None:
    written(tmp_path, goals__a=GOAL, goals__b=GOAL)
    assert "is taken by a.yaml" in refused(tmp_path).message
    for number in range(MOST_GOALS + 1):
        written(tmp_path, **{f"goals__{chr(97 + number)}": GOAL.replace("buy", f"buy-{number}")})
    assert f"more than {MOST_GOALS} goals" in refused(tmp_path).message


def test_goals_survive_json_and_change_the_version() -> None:
    goal = {"id": "buy", "event": "Order Completed", "horizon": "30d", "when": "properties.revenue > 1.0"}
    found = Definitions.model_validate({"goals": [goal]})
    assert Definitions.from_json(found.to_json()) == found
    assert found.goal_by_id["buy"].horizon_ms == 30 * 86_400_000
    assert found.version() != Definitions().version()


def test_the_code_stands_for_what_is_asked() -> None:
    def code(**changes: object) -> int:
        return Goal.model_validate({"id": "buy", "event": "Order Completed", "horizon": "30d"} | changes).code

    assert code(description="other words") == code(enabled=False) == code()
    changed = {code(event="Signed Up"), code(horizon="31d"), code(when="true"), code(min_orders=1), code(id="b")}
    assert len(changed | {code()}) == 6
