"""The batch models that were promoted, as everybody takes them who scores."""

from __future__ import annotations

from collections.abc import Mapping

import redis
import structlog

from models.errors import IncompatibleSnapshotError
from models.learners.batch import BatchModel
from models.learners.contest import ONLINE
from models.learners.standing import Standing
from models.learners.task import Task
from services.state.registry import ModelRegistry, read_standings

log = structlog.get_logger()


class Promoted:
    """Loads each version once.

    Parameters
    ----------
    client : synchronous client (:func:`services.state.redis_lane.connect`).
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._refused: dict[Task, str] = {}

    def take(self, serving: Mapping[Task, BatchModel | None], *, anew: bool = False) -> dict[Task, BatchModel | None]:
        """Batch model that is to serve each score, None for the online one; where one cannot be read, what serves now.

        Parameters
        ----------
        serving : batch models that serve now, by every score that is asked of. anew : also load them again.

        Raises
        ------
        TransientError
            Redis is away.
        """
        standings = read_standings(self._client, tuple(serving))
        return {task: self._one(task, model, standings[task], anew=anew) for task, model in serving.items()}

    def _one(
        self, task: Task, current: BatchModel | None, standing: Standing | IncompatibleSnapshotError, *, anew: bool
    ) -> BatchModel | None:
        try:
            if isinstance(standing, IncompatibleSnapshotError):
                raise standing
            chosen = None
            if standing.champion != ONLINE:
                same = current is not None and current.version == standing.champion and not anew
                chosen = current if same else ModelRegistry(self._client, task).load(standing.champion)
        except IncompatibleSnapshotError as error:
            if str(error) != self._refused.get(task):
                self._refused[task] = str(error)
                serving = "online" if current is None else f"{current.name} {current.version}"
                log.warning("champion_refused", score=task.score, serving=serving, error=str(error))
            return current
        self._refused.pop(task, None)
        return chosen
