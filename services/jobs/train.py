"""Batch challengers of the churn score: scikit-learn models trained on the stream's own labelled examples.

Time-ordered: at each of several moments everything whose label was known by then is learned, and what was scored in the
time after it is judged. The online champion is judged at the same moments from the same labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.decisions import ChurnExample
from models.errors import ConfigurationError
from models.features.churn import as_matrix, expand
from models.learners.session import ChurnModel
from services.jobs.evaluate.metrics import classification_metrics

FOLDS = 5
LEAST = 500
CHAMPION = "online (champion)"

_decode = msgspec.json.Decoder(ChurnExample).decode

CHALLENGERS: dict[str, Callable[[], ClassifierMixin]] = {
    "logistic regression": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
    "random forest": lambda: RandomForestClassifier(n_estimators=200, min_samples_leaf=20, random_state=0),
    "histogram boosting": lambda: HistGradientBoostingClassifier(max_depth=4, learning_rate=0.05, random_state=0),
}


@dataclass(frozen=True, slots=True)
class Trained:
    """Figures of each model over the same scored examples; `examples` were there, `scored` of them were judged."""

    examples: int
    scored: int
    metrics: dict[str, dict[str, float]]


def examples_of(values: Iterable[bytes]) -> list[ChurnExample]:
    """Examples as they lie in `training`, each once, in the order in which their labels became known."""
    found: dict[str, ChurnExample] = {}
    for value in values:
        example = _decode(value)
        found.setdefault(example.id, example)
    return sorted(found.values(), key=lambda example: (example.known_at, example.id))


def compare_churn(examples: list[ChurnExample], told: Callable[[int, int], None]) -> Trained:
    """Train every challenger at `FOLDS` moments and judge it, with the champion, on what came after.

    Raises
    ------
    ConfigurationError
        There are too few examples yet.
    """
    if len(examples) < LEAST:
        raise ConfigurationError(
            f"{len(examples)} labelled examples lie in the topic training, {LEAST} are needed",
            remedy="labels come when their horizon is over (90 days unless config/churn.yaml says otherwise)",
        )
    known = np.array([example.known_at for example in examples])
    at = np.array([example.at for example in examples])
    labels = np.array([example.label for example in examples], dtype=np.int64)
    raw = as_matrix([example.x for example in examples])
    columns = expand(raw)
    # Moments between the first label and the last scored example, so that each is followed by something to judge.
    moments = np.linspace(known[LEAST - 1], at.max(), FOLDS + 1)
    scores: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in (CHAMPION, *CHALLENGERS)}
    judged: list[npt.NDArray[np.int64]] = []
    champion, learned = ChurnModel(), 0
    for fold, (begin, end) in enumerate(pairwise(moments)):
        told(fold, FOLDS)
        train, test = known <= begin, (at > begin) & (at <= end)
        if not test.any() or len(np.unique(labels[train])) < 2:
            continue
        judged.append(labels[test])
        for name, make in CHALLENGERS.items():
            model = make().fit(columns[train], labels[train])
            scores[name].append(model.predict_proba(columns[test])[:, 1])
        upto = int(train.sum())
        for example in examples[learned:upto]:
            champion.learn_example(example.x, example.label, example.at, example.known_at)
        learned = upto
        scores[CHAMPION].append(champion.linear_model().score(raw[test]))
    told(FOLDS, FOLDS)
    if not judged:
        raise ConfigurationError(
            "every label became known after the last example was taken: there is nothing to judge yet",
            remedy="come back when the stream has run for two horizons",
        )
    truth = np.concatenate(judged)
    return Trained(
        len(examples),
        len(truth),
        {name: classification_metrics(truth, np.concatenate(found)) for name, found in scores.items()},
    )
