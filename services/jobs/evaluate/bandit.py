"""`kairos evaluate bandit`: the service's own bandit, played against a log that recorded its propensities."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.errors import ConfigurationError
from models.offers.off_policy import dr, ips, snips
from models.offers.thompson import Thompson
from services.jobs.evaluate.tables import MOST_MONEY, no_number, parse_columns, read_table

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SEEDS: Final = 10
MAX_VALUES = 30  # of a text or integer column, each with a place of its own; rarer ones share the last
MAX_WIDTH = 64
EPSILON = 0.1


@dataclass(frozen=True, slots=True)
class Log:
    """A recorded log: actions by number, rewards, propensities, and contexts with a leading 1."""

    names: list[str]
    actions: IntArray
    rewards: FloatArray
    propensities: FloatArray
    contexts: FloatArray
    columns: list[str]
    sets: list[list[str]] = field(default_factory=list)
    which: IntArray | None = None

    def among(self, row: int) -> list[str]:
        """Actions that could have been taken in a row: all of them, unless the log says otherwise."""
        return self.names if self.which is None else self.sets[int(self.which[row])]

    def choices(self) -> list[tuple[list[str], npt.NDArray[np.bool_]]]:
        """Each set of actions with its rows."""
        if self.which is None:
            return [(self.names, np.ones(len(self.actions), dtype=np.bool_))]
        return [(among, self.which == place) for place, among in enumerate(self.sets)]


def read_log(path: Path, columns: str = "", context: Sequence[str] = (), among: str = "") -> Log:
    """Read action, reward and propensity; every other column (or `context`) is context.

    `among` : column that names the actions that could have been taken, with blanks between; without it all could.

    Raises
    ------
    ConfigurationError
        A column is missing or no number, or a propensity is not in (0, 1]; names the row.
    """
    return log_of(read_table(path), path, columns, context, among)


def log_of(table: pa.Table, path: Path, columns: str = "", context: Sequence[str] = (), among: str = "") -> Log:
    """The log that a table holds, see :func:`read_log`; `path` : what errors name."""
    mapping = parse_columns(columns, ("action", "reward", "propensity"))
    for name in (*mapping.values(), *context, *([among] if among else ())):
        if name not in table.column_names:
            raise ConfigurationError(
                f"there is no column {name!r}",
                where=str(path),
                remedy=f"map it with --columns name=column; the file has {', '.join(table.column_names)}",
            )
    if table.num_rows < 2:
        raise ConfigurationError(f"{table.num_rows} rows are no log", where=str(path))
    texts = [
        str(value).strip() or None if value is not None else None for value in table[mapping["action"]].to_pylist()
    ]
    if None in texts:
        raise ConfigurationError(f"row {texts.index(None) + 1} has no action", where=str(path))
    names = sorted({text for text in texts if text is not None})
    place = {name: i for i, name in enumerate(names)}
    rewards = _numbers(table, mapping["reward"], path)
    propensities = _numbers(table, mapping["propensity"], path)
    bad = np.flatnonzero((propensities <= 0.0) | (propensities > 1.0))
    if len(bad):
        raise ConfigurationError(
            f"row {bad[0] + 1}: propensity {propensities[bad[0]]:g}",
            where=str(path),
            remedy="the probability with which the action was taken, above 0 and at most 1",
        )
    if len(names) < 2:
        raise ConfigurationError(f"one action only ({names[0]})", where=str(path), remedy="a log of at least two")
    used = [name for name in (context or table.column_names) if name not in {*mapping.values(), among}]
    contexts, kept = _contexts(table, used)
    actions = np.array([place[str(text)] for text in texts], dtype=np.int64)
    if not among:
        return Log(names, actions, rewards, propensities, contexts, kept)
    told = [" ".join(sorted(str(value).split())) for value in table[among].to_pylist()]
    for row, (text, action) in enumerate(zip(told, texts, strict=True), 1):
        if action not in text.split():
            raise ConfigurationError(f"row {row}: {action!r} is not among {text!r}", where=str(path))
    sets = list(dict.fromkeys(told))
    names = sorted({*names, *(name for text in sets for name in text.split())})
    actions = np.array([names.index(str(text)) for text in texts], dtype=np.int64)
    which = np.array([sets.index(text) for text in told], dtype=np.int64)
    return Log(names, actions, rewards, propensities, contexts, kept, [text.split() for text in sets], which)


def evaluate_bandit(
    log: Log,
    seeds: int = SEEDS,
    progress: Callable[[int, int], None] = lambda _n, _of: None,
    prefer: Sequence[str] = (),
) -> Any:
    """Replay, IPS, SNIPS and DR of the service's bandit, and of simpler policies in the same run.

    `prefer` : a proposed policy, judged beside: the first of these actions that could be taken, or else any other.

    Notes
    -----
    Per seed the rows are shuffled. The policy sees the context, and its choice is drawn from its propensities. Replay
    (Li et al. 2011): where the choice is the logged action, the row counts and is learned; a log with unequal
    propensities is first thinned to equal ones. IPS, SNIPS and DR judge the policy as it stands at every row, before
    that row is learned.

    References
    ----------
    L. Li, W. Chu, J. Langford, X. Wang, "Unbiased offline evaluation of contextual-bandit-based news article
    recommendation algorithms", 2011.
    """
    found: dict[str, list[dict[str, float]]] = {}
    spent, matched, switched = 0.0, 0, 0
    for seed in range(seeds):
        started = time.process_time()
        bandits = [Thompson(log.contexts.shape[1]) for _ in log.choices()]
        figures = _play(log, seed, bandits)
        spent += time.process_time() - started
        found.setdefault("kairos", []).append(figures)
        matched += int(figures["matched"])
        switched += any(bandit.contextual for bandit in bandits)
        plain = _play(log, seed, [Thompson(0) for _ in bandits])
        found.setdefault("thompson_without_context", []).append(plain)
        found.setdefault("epsilon_greedy", []).append(_play(log, seed, [_EpsilonGreedy() for _ in bandits]))
        progress(seed + 1, seeds)
    means = {
        name: {key: float(np.mean([run[key] for run in runs])) for key in runs[0] if key != "matched"}
        for name, runs in found.items()
    }
    names = ("replay_mean", "replay_last_half", "ips", "snips", "dr")
    best = _best_fixed(log)
    baselines = {name: means[name] for name in ("thompson_without_context", "epsilon_greedy")}
    baselines["best_fixed_action"] = _fixed(log, best, names)
    sizes = np.array([len(log.among(row)) for row in range(len(log.actions))])
    uniform = 1.0 / sizes / log.propensities
    value = float(uniform @ log.rewards / uniform.sum())
    baselines["random"] = dict.fromkeys(names, value)
    if prefer:
        unknown = [name for name in prefer if name not in log.names]
        if unknown:
            raise ConfigurationError(f"no action {unknown[0]!r} in the log", remedy=f"some of {', '.join(log.names)}")
        order = [*prefer, *(name for name in log.names if name not in prefer)]
        proposed = [min(among, key=order.index) for among, _ in log.choices()]
        baselines["proposed"] = _fixed(log, proposed, names)
    if log.which is not None:
        baselines["logged"] = dict.fromkeys(names, float(log.rewards.mean()))
    told = best[0] if log.which is None else dict(zip(map(" ".join, log.sets), best, strict=True))
    return {
        "task": "bandit",
        "protocol": {"seeds": seeds, "actions": log.names, "context": log.columns, "best_fixed_action": told},
        "rows": len(log.actions),
        "scored_rows": matched // seeds,
        "metrics": means["kairos"],
        "baselines": baselines,
        "runs_with_context": switched,
        "cost": {"us_per_event": 1e6 * spent / seeds / len(log.actions)},
    }


class _EpsilonGreedy(Thompson):
    """The arm with the best mean, and one time in ten any."""

    def propensities(self, arms: Sequence[str], x: FloatArray | None = None) -> FloatArray:  # noqa: ARG002
        means = self.means(arms)
        best = np.flatnonzero(means == means.max())
        found = np.full(len(arms), EPSILON / len(arms))
        found[best] += (1.0 - EPSILON) / len(best)
        return found


class _Expected:
    """Ridge regression of the reward per action, for DR; learns every row after it was judged."""

    def __init__(self, arms: int, width: int) -> None:
        self._cov = np.repeat(np.eye(width)[None] / 10.0, arms, axis=0)
        self._weights, self._target = np.zeros((arms, width)), np.zeros((arms, width))
        self._n = self._total = 0.0

    def all(self, x: FloatArray) -> FloatArray:
        mean = self._total / self._n if self._n else 0.0
        return self._weights @ x + mean

    def learn(self, arm: int, x: FloatArray, reward: float) -> None:
        rest = reward - (self._total / self._n if self._n else 0.0)
        v = self._cov[arm] @ x
        self._cov[arm] -= np.outer(v, v / (1.0 + float(x @ v)))
        self._target[arm] += x * rest
        self._weights[arm] = self._cov[arm] @ self._target[arm]
        self._n, self._total = self._n + 1.0, self._total + reward


def _play(log: Log, seed: int, bandits: Sequence[Thompson]) -> dict[str, float]:
    """Figures of one shuffle; as in the service, each set of actions has a bandit of its own."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(log.actions))
    draws = rng.random((len(order), 2))
    least = float(log.propensities.min())
    model = _Expected(len(log.names), log.contexts.shape[1])
    taken = np.zeros(len(order))
    expected, expected_policy = np.zeros(len(order)), np.zeros(len(order))
    earned: list[float] = []
    cached: dict[int, FloatArray] = {}
    numbers = [[log.names.index(name) for name in among] for among, _ in log.choices()]
    for row, number in enumerate(order.tolist()):
        x, action, reward = log.contexts[number], int(log.actions[number]), float(log.rewards[number])
        which, among = 0 if log.which is None else int(log.which[number]), log.among(number)
        bandit, chances = bandits[which], cached.get(which)
        if chances is None:
            chances = np.zeros(len(log.names))
            chances[numbers[which]] = bandit.propensities(among, x)
            if not bandit.contextual:
                cached[which] = chances  # without context it changes with a reward only
        taken[row] = chances[action]
        values = model.all(x)
        expected[row], expected_policy[row] = values[action], values @ chances
        model.learn(action, x, reward)
        chosen = min(int(np.searchsorted(np.cumsum(chances), draws[row, 0], side="right")), len(chances) - 1)
        if chosen == action and draws[row, 1] * log.propensities[number] <= least:
            earned.append(reward)
            bandit.learn(log.names[action], reward, among, float(chances[action]), x)
            cached.pop(which, None)
    rewards, propensities = log.rewards[order], log.propensities[order]
    half = earned[len(earned) // 2 :]
    return {
        "replay_mean": float(np.mean(earned)) if earned else 0.0,
        "replay_last_half": float(np.mean(half)) if half else 0.0,
        "ips": ips(rewards, propensities, taken).value,
        "snips": snips(rewards, propensities, taken).value,
        "dr": dr(rewards, propensities, taken, expected, expected_policy).value,
        "matched": float(len(earned)),
    }


def _best_fixed(log: Log) -> list[str]:
    """The best action of each set, in hindsight."""
    found = []
    for among, rows in log.choices():
        values = [
            snips(log.rewards[rows], log.propensities[rows], (log.actions[rows] == number).astype(np.float64)).value
            for number in map(log.names.index, among)
        ]
        found.append(among[int(np.argmax(values))])
    return found


def _fixed(log: Log, taken: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """Value of always taking one action of each set."""
    chosen = np.zeros(len(log.actions))
    for (_, rows), name in zip(log.choices(), taken, strict=True):
        chosen[rows] = log.actions[rows] == log.names.index(name)
    own = snips(log.rewards, log.propensities, chosen).value
    found = dict.fromkeys(names, own)
    found["ips"] = ips(log.rewards, log.propensities, chosen).value
    return found


def _numbers(table: pa.Table, name: str, path: Path) -> FloatArray:
    try:
        found = np.asarray(table[name].cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise no_number(table[name], name, str(path)) from error
    bad = np.flatnonzero(~(np.abs(found) <= MOST_MONEY))
    if len(bad):
        told = "has no finite number" if not np.isfinite(found[bad[0]]) else f"has {found[bad[0]]}, which is too much"
        raise ConfigurationError(f"row {bad[0] + 1}: column {name!r} {told}", where=str(path))
    return found


def _contexts(table: pa.Table, names: Sequence[str]) -> tuple[FloatArray, list[str]]:
    """Contexts with a leading 1: numbers standardised, few values one place each; constant columns left out."""
    columns: list[FloatArray] = []
    kept: list[str] = []
    for name in names:
        values = table[name]
        if len(columns) >= MAX_WIDTH:
            break
        kind = values.type
        if pa.types.is_floating(kind) or pa.types.is_integer(kind):
            numbers = np.asarray(values.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
            known = numbers[np.isfinite(numbers)]
            if not len(known) or known.std() <= 0.0:
                continue
            columns.append(np.where(np.isfinite(numbers), (numbers - known.mean()) / known.std(), 0.0))
            kept.append(name)
            continue
        texts = ["" if value is None else str(value) for value in values.to_pylist()]
        counts = {text: texts.count(text) for text in dict.fromkeys(texts[:100_000])}
        common = sorted(counts, key=lambda text: (-counts[text], text))[:MAX_VALUES]
        if len(common) < 2:
            continue
        array = np.array(texts)
        columns.extend((array == text).astype(np.float64) for text in common[: MAX_WIDTH - len(columns)])
        kept.append(name)
    width = np.ones((table.num_rows, 1))
    return (np.column_stack([width, *columns]) if columns else width), kept
