"""The general lexicon of the sentiment model: VADER's, from the package vaderSentiment (MIT, C. J. Hutto)."""

from __future__ import annotations

from functools import cache

from vaderSentiment.vaderSentiment import BOOSTER_DICT, NEGATE, SentimentIntensityAnalyzer

from models.learners.sentiment import Lexicon


@cache
def read_lexicon() -> Lexicon:
    """Some 7,500 words and emoticons with valences that people gave them, boosters and negations.

    Examples
    --------
    >>> lexicon = read_lexicon()
    >>> lexicon.valence["excellent"] > 2, lexicon.negates("don't"), lexicon.boosters["very"] > 0
    (True, True, True)
    """
    return Lexicon(SentimentIntensityAnalyzer().lexicon, BOOSTER_DICT, NEGATE)
