"""Evaluate propensity: a goal, predicted row by row in file order, with labels that may come late."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import ConfigurationError
from models.learners.base import MAX_LOG_ODDS, sigmoid
from models.learners.propensity import KEPT_FOR_BATCH, MEMBERS, Propensity, Scored
from services.jobs.evaluate.baselines import FrozenLogistic
from services.jobs.evaluate.metrics import classification_metrics
from services.jobs.evaluate.rows import Labelled

FloatArray = npt.NDArray[np.float64]

NAMES: Final = {
    "second_order": "second_order_alone",
    "adagrad": "adagrad_alone",
    "boosted": "batch_boosting_retrained",
    "forest": "batch_forest_retrained",
    "rate": "rate_so_far",
}


@dataclass(frozen=True, slots=True)
class PropensityProtocol:
    """How rows are scored and learned.

    Parameters
    ----------
    delay : the label of row i may be used from the scoring of row i + delay + 1 on.
    score_from : share of the rows, from the first, that only teach.
    """

    delay: int = 0
    score_from: float = 0.1

    def __post_init__(self) -> None:
        if self.delay < 0:
            raise ConfigurationError("--delay must not be negative")
        if not 0.0 <= self.score_from < 1.0:
            raise ConfigurationError("--score-from is a share of the rows: at least 0, less than 1")


def evaluate_propensity(
    data: Labelled, protocol: PropensityProtocol, progress: Callable[[int, int], None] = lambda _row, _rows: None
) -> dict[str, Any]:
    """Run the protocol; see docs/evaluate.md.

    Returns
    -------
    The JSON document ``{task, protocol, rows, scored_rows, metrics, baselines, cost, ...}``.

    Raises
    ------
    ConfigurationError
        Nothing is left to score.
    """
    learner = Propensity(data.kinds)
    batch = FrozenLogistic()
    waiting: deque[Scored] = deque()
    served: list[Scored] = []
    batch_odds: list[float] = []
    refit_s, spent_s, learned = 0.0, 0.0, 0
    started = time.perf_counter()
    for index, row in enumerate(data.rows):
        while len(waiting) > protocol.delay:
            learner.learn(waiting.popleft(), data.labels[learned])
            learned += 1
        if learner.refit_due:
            spent_s += time.perf_counter() - started
            begun = time.perf_counter()
            learner.refit()
            refit_s += time.perf_counter() - begun
            _refit(batch, learner, served[max(0, learned - KEPT_FOR_BATCH) : learned], data.labels[:learned])
            progress(index, len(data.rows))
            started = time.perf_counter()
        scored = learner.score(row)
        waiting.append(scored)
        served.append(scored)
        batch_odds.append(batch.log_odds(scored.encoded.wide))
    spent_s += time.perf_counter() - started
    first = int(len(data.rows) * protocol.score_from)
    labels = np.array(data.labels[first:], dtype=np.int64)
    metrics = classification_metrics(labels, np.array([scored.probability for scored in served[first:]]))
    if "auc" not in metrics:
        raise ConfigurationError(
            f"all {len(labels)} scored rows have the same label", remedy="give more rows, or a smaller --score-from"
        )
    odds = sigmoid(np.nan_to_num(np.array([scored.odds for scored in served[first:]])))
    baselines = {"online_alone": classification_metrics(labels, np.array([s.online for s in served[first:]]))}
    logistic = sigmoid(np.clip(np.array(batch_odds[first:]), -MAX_LOG_ODDS, MAX_LOG_ODDS))
    baselines["batch_logistic_retrained"] = classification_metrics(labels, logistic)
    for place, name in enumerate(MEMBERS):
        if name in NAMES:
            baselines[NAMES[name]] = classification_metrics(labels, odds[:, place])
    return {
        "task": "propensity",
        "protocol": asdict(protocol),
        "rows": data.total,
        "rows_skipped": data.skipped,
        "scored_rows": len(labels),
        "positive_rate": float(labels.mean()),
        "columns": dict(zip(data.names, data.kinds, strict=True)),
        "metrics": metrics,
        "baselines": baselines,
        "pool": learner.meta()["pool"],
        "drifts": learner.drifts,
        "notes": data.notes,
        "cost": {"us_per_event": 1e6 * spent_s / len(data.rows), "refit_s": refit_s},
    }


def _refit(batch: FrozenLogistic, learner: Propensity, known: list[Scored], labels: list[int]) -> None:
    """Fit the batch baseline on the rows whose labels are known, as they were encoded when they were scored."""
    width = max(len(scored.encoded.wide) for scored in known)
    x = np.zeros((len(known), width))
    for place, scored in enumerate(known):
        x[place, : len(scored.encoded.wide)] = scored.encoded.wide
    batch.fit(x, np.array(labels[-len(known) :], dtype=np.int64), learner.encoder.indicators[:width])
