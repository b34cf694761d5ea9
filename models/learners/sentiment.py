"""Sentiment of a text: naive Bayes over words and pairs, and a lexicon, stacked by an online logistic regression."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import copysign, log, log1p, sqrt
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.learners.base import Weights, sigmoid
from models.learners.second_order import SecondOrderLogistic

FloatArray = npt.NDArray[np.float64]
WordState = tuple[dict[str, tuple[int, int]], tuple[int, int]]
"""Word -> texts with it that are negative, positive; and the sums of these."""

NAME: Final = "sentiment"
FEATURES: Final = ("words", "pairs", "lexicon_positive", "lexicon_negative", "lexicon_balance")
# How far a negation reaches, and what it leaves of a valence (Hutto, Gilbert 2014); what "but" takes and gives.
NEGATION_REACH: Final = 3
NEGATED: Final = -0.74
BEFORE_BUT, AFTER_BUT = 0.5, 1.5
BALANCE: Final = 15.0
MAX_WORDS: Final = 200_000

_WORD = re.compile(r"[^\W_]+(?:'[a-z]+)?|[:;=]['^-]?[()\[\]/|]+|[!?.,;:]|[^\w\s]{2,3}")
_STOPS = frozenset(".,;:!?")


class Lexicon:
    """General knowledge about words.

    Parameters
    ----------
    valence : word -> -4 to 4. boosters : word -> what it adds to the strength of the next one, below 0: takes away.
    negations : words that turn what follows.
    """

    __slots__ = ("boosters", "negations", "valence")

    def __init__(self, valence: Mapping[str, float], boosters: Mapping[str, float], negations: Sequence[str]) -> None:
        self.valence, self.boosters = valence, boosters
        self.negations = frozenset(negations) | {"no"}

    def negates(self, word: str) -> bool:
        """Whether `word` turns what follows."""
        return word in self.negations or word.endswith("n't")


class Reading(NamedTuple):
    """What is learned of a text and judged by.

    Parameters
    ----------
    words : a word behind a negation is another one. pairs : of words that follow each other.
    positive, negative : valence by the lexicon.
    """

    words: list[str]
    pairs: list[str]
    positive: float
    negative: float

    @property
    def balance(self) -> float:
        """What the lexicon alone says: -1 to 1 (Hutto and Gilbert's compound score)."""
        apart = self.positive - self.negative
        return apart / sqrt(apart * apart + BALANCE)


def words_of(text: str) -> list[str]:
    """Words, stops and emoticons of a text, lower case.

    Examples
    --------
    >>> words_of("Didn’t work, AT ALL :-(")
    ["didn't", 'work', ',', 'at', 'all', ':-(']
    """
    return _WORD.findall(text.lower().replace("\u2019", "'"))


class WordBayes:
    """Complement naive Bayes for two classes, counted online: log-odds of a bag of words.

    References
    ----------
    J. Rennie et al., "Tackling the poor assumptions of naive Bayes text classifiers", ICML 2003.
    """

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        self._totals = [0, 0]

    @classmethod
    def of(cls, state: WordState) -> WordBayes:
        """One with these counts."""
        found = cls()
        found._counts, found._totals = {word: list(count) for word, count in state[0].items()}, list(state[1])
        return found

    def log_odds(self, words: Sequence[str]) -> float:
        """Sum over the distinct words that are known, one more added to each count."""
        size = len(self._counts)
        found = 0.0
        base = log((self._totals[0] + size) / (self._totals[1] + size)) if size else 0.0
        for word in sorted(set(words)):
            count = self._counts.get(word)
            if count is not None:
                found += log((count[1] + 1) / (count[0] + 1)) + base
        return found

    def learn(self, words: Sequence[str], y: int) -> None:
        """Count distinct words of a text with label `y`."""
        for word in sorted(set(words)):  # in order: which words are the last to find room must not hang on chance
            count = self._counts.get(word)
            if count is None:
                if len(self._counts) >= MAX_WORDS:
                    continue
                count = self._counts[word] = [0, 0]
            count[y] += 1
            self._totals[y] += 1

    def most_used(self, most: int) -> WordState:
        """Counts of the words that occurred most often, at most so many; once is no evidence."""
        ranked = sorted((word for word, count in self._counts.items() if sum(count) > 1), key=self._rank)
        counts = {word: (self._counts[word][0], self._counts[word][1]) for word in ranked[:most]}
        return counts, (self._totals[0], self._totals[1])

    def _rank(self, word: str) -> tuple[int, str]:
        return -sum(self._counts[word]), word

    def snapshot(self) -> dict[str, Any]:
        """Plain state, words in order."""
        return {"counts": {word: list(self._counts[word]) for word in sorted(self._counts)}, "totals": [*self._totals]}

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted."""
        self._counts = {word: list(count) for word, count in state["counts"].items()}
        self._totals = list(state["totals"])


def figures_of(reading: Reading, words: WordBayes, pairs: WordBayes) -> FloatArray:
    """Figures of `FEATURES` by what is counted."""
    root = sqrt(len(reading.words) + 1)
    figures = [
        words.log_odds(reading.words) / root,
        pairs.log_odds(reading.pairs) / root,
        log1p(reading.positive),
        log1p(reading.negative),
        reading.balance,
    ]
    return np.array(figures)


class WordModel:
    """Learns texts that were read (:func:`read`): what :class:`Sentiment` is but for the lexicon.

    Notes
    -----
    At most `MAX_WORDS` words and as many pairs are counted; later ones are left out.
    """

    def __init__(self) -> None:
        self.name = NAME
        self.count = 0
        self._words, self._pairs = WordBayes(), WordBayes()
        self._stack = SecondOrderLogistic(len(FEATURES), precision=0.1)

    def score(self, reading: Reading) -> float:
        """P(positive); one half before anything was learned."""
        return float(sigmoid(self._stack.linear().log_odds(self.features(reading).reshape(1, -1)))[0])

    def learn(self, reading: Reading, y: int) -> None:
        """Learn one labelled text."""
        self._stack.learn_one(self.features(reading), y)
        self._words.learn(reading.words, y)
        self._pairs.learn(reading.pairs, y)
        self.count += 1

    def features(self, reading: Reading) -> FloatArray:
        """Figures of `FEATURES`."""
        return figures_of(reading, self._words, self._pairs)

    def linear(self) -> Weights:
        """What the figures are weighed by."""
        return self._stack.linear()

    def most_used(self, most: int) -> tuple[WordState, WordState]:
        """Counts of the words and of the pairs that occurred most often, at most so many of each."""
        return self._words.most_used(most), self._pairs.most_used(most)

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        return {
            "name": NAME,
            "count": self.count,
            "words": self._words.snapshot(),
            "pairs": self._pairs.snapshot(),
            "stack": self._stack.snapshot(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted.

        Raises
        ------
        IncompatibleSnapshotError
            The state is of another model.
        """
        if state.get("name") != NAME:
            raise IncompatibleSnapshotError(f"not a state of {NAME}")
        self.count = state["count"]
        self._words.restore(state["words"])
        self._pairs.restore(state["pairs"])
        self._stack.restore(state["stack"])


class Sentiment:
    """Is a text positive? Knows the lexicon from the first text on, and learns how people here write.

    Parameters
    ----------
    lexicon : see :func:`services.lexicon.read_lexicon`.

    Notes
    -----
    Five figures per text (`FEATURES`) go into a second-order logistic regression. Each is computed **before** the text
    is counted, so the stack learns how much words that were never seen are worth. A word within three words behind
    a negation is another word.

    References
    ----------
    C. J. Hutto, E. Gilbert, "VADER: a parsimonious rule-based model for sentiment analysis of social media text", ICWSM
    2014. S. Wang, C. Manning, "Baselines and bigrams", ACL 2012.

    Examples
    --------
    >>> model = Sentiment(Lexicon({"good": 2.0, "bad": -2.0}, {}, ["not"]))
    >>> for _ in range(20):
    ...     model.learn("good", 1)
    ...     model.learn("bad", 0)
    >>> model.score("not good") < 0.5 < model.score("good")
    True
    """

    def __init__(self, lexicon: Lexicon) -> None:
        self.name = NAME
        self.model = WordModel()
        self._lexicon = lexicon

    @property
    def count(self) -> int:
        """Texts learned."""
        return self.model.count

    def score(self, text: str) -> float:
        """P(positive); one half before anything was learned."""
        return self.model.score(read(text, self._lexicon))

    def learn(self, text: str, y: int) -> None:
        """Learn one labelled text."""
        self.model.learn(read(text, self._lexicon), y)

    def features(self, text: str) -> FloatArray:
        """Figures of `FEATURES`."""
        return self.model.features(read(text, self._lexicon))

    def snapshot(self) -> dict[str, Any]:
        """Plain state; the lexicon is no part of it."""
        return self.model.snapshot()

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted.

        Raises
        ------
        IncompatibleSnapshotError
            The state is of another model.
        """
        self.model.restore(state)


def read(text: str, lexicon: Lexicon) -> Reading:
    """Read a text.

    Examples
    --------
    >>> read("Not good", Lexicon({"good": 2.0}, {}, ["not"]))
    Reading(words=['not', 'not good'], pairs=['< not', 'not good', 'good >'], positive=0.0, negative=1.48)
    """
    tokens = words_of(text)
    turned = _turned(tokens, lexicon)
    plain = [token for token in tokens if token not in _STOPS]
    words = [f"not {t}" if n else t for t, n in zip(tokens, turned, strict=True) if t not in _STOPS]
    pairs = [f"{a} {b}" for a, b in zip(["<", *plain], [*plain, ">"], strict=True)]
    return Reading(words, pairs, *_valence(tokens, turned, lexicon))


def _turned(tokens: Sequence[str], lexicon: Lexicon) -> list[bool]:
    found, left = [], 0
    for token in tokens:
        if token in _STOPS or token == "but":
            left = 0
        if lexicon.negates(token):
            left = NEGATION_REACH
            found.append(False)
            continue
        found.append(left > 0)
        left = max(0, left - 1)
    return found


def _valence(tokens: Sequence[str], turned: Sequence[bool], lexicon: Lexicon) -> tuple[float, float]:
    """Positive and negative valence of a text by the lexicon."""
    but = max((place for place, token in enumerate(tokens) if token == "but"), default=-1)
    known, positive, negative = lexicon.valence, 0.0, 0.0
    for place, (token, negated) in enumerate(zip(tokens, turned, strict=True)):
        value = known.get(token)
        if value is None or (token == "no" and place + 1 < len(tokens) and tokens[place + 1] in known):
            continue
        for before in tokens[max(0, place - 2) : place]:
            value += copysign(1.0, value) * lexicon.boosters.get(before, 0.0)
        if negated:
            value *= NEGATED
        if but >= 0:
            value *= BEFORE_BUT if place < but else AFTER_BUT
        positive, negative = positive + max(value, 0.0), negative + max(-value, 0.0)
    return positive, negative
