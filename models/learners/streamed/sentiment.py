"""Sentiment in the stream: texts are learned from rated reviews, and what is said about each product is added up."""

from __future__ import annotations

from math import log
from typing import Any, Final

import msgspec

from models.decisions import ReviewExample
from models.errors import IncompatibleSnapshotError
from models.learners.model import Model
from models.learners.opinions import SCHEMA, SentimentPayload
from models.learners.sentiment import NAME, Reading, WordModel

MIN_EXAMPLES: Final = 200
MIN_OF_EACH_LABEL: Final = 20
# Words and pairs that are published, and products whose reviews are added up: the reviewed most often.
MOST_WORDS: Final = 10_000
MOST_PRODUCTS: Final = 20_000
# A version is published when a tenth more reviews are known: every version is kept for the audit.
GROWTH: Final = 10
E4: Final = 10_000
_SURE: Final = 1e-6


class SentimentModel(Model):
    """Learns :class:`models.decisions.ReviewExample`.

    Notes
    -----
    Memory is bounded: 200,000 words and as many pairs of words (:mod:`models.learners.sentiment`), `MOST_PRODUCTS`
    products. A product that comes when there is no more room takes the place of the one that was reviewed least.
    What a text was judged to be before its rating was learned is compared with the rating, beside the lexicon alone.

    Examples
    --------
    >>> model = SentimentModel()
    >>> praise = ReviewExample(id="", user="u1", at=0, item="tea", sentiment_e4=9_000, label=1, words=["good"])
    >>> model.learn(msgspec.json.encode(praise))
    >>> model.meta()["reviews"], model.meta()["examples"], model.learned
    (1, 1, False)
    """

    schema = SCHEMA
    learns = "review"

    def __init__(self) -> None:
        self.words = WordModel()
        self.reviews = 0
        self._published = 0
        self._positives = 0
        # Texts that were judged before their rating was learned; right ones, of these by the lexicon; loss.
        self._judged, self._right, self._lexicon_right, self._loss = 0, 0, 0, 0.0
        self._products: dict[str, list[int]] = {}
        self._decode = msgspec.json.Decoder(ReviewExample).decode

    def learn(self, value: bytes) -> None:
        """Learn one review."""
        example = self._decode(value)
        if example.label not in {-1, 0, 1} or abs(example.sentiment_e4) > E4:
            raise msgspec.ValidationError("no label or sentiment of a review")
        self.reviews += 1
        if example.item:
            self._add(example.item, example.sentiment_e4)
        if example.words and example.label in (0, 1):
            positive, negative = example.positive_e4 / E4, example.negative_e4 / E4
            self._learn_text(Reading(example.words, example.pairs, positive, negative), example.label)

    @property
    def learned(self) -> bool:
        """Whether enough rated texts of both kinds are known; until then the lexicon judges."""
        fewer = min(self._positives, self.words.count - self._positives)
        return self.words.count >= MIN_EXAMPLES and fewer >= MIN_OF_EACH_LABEL

    def worth_publishing(self) -> bool:
        """Whether a tenth more is known than was published."""
        if self.reviews < self._published + max(1, self._published // GROWTH):
            return False
        self._published = self.reviews
        return True

    def payload(self) -> bytes:
        words, pairs = self.words.most_used(MOST_WORDS)
        linear = self.words.linear()
        return msgspec.msgpack.encode(
            SentimentPayload(
                learned=self.learned,
                examples=self.words.count,
                words=words,
                pairs=pairs,
                weights=[float(weight) for weight in linear.weights],
                bias=float(linear.bias),
                products={item: (sums[0], sums[1], sums[2]) for item, sums in self._products.items()},
            )
        )

    def meta(self) -> dict[str, Any]:
        judged = self._judged
        found = {
            "learned": self.learned,
            "examples": self.words.count,
            "reviews": self.reviews,
            "products": len(self._products),
        }
        if not judged:
            return found
        return found | {
            "judged": judged,
            "accuracy": round(self._right / judged, 4),
            "lexicon_accuracy": round(self._lexicon_right / judged, 4),
            "log_loss": round(self._loss / judged, 4),
        }

    def snapshot(self) -> dict[str, Any]:
        return {
            "words": self.words.snapshot(),
            "counts": [self.reviews, self._positives, self._judged, self._right, self._lexicon_right],
            "loss": self._loss,
            "products": {item: list(sums) for item, sums in self._products.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        try:
            counts, self._loss = state["counts"], state["loss"]
            self.reviews, self._positives, self._judged, self._right, self._lexicon_right = counts
            self._products = {item: list(sums) for item, sums in state["products"].items()}
            self.words.restore(state["words"])
        except (KeyError, ValueError) as error:
            raise IncompatibleSnapshotError(f"a state of {NAME} without {error}") from error
        self._published = self.reviews  # what was not published yet, the session knows

    def _learn_text(self, reading: Reading, label: int) -> None:
        if self.learned:
            p = min(max(self.words.score(reading), _SURE), 1.0 - _SURE)
            self._judged += 1
            self._right += int((p >= 0.5) == bool(label))
            self._lexicon_right += int((reading.balance >= 0.0) == bool(label))
            self._loss -= log(p if label else 1.0 - p)
        self.words.learn(reading, label)
        self._positives += label

    def _add(self, item: str, e4: int) -> None:
        sums = self._products.get(item)
        if sums is None:
            if len(self._products) >= MOST_PRODUCTS:
                # Of equals the one that is known longest: the order of the keys.
                del self._products[min(self._products, key=lambda known: self._products[known][0])]
            sums = self._products[item] = [0, 0, 0]
        sums[0] += 1
        sums[1] += e4
        sums[2] += e4 * e4


MODEL: Final = SentimentModel
