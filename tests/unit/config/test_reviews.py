"""What conditions may ask of a review, and where; what a policy of reviews may say."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from config.definitions import ReviewPolicy
from config.loader import DefinitionError, load_definitions
from models.campaigns.conditions import condition_fault

CAMPAIGN = """\
id: thanks
trigger: {on: event, event: Order Completed}
channel: email
template: thanks
"""


@pytest.mark.parametrize(
    ("trigger", "when", "told"),
    [
        ("{on: event, event: Product Reviewed}", "review.sentiment < -0.5 && user.sentiment < 0.0", ""),
        ("{on: event, event: Product Reviewed}", "properties.review_body == 'in review.x'", ""),
        ("{on: event, event: Product Reviewed}", "review.mood < 0.0", "review has no field `mood`"),
        ("{on: event, event: Order Completed}", "review.sentiment < 0.0", "there is no `review` here"),
        ("{on: timer, event: Product Reviewed, after: 1h}", "review.sentiment < 0.0", "there is no `review` here"),
    ],
)
def test_only_what_a_review_starts_has_one(tmp_path: Path, trigger: str, when: str, told: str) -> None:
    text = CAMPAIGN.replace("{on: event, event: Order Completed}", trigger) + f'when: "{when}"\n'
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/thanks.html").write_text("hello")
    (tmp_path / "campaigns").mkdir()
    path = tmp_path / "campaigns/thanks.yaml"
    path.write_text(text)
    if not told:
        load_definitions(tmp_path, condition_fault)
        return
    with pytest.raises(DefinitionError) as caught:
        load_definitions(tmp_path, condition_fault)
    assert (caught.value.path, caught.value.line) == (path, 5)
    assert told in caught.value.message


@pytest.mark.parametrize(
    "bad", [{"negative_to": 4}, {"positive_from": 6}, {"negative_to": 0}, {"best_rating": 3}, {"best_rating": 1}]
)
def test_praise_and_complaint_are_apart_and_on_the_scale(bad: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        ReviewPolicy.model_validate(bad)
