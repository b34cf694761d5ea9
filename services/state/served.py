"""The models that serve: what decide takes from Redis between two batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog

from models import facts
from models.brain import Brain
from models.errors import IncompatibleSnapshotError
from models.facts import Facts
from models.learners import goal_scores, linear, rules, sentiment, uplift_scores
from models.learners.batch import BatchModel, ChurnScorer
from models.learners.goal_scores import GoalScores
from models.learners.linear import LinearModel
from models.learners.opinions import Opinions
from models.learners.task import CHURN, Task
from models.learners.uplift_scores import UpliftScores
from models.offers import bandit, recs, stock
from models.offers.bandit import Bandit
from models.offers.pairs import Rules
from models.offers.recs import Recs
from models.offers.stock import Stock
from services.state.promoted import Promoted
from services.state.redis_lane import Client
from services.state.snapshots import SnapshotReader

log = structlog.get_logger()
MODELS = (
    linear.NAME,
    recs.NAME,
    goal_scores.NAME,
    bandit.NAME,
    sentiment.NAME,
    rules.NAME,
    stock.NAME,
    uplift_scores.NAME,
    *facts.NAMES,
)


class ServedModels:
    """Takes newer versions, and the models that were promoted.

    Parameters
    ----------
    client : synchronous client (:func:`services.state.redis_lane.connect`).
    """

    def __init__(self, client: Client) -> None:
        self._reader = SnapshotReader(client)
        self._promoted = Promoted(client)
        self._refused_goals = self._refused_texts = self._refused_rules = self._refused_uplift = 0
        self._refused_facts: dict[str, int] = {}

    def take(self, brain: Brain, *, anew: bool = False) -> Brain:
        """The same brain with the models that serve now; `brain` itself when nothing has changed.

        Parameters
        ----------
        anew : also load versions that are in use already.

        Raises
        ------
        IncompatibleSnapshotError
            A version that learn published cannot be read.
        TransientError
            Redis is away.
        """
        latest = self._reader.latest(MODELS)
        batch = self._batch(brain, anew=anew)
        churn = batch[CHURN] or self._churn(brain.churn, latest.get(linear.NAME, 0), anew=anew)
        offers, version = brain.recs, latest.get(recs.NAME, 0)
        if anew or version != offers.version:
            offers = Recs.from_envelope(self._reader.load(recs.NAME, version)) if version else Recs()
        goals = self._goals(brain.goals.scores, latest.get(goal_scores.NAME, 0), anew=anew)
        goals = goals.with_batch({task.code: model for task, model in batch.items() if task.goal and model is not None})
        chooser, version = brain.bandit, latest.get(bandit.NAME, 0)
        if anew or version != chooser.version:
            chooser = Bandit.from_envelope(self._reader.load(bandit.NAME, version)) if version else Bandit()
        opinions = self._opinions(brain.opinions, latest.get(sentiment.NAME, 0), anew=anew)
        together = self._rules(brain.rules, latest.get(rules.NAME, 0), anew=anew)
        learned = self._facts(brain.facts, latest, anew=anew)
        shelf, version = brain.stock, latest.get(stock.NAME, 0)
        if anew or version != shelf.version:
            shelf = Stock.from_envelope(self._reader.load(stock.NAME, version)) if version else Stock()
        uplift = self._uplift(brain.uplift.scores, latest.get(uplift_scores.NAME, 0), anew=anew)
        found = (churn, offers, goals, chooser, opinions, together, learned, shelf, uplift)
        if all(one is other for one, other in zip(found, brain.models, strict=True)):
            return brain
        return brain.with_models(*found)

    def _uplift(self, current: UpliftScores, version: int, *, anew: bool) -> UpliftScores:
        """What learn published last; where that cannot be read, what serves now goes on."""
        if version == current.version and not anew:
            return current
        try:
            envelope = self._reader.load(uplift_scores.NAME, version) if version else None
            return UpliftScores() if envelope is None else UpliftScores.from_envelope(envelope)
        except IncompatibleSnapshotError as error:
            if version != self._refused_uplift:
                self._refused_uplift = version
                log.warning("uplift_refused", serving=current.version, error=str(error))
            return current

    def _rules(self, current: Rules, version: int, *, anew: bool) -> Rules:
        """What learn published last; where that cannot be read, what serves now goes on."""
        if version == current.version and not anew:
            return current
        try:
            return Rules.from_envelope(self._reader.load(rules.NAME, version)) if version else Rules()
        except IncompatibleSnapshotError as error:
            if version != self._refused_rules:
                self._refused_rules = version
                log.warning("rules_refused", serving=current.version, error=str(error))
            return current

    def _opinions(self, current: Opinions, version: int, *, anew: bool) -> Opinions:
        """What learn published last; where that cannot be read, what serves now goes on."""
        if version == current.version and not anew:
            return current
        try:
            return current.next(self._reader.load(sentiment.NAME, version)) if version else current.first()
        except IncompatibleSnapshotError as error:
            if version != self._refused_texts:
                self._refused_texts = version
                log.warning("sentiment_refused", serving=current.version, error=str(error))
            return current

    def _facts(self, current: Facts, latest: Mapping[str, int], *, anew: bool) -> Facts:
        """What learn and the batch jobs published last; where one cannot be read, what serves now goes on."""
        newer: dict[str, Any] = {}
        for name, version in current.versions.items():
            wanted = latest.get(name, 0)
            if wanted == version and not anew:
                continue
            try:
                envelope = self._reader.load(name, wanted) if wanted else None
                newer[name] = getattr(Facts(), name) if envelope is None else facts.READERS[name](envelope)
            except IncompatibleSnapshotError as error:
                if wanted != self._refused_facts.get(name):
                    self._refused_facts[name] = wanted
                    log.warning("snapshot_refused", model=name, serving=version, error=str(error))
        return replace(current, **newer) if newer else current

    def _goals(self, current: GoalScores, version: int, *, anew: bool) -> GoalScores:
        """What learn published last; where that cannot be read, what serves now goes on."""
        if version == current.version and not anew:
            return current
        try:
            return GoalScores.from_envelope(self._reader.load(goal_scores.NAME, version)) if version else GoalScores()
        except IncompatibleSnapshotError as error:
            if version != self._refused_goals:
                self._refused_goals = version
                log.warning("goals_refused", serving=current.version, error=str(error))
            return current

    def _batch(self, brain: Brain, *, anew: bool) -> dict[Task, BatchModel | None]:
        """What was promoted of each score that is declared; where that cannot be read, what serves now goes on."""
        serving: dict[Task, BatchModel | None] = {
            CHURN: brain.churn if isinstance(brain.churn, BatchModel) else None,
            **{Task.of_goal(goal.id, goal.code): brain.goals.scores.batch.get(goal.code) for goal in brain.goals.goals},
        }
        return self._promoted.take(serving, anew=anew)

    def _churn(self, current: ChurnScorer, online: int, *, anew: bool) -> ChurnScorer:
        """What learn published last."""
        if not anew and isinstance(current, LinearModel) and online == current.version:
            return current
        return LinearModel.from_envelope(self._reader.load(linear.NAME, online)) if online else LinearModel.rule()
