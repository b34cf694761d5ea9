"""Association rules as decide and people read them: a snapshot of what goes together, with exact figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Final

import msgspec

from models.learners.envelope import Envelope, payload_in
from models.learners.rules import NAME, Rule

SCHEMA: Final = 1


class RulesPayload(msgspec.Struct, frozen=True):
    """Payload of a ``rules`` snapshot.

    Parameters
    ----------
    baskets : how many were counted. missed : counts of pairs may be too low by so many. pairs : counted.
    cut : baskets of which not all pairs were counted.
    items : baskets with an item, and its name. rules : (given, then, baskets with both).
    """

    baskets: int = 0
    missed: int = 0
    pairs: int = 0
    cut: int = 0
    items: dict[str, tuple[int, str]] = {}
    rules: list[tuple[str, str, int]] = []


class Rules:
    """What goes together.

    Examples
    --------
    >>> rules = Rules(RulesPayload(8, 0, 1, 0, {"tea": (4, "Tea"), "jam": (3, "")}, [("tea", "jam", 3)]))
    >>> [(rule.then, rule.support, rule.confidence, rule.lift) for rule in rules.all()]
    [('jam', 0.375, 0.75, 2.0)]
    >>> rules.confidence("tea", "jam"), rules.confidence("jam", "tea")
    (0.75, 0.0)
    """

    def __init__(self, payload: RulesPayload | None = None, version: int = 0) -> None:
        self.payload, self.version = payload or RulesPayload(), version

    @classmethod
    def from_envelope(cls, envelope: Envelope) -> Rules:
        """Rules of a ``rules`` snapshot.

        Raises
        ------
        IncompatibleSnapshotError
            Another model or layout.
        """
        return cls(payload_in(envelope, NAME, SCHEMA, RulesPayload), envelope.version)

    def all(self) -> Iterable[Rule]:
        """Every rule, strongest first: by lift, then confidence, then names."""
        return sorted(map(self._rule, self.payload.rules), key=lambda rule: (-rule.lift, -rule.confidence, *rule[:2]))

    def confidence(self, given: str, then: str) -> float:
        """Share of baskets with `given` that also hold `then`; 0: there is no such rule."""
        return self._shares.get((given, then), 0.0)

    def name(self, item: str) -> str:
        """Name of a product, "" where none is known."""
        return self.payload.items.get(item, (0, ""))[1]

    @cached_property
    def _shares(self) -> Mapping[tuple[str, str], float]:
        items = self.payload.items
        return {(given, then): both / items[given][0] for given, then, both in self.payload.rules}

    def _rule(self, found: tuple[str, str, int]) -> Rule:
        given, then, both = found
        baskets, items = self.payload.baskets, self.payload.items
        confidence = both / items[given][0]
        return Rule(given, then, both, both / baskets, confidence, confidence * baskets / items[then][0])
