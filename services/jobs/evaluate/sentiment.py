"""Evaluate sentiment: labelled texts, each scored before it is learned, or one source learned and another scored."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline

from models.errors import ConfigurationError
from models.learners.base import sigmoid
from models.learners.sentiment import Sentiment, WordBayes, read
from services.jobs.evaluate.metrics import classification_metrics
from services.jobs.evaluate.rows import LEAST_ROWS, labels_of
from services.jobs.evaluate.tables import parse_columns, read_table
from services.lexicon import read_lexicon

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

REFITS: Final = 10


@dataclass(frozen=True, slots=True)
class Texts:
    """Labelled texts in file order; `sources` are empty where the file has none."""

    texts: list[str]
    labels: list[int]
    sources: list[str]
    total: int
    skipped: dict[str, int]


@dataclass(frozen=True, slots=True)
class SentimentProtocol:
    """How texts are scored.

    Parameters
    ----------
    score_from : share of the texts that only teach. orders : seeded shuffles over which figures are averaged.
    test_source : texts of this source are scored and never learned, all others are learned.
    """

    score_from: float = 0.1
    orders: int = 5
    test_source: str = ""

    def __post_init__(self) -> None:
        if not 0.0 <= self.score_from < 1.0:
            raise ConfigurationError("--score-from is a share of the texts: at least 0, less than 1")
        if self.orders < 1:
            raise ConfigurationError("--orders must be at least 1")


def read_texts(path: Path, columns: str = "", positive: str = "", *, with_source: bool = False) -> Texts:
    """Read text, label and, when asked for, source.

    Raises
    ------
    ConfigurationError
        A column is missing, a label is none, or too little is left.
    """
    table = read_table(path)
    wanted = ("text", "label", "source") if with_source else ("text", "label")
    mapping = parse_columns(columns, ("text", "label", "source"))
    for name in wanted:
        if mapping[name] not in table.column_names:
            raise ConfigurationError(
                f"there is no column {mapping[name]!r}",
                where=str(path),
                remedy=f"map it with --columns name=column; the file has {', '.join(table.column_names)}",
            )
    labels = labels_of(table[mapping["label"]], positive, path, mapping["label"])
    texts = ["" if text is None else str(text) for text in table[mapping["text"]].to_pylist()]
    sources = [str(v) for v in table[mapping["source"]].to_pylist()] if with_source else [""] * len(texts)
    keep = [i for i, (text, y) in enumerate(zip(texts, labels, strict=True)) if text.strip() and y is not None]
    known = [int(labels[i] or 0) for i in keep]
    if len(keep) < LEAST_ROWS:
        raise ConfigurationError(
            f"{len(keep)} texts with a label: too few", where=str(path), remedy=f"give at least {LEAST_ROWS}"
        )
    if len(set(known)) < 2:
        raise ConfigurationError(f"all labels are {known[0]}", where=str(path), remedy="texts of both kinds are needed")
    skipped = {"without a text or a label": len(texts) - len(keep)} if len(keep) < len(texts) else {}
    return Texts([texts[i] for i in keep], known, [sources[i] for i in keep], len(texts), skipped)


@dataclass(slots=True)
class _Pass:
    """One order: scores by name, the labels, and what Kairos cost."""

    scores: dict[str, FloatArray]
    labels: IntArray
    spent_s: float
    texts: int


def evaluate_sentiment(
    data: Texts, protocol: SentimentProtocol, progress: Callable[[int, int], None] = lambda _order, _orders: None
) -> dict[str, Any]:
    """Run the protocol; see docs/evaluate.md.

    Raises
    ------
    ConfigurationError
        No text has the source to be tested, or all have.
    """
    of_source = np.array([source == protocol.test_source for source in data.sources])
    if protocol.test_source and (of_source.all() or not of_source.any()):
        raise ConfigurationError(
            f"{'every' if of_source.all() else 'no'} text has source {protocol.test_source!r}",
            remedy=f"--test-source with one of {', '.join(sorted(set(data.sources))[:8])}",
        )
    passes = []
    for seed in range(protocol.orders):
        order = np.random.default_rng(seed).permutation(len(data.texts))
        if protocol.test_source:
            passes.append(_across(data, order[~of_source[order]], np.flatnonzero(of_source)))
        else:
            passes.append(_prequential(data, order, int(len(order) * protocol.score_from)))
        progress(seed + 1, protocol.orders)
    figures = {name: _mean([_figures(one.labels, one.scores[name]) for one in passes]) for name in passes[0].scores}
    return {
        "task": "sentiment",
        "protocol": asdict(protocol),
        "rows": data.total,
        "rows_skipped": data.skipped,
        "scored_rows": len(passes[0].labels),
        "positive_rate": float(np.mean(data.labels)),
        "metrics": figures.pop("kairos"),
        "baselines": figures,
        "cost": {"us_per_event": 1e6 * sum(one.spent_s for one in passes) / sum(one.texts for one in passes)},
    }


def _prequential(data: Texts, order: IntArray, first: int) -> _Pass:
    model, bayes, lexicon = Sentiment(read_lexicon()), WordBayes(), _lexicon_alone(data)
    scores = {name: np.full(len(order), 0.5) for name in ("kairos", "words_alone", "batch_tfidf_retrained")}
    steps = np.linspace(first, len(order), REFITS + 1).astype(int).tolist()
    for start, end in pairwise(steps):
        if len({data.labels[i] for i in order[:start]}) == 2:
            scores["batch_tfidf_retrained"][start:end] = _tfidf(data, order[:start], order[start:end])
    spent_s = 0.0
    for place, index in enumerate(order.tolist()):
        text, y = data.texts[index], data.labels[index]
        words = read(text, read_lexicon()).words
        scores["words_alone"][place] = sigmoid(np.array(bayes.log_odds(words)))
        bayes.learn(words, y)
        started = time.perf_counter()
        scores["kairos"][place] = model.score(text)
        model.learn(text, y)
        spent_s += time.perf_counter() - started
    scores["lexicon_alone"] = lexicon[order]
    labels = np.array(data.labels)[order][first:]
    return _Pass({name: values[first:] for name, values in scores.items()}, labels, spent_s, len(order))


def _across(data: Texts, taught: IntArray, scored: IntArray) -> _Pass:
    if len({data.labels[i] for i in taught}) < 2:
        raise ConfigurationError("all texts of the other sources have the same label: there is nothing to learn")
    model, bayes = Sentiment(read_lexicon()), WordBayes()
    started = time.perf_counter()
    for index in taught.tolist():
        model.learn(data.texts[index], data.labels[index])
    served = np.array([model.score(data.texts[index]) for index in scored.tolist()])
    spent_s = time.perf_counter() - started
    for index in taught.tolist():
        bayes.learn(read(data.texts[index], read_lexicon()).words, data.labels[index])
    words = np.array([bayes.log_odds(read(data.texts[index], read_lexicon()).words) for index in scored.tolist()])
    scores = {
        "kairos": served,
        "words_alone": sigmoid(words),
        "batch_tfidf_retrained": _tfidf(data, taught, scored),
        "lexicon_alone": _lexicon_alone(data)[scored],
    }
    return _Pass(scores, np.array(data.labels)[scored], spent_s, len(taught) + len(scored))


def _tfidf(data: Texts, taught: IntArray, scored: IntArray) -> FloatArray:
    batch = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10.0))
    batch.fit([data.texts[i] for i in taught], [data.labels[i] for i in taught])
    return np.asarray(batch.predict_proba([data.texts[i] for i in scored])[:, 1])


def _lexicon_alone(data: Texts) -> FloatArray:
    lexicon = read_lexicon()
    return np.array([0.5 + 0.499 * read(text, lexicon).balance for text in data.texts])


def _figures(labels: IntArray, scores: FloatArray) -> dict[str, float]:
    said = (scores >= 0.5).astype(np.int64)
    exact = {"accuracy": float(accuracy_score(labels, said)), "f1": float(f1_score(labels, said, zero_division=0.0))}
    return exact | classification_metrics(labels, scores)


def _mean(figures: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in figures])) for name in figures[0]}
