"""What reviews teach: texts from ratings, and which products are disliked beyond chance."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from config.topics import TRAINING
from models.brain import Brain
from models.decisions import ReviewExample
from models.errors import IncompatibleSnapshotError
from models.learners.envelope import Envelope
from models.learners.opinions import LEAST_REVIEWS, Opinions, SentimentPayload, highest, payload_of
from models.learners.session import LearnSession
from models.learners.streamed import sentiment
from models.learners.streamed.sentiment import MIN_EXAMPLES, SentimentModel
from models.offers.past import Past
from models.offers.rank import rank_items
from models.offers.recs import Recs
from services.lexicon import read_lexicon
from services.state.step import Output
from support.lane import LaneRig, definitions, ms, track

NOON = ms("2010-03-01 12:00")
RNG_WORDS = [f"wort{n}" for n in range(30)]


def lane(**reviews: object) -> LaneRig:
    return LaneRig(Brain(definitions(policy={"reviews": reviews}), opinions=Opinions(read_lexicon)))


def told(rig: LaneRig, text: str, rating: object = None, user: str = "u1") -> list[Output]:
    at = NOON + len(rig.logs["clickstream"])
    said: dict[str, Any] = {"product_id": "p1", "review_body": text}
    said |= {} if rating is None else {"rating": rating}
    found = rig.feed("clickstream", track("Product Reviewed", user, at, **said))
    return [one for one in found.outputs if one.topic == TRAINING.name]


def texts(count: int, seed: int = 3) -> list[tuple[str, int]]:
    """Texts in words that no lexicon has; the first ten mean praise, the next ten a complaint."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        good = int(rng.random() < 0.6)
        own = rng.choice(RNG_WORDS[:10] if good else RNG_WORDS[10:20], 3)
        found.append((" ".join([*own, *rng.choice(RNG_WORDS[20:], 3)]), good))
    return found


def taught(count: int) -> tuple[SentimentModel, LaneRig]:
    rig, model = lane(learn_texts=True), SentimentModel()
    for text, good in texts(count):
        for output in told(rig, text, 5 if good else 1):
            model.learn(output.value)
    return model, rig


def test_no_word_leaves_unless_the_policy_says_so() -> None:
    secret = "I live at 7 Mill Lane and it broke"
    (quiet,) = told(lane(), secret, 1)
    assert b"mill" not in quiet.value.lower()
    example = LearnSession("sentiment").model
    example.learn(quiet.value)
    assert example.meta()["examples"] == 0
    assert example.meta()["products"] == 1
    (open_,) = told(lane(learn_texts=True), secret, 1)
    assert b"mill" in open_.value


@pytest.mark.parametrize("rating", [None, 3, 9])
def test_a_text_without_a_telling_rating_teaches_nothing(rating: object) -> None:
    (output,) = told(lane(learn_texts=True), "excellent", rating)
    assert b"excellent" not in output.value


def test_what_customers_write_here_is_learned_and_served() -> None:
    model, rig = taught(400)
    assert model.learned
    served = Opinions(read_lexicon).next(envelope_of(model))
    fresh = texts(200, seed=9)
    right = [(served.sentiment(served.read(text)) > 0) == bool(good) for text, good in fresh]
    assert np.mean(right) > 0.95
    assert {rig.brain.opinions.sentiment(rig.brain.opinions.read(text)) for text, _ in fresh} == {0.0}
    meta = model.meta()
    assert meta["judged"] == 400 - MIN_EXAMPLES
    assert meta["accuracy"] > 0.9 > meta["lexicon_accuracy"]


def envelope_of(model: SentimentModel) -> Envelope:
    return Envelope(
        name="sentiment",
        schema=model.schema,
        library="",
        version=3,
        created_ms=0,
        meta=model.meta(),
        payload=model.payload(),
    )


def test_until_enough_is_known_the_lexicon_judges() -> None:
    model, _ = taught(MIN_EXAMPLES - 1)
    served = Opinions(read_lexicon).next(envelope_of(model))
    assert not served.learned
    assert served.sentiment(served.read("excellent")) == served.read("excellent").balance > 0.5


