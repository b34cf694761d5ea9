"""Reviews of products: what they say about the product, about the user, and to learn from.

The sentiment of a review is a number from -1 to 1: of its text, of its rating, or the mean of the two where it has
both. It is counted for the product in the transaction that applies the review, kept in the profile of who wrote it, and
seen by the conditions of campaigns that the review starts.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec.structs import replace

from config.rules import ReviewPolicy
from models.decisions import ReviewExample, effect_id
from models.profile.person import reviews_of, with_reviews
from models.profile.state import E4, Profile
from models.profile.update import item_id
from models.wire import Input

if TYPE_CHECKING:
    from models.decide import Turn

REVIEWED: Final = "Product Reviewed"
# Counter hash; its fields are a kind and the product, see `FIELDS`.
KEY: Final = "reviews"
REVIEWS, TOTAL, POSITIVE, NEGATIVE = "n|", "sum_e4|", "positive|", "negative|"
FIELDS: Final = (REVIEWS, TOTAL, POSITIVE, NEGATIVE)
# From here on a review is positive, and below the opposite of it negative; between them it says neither.
CLEAR_E4: Final = 1_000
# Of a longer text the rest is not read.
MOST_CHARACTERS: Final = 2_000


class Told(NamedTuple):
    """What `times` reviews of a user say; sentiment in ten-thousandths, `last_at` in seconds."""

    times: int = 0
    sum_e4: int = 0
    last_e4: int = 0
    last_at: int = 0


def told_by(profile: Profile) -> Told:
    """What a user said in reviews."""
    return Told(*reviews_of(profile.open_person())) if profile.person else Told()


def mean(told: Told) -> float:
    """Mean sentiment; 0, neither good nor bad, of users without a review."""
    return round(told.sum_e4 / told.times / E4, 4) if told.times else 0.0


def on_event(turn: Turn, profile: Profile, event: Input) -> None:
    """A product was reviewed. What says nothing (no text, no rating of the shop's scale) is no review."""
    turn.review = None
    properties = event.document()["properties"]
    policy, opinions = turn.brain.definitions.policy.reviews, turn.brain.opinions
    rating = rating_of(properties.get("rating"), policy)
    text = properties.get("review_body")
    parts, reading = [], None
    if isinstance(text, str) and text.strip():
        reading = opinions.read(text[:MOST_CHARACTERS])
        parts.append(opinions.sentiment(reading))
    if rating is not None:
        parts.append(2.0 * (rating - 1.0) / (policy.best_rating - 1.0) - 1.0)
    if not parts:
        return
    # Rounded: what is stored and compared later must not hang on the last bits.
    e4 = round(sum(parts) / len(parts) * E4)
    turn.review = {"sentiment": e4 / E4} | ({} if rating is None else {"rating": rating})
    item = item_id(event.properties)
    if item is not None:
        turn.out.count(KEY, REVIEWS + item)
        turn.out.count(KEY, TOTAL + item, e4)
        if abs(e4) >= CLEAR_E4:
            turn.out.count(KEY, (POSITIVE if e4 > 0 else NEGATIVE) + item)
    _remember(profile, e4, event.at // 1000)
    label = label_of(rating, policy)
    example = ReviewExample(
        id=effect_id("sentiment", "review", event.user, event.message_id),
        user=event.user,
        at=event.at,
        item=item or "",
        sentiment_e4=e4,
        label=-1 if label is None else label,
    )
    if policy.learn_texts and reading is not None and label is not None:
        example = replace(
            example,
            words=sorted(set(reading.words)),
            pairs=sorted(set(reading.pairs)),
            positive_e4=round(reading.positive * E4),
            negative_e4=round(reading.negative * E4),
        )
    if example.item or example.words:
        turn.out.effects.append(example)


def rating_of(value: Any, policy: ReviewPolicy) -> float | None:
    """A rating as a number (senders write it as text, too); None if it is none or lies beyond the shop's scale.

    Examples
    --------
    >>> [rating_of(value, ReviewPolicy()) for value in (4, "4.5", 0, 6, "good", True, None, float("nan"))]
    [4.0, 4.5, None, None, None, None, None, None]
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if isfinite(found) and 1.0 <= found <= policy.best_rating else None


def label_of(rating: float | None, policy: ReviewPolicy) -> int | None:
    """What a rating teaches about the text beside it: 1 praise, 0 complaint, None neither."""
    if rating is None or policy.negative_to < rating < policy.positive_from:
        return None
    return int(rating >= policy.positive_from)


def of_both(one: list[int], other: list[int]) -> list[int]:
    """What two profiles that become one said in reviews."""
    if not one or not other:
        return list(one or other)
    first, second = Told(*one), Told(*other)
    last = max(first, second, key=lambda told: (told.last_at, told.last_e4))
    return [first.times + second.times, first.sum_e4 + second.sum_e4, last.last_e4, last.last_at]


def _remember(profile: Profile, e4: int, at: int) -> None:
    before = told_by(profile)
    last = (e4, at) if at >= before.last_at else (before.last_e4, before.last_at)
    profile.person = with_reviews(profile.open_person(), [before.times + 1, before.sum_e4 + e4, *last])
