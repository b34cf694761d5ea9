"""Which items go with which, learned one basket at a time: bounded rows, newest evidence weighs most."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_NO_IDS: IntArray = np.zeros(0, dtype=np.int64)
_NO_WEIGHTS: FloatArray = np.zeros(0)


class Links:
    """Weighted links from item to item, items by their number.

    Parameters
    ----------
    most : links kept per item; pruned to it at twice as many, the lightest first, equal ones by number.

    Notes
    -----
    A row's arrays are made when it is read and thrown away when it changes: what is read depends on the row alone,
    so a restored model reads the same. Memory: about 100 bytes a link, at most ``2 most`` links an item.

    Examples
    --------
    >>> links = Links(2)
    >>> links.add(0, [1, 2], 0.5)
    >>> links.add(0, [2], 0.25)
    >>> [column.tolist() for column in links.row(0)]
    [[1, 2], [0.5, 0.75]]
    """

    __slots__ = ("_cache", "most", "rows")

    def __init__(self, most: int) -> None:
        self.most = most
        self.rows: dict[int, dict[int, float]] = {}
        self._cache: dict[int, tuple[IntArray, FloatArray]] = {}

    def add(self, source: int, targets: Iterable[int], weight: float) -> None:
        """Strengthen the links from `source` to each of `targets` other than itself."""
        row = self.rows.get(source)
        if row is None:
            row = self.rows[source] = {}
        for target in targets:
            if target != source:
                row[target] = row.get(target, 0.0) + weight
        if len(row) > 2 * self.most:
            kept = sorted(((value, -target) for target, value in row.items()), reverse=True)[: self.most]
            self.rows[source] = {-target: value for value, target in kept}
        self._cache.pop(source, None)

    def row(self, source: int) -> tuple[IntArray, FloatArray]:
        """Targets and weights of one item."""
        found = self._cache.get(source)
        if found is None:
            row = self.rows.get(source)
            if not row:
                return _NO_IDS, _NO_WEIGHTS
            size = len(row)
            found = np.fromiter(row, np.int64, size), np.fromiter(row.values(), np.float64, size)
            self._cache[source] = found
        return found

    def scale(self, factor: float) -> None:
        """Multiply all weights: the landmark of the decay has moved."""
        self.rows = {i: {j: weight * factor for j, weight in row.items()} for i, row in self.rows.items()}
        self._cache.clear()

    def renumber(self, places: dict[int, int]) -> None:
        """Keep only the items in `places`, under their new numbers."""
        self.rows = {
            places[i]: {places[j]: weight for j, weight in row.items() if j in places}
            for i, row in self.rows.items()
            if i in places
        }
        self._cache.clear()

    def state(self) -> dict[str, Any]:
        """Plain state; flat arrays, which encode an order of magnitude faster than nested maps."""
        return {
            "sources": np.array(list(self.rows), dtype=np.float64),
            "lengths": np.array([len(row) for row in self.rows.values()], dtype=np.float64),
            "targets": np.array([j for row in self.rows.values() for j in row], dtype=np.float64),
            "weights": np.array([weight for row in self.rows.values() for weight in row.values()]),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one whose state it is."""
        targets, weights = state["targets"].astype(np.int64).tolist(), state["weights"].tolist()
        sources, lengths = state["sources"].astype(np.int64).tolist(), state["lengths"].astype(np.int64).tolist()
        self.rows, start = {}, 0
        for source, length in zip(sources, lengths, strict=True):
            end = start + length
            self.rows[source] = dict(zip(targets[start:end], weights[start:end], strict=True))
            start = end
        self._cache.clear()

    def gather(self, sources: Sequence[int]) -> tuple[IntArray, FloatArray, IntArray]:
        """Links of several items as flat arrays: targets, weights, and the place of each one's source."""
        rows = [self.row(source) for source in sources]
        if not rows:
            return _NO_IDS, _NO_WEIGHTS, _NO_IDS
        lengths = [len(ids) for ids, _ in rows]
        return (
            np.concatenate([ids for ids, _ in rows]),
            np.concatenate([weights for _, weights in rows]),
            np.repeat(np.arange(len(rows)), lengths),
        )
