"""The recommender in the stream: learns what is bought together, after each other and again, from every order."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from models.decisions import BasketExample
from models.learners.health import ScoreHealth
from models.learners.model import Model
from models.learners.recommender import Recommender
from models.offers import recs
from models.offers.past import Past


class RecsModel(Model):
    """The recommender behind a session."""

    schema = recs.SCHEMA
    learns = "basket"

    def __init__(self) -> None:
        self.items = Recommender()
        self._decode = msgspec.json.Decoder(BasketExample).decode

    def learn(self, value: bytes) -> None:
        """Learn one :class:`models.decisions.BasketExample`."""
        example = self._decode(value)
        history, times, days = example.history, example.times, example.days
        if len(times) != len(history) or len(days) != len(history):  # of before these were told
            times, days = [1] * len(history), [0] * len(history)
        past = Past.of(
            zip(reversed(history), reversed(times), reversed(days), strict=True),
            example.recent[::-1],
            example.orders,
            example.first_day,
        )
        self.items.learn_basket(example.items, past, example.at, example.categories)

    def payload(self) -> bytes:
        return self.items.payload()

    def meta(self) -> dict[str, Any]:
        return {"baskets": self.items.count, "items": len(self.items.items), "lists": self.items.ranker.count}

    def health(self) -> dict[str, ScoreHealth]:
        items = self.items
        return {"": ScoreHealth(learned=items.count > 0, examples=items.count, **items.watch.figures())}

    def snapshot(self) -> dict[str, Any]:
        return self.items.snapshot()

    def restore(self, state: dict[str, Any]) -> None:
        self.items.restore(state)


MODEL: Final = RecsModel
