"""Propensities for other services: the goals in force and the answer about one user."""

from __future__ import annotations

import threading
from pathlib import Path

from config.definitions import Definitions
from config.loader import DefinitionError, load_definitions
from config.settings import Settings
from models.campaigns.conditions import condition_fault
from services.state.live import connect_patient
from services.state.propensities import PropensityReader, Told
from services.watched import WatchedFolder


class Propensities:
    """Answers; synchronous, from any thread.

    Parameters
    ----------
    settings : where Redis and the definitions are.
    """

    def __init__(self, settings: Settings) -> None:
        self._client = connect_patient(settings.redis.url.get_secret_value(), settings.redis.timeout_ms / 1000)
        self._reader = PropensityReader(self._client, settings.lanes)
        self._rules = WatchedFolder(settings.config_dir, read_definitions, (DefinitionError,), (".yaml", ".yml"))
        self._lock = threading.Lock()

    def ask(self, user: str) -> Told | None:
        """Propensities of a user; None if nobody knows the user.

        Raises
        ------
        TransientError
            Redis is away: ask again.
        """
        with self._lock:
            self._rules.look()
            goals = self._rules.value.goals
        return self._reader.ask(user, goals)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def read_definitions(folder: Path) -> Definitions:
    """Definitions of a folder, for services that send nothing."""
    return load_definitions(folder, condition_fault, check_templates=False)
