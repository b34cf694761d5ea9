"""Recommendations for other services: the rules in force and the answer about one user."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from config.loader import DefinitionError
from config.settings import Settings
from models.errors import ConfigurationError
from models.offers.figures import cautions
from models.offers.rankings import ASKED
from services.dashboard.propensities import read_definitions
from services.state.live import connect_patient
from services.state.rankings import RankingReader
from services.state.recommendations import LOOK_S, RecommendationReader, Recommendations
from services.watched import WatchedFolder


class UnknownListError(ConfigurationError):
    """A list that the policy does not declare."""

    def __init__(self, name: str, declared: Sequence[str]) -> None:
        super().__init__(
            f"no list {name!r}",
            remedy=f"policy.yaml declares it: recommendations: {{lists: [{', '.join((*declared, name))}]}}",
        )


class Recommender:
    """Answers; synchronous, from any thread.

    Parameters
    ----------
    settings : where Redis and the definitions are.
    """

    def __init__(self, settings: Settings) -> None:
        self._client = connect_patient(settings.redis.url.get_secret_value(), settings.redis.timeout_ms / 1000)
        self._reader = RecommendationReader(self._client, settings.lanes)
        self._rankings = RankingReader(self._client, settings.lanes)
        self._rules = WatchedFolder(settings.config_dir, read_definitions, (DefinitionError,), (".yaml", ".yml"))
        self._looked_s = float("-inf")
        self._lock = threading.Lock()

    def ask(self, user: str, size: int, among: Sequence[str] | None, shown_as: str = ASKED) -> Recommendations:
        """Best products for a user, of all or of those `among`; `shown_as`: name of the list that they are for.

        Raises
        ------
        UnknownListError
            The policy declares no list of that name.
        TransientError
            Redis is away: ask again.
        """
        with self._lock:
            if time.monotonic() - self._looked_s >= LOOK_S:  # it reads all files: more than a ranking takes
                self._looked_s = time.monotonic()
                self._rules.look()
            policy = self._rules.value.policy
        if shown_as not in {ASKED, *policy.recommendations.lists}:
            raise UnknownListError(shown_as, policy.recommendations.lists)
        return self._reader.ask(user, policy.offers, size, among, shown_as)

    def figures(self) -> dict[str, Any]:
        """What recommended lists bring, and how to read it. Raises TransientError while Redis is away."""
        with self._lock:
            self._rules.look()
            policy = self._rules.value.policy
        return {**msgspec.to_builtins(self._rankings.figures()), "caution": cautions(policy)}

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
