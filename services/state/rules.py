"""What is bought together: the newest association rules that were published."""

from __future__ import annotations

import threading

import msgspec
import redis

from models.learners.rules import NAME
from models.offers.pairs import Rules
from services.state.snapshots import SnapshotReader


class ToldRule(msgspec.Struct, frozen=True):
    """Who buys `given` also buys `then`: see :class:`models.learners.rules.Rule`."""

    given: str
    given_name: str
    then: str
    then_name: str
    baskets: int
    support: float
    confidence: float
    lift: float


class RuleReader:
    """Reads; synchronous, from any thread. A version is decoded once.

    Parameters
    ----------
    client : of Redis.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._snapshots = SnapshotReader(client)
        self._rules = Rules()
        self._told: list[ToldRule] = []
        self._lock = threading.Lock()

    def newest(self) -> Rules:
        """The rules; without any before enough was bought.

        Raises
        ------
        TransientError
            Redis is away.
        IncompatibleSnapshotError
            The newest snapshot is of another version of the code.
        """
        version = self._snapshots.latest((NAME,)).get(NAME, 0)
        with self._lock:
            if version != self._rules.version:
                self._rules = Rules.from_envelope(self._snapshots.load(NAME, version)) if version else Rules()
                self._told = told(self._rules)
            return self._rules

    def ranked(self, product: str = "") -> list[ToldRule]:
        """Every rule, highest lift first; of one product those that say what goes with it, surest first."""
        self.newest()
        if not product:
            return self._told
        return sorted((one for one in self._told if one.given == product), key=lambda one: (-one.confidence, one.then))


def told(rules: Rules) -> list[ToldRule]:
    """Rules with the names of products, figures rounded for people."""
    return [
        ToldRule(
            rule.given,
            rules.name(rule.given),
            rule.then,
            rules.name(rule.then),
            rule.baskets,
            round(rule.support, 6),
            round(rule.confidence, 4),
            round(rule.lift, 2),
        )
        for rule in rules.all()
    ]
