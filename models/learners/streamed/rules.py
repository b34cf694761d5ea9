"""Association rules in the stream: what is bought together, counted with every order."""

from __future__ import annotations

from heapq import nsmallest
from typing import Any, Final

import msgspec

from models.decisions import BasketExample
from models.errors import IncompatibleSnapshotError
from models.learners.model import Model
from models.learners.rules import NAME, AssociationRules, Rule
from models.offers.pairs import SCHEMA, RulesPayload

MOST_PAIRS: Final = 400_000
MOST_ITEMS: Final = 50_000
LONGEST_BASKET: Final = 100
# A rule is published from so many baskets with both on, and from one in a thousand on.
LEAST_BASKETS: Final = 5
LEAST_SHARE: Final = 0.001
MOST_OF_ITEM: Final = 10
MOST_RULES: Final = 5_000
# A version is published when a twentieth more baskets are known: every version is kept for the audit.
GROWTH: Final = 20


class RulesModel(Model):
    """Learns :class:`models.decisions.BasketExample`, the examples of the recommender.

    Notes
    -----
    Memory is bounded (:class:`models.learners.rules.AssociationRules`): about 55 MB when all places are taken. Until
    then every figure is exact, but for baskets of more than `LONGEST_BASKET` products, of which not all pairs are
    counted; from then on a count may be too low by what :meth:`meta` calls `missed`. Of each item the `MOST_OF_ITEM`
    rules of highest confidence are published, and of all of them the `MOST_RULES` that most baskets follow.
    """

    schema = SCHEMA
    learns = "basket"

    def __init__(self) -> None:
        self.rules = AssociationRules(MOST_PAIRS, MOST_ITEMS, LONGEST_BASKET)
        self._names: dict[str, str] = {}
        self._published = 0
        self._decode = msgspec.json.Decoder(BasketExample).decode

    def learn(self, value: bytes) -> None:
        """Learn one order."""
        example = self._decode(value)
        self.rules.learn(item for item, *_ in example.items)
        for item, name, *_ in example.items:
            if name and self.rules.count(item):
                self._names[item] = name

    def worth_publishing(self) -> bool:
        """Whether a twentieth more is known than was published."""
        if self.rules.baskets < self._published + max(1, self._published // GROWTH):
            return False
        self._published = self.rules.baskets
        return True

    def published(self) -> list[Rule]:
        """Rules that are told, most baskets first."""
        counted = self.rules
        least = max(LEAST_BASKETS, LEAST_SHARE * counted.baskets, counted.missed + 1)
        by_item: dict[str, list[Rule]] = {}
        for rule in counted.every(least):
            if rule.lift > 1.0:
                by_item.setdefault(rule.given, []).append(rule)
        best = [rule for rules in by_item.values() for rule in nsmallest(MOST_OF_ITEM, rules, _most_sure)]
        return sorted(best, key=lambda rule: (-rule.baskets, rule.given, rule.then))[:MOST_RULES]

    def payload(self) -> bytes:
        told = self.published()
        named = sorted({item for rule in told for item in (rule.given, rule.then)})
        return msgspec.msgpack.encode(
            RulesPayload(
                baskets=self.rules.baskets,
                missed=self.rules.missed,
                pairs=self.rules.pairs,
                cut=self.rules.cut,
                items={item: (self.rules.count(item), self._names.get(item, "")) for item in named},
                rules=[(rule.given, rule.then, rule.baskets) for rule in told],
            )
        )

    def meta(self) -> dict[str, Any]:
        counted = self.rules
        return {"baskets": counted.baskets, "pairs": counted.pairs, "missed": counted.missed, "cut": counted.cut}

    def snapshot(self) -> dict[str, Any]:
        return {"rules": self.rules.snapshot(), "names": dict(self._names)}

    def restore(self, state: dict[str, Any]) -> None:
        try:
            self.rules.restore(state["rules"])
            self._names = dict(state["names"])
        except KeyError as error:
            raise IncompatibleSnapshotError(f"a state of {NAME} without {error}") from error
        self._published = self.rules.baskets  # what was not published yet, the session knows


def _most_sure(rule: Rule) -> tuple[float, int, str]:
    return -rule.confidence, -rule.baskets, rule.then


MODEL: Final = RulesModel
