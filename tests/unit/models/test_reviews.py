"""Reviews in the stream: counted for the product, kept for the user, seen by campaigns; each once."""

from __future__ import annotations

from typing import Any

import pytest

from config.definitions import Definitions
from models.brain import Brain
from models.learners.opinions import Opinions
from models.profile.codec import encode_profile
from models.profile.merge import merge
from models.profile.person import Reviewer
from models.profile.rest import Folded, folded
from models.profile.state import Profile
from models.reviews import KEY, mean, of_both, told_by
from services.lexicon import read_lexicon
from support.lane import DAY_MS, LaneRig, definitions, identify, ms, order, track

NOON = ms("2010-03-01 12:00")
RECOVERY = {
    "id": "service-recovery",
    "trigger": {"on": "event", "event": "Product Reviewed"},
    "when": "review.sentiment <= -0.5 && user.orders >= 1",
    "channel": "email",
    "template": "x",
    "purpose": "transactional",
}


def rig(**parts: Any) -> LaneRig:
    return LaneRig(Brain(definitions(**parts), opinions=Opinions(read_lexicon)))


def review(user: str, at: int, text: str | None = None, rating: Any = None, item: str = "p1", **more: Any) -> bytes:
    said = {"product_id": item, "review_body": text, "rating": rating} | more
    return track("Product Reviewed", user, at, **{name: value for name, value in said.items() if value is not None})


def test_a_review_is_counted_for_the_product_and_for_the_user() -> None:
    lane = rig()
    lane.feed("clickstream", review("anna", NOON, "Great product, I love it", 5))
    lane.feed("clickstream", review("ben", NOON, "Terrible, it broke. I hate it.", 1), review("cid", NOON, "A lamp."))
    counts = lane.counters(KEY)
    assert (counts["n|p1"], counts["positive|p1"], counts["negative|p1"]) == (3, 1, 1)
    told = [told_by(lane.profile(user)) for user in ("anna", "ben", "cid")]
    assert told[0].sum_e4 > 8_000
    assert told[1].sum_e4 < -8_000
    assert told[2] == (1, 0, 0, NOON // 1000)
    assert counts["sum_e4|p1"] == sum(one.sum_e4 for one in told)


def test_a_review_that_comes_twice_counts_once() -> None:
    lane = rig()
    for _ in range(2):
        lane.feed("clickstream", review("anna", NOON, rating=4))
    assert lane.counters(KEY) == {"n|p1": 1, "sum_e4|p1": 5_000, "positive|p1": 1}


@pytest.mark.parametrize(
    ("rating", "e4"), [(1, -10_000), ("2", -5_000), (3, 0), ("4.0", 5_000), (5, 10_000), (4.5, 7_500)]
)
def test_a_rating_alone_is_a_review(rating: Any, e4: int) -> None:
    lane = rig()
    lane.feed("clickstream", review("anna", NOON, rating=rating))
    assert told_by(lane.profile("anna")).sum_e4 == e4


@pytest.mark.parametrize("rating", [0, 6, -1, True, "good", [5], {"value": 5}, 1e300, "nan", "inf", None])
@pytest.mark.parametrize("text", [None, "", "   ", 7])
def test_what_says_nothing_is_no_review(rating: Any, text: Any) -> None:
    lane = rig(campaigns=[RECOVERY])
    lane.feed("clickstream", review("anna", NOON, text, rating))
    assert lane.counters(KEY) == {}
    assert told_by(lane.profile("anna")).times == 0
    assert lane.state.applied == 1


def test_the_scale_is_the_shops() -> None:
    lane = rig(policy={"reviews": {"best_rating": 10, "positive_from": 8, "negative_to": 4}})
    lane.feed("clickstream", review("anna", NOON, rating=10), review("anna", NOON + 1, rating=1))
    assert lane.counters(KEY) == {"n|p1": 2, "positive|p1": 1, "negative|p1": 1, "sum_e4|p1": 0}


def test_a_review_of_no_product_is_the_users_only() -> None:
    lane = rig()
    lane.feed("clickstream", track("Product Reviewed", "anna", NOON, rating=2))
    assert lane.counters(KEY) == {}
    assert mean(told_by(lane.profile("anna"))) == -0.5


def test_a_bad_review_starts_a_campaign_and_a_good_one_does_not() -> None:
    lane = rig(campaigns=[RECOVERY])
    for user in ("anna", "ben"):
        lane.feed("profiles", identify(user, NOON - DAY_MS, email=f"{user}@x.test"))
        lane.feed("purchases", order(user, NOON - DAY_MS))
    lane.feed("clickstream", review("anna", NOON, "Horrible. Awful quality, very bad.", 1))
    # In one batch, a good one after a bad one of another user, and a bad one of somebody without an order.
    found = lane.feed(
        "clickstream", review("new", NOON + 1, rating=1), review("ben", NOON + 2, rating=5), review("ben", NOON + 3)
    )
    assert found.on("messages") == []
    sent = lane.published.on("messages")
    assert [(one["user"], one["type"]) for one in sent] == [("anna", "SendEmail")]


def test_what_a_user_said_is_a_fact_for_later_conditions() -> None:
    thanks = RECOVERY | {
        "id": "thanks",
        "trigger": {"on": "event", "event": "Product Viewed"},
        "when": "user.reviews == 2 && user.sentiment > 0.4",
        "channel": "log",
    }
    lane = rig(campaigns=[thanks])
    view = [track("Product Viewed", "anna", NOON + 10 * at, product_id="p1") for at in range(3)]
    lane.feed("clickstream", view[0], review("anna", NOON + 1, rating=4), view[1], review("anna", NOON + 11, rating=4))
    assert lane.published.on("messages") == []
    lane.feed("clickstream", view[2])
    assert len(lane.published.on("messages")) == 1


def test_users_without_a_review_carry_no_byte_of_it() -> None:
    lane = rig()
    lane.feed("purchases", order("anna", NOON), order("ben", NOON))
    lane.feed("clickstream", review("ben", NOON + 1, rating=4))
    lane.until(NOON + 100 * DAY_MS)
    anna, ben = lane.profile("anna"), lane.profile("ben")
    assert anna.session_start == ben.session_start == 0
    assert type(folded(anna)) is Folded
    assert len(encode_profile(ben)) > len(encode_profile(anna))
    assert told_by(ben) == (1, 5_000, 5_000, NOON // 1000)


def test_merged_users_said_what_both_said() -> None:
    one = Profile(person=Reviewer(reviews=[2, 5_000, -1_000, 70]))
    other = Profile(person=Reviewer(reviews=[1, -10_000, -10_000, 90]))
    assert told_by(merge(one, other)) == told_by(merge(other, one)) == (3, -5_000, -10_000, 90)
    assert of_both([], [1, 2, 2, 4]) == of_both([1, 2, 2, 4], []) == [1, 2, 2, 4]


def test_before_the_lexicon_there_is_the_rating() -> None:
    """Whoever makes a brain without a lexicon judges no text, and does not fail on one."""
    lane = LaneRig(Definitions())
    lane.feed("clickstream", review("anna", NOON, "great", 5), review("ben", NOON, "great"))
    assert lane.counters(KEY) == {"n|p1": 2, "sum_e4|p1": 5_000, "positive|p1": 1}
