"""Evaluate uplift: one half of an experiment is learned event by event, the other half is ranked."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.model_selection import train_test_split

from models.errors import ConfigurationError
from models.learners.qini import qini_auc
from models.learners.uplift import MEMBERS, Uplift, UpliftScore
from services.jobs.evaluate.baselines import FrozenLogistic
from services.jobs.evaluate.rows import Labelled, labelled_of, labels_of
from services.jobs.evaluate.tables import column_of, parse_columns, read_table

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LEAST_PER_CELL: Final = 2


@dataclass(frozen=True, slots=True)
class Trial:
    """Rows of an experiment in file order; `treated`: 0 or 1 per row."""

    data: Labelled
    treated: list[int]


@dataclass(frozen=True, slots=True)
class UpliftProtocol:
    """How often an experiment is cut in half; figures are means over `seeds` cuts."""

    seeds: int = 5

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ConfigurationError("--seeds must be at least 1")


def read_trial(path: Path, columns: str = "", positive: str = "", leave_out: Sequence[str] = ()) -> Trial:
    """Read treatment, outcome and features; `columns` maps the first two.

    Raises
    ------
    ConfigurationError
        A column is missing, a value is no label, or too little is left; names file, column and row.
    """
    table = read_table(path)
    mapping = parse_columns(columns, ("treatment", "outcome"))
    name = mapping["treatment"]
    for wanted in mapping.values():
        if wanted not in table.column_names:
            raise ConfigurationError(
                f"there is no column {wanted!r}",
                where=str(path),
                remedy="map it with --columns treatment=column,outcome=column; the file has "
                + ", ".join(table.column_names),
            )
    treated = labels_of(column_of(table, name), "", path, name)
    outcomes = labels_of(column_of(table, mapping["outcome"]), positive, path, mapping["outcome"])
    keep = [i for i, pair in enumerate(zip(treated, outcomes, strict=True)) if None not in pair]
    data = labelled_of(table.take(pa.array(keep, pa.int64())), path, mapping["outcome"], positive, (*leave_out, name))
    known = [int(treated[i] or 0) for i in keep]
    if len(set(known)) < 2:
        raise ConfigurationError(
            f"column {name!r}: all {len(known)} rows are {known[0]}: there is nothing to compare",
            where=str(path),
            remedy="give the treated (1) and those who were held out (0)",
        )
    cells = np.bincount(2 * np.array(known) + np.array(data.labels), minlength=4)
    for cell, count in enumerate(cells.tolist()):
        if 0 < count < LEAST_PER_CELL:
            raise ConfigurationError(
                f"{count} row with {name!r} {cell // 2} and {mapping['outcome']!r} {cell % 2}: it cannot be divided",
                where=str(path),
                remedy="give more rows",
            )
    skipped = {"without a treatment or an outcome": table.num_rows - len(keep)} if len(keep) < table.num_rows else {}
    whole = Labelled(data.names, data.kinds, data.rows, data.labels, table.num_rows, skipped, data.notes)
    return Trial(whole, known)


def evaluate_uplift(
    trial: Trial, protocol: UpliftProtocol, progress: Callable[[int, int], None] = lambda _row, _rows: None
) -> dict[str, Any]:
    """Run the protocol; see docs/evaluate.md.

    Returns
    -------
    The JSON document ``{task, protocol, rows, scored_rows, metrics, baselines, cost, ...}``.

    Raises
    ------
    ConfigurationError
        No half has an outcome to be gained.
    """
    treated, labels = np.array(trial.treated, dtype=np.int64), np.array(trial.data.labels, dtype=np.int64)
    rows = len(labels)
    by_seed: list[dict[str, float]] = []
    spent_s, scored, pool = 0.0, 0, {}
    for seed in range(protocol.seeds):
        taught, judged = train_test_split(
            np.arange(rows), test_size=0.5, random_state=seed, stratify=2 * treated + labels
        )
        taught.sort()
        judged.sort()
        started = time.process_time()
        learner, known = Uplift(trial.data.kinds), []
        for place, index in enumerate(taught.tolist()):
            known.append(learner.score(trial.data.rows[index]))
            learner.learn(known[-1], trial.treated[index], trial.data.labels[index])
            if learner.refit_due:
                progress(seed * rows + place, protocol.seeds * rows)
                learner.refit()
        learner.refit()
        served = [learner.score(trial.data.rows[index]) for index in judged.tolist()]
        spent_s += time.process_time() - started
        progress((seed + 1) * rows - len(judged) // 2, protocol.seeds * rows)
        said = _batch(known, treated[taught], labels[taught], served, learner.encoder.indicators)
        said["kairos"] = np.array([one.uplift for one in served])
        said["online_t_learner"] = np.array([one.members[MEMBERS.index("t_learner")] for one in served])
        said["likely_anyway"] = np.array([one.base for one in served])
        said["random"] = np.random.default_rng(seed).random(len(judged))
        by_seed.append({name: qini_auc(labels[judged], scores, treated[judged]) for name, scores in said.items()})
        scored, pool = len(judged), learner.meta()["pool"]
        progress((seed + 1) * rows, protocol.seeds * rows)
    figures = {name: {"qini": float(np.mean([one[name] for one in by_seed]))} for name in by_seed[0]}
    if not np.isfinite(figures["kairos"]["qini"]):
        raise ConfigurationError("no outcome can be gained: Qini is not defined", remedy="give more rows")
    gained = float(labels[treated == 1].mean() - labels[treated == 0].mean())
    return {
        "task": "uplift",
        "protocol": asdict(protocol),
        "rows": trial.data.total,
        "rows_skipped": trial.data.skipped,
        "scored_rows": scored,
        "positive_rate": float(labels.mean()),
        "treated_share": float(treated.mean()),
        "average_uplift": gained,
        "columns": dict(zip(trial.data.names, trial.data.kinds, strict=True)),
        "metrics": figures.pop("kairos"),
        "baselines": figures,
        "by_seed": by_seed,
        "pool": pool,
        "notes": [
            *trial.data.notes,
            f"outcome of {labels[treated == 1].mean():.2%} of the treated, {labels[treated == 0].mean():.2%} of others",
            f"kairos by seed: {', '.join(format(one['kairos'], '.4f') for one in by_seed)}",
        ],
        "cost": {"us_per_event": 1e6 * spent_s / (rows * protocol.seeds)},
    }


def _batch(
    known: list[UpliftScore], treated: IntArray, labels: IntArray, served: list[UpliftScore], indicators: list[bool]
) -> dict[str, FloatArray]:
    """T-learner of logistic regressions over the features of the service, X-learner of boosted trees."""
    width = max(len(one.encoded.wide) for one in served)
    taught, judged = (
        np.array([np.pad(one.encoded.wide, (0, width - len(one.encoded.wide))) for one in rows])
        for rows in (known, served)
    )
    sides = []
    for group in (0, 1):
        logistic = FrozenLogistic()
        logistic.fit(taught[treated == group], labels[treated == group], indicators[:width])
        odds = np.array([logistic.log_odds(row) for row in judged])
        sides.append(1.0 / (1.0 + np.exp(-np.clip(odds, -20.0, 20.0))))
    plain, plain_judged = (np.array([one.encoded.plain for one in rows]) for rows in (known, served))
    return {
        "batch_t_learner_logistic": sides[1] - sides[0],
        "batch_x_learner_boosting": _x_learner(plain, treated, labels, plain_judged),
    }


def _x_learner(x: FloatArray, treated: IntArray, labels: IntArray, judged: FloatArray) -> FloatArray:
    if any(len(np.unique(labels[treated == group])) < 2 for group in (0, 1)):
        return np.zeros(len(judged))
    size = {"learning_rate": 0.05, "max_iter": 120, "max_leaf_nodes": 15, "random_state": 0}
    groups = [x[treated == group] for group in (0, 1)]
    outcomes = [labels[treated == group] for group in (0, 1)]
    models = [HistGradientBoostingClassifier(**size).fit(*pair) for pair in zip(groups, outcomes, strict=True)]
    missed = [
        models[1].predict_proba(groups[0])[:, 1] - outcomes[0],
        outcomes[1] - models[0].predict_proba(groups[1])[:, 1],
    ]
    effects = [
        HistGradientBoostingRegressor(**size).fit(*pair).predict(judged) for pair in zip(groups, missed, strict=True)
    ]
    share = float(treated.mean())
    return np.asarray(share * effects[0] + (1.0 - share) * effects[1])
