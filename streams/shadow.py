"""Brings champion and shadow to the learner, which compares them on the labels that come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from models.errors import IncompatibleSnapshotError, TransientError
from models.learners.batch import BatchModel
from models.learners.contest import ONLINE, Contest
from services.state.registry import ModelRegistry

LOOK_S: Final = 1.0

log = structlog.get_logger(__name__)


class Contenders:
    """Looks at the registry at most once a second.

    Parameters
    ----------
    registry : where the places of the models are. elapsed_s : monotonic clock.
    """

    def __init__(self, registry: ModelRegistry, elapsed_s: Callable[[], float]) -> None:
        self._registry = registry
        self._elapsed_s = elapsed_s
        self._next_s = 0.0
        self._models: dict[int, BatchModel] = {}

    def bring(self, contest: Contest) -> None:
        """Tell a contest who is compared now.

        Raises
        ------
        TransientError
            Redis is away.
        """
        self._next_s = self._elapsed_s() + LOOK_S
        refused = ""
        try:
            standing = self._registry.standing()
        except IncompatibleSnapshotError as error:
            contest.between(contest.champion, contest.shadow, {}, str(error))
            return
        wanted = set() if standing.shadow is None else {standing.champion, standing.shadow} - {ONLINE}
        try:
            self._models = {one: self._models.get(one) or self._registry.load(one) for one in sorted(wanted)}
        except IncompatibleSnapshotError as error:
            refused = str(error)
            if refused != contest.refused:
                log.warning("contender_refused", error=refused)
        contest.between(standing.champion, standing.shadow, {} if refused else self._models, refused)

    def bring_if_due(self, contest: Contest) -> None:
        """The same when it is time; while Redis is away those that are known go on."""
        if self._elapsed_s() < self._next_s:
            return
        try:
            self.bring(contest)
        except TransientError as error:
            log.warning("registry_unread", error=str(error))
