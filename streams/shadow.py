"""Brings champions and shadows to a learner, which compares them on the labels that come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import structlog

from models.errors import IncompatibleSnapshotError, TransientError
from models.learners.batch import BatchModel
from models.learners.contest import ONLINE, Contest
from models.learners.standing import Standing
from models.learners.task import Task
from services.state.redis_lane import Client
from services.state.registry import ModelRegistry, read_standings

LOOK_S: Final = 1.0

log = structlog.get_logger(__name__)


class Contenders:
    """Looks at the registry at most once a second, for one learner.

    Parameters
    ----------
    client : synchronous client of Redis. elapsed_s : monotonic clock.
    """

    def __init__(self, client: Client, elapsed_s: Callable[[], float]) -> None:
        self._client = client
        self._elapsed_s = elapsed_s
        self._next_s = 0.0
        self._models: dict[tuple[Task, int], BatchModel] = {}

    def bring(self, contests: Mapping[Task, Contest]) -> None:
        """Tell the contests of a learner who is compared now.

        Raises
        ------
        TransientError
            Redis is away.
        """
        self._next_s = self._elapsed_s() + LOOK_S
        if not contests:
            return
        kept: dict[tuple[Task, int], BatchModel] = {}
        for task, standing in read_standings(self._client, tuple(contests)).items():
            contest = contests[task]
            if isinstance(standing, Standing):
                kept |= self._bring(task, contest, standing)
            else:
                contest.between(contest.champion, contest.shadow, {}, str(standing))
        self._models = kept

    def bring_if_due(self, contests: Mapping[Task, Contest]) -> None:
        """The same when it is time; while Redis is away those that are known go on."""
        if self._elapsed_s() < self._next_s:
            return
        try:
            self.bring(contests)
        except TransientError as error:
            log.warning("registry_unread", error=str(error))

    def _bring(self, task: Task, contest: Contest, standing: Standing) -> dict[tuple[Task, int], BatchModel]:
        """Batch models of the two, which are loaded once."""
        wanted = set() if standing.shadow is None else {standing.champion, standing.shadow} - {ONLINE}
        registry, refused, models = ModelRegistry(self._client, task), "", {}
        try:
            models = {one: self._models.get((task, one)) or registry.load(one) for one in sorted(wanted)}
        except IncompatibleSnapshotError as error:
            refused = str(error)
            if refused != contest.refused:
                log.warning("contender_refused", score=task.score, error=refused)
        contest.between(standing.champion, standing.shadow, models, refused)
        return {(task, version): model for version, model in models.items()}
