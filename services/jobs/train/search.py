"""Search for settings: a grid, at random, or Bayesian (Optuna), judged in time order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, Final, Literal

import numpy as np

from models.errors import ConfigurationError
from services.jobs.train.candidates import Candidate, Choice, Settings, Span

Search = Literal["none", "grid", "random", "bayes"]

GRID_POINTS: Final = 3


class Sampler:
    """Proposes settings; told how good they were, a Bayesian one proposes better ones.

    Parameters
    ----------
    how, trials, seed : kind of search, number of settings (a grid has its own), seed of what is drawn.
    features : how many features there are to choose from; 0: none are selected.

    Raises
    ------
    ConfigurationError
        Optuna is not installed.

    Examples
    --------
    >>> from services.jobs.train.candidates import CANDIDATES
    >>> sampler = Sampler(CANDIDATES["logistic"], "grid", 9, 0, 0)
    >>> [settings["C"] for settings in sampler]
    [0.001, 0.1, 10.0]
    """

    def __init__(self, candidate: Candidate, how: Search, trials: int, seed: int, features: int) -> None:
        self._usual = dict(candidate.usual)
        self._space: Mapping[str, Choice | Span] = candidate.space
        if features > 1:
            self._usual["features"] = features
            self._space = {**self._space, "features": Span(max(1, features // 3), features, whole=True)}
        self._how, self._trials, self._seed = how, trials, seed
        self._study: Any = _study(seed) if how == "bayes" else None
        self._trial: Any = None

    def __len__(self) -> int:
        if self._how == "grid":
            return int(np.prod([len(_points(one)) for one in self._space.values()]))
        return 1 if self._how == "none" else self._trials

    def __iter__(self) -> Iterator[Settings]:
        if self._how == "none":
            yield self._usual
        elif self._how == "grid":
            names = list(self._space)
            for values in product(*(_points(self._space[name]) for name in names)):
                yield dict(zip(names, values, strict=True))
        elif self._how == "random":
            rng = np.random.default_rng(self._seed)
            yield self._usual
            for _ in range(self._trials - 1):
                yield {name: _drawn(one, rng) for name, one in self._space.items()}
        else:
            self._study.enqueue_trial(self._usual)
            for _ in range(self._trials):
                self._trial = self._study.ask()
                yield {name: _suggested(self._trial, name, one) for name, one in self._space.items()}

    def tell(self, loss: float) -> None:
        """How good the settings were that came last; lower is better."""
        if self._study is not None:
            self._study.tell(self._trial, loss)


def _points(one: Choice | Span) -> list[Any]:
    if isinstance(one, Choice):
        return list(one.values)
    return list(dict.fromkeys(one.at(share) for share in np.linspace(0.0, 1.0, GRID_POINTS).tolist()))


def _drawn(one: Choice | Span, rng: np.random.Generator) -> Any:
    return one.values[int(rng.integers(len(one.values)))] if isinstance(one, Choice) else one.at(float(rng.random()))


def _study(seed: int) -> Any:
    try:
        import optuna  # noqa: PLC0415 - not in production: an extra
    except ImportError as error:
        raise ConfigurationError(
            "--search bayes needs Optuna, which is not installed", remedy="pip install optuna, or --search random"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=4))


def _suggested(trial: Any, name: str, one: Choice | Span) -> Any:
    if isinstance(one, Choice):
        return trial.suggest_categorical(name, one.values)
    if one.whole:
        return trial.suggest_int(name, int(one.low), int(one.high), log=one.log)
    return trial.suggest_float(name, one.low, one.high, log=one.log)
