"""Train batch models of the churn score, in time order: search on the earlier moments, judge on the later ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from models.errors import ConfigurationError
from models.learners.batch import BatchModel
from models.learners.task import Task
from services.jobs.evaluate.metrics import classification_metrics
from services.jobs.train.candidates import CANDIDATES, Selection, Settings, fitted, pipeline_of
from services.jobs.train.examples import LEAST, Examples, FloatArray, IntArray, prepared, varying
from services.jobs.train.export import exported
from services.jobs.train.online import online_of
from services.jobs.train.search import Sampler, Search

FOLDS: Final = 5
JUDGED_FOLDS: Final = 2
CHAMPION: Final = "online"
IMPORTANCE_SHUFFLES: Final = 3

Mask = npt.NDArray[np.bool_]
Told = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train.

    Parameters
    ----------
    models : names of :data:`services.jobs.train.candidates.CANDIDATES`.
    select, search, trials : how features are selected and settings searched, and how many are tried per model.
    until_ms : no label known later is used, neither to learn nor to judge; None: all.
    """

    models: tuple[str, ...] = tuple(CANDIDATES)
    select: Selection = "none"
    search: Search = "random"
    trials: int = 6
    seed: int = 0
    until_ms: int | None = None
    least: int = LEAST


@dataclass(slots=True)
class Found:
    """One kind of model: its best settings, its loss in the search, its figures and scores where it was judged."""

    name: str
    title: str
    settings: Settings = field(default_factory=dict)
    search_loss: float = float("nan")
    trials: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    scores: FloatArray = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of it.

    Parameters
    ----------
    best : the kind with the lowest loss in the search; judged on other examples.
    found : all kinds, the online model last.
    truth : labels of the judged examples. task : what is told.
    state : the best, fitted on all examples, for the registry.
    importance : how much the log loss of the best rises when a feature is shuffled. score_us : cost of one score.
    data : which examples it has seen. notes : what was done with them.
    """

    best: Found
    found: list[Found]
    truth: IntArray
    task: Task
    state: dict[str, Any]
    importance: dict[str, float]
    score_us: float
    data: dict[str, Any]
    notes: tuple[str, ...]


def train(examples: Examples, plan: Plan, told: Told) -> Trained:
    """Search, judge, choose and fit; on one core, since the workers may share the machine.

    Raises
    ------
    ConfigurationError
        The examples cannot be learned from, or nothing is left to judge by.
    """
    with threadpool_limits(limits=1):
        return _trained(examples, plan, told)


def _trained(examples: Examples, plan: Plan, told: Told) -> Trained:
    unknown = [name for name in plan.models if name not in CANDIDATES]
    if unknown or not plan.models:
        raise ConfigurationError(f"no model {', '.join(unknown) or 'named'}", remedy=f"any of {', '.join(CANDIDATES)}")
    examples = prepared(examples, plan.until_ms, plan.least)
    kept, constant = varying(examples)
    notes = (*examples.notes, f"constant, left out: {', '.join(constant)}") if constant else examples.notes
    columns = examples.columns[:, kept]
    folds = folds_of(examples)
    searched, judged = folds[:-JUDGED_FOLDS], folds[-JUDGED_FOLDS:]
    found = []
    for name in plan.models:
        one = _searched(name, columns, examples.labels, searched, plan, told)
        one.scores = _scores(one, columns, examples.labels, judged, plan)
        found.append(one)
    found.append(Found(CHAMPION, "online (as it learns in the stream)", scores=_online(examples, judged)))
    truth = np.concatenate([examples.labels[test] for _, test in judged])
    for one in found:
        one.metrics = figures(truth, one.scores)
    best = min(found[:-1], key=lambda one: one.search_loss)
    told(best.title, 1, 1)
    pipeline = _pipeline(best, len(kept), plan)
    state = exported(
        fitted(pipeline, columns, examples.labels),
        kept,
        medians(examples.columns),
        int(examples.known.max()),
        len(examples),
        examples.task,
    )
    model = BatchModel(state, task=examples.task)
    last = judged[-1][1]
    return Trained(
        best,
        found,
        truth,
        examples.task,
        state,
        importances(model, examples.columns[last], examples.labels[last], plan.seed),
        _cost_us(model, examples.columns),
        data_of(examples, len(truth)),
        notes,
    )


def folds_of(examples: Examples) -> list[tuple[Mask, Mask]]:
    """(train, test) by moment: what was known by then, and what was scored from then until the next moment.

    Raises
    ------
    ConfigurationError
        Labels came so late that nothing was scored after them.
    """
    at, known, labels = examples.at, examples.known, examples.labels
    first = known[min(len(known) // 3, LEAST)]
    found = []
    if first < at.max():
        for begin, end in pairwise(np.linspace(first, at.max(), FOLDS + 1)):
            train, test = known <= begin, (at > begin) & (at <= end)
            if test.any() and len(np.unique(labels[train])) == 2:
                found.append((train, test))
    if len(found) <= JUDGED_FOLDS:
        raise ConfigurationError(
            "nearly every label became known after the last example was taken: there is nothing to judge yet",
            where=examples.where,
            remedy="come back when the stream has run for two horizons",
        )
    return found


def figures(truth: IntArray, scores: FloatArray) -> dict[str, float]:
    """Ranking, loss, calibration, and what calling .5 and more a loss gives.

    Examples
    --------
    >>> found = figures(np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.4, 0.6]))
    >>> found["accuracy"], found["precision"], found["recall"], found["f1"]
    (0.5, 0.5, 0.5, 0.5)
    """
    called = scores >= 0.5
    hits = float((called & (truth == 1)).sum())
    precision = hits / called.sum() if called.any() else 0.0
    recall = hits / truth.sum() if truth.any() else 0.0
    both = precision + recall
    return {
        **classification_metrics(truth, scores),
        "accuracy": float((called == (truth == 1)).mean()),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(2.0 * precision * recall / both) if both else 0.0,
    }


def importances(model: BatchModel, columns: FloatArray, labels: IntArray, seed: int) -> dict[str, float]:
    """How much the mean log loss rises when one feature is shuffled, highest first.

    References
    ----------
    L. Breiman, "Random forests", Machine Learning 2001, section 10.
    """
    rng = np.random.default_rng(seed)

    def loss(x: FloatArray) -> float:
        odds = model.log_odds_of(x)
        return float(np.logaddexp(0.0, np.where(labels == 1, -odds, odds)).mean())

    before, found = loss(columns), {}
    for number, name in enumerate(model.task.kind.feature_names):
        rises = []
        for _ in range(IMPORTANCE_SHUFFLES):
            mixed = columns.copy()
            mixed[:, number] = rng.permutation(mixed[:, number])
            rises.append(loss(mixed) - before)
        found[name] = round(float(np.mean(rises)), 6)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def data_of(examples: Examples, judged: int) -> dict[str, Any]:
    """Which examples a model has seen."""
    return {
        "examples": len(examples),
        "positives": int(examples.labels.sum()),
        "judged": judged,
        "first_at_ms": int(examples.at.min()),
        "last_at_ms": int(examples.at.max()),
        "known_until_ms": int(examples.known.max()),
    }


def _searched(
    name: str, columns: FloatArray, labels: IntArray, folds: Sequence[tuple[Mask, Mask]], plan: Plan, told: Told
) -> Found:
    candidate = CANDIDATES[name]
    found = Found(name, candidate.title)
    choices = 0 if plan.select == "none" else columns.shape[1]
    sampler = Sampler(candidate, plan.search, plan.trials, plan.seed, choices)
    truth = np.concatenate([labels[test] for _, test in folds])
    best = float("inf")
    for settings in sampler:
        told(candidate.title, found.trials, len(sampler))
        found.trials += 1
        trial = Found(name, candidate.title, settings)
        loss = float(log_loss(truth, _scores(trial, columns, labels, folds, plan), labels=[0, 1]))
        sampler.tell(loss)
        if loss < best:
            best, found.settings, found.search_loss = loss, settings, loss
    told(candidate.title, found.trials, found.trials)
    return found


def _scores(
    found: Found, columns: FloatArray, labels: IntArray, folds: Sequence[tuple[Mask, Mask]], plan: Plan
) -> FloatArray:
    scores = []
    for train, test in folds:
        pipeline = fitted(_pipeline(found, columns.shape[1], plan), columns[train], labels[train])
        scores.append(pipeline.predict_proba(columns[test])[:, 1])
    return np.concatenate(scores)


def _pipeline(found: Found, features: int, plan: Plan) -> Any:
    return pipeline_of(CANDIDATES[found.name], found.settings, plan.select, features, plan.seed)


def _online(examples: Examples, folds: Sequence[tuple[Mask, Mask]]) -> FloatArray:
    """The model of the stream at the same moments: it has learned what was known by then, one example at a time."""
    raw = np.where(np.isnan(examples.raw), medians(examples.raw), examples.raw)
    online, learned, scores = online_of(examples.task), 0, []
    for train, test in folds:
        upto = int(train.sum())  # in the order in which labels became known
        for number in range(learned, upto):
            x = raw[number].astype(int).tolist()
            online.learn(x, int(examples.labels[number]), int(examples.at[number]), int(examples.known[number]))
        learned = upto
        scores.append(online.score(raw[test]))
    return np.concatenate(scores)


def medians(values: FloatArray) -> FloatArray:
    """Median of each column, of those that are not missing; 0 where all are."""
    return np.array([np.median(one[~np.isnan(one)]) if (~np.isnan(one)).any() else 0.0 for one in values.T])


def _cost_us(model: BatchModel, columns: FloatArray) -> float:
    """CPU time of one score in a chunk of 200."""
    rows = np.resize(columns, (200, columns.shape[1]))
    model.log_odds_of(rows)
    began = time.process_time()
    for _ in range(5):
        model.log_odds_of(rows)
    return round((time.process_time() - began) * 1e6 / (5 * len(rows)), 2)
