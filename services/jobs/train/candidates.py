"""The batch models: what scikit-learn fits, over which settings it is searched, and the pipeline around it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import RFE, SelectKBest, chi2, mutual_info_classif
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from models.learners.base import sigmoid
from services.jobs.train.examples import FloatArray, IntArray

Selection = Literal["none", "chi2", "mutual-information", "rfe"]
Settings = dict[str, Any]

CALIBRATED_ON: Final = 0.25


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """A number between two others, evenly or by its logarithm."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def at(self, share: float) -> float:
        """Number at a share of the span.

        Examples
        --------
        >>> Span(0.01, 100.0, log=True).at(0.5), Span(1, 5, whole=True).at(0.5)
        (1.0, 3)
        """
        if self.log:
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        return round(value) if self.whole else float(f"{value:.6g}")


class CalibratedSvm(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Linear support vector machine whose margin is made a probability on rows that it had not seen.

    Notes
    -----
    Rows come in time order: the machine is fitted on the earlier three quarters, slope and level on the last one, and
    the machine then once more on all. scikit-learn's CalibratedClassifierCV would shuffle time.

    References
    ----------
    J. Platt, "Probabilistic outputs for support vector machines", 1999.
    """

    def __init__(self, C: float = 1.0, seed: int = 0) -> None:  # noqa: N803 - scikit-learn's name
        self.C = C
        self.seed = seed

    def fit(self, x: FloatArray, y: IntArray) -> Self:
        """Fit on rows in time order."""
        self.classes_ = np.array([0, 1])
        split = int(len(y) * (1.0 - CALIBRATED_ON))
        whole = len(set(y[:split].tolist())) < 2 or len(set(y[split:].tolist())) < 2
        fitted_on, told_on = (slice(None), slice(None)) if whole else (slice(None, split), slice(split, None))
        margin = self._machine().fit(x[fitted_on], y[fitted_on]).decision_function(x[told_on])
        platt = LogisticRegression(C=100.0).fit(margin[:, None], y[told_on])
        self.slope_, self.level_ = float(platt.coef_[0, 0]), float(platt.intercept_[0])
        self.machine_ = self._machine().fit(x, y)
        return self

    def predict_proba(self, x: FloatArray) -> FloatArray:
        """P(0) and P(1) per row."""
        p = sigmoid(self.slope_ * self.machine_.decision_function(x) + self.level_)
        return np.column_stack([1.0 - p, p])

    def _machine(self) -> Any:
        return LinearSVC(C=self.C, random_state=self.seed, max_iter=5_000)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One kind of model.

    Parameters
    ----------
    make : estimator from (settings, seed). space : settings that are searched. usual : settings without a search.
    standardised : whether it needs features of one scale.
    """

    title: str
    make: Callable[[Settings, int], Any]
    space: Mapping[str, Choice | Span]
    usual: Settings
    standardised: bool


CANDIDATES: Final[dict[str, Candidate]] = {
    "logistic": Candidate(
        "logistic regression",
        lambda s, seed: LogisticRegression(C=s["C"], max_iter=2_000, random_state=seed),
        {"C": Span(0.001, 10.0, log=True)},
        {"C": 1.0},
        standardised=True,
    ),
    "svm": Candidate(
        "linear SVM, calibrated",
        lambda s, seed: CalibratedSvm(C=s["C"], seed=seed),
        {"C": Span(0.001, 10.0, log=True)},
        {"C": 0.1},
        standardised=True,
    ),
    "tree": Candidate(
        "decision tree",
        lambda s, seed: DecisionTreeClassifier(**s, random_state=seed),
        {"max_depth": Span(3, 10, whole=True), "min_samples_leaf": Span(10, 300, log=True, whole=True)},
        {"max_depth": 6, "min_samples_leaf": 50},
        standardised=False,
    ),
    "forest": Candidate(
        "random forest",
        lambda s, seed: RandomForestClassifier(**s, n_estimators=60, random_state=seed),
        {"max_depth": Span(4, 14, whole=True), "min_samples_leaf": Span(10, 100, log=True, whole=True)},
        {"max_depth": 10, "min_samples_leaf": 20},
        standardised=False,
    ),
    "network": Candidate(
        "neural network (MLP)",
        lambda s, seed: MLPClassifier(
            hidden_layer_sizes=tuple(int(size) for size in s["hidden"].split("-")),
            alpha=s["alpha"],
            max_iter=200,
            random_state=seed,
        ),
        {"hidden": Choice(("8", "16", "16-8")), "alpha": Span(0.0001, 1.0, log=True)},
        {"hidden": "8", "alpha": 0.01},
        standardised=True,
    ),
    "boosting": Candidate(
        "histogram boosting",
        lambda s, seed: HistGradientBoostingClassifier(**s, early_stopping=False, random_state=seed),
        {
            "learning_rate": Span(0.02, 0.2, log=True),
            "max_leaf_nodes": Choice((7, 15, 31)),
            "max_iter": Choice((60, 120)),
        },
        {"learning_rate": 0.05, "max_leaf_nodes": 15, "max_iter": 120},
        standardised=False,
    ),
}


def pipeline_of(candidate: Candidate, settings: Settings, select: Selection, features: int, seed: int) -> Pipeline:
    """Fill missing values, select features, scale, model: all of it is fitted on the training rows alone."""
    own = {name: value for name, value in settings.items() if name != "features"}
    return Pipeline(
        [
            ("fill", SimpleImputer(strategy="median", keep_empty_features=True)),
            ("select", _selector(select, int(settings.get("features", features)), seed)),
            ("scale", StandardScaler() if candidate.standardised else "passthrough"),
            ("model", candidate.make(own, seed)),
        ]
    )


def fitted(pipeline: Pipeline, x: FloatArray, y: IntArray | FloatArray) -> Pipeline:
    """Fit; a model that has not quite converged is judged like any other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return pipeline.fit(x, y)


def _selector(select: Selection, features: int, seed: int) -> Any:
    if select == "none":
        return "passthrough"
    if select == "chi2":  # features are logarithms of counts and money: never below zero
        return SelectKBest(chi2, k=features)
    if select == "mutual-information":
        return SelectKBest(_Information(seed), k=features)
    ranker = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2_000))
    return RFE(ranker, n_features_to_select=features, importance_getter="named_steps.logisticregression.coef_")


class _Information:
    """Mutual information with a seed; a class, because a pipeline is copied."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, x: FloatArray, y: IntArray) -> Any:
        return mutual_info_classif(x, y, random_state=self.seed)
