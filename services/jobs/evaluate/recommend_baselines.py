"""What recommendations are compared with: popularity, personal frequency, item-kNN, and a factor model."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.utils.extmath import randomized_svd

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

DAY_MS: Final = 86_400_000
POPULAR_HALF_LIFE_MS: Final = 14 * DAY_MS
LIST: Final = 20
NEIGHBOUR_ITEMS: Final = 6000  # the first so many items; more would need more than 150 MB for pairs
FACTORS: Final = 64


class Baselines:
    """Learns the same baskets at the same time; knows everything a user ever took (no cap, no forgetting).

    Notes
    -----
    `popular`: purchases halving every 14 days. `personal_frequency`: how often the user took an item, then popularity.
    `item_knn`: cosine of items over all baskets, summed over what the user took. `factors`: a truncated SVD of users by
    items (64 factors), fitted anew whenever the history has grown by half, with the user's live history folded in.
    """

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._names: list[str] = []
        self._popular = np.zeros(1024)
        self._pairs = np.zeros((1024, 1024), dtype=np.float32)
        self._times: dict[str, dict[int, int]] = {}
        self._start_ms: int | None = None
        self._factors: FloatArray = np.zeros((0, 0))
        self._baskets = 0
        self._next_fit = 500

    def learn(self, user: str, items: list[str], at_ms: int) -> None:
        """One basket."""
        if self._start_ms is None:
            self._start_ms = at_ms
        numbers = np.array([self._number(item) for item in items], dtype=np.int64)
        self._popular[numbers] += 2.0 ** min((at_ms - self._start_ms) / POPULAR_HALF_LIFE_MS, 900.0)
        times = self._times.setdefault(user, {})
        for number in numbers.tolist():
            times[number] = times.get(number, 0) + 1
        inside = numbers[numbers < NEIGHBOUR_ITEMS]
        self._pairs[np.ix_(inside, inside)] += 1.0
        # Users who take one item at a time say what goes together over time.
        if len(items) == 1 and len(inside):
            others = np.array([number for number in times if number < NEIGHBOUR_ITEMS and number != inside[0]][-8:])
            if len(others):
                self._pairs[inside[0], others] += 1.0
                self._pairs[others, inside[0]] += 1.0
        self._baskets += 1

    def rank(self, user: str) -> dict[str, tuple[list[str], list[str]]]:
        """Lists of every baseline: over all items, and over those new to the user."""
        if not self._names:
            return {}
        if self._baskets >= self._next_fit:
            self._fit()
            self._next_fit = int(self._baskets * 1.5)
        n = len(self._names)
        taken = self._times.get(user, {})
        own = np.array(list(taken), dtype=np.int64)
        popular = self._popular[:n] / (self._popular[:n].max() or 1.0)
        times = np.zeros(n)
        times[own] = list(taken.values())
        scores = {"popular": popular, "personal_frequency": times + 0.5 * popular}
        inside = own[own < NEIGHBOUR_ITEMS]
        near = np.zeros(n)
        if len(inside):
            m = min(n, NEIGHBOUR_ITEMS)
            counts = np.maximum(self._pairs.diagonal()[:m], 1.0)
            rows = self._pairs[inside, :m] / np.sqrt(counts[inside, None] * counts[None, :])
            rows[np.arange(len(inside)), inside] = 0.0
            near[:m] = rows.sum(axis=0)
        scores["item_knn"] = near + 1e-6 * popular
        if len(self._factors):
            known = own[own < len(self._factors)]
            folded = self._factors[known].sum(axis=0) @ self._factors.T if len(known) else np.zeros(len(self._factors))
            scores["factors"] = np.concatenate([folded, np.zeros(n - len(folded))]) + 1e-6 * popular
        return {name: (self._best(found), self._best(found, own)) for name, found in scores.items()}

    def _best(self, scores: FloatArray, without: IntArray | None = None) -> list[str]:
        if without is not None and len(without):
            scores = scores.copy()
            scores[without] = -np.inf
        size = min(LIST, len(scores))
        best = np.argpartition(-scores, size - 1)[:size]
        return [self._names[i] for i in best[np.lexsort((best, -scores[best]))].tolist() if scores[i] > -np.inf]

    def _number(self, item: str) -> int:
        number = self._index.get(item)
        if number is None:
            number = self._index[item] = len(self._names)
            self._names.append(item)
            if number >= len(self._popular):
                self._popular = np.concatenate([self._popular, np.zeros(len(self._popular))])
            if number >= len(self._pairs) and number < NEIGHBOUR_ITEMS:
                wider = np.zeros((min(2 * number, NEIGHBOUR_ITEMS),) * 2, dtype=np.float32)
                wider[:number, :number] = self._pairs
                self._pairs = wider
        return number

    def _fit(self) -> None:
        rows = [row for row, times in enumerate(self._times.values()) for _ in times]
        columns = [number for times in self._times.values() for number in times]
        matrix = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(self._times), len(self._names)))
        size = min(FACTORS, min(matrix.shape) - 1)
        if size >= 1:
            self._factors = np.asarray(randomized_svd(matrix, size, n_iter=4, random_state=0)[2].T)
