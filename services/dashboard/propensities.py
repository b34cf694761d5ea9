"""Propensities and uplift for other services: the definitions in force and the answer about one user."""

from __future__ import annotations

import threading
from pathlib import Path

from config.definitions import Definitions
from config.loader import DefinitionError, load_definitions
from config.settings import Settings
from models.campaigns.conditions import condition_fault
from models.fairness import counter_key
from models.parity import Parity, parities
from services.state import propensities, uplift
from services.state.counters import read_some_counters
from services.state.live import connect_patient
from services.state.model_health import Row, read_model_health
from services.state.propensities import PropensityReader
from services.state.uplift import CampaignUplift, UpliftReader
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
        self._lanes = settings.lanes
        self._uplift = UpliftReader(self._client, settings.lanes)
        self._rules = WatchedFolder(settings.config_dir, read_definitions, (DefinitionError,), (".yaml", ".yml"))
        self._lock = threading.Lock()

    def ask(self, user: str) -> propensities.Told | None:
        """Propensities of a user; None if nobody knows the user.

        Raises
        ------
        TransientError
            Redis is away: ask again.
        """
        return self._reader.ask(user, self._definitions().goals)

    def uplift(self, user: str) -> uplift.Told | None:
        """Uplift of each campaign for a user; None if nobody knows the user. Raises as :meth:`ask` does."""
        return self._uplift.ask(user, self._definitions())

    def campaigns(self) -> list[CampaignUplift]:
        """What each campaign changes on the whole. Raises as :meth:`ask` does."""
        return self._uplift.campaigns(self._definitions())

    def health(self) -> list[Row]:
        """How every score does. Raises as :meth:`ask` does."""
        return read_model_health(self._client, self._lanes)

    def fairness(self) -> list[Parity]:
        """Whether the groups that are declared are treated alike. Raises as :meth:`ask` does."""
        rules = self._definitions().policy.fairness
        if rules is None:
            return []
        key = counter_key(rules.attribute)
        return parities(rules, read_some_counters(self._client, self._lanes, [key])[key])

    def _definitions(self) -> Definitions:
        with self._lock:
            self._rules.look()
            return self._rules.value

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def read_definitions(folder: Path) -> Definitions:
    """Definitions of a folder, for services that send nothing."""
    return load_definitions(folder, condition_fault, check_templates=False)