def test_what_is_published_judges_as_the_learner_does(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = taught(400)
    served = Opinions(read_lexicon).next(envelope_of(model))
    gaps = []
    for text, _ in texts(50, seed=5):
        reading = served.read(text)
        gaps.append(abs(served.sentiment(reading) - (2 * model.words.score(reading) - 1)))
    assert max(gaps) < 0.1, "words seen once are left out, nothing else"
    monkeypatch.setattr(sentiment, "MOST_WORDS", 7)
    assert len(payload_of(model.payload()).words[0]) == 7


def test_products_find_room_and_versions_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentiment, "MOST_PRODUCTS", 3)
    model = SentimentModel()
    versions = 0
    for n in range(1_000):
        item = "often" if n % 2 else f"p{n}"
        example = ReviewExample(id=str(n), user="u", at=n, item=item, sentiment_e4=-5_000, label=-1)
        model.learn(msgspec.json.encode(example))
        versions += model.worth_publishing()
    products = payload_of(model.payload()).products
    assert len(products) == 3
    assert products["often"] == (500, -2_500_000, 500 * 25_000_000)
    assert versions < 70


def test_disliked_is_beyond_chance() -> None:
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(400):  # nobody dislikes these: the mean is exactly the limit
        e4 = np.rint(rng.uniform(-10_000, 6_000, 30)).astype(int).tolist()
        wrong += highest(len(e4), sum(e4), sum(one * one for one in e4)) < -0.2
    assert wrong / 400 < 0.09
    few, many = (LEAST_REVIEWS - 1, -90_000, 9 * 10**8), (40, -360_000, 40 * 81 * 10**6)
    opinions = Opinions(payload=SentimentPayload(products={"few": few, "many": many}))
    assert opinions.disliked(None) == frozenset()
    assert opinions.disliked(-0.5) == {"many"}


def test_what_is_disliked_is_not_recommended() -> None:
    recs = Recs.of({"a": ("A", 100), "b": ("B", 100), "c": ("C", 100)}, {"a": [("b", 5.0), ("c", 4.0)]}, [("b", 9.0)])
    past = Past.of([("a", 1, 14_600)], [], 1, 14_600)
    usual = [one.item for one in rank_items(past, recs, day=14_610, size=3, repeats=True)]
    assert "b" in usual
    without = rank_items(past, recs, day=14_610, size=3, repeats=True, without=frozenset({"b"}))
    assert [one.item for one in without] == [item for item in usual if item != "b"]
    rules = {"policy": {"offers": {"min_sentiment": -0.2}}}
    bad = Opinions(payload=SentimentPayload(products={"b": (40, -360_000, 40 * 81 * 10**6)}))
    assert Brain(definitions(**rules), opinions=bad).disliked == {"b"}
    brain = Brain(definitions(**rules))
    assert brain.with_models(*brain.models[:4], bad).disliked == {"b"}
    assert Brain(definitions(), opinions=bad).disliked == frozenset()


@pytest.mark.parametrize(
    "broken",
    [{"label": 2}, {"sentiment_e4": 10_001}, {"sentiment_e4": "x"}, {"words": [1]}, {"item": None}],
)
def test_a_broken_example_is_refused(broken: dict[str, object]) -> None:
    whole = msgspec.to_builtins(ReviewExample(id="1", user="u", at=0, item="p", sentiment_e4=0, label=-1))
    model = SentimentModel()
    model.learn(msgspec.json.encode(whole))
    with pytest.raises(msgspec.ValidationError):
        model.learn(msgspec.json.encode(whole | broken))
    assert model.reviews == 1


def test_another_layout_is_refused() -> None:
    model, _ = taught(1)
    envelope = envelope_of(model)
    for other in ({"name": "recs"}, {"schema": 99}, {"payload": b"\xc1"}):
        with pytest.raises(IncompatibleSnapshotError):
            Opinions().next(Envelope(**{name: getattr(envelope, name) for name in ENVELOPE} | other))


ENVELOPE = ("name", "schema", "library", "version", "created_ms", "meta", "payload")
