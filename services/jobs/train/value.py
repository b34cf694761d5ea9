"""Regression of the money that customers spend within the horizon of churn: search and judgement in time order."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor
from threadpoolctl import threadpool_limits

from models.decisions import ChurnExample
from models.errors import ConfigurationError
from models.learners.streamed.value import ValueModel
from models.learners.value_scores import MINOR
from services.jobs.train.candidates import CANDIDATES, Candidate, Settings, Span, fitted, pipeline_of
from services.jobs.train.examples import Examples, FloatArray, prepared, varying
from services.jobs.train.report import figure_of, libraries
from services.jobs.train.run import JUDGED_FOLDS, Mask, Plan, Told, data_of, folds_of, medians
from services.jobs.train.search import Sampler

STREAM: Final = "online"
MEAN: Final = "mean"


def _network(settings: Settings, seed: int) -> Any:
    """A network whose target has mean 0 and deviation 1: of hundreds of pounds it would not learn in 200 rounds."""
    layers = tuple(int(size) for size in settings["hidden"].split("-"))
    network = MLPRegressor(hidden_layer_sizes=layers, alpha=settings["alpha"], max_iter=200, random_state=seed)
    return TransformedTargetRegressor(network, transformer=StandardScaler())


def _like(name: str, title: str, make: Callable[[Settings, int], Any]) -> Candidate:
    """The regression that goes with a classifier: the same settings are searched."""
    other = CANDIDATES[name]
    return Candidate(title, make, other.space, other.usual, other.standardised)


REGRESSORS: Final[dict[str, Candidate]] = {
    "linear": Candidate(
        "linear regression (ridge)",
        lambda s, _: Ridge(alpha=s["alpha"]),
        {"alpha": Span(0.01, 1_000.0, log=True)},
        {"alpha": 1.0},
        standardised=True,
    ),
    "tree": _like("tree", "decision tree", lambda s, seed: DecisionTreeRegressor(**s, random_state=seed)),
    "forest": _like(
        "forest", "random forest", lambda s, seed: RandomForestRegressor(**s, n_estimators=60, random_state=seed)
    ),
    "network": _like("network", "neural network (MLP)", _network),
    "boosting": _like(
        "boosting",
        "histogram boosting",
        lambda s, seed: HistGradientBoostingRegressor(**s, early_stopping=False, random_state=seed),
    ),
}


@dataclass(slots=True)
class Regressed:
    """One kind of model: its best settings, its error in the search, its figures and what it said when judged."""

    name: str
    title: str
    settings: Settings = field(default_factory=dict)
    search_rmse: float = float("nan")
    metrics: dict[str, float] = field(default_factory=dict)
    said: FloatArray = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True, slots=True)
class ValueReport:
    """What came of it.

    Parameters
    ----------
    best : the kind with the lowest error in the search. found : all kinds, then what the stream serves and the mean.
    truth : money of the judged examples. data, notes : which examples were seen, and what was done with them.
    """

    best: Regressed
    found: list[Regressed]
    truth: FloatArray
    data: dict[str, Any]
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """All of it as JSON; money in major units."""
        return {
            "score": "value",
            "best": self.best.name,
            "models": {
                one.name: {
                    "title": one.title,
                    "settings": one.settings,
                    "search_rmse": None if np.isnan(one.search_rmse) else round(one.search_rmse, 4),
                    **{name: round(value, 4) for name, value in one.metrics.items()},
                }
                for one in self.found
            },
            "data": self.data,
            "library": libraries(),
            "notes": list(self.notes),
        }

    def write(self, folder: Path) -> list[Path]:
        """Write `report.json` and, where Matplotlib is installed, `value.png`; returns what was written."""
        folder.mkdir(parents=True, exist_ok=True)
        report = folder / "report.json"
        report.write_text(json.dumps(self.document(), indent=2) + "\n", encoding="utf-8")
        picture = figure_of("What is told and what came of it", "mean of what was told", "mean spent, each tenth")
        if picture is None:
            return [report]
        figure, axes = picture
        for one in (self.best, *self.found[-2:-1]):
            parts = [part for part in np.array_split(np.argsort(one.said, kind="stable"), 10) if len(part)]
            points = [(one.said[part].mean(), self.truth[part].mean()) for part in parts]
            axes.plot(*zip(*points, strict=True), marker="o", label=one.name)
        most = float(max(axes.get_xlim()[1], axes.get_ylim()[1]))
        axes.plot([0, most], [0, most], color="0.7", lw=1, ls=":")
        axes.legend(fontsize="small")
        figure.savefig(folder / "value.png", dpi=110)
        return [report, folder / "value.png"]


def train_value(examples: Examples, plan: Plan, told: Told) -> ValueReport:
    """Search, judge and choose; on one core.

    Raises
    ------
    ConfigurationError
        The examples cannot be learned from, tell no money, or nothing is left to judge by.
    """
    unknown = [name for name in plan.models if name not in REGRESSORS]
    if unknown or not plan.models:
        raise ConfigurationError(f"no model {', '.join(unknown) or 'named'}", remedy=f"any of {', '.join(REGRESSORS)}")
    with threadpool_limits(limits=1):
        return _trained(examples, plan, told)


def _trained(examples: Examples, plan: Plan, told: Told) -> ValueReport:
    silent = int(np.isnan(examples.money).sum())
    if silent:
        if silent == len(examples):
            raise ConfigurationError(
                "no example tells the money", where=examples.where, remedy="a column spent_minor, in pence or cents"
            )
        examples = examples.some(~np.isnan(examples.money), f"{silent} examples do not tell the money: left out")
    if np.isinf(examples.money).any():
        name = examples.ids[int(np.argmax(np.isinf(examples.money)))]
        raise ConfigurationError(f"example {name}: spent_minor is infinite", where=examples.where)
    examples = prepared(examples, plan.until_ms, plan.least)
    kept, _ = varying(examples)
    columns, money = examples.columns[:, kept], examples.money
    folds = folds_of(examples)
    searched, judged = folds[:-JUDGED_FOLDS], folds[-JUDGED_FOLDS:]
    found = []
    for name in plan.models:
        one = _searched(name, columns, money, searched, plan, told)
        one.said = _said(one, columns, money, judged, plan)
        found.append(one)
    best = min(found, key=lambda one: one.search_rmse)
    means = [np.full(int(test.sum()), money[train].mean()) for train, test in judged]
    found += [
        Regressed(STREAM, "as the stream tells it", said=_stream(examples, judged)),
        Regressed(MEAN, "the mean of all", said=np.concatenate(means)),
    ]
    truth = np.concatenate([money[test] for _, test in judged])
    for one in found:
        one.metrics = errors(truth, one.said)
    told(best.title, 1, 1)
    return ValueReport(best, found, truth, data_of(examples, len(truth)), examples.notes)


def errors(truth: FloatArray, said: FloatArray) -> dict[str, float]:
    """Mean absolute error, root of the mean squared error, and the share of the variance that is explained.

    Examples
    --------
    >>> errors(np.array([0.0, 10.0]), np.array([1.0, 9.0]))
    {'mae': 1.0, 'rmse': 1.0, 'r2': 0.96}
    """
    return {
        "mae": float(mean_absolute_error(truth, said)),
        "rmse": float(np.sqrt(mean_squared_error(truth, said))),
        "r2": float(r2_score(truth, said)),
    }


def _searched(
    name: str, columns: FloatArray, money: FloatArray, folds: Sequence[tuple[Mask, Mask]], plan: Plan, told: Told
) -> Regressed:
    candidate = REGRESSORS[name]
    found, best = Regressed(name, candidate.title), float("inf")
    sampler = Sampler(candidate, plan.search, plan.trials, plan.seed, 0)
    truth = np.concatenate([money[test] for _, test in folds])
    for tried, settings in enumerate(sampler):
        told(candidate.title, tried, len(sampler))
        trial = Regressed(name, candidate.title, settings)
        loss = errors(truth, _said(trial, columns, money, folds, plan))["rmse"]
        sampler.tell(loss)
        if loss < best:
            best, found.settings, found.search_rmse = loss, settings, loss
    return found


def _said(
    one: Regressed, columns: FloatArray, money: FloatArray, folds: Sequence[tuple[Mask, Mask]], plan: Plan
) -> FloatArray:
    said = []
    for train, test in folds:
        pipeline = pipeline_of(REGRESSORS[one.name], one.settings, "none", columns.shape[1], plan.seed)
        fitted(pipeline, columns[train], money[train])
        said.append(np.maximum(pipeline.predict(columns[test]), 0.0))  # nobody spends less than nothing
    return np.concatenate(said)


def _stream(examples: Examples, folds: Sequence[tuple[Mask, Mask]]) -> FloatArray:
    """What the stream would have told at the same moments: it has learned what was known by then."""
    raw = np.where(np.isnan(examples.raw), medians(examples.raw), examples.raw).astype(int).tolist()
    model, learned, said = ValueModel(), 0, []
    for train, test in folds:
        upto = int(train.sum())  # in the order in which labels became known
        model.learn_examples([_example(examples, raw[number], number) for number in range(learned, upto)])
        learned, scores = upto, model.scores()
        said.append([scores.expected(raw[number]).money for number in np.flatnonzero(test).tolist()])
    return np.concatenate(said)


def _example(examples: Examples, x: list[int], number: int) -> ChurnExample:
    label = int(examples.labels[number])
    return ChurnExample(
        examples.ids[number],
        "",
        int(examples.at[number]),
        int(examples.due[number]),
        int(examples.known[number]),
        label,
        x,
        spent_minor=round(float(examples.money[number]) * MINOR),
        next_order_days=None if label else 0,  # whether, not when: money does not hang on it
    )
