"""Recommendations for other services: the rules in force and the answer about one user."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from config.loader import DefinitionError
from config.settings import Settings
from services.dashboard.propensities import read_definitions
from services.state.live import connect_patient
from services.state.recommendations import LOOK_S, RecommendationReader, Recommendations
from services.watched import WatchedFolder


class Recommender:
    """Answers; synchronous, from any thread.

    Parameters
    ----------
    settings : where Redis and the definitions are.
    """

    def __init__(self, settings: Settings) -> None:
        self._client = connect_patient(settings.redis.url.get_secret_value(), settings.redis.timeout_ms / 1000)
        self._reader = RecommendationReader(self._client, settings.lanes)
        self._rules = WatchedFolder(settings.config_dir, read_definitions, (DefinitionError,), (".yaml", ".yml"))
        self._looked_s = float("-inf")
        self._lock = threading.Lock()

    def ask(self, user: str, size: int, among: Sequence[str] | None) -> Recommendations:
        """Best products for a user, of all or of those `among`.

        Raises
        ------
        TransientError
            Redis is away: ask again.
        """
        with self._lock:
            if time.monotonic() - self._looked_s >= LOOK_S:  # it reads all files: more than a ranking takes
                self._looked_s = time.monotonic()
                self._rules.look()
            policy = self._rules.value.policy.offers
        return self._reader.ask(user, policy, size, among)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
