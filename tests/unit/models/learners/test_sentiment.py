"""Sentiment: what the lexicon says, what is learned, and that it goes on from its state."""

from __future__ import annotations

import numpy as np
import pytest
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from models.errors import IncompatibleSnapshotError
from models.learners.envelope import pack_state, unpack_state
from models.learners.sentiment import Sentiment, words_of
from services.lexicon import read_lexicon

GOOD = ["great sound", "I love it", "works fine, excellent value", "the best coat ever"]
BAD = ["broke at once", "I hate it", "poor quality, do not buy", "the worst coat ever"]


def taught(times: int = 15) -> Sentiment:
    model = Sentiment(read_lexicon())
    for _ in range(times):
        for good, bad in zip(GOOD, BAD, strict=True):
            model.learn(good, 1)
            model.learn(bad, 0)
    return model


def test_one_half_before_anything_was_learned() -> None:
    assert Sentiment(read_lexicon()).score("excellent") == 0.5


def test_words_that_were_never_seen_are_known_by_the_lexicon() -> None:
    model = taught()
    assert model.score("a wonderful, delightful thing") > 0.7
    assert model.score("a horrible, disgusting thing") < 0.3


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("good", "not good"),
        ("very good", "good"),
        ("good", "barely good"),
        ("bad but great", "great but bad"),
        ("it isn't bad", "it is bad"),
    ],
)
def test_lexicon_knows_negation_strength_and_but(better: str, worse: str) -> None:
    features = [Sentiment(read_lexicon()).features(text) for text in (better, worse)]
    assert features[0][4] > features[1][4]


def test_balance_agrees_with_the_analyser_of_the_lexicon() -> None:
    texts = [
        "It was good.",
        "It was not good.",
        "Very bad service",
        "no problem",
        "plain words",
        "good but slow and bad",
    ]
    theirs = [SentimentIntensityAnalyzer().polarity_scores(text)["compound"] for text in texts]
    ours = [float(Sentiment(read_lexicon()).features(text)[4]) for text in texts]
    assert np.corrcoef(theirs, ours)[0, 1] > 0.95
    assert np.sign(np.round(theirs, 2)).tolist() == np.sign(np.round(ours, 2)).tolist()


def test_local_words_are_learned() -> None:
    model = Sentiment(read_lexicon())
    for _ in range(40):
        model.learn("the zip jams", 0)
        model.learn("the zip glides", 1)
    assert model.score("it glides") > 0.6
    assert model.score("it jams") < 0.4


@pytest.mark.parametrize("text", ["", "   ", "!!!", "\U0001f600", "word " * 5000, "日本語", "\x00"])
def test_any_text_is_scored(text: str) -> None:
    model = taught()
    model.learn(text, 1)
    assert 0.0 < model.score(text) < 1.0


def test_words_are_cut_like_a_person_does() -> None:
    assert words_of("Don’t BUY :-( twice!") == ["don't", "buy", ":-(", "twice", "!"]


def test_restored_model_goes_on_bit_by_bit() -> None:
    first = taught()
    packed = pack_state(first.snapshot())
    second = Sentiment(read_lexicon())
    second.restore(unpack_state(packed))
    assert pack_state(second.snapshot()) == packed
    for model in (first, second):
        model.learn("arrived late", 0)
    assert first.score("late again") == second.score("late again")
    assert pack_state(first.snapshot()) == pack_state(second.snapshot())
    with pytest.raises(IncompatibleSnapshotError):
        first.restore({"name": "another"})
