"""What decide knows of reviews: how positive a text is, and which products are disliked."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Final

import msgspec
import numpy as np

from models.errors import IncompatibleSnapshotError
from models.learners.base import Weights, sigmoid
from models.learners.envelope import Envelope
from models.learners.sentiment import FEATURES, NAME, Lexicon, Reading, WordBayes, WordState, figures_of, read

SCHEMA: Final = 1
# A product is disliked when so many reviews or more say so beyond chance (one-sided, 95 %).
LEAST_REVIEWS: Final = 10
ONE_SIDED: Final = 1.645


class SentimentPayload(msgspec.Struct, frozen=True):
    """Payload of a ``sentiment`` snapshot.

    Parameters
    ----------
    learned : whether texts are judged by what was learned; else by the lexicon alone. examples : labelled texts.
    words, pairs : those that occurred most often. weights, bias : of the figures.
    products : reviews, sum and sum of squares of their sentiment (ten-thousandths) by product.
    """

    learned: bool = False
    examples: int = 0
    words: WordState = ({}, (0, 0))
    pairs: WordState = ({}, (0, 0))
    weights: list[float] = []
    bias: float = 0.0
    products: dict[str, tuple[int, int, int]] = {}


def no_words() -> Lexicon:
    """A lexicon that knows nothing."""
    return Lexicon({}, {}, ())


class Opinions:
    """Judges texts; immutable but for what it remembers of its own answers.

    Parameters
    ----------
    lexicon : brings general knowledge about words when the first text comes.
    payload, version : what was learned.

    Examples
    --------
    >>> opinions = Opinions(lambda: Lexicon({"good": 2.0, "bad": -2.5}, {}, ["not"]))
    >>> [round(opinions.sentiment(opinions.read(text)), 2) for text in ("good", "not good", "blue")]
    [0.46, -0.36, 0.0]
    """

    __slots__ = ("_lexicon", "_pairs", "_payload", "_weights", "_words", "version")

    def __init__(
        self, lexicon: Callable[[], Lexicon] = no_words, payload: SentimentPayload | None = None, version: int = 0
    ) -> None:
        self._lexicon, self.version = lexicon, version
        self._payload = payload or SentimentPayload()
        self._words, self._pairs = WordBayes.of(self._payload.words), WordBayes.of(self._payload.pairs)
        self._weights = Weights(np.array(self._payload.weights), self._payload.bias)

    def next(self, envelope: Envelope) -> Opinions:
        """The same lexicon with what a snapshot says.

        Raises
        ------
        IncompatibleSnapshotError
            Another model or layout.
        """
        if (envelope.name, envelope.schema) != (NAME, SCHEMA):
            raise IncompatibleSnapshotError(f"{envelope.name} schema {envelope.schema} is not {NAME} schema {SCHEMA}")
        return Opinions(self._lexicon, payload_of(envelope.payload), envelope.version)

    def first(self) -> Opinions:
        """The same lexicon and nothing learned."""
        return Opinions(self._lexicon)

    @property
    def learned(self) -> bool:
        """Whether texts are judged by what was learned."""
        return self._payload.learned

    def read(self, text: str) -> Reading:
        """What of a text is looked at."""
        return read(text, self._lexicon())

    def sentiment(self, reading: Reading) -> float:
        """-1 to 1: twice P(positive) less 1; what the lexicon says before enough was learned."""
        if not self._payload.learned:
            return reading.balance
        figures = figures_of(reading, self._words, self._pairs).reshape(1, -1)
        return float(2.0 * sigmoid(self._weights.log_odds(figures))[0] - 1.0)

    def disliked(self, below: float | None) -> frozenset[str]:
        """Products whose mean sentiment lies below `below` beyond chance; None: none."""
        if below is None:
            return frozenset()
        return frozenset(item for item, sums in self._payload.products.items() if highest(*sums) < below)


def highest(count: int, total_e4: int, squares_e8: int) -> float:
    """Upper end of the one-sided 95 % interval of a mean sentiment; 1 where reviews are too few to say.

    Examples
    --------
    >>> highest(9, -90_000, 900_000_000), highest(10, -100_000, 1_000_000_000)
    (1.0, -1.0)
    """
    if count < LEAST_REVIEWS:
        return 1.0
    mean = total_e4 / count / 1e4
    spread = max(0.0, squares_e8 / 1e8 - count * mean * mean) / (count - 1)
    return min(1.0, mean + ONE_SIDED * sqrt(spread / count))


def payload_of(packed: bytes) -> SentimentPayload:
    """Decode the payload of a snapshot.

    Raises
    ------
    IncompatibleSnapshotError
        It cannot be read.
    """
    try:
        found = msgspec.msgpack.decode(packed, type=SentimentPayload)
    except msgspec.DecodeError as error:
        raise IncompatibleSnapshotError(f"{NAME} payload: {error}") from error
    if found.learned and len(found.weights) != len(FEATURES):
        raise IncompatibleSnapshotError(f"{NAME} payload was made for other figures than this code computes")
    return found
