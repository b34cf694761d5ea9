"""Variants for other services: from the definitions in force, what was decided since, and the user's profile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from config.definitions import Definitions
from config.loader import DefinitionError, load_definitions
from config.overrides import overlaid
from config.settings import Settings
from models.campaigns.conditions import condition_fault
from models.experiments.ask import Answer, answer
from models.experiments.trial import Trial
from models.identity import MAX_HOPS
from models.profile.codec import decode_profile
from models.profile.moved import MovedError
from models.profile.state import Profile
from models.wire import lane_of
from services.state import keys
from services.state.experiments import ExperimentStore
from services.state.live import connect_patient
from services.state.redis_lane import translated
from services.watched import WatchedFolder

FRESH_S = 1.0


class UnknownExperimentError(Exception):
    """No experiment of this name is defined."""


class Assignments:
    """Answers; synchronous, from any thread.

    Parameters
    ----------
    settings : where Redis and the definitions are. now_ms : event time of a question (a replay's clock is not ours).

    Notes
    -----
    Files and decisions are looked at once a second at most; a change is answered when decide takes it, give or take a
    second. One question is one GET.
    """

    def __init__(self, settings: Settings, now_ms: Callable[[], int]) -> None:
        self._lanes, self._now_ms = settings.lanes, now_ms
        self._client = connect_patient(settings.redis.url.get_secret_value(), settings.redis.timeout_ms / 1000)
        self._store = ExperimentStore(self._client)
        self._rules = WatchedFolder(settings.config_dir, _definitions, (DefinitionError,), (".yaml", ".yml"))
        self._trials: dict[str, Trial] = {}
        self._looked_s = -FRESH_S
        self._lock = threading.Lock()

    def ask(self, experiment: str, user: str) -> tuple[Trial, Answer]:
        """Variant of a user.

        Raises
        ------
        UnknownExperimentError
            Nobody defined it.
        TransientError
            Redis is away: ask again, or compute it (docs/experiments.md).
        """
        trial = self._in_force().get(experiment)
        if trial is None:
            raise UnknownExperimentError(experiment)
        for _ in range(MAX_HOPS):
            try:
                return trial, answer(trial, self._profile(user), user, self._now_ms())
            except MovedError as away:
                user = away.redirect.to
        return trial, answer(trial, None, user, self._now_ms())

    def _profile(self, user: str) -> Profile | None:
        with translated():
            packed = cast(bytes | None, self._client.get(keys.profile(lane_of(user, self._lanes), user)))
        return None if packed is None else decode_profile(packed)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _in_force(self) -> dict[str, Trial]:
        with self._lock:
            if time.monotonic() - self._looked_s >= FRESH_S:
                self._rules.look()
                found = overlaid(self._rules.value, self._store.overrides())
                self._trials = {
                    one.id: self._trials[one.id]
                    if one.id in self._trials and self._trials[one.id].experiment == one
                    else Trial(one)
                    for one in found.experiments
                }
                self._looked_s = time.monotonic()
            return self._trials


def _definitions(folder: Path) -> Definitions:
    return load_definitions(folder, condition_fault, check_templates=False)
