"""ADWIN in plain state: tells when the mean of a stream of numbers has changed.

River's own detector is compiled and cannot be written down and taken up again bit by bit, which a checkpoint needs.
"""

from __future__ import annotations

from math import log, sqrt
from typing import Any, Final

from models.errors import IncompatibleSnapshotError

NAME: Final = "adwin"
BUCKETS: Final = 5
EVERY: Final = 32
LEAST: Final = 5


class Adwin:
    """Adaptive window over the last values; it shrinks when its parts differ.

    Parameters
    ----------
    delta : rate of false alarms that is accepted at each look.

    Attributes
    ----------
    rose : whether the mean was lower before the window was cut the last time.

    Notes
    -----
    Values lie in an exponential histogram: at most ``BUCKETS`` buckets of each power of two, so memory and a look take
    O(log n). Every ``EVERY`` values each cut of the window is tried against the bound of the paper (normal
    approximation with the window's variance); while one fails, the oldest bucket is dropped.

    References
    ----------
    A. Bifet, R. Gavalda, "Learning from time-changing data with adaptive windowing", SDM 2007.

    Examples
    --------
    >>> adwin = Adwin()
    >>> [i for i in range(2000) if adwin.update(0.2 + 0.01 * (i % 7) + (0.5 if i > 1000 else 0.0))][0]
    1023
    """

    def __init__(self, delta: float = 0.002) -> None:
        self.delta = delta
        self.count = 0
        self.rose = False
        # Oldest first: [values, their sum, their squared deviations].
        self._buckets: list[list[float]] = []

    @property
    def width(self) -> int:
        """Values in the window."""
        return int(sum(bucket[0] for bucket in self._buckets))

    @property
    def mean(self) -> float:
        """Mean over the window, 0 while it is empty."""
        return sum(bucket[1] for bucket in self._buckets) / max(self.width, 1)

    def update(self, value: float) -> bool:
        """Take one value; True when the window was cut: the mean has changed."""
        self.count += 1
        self._buckets.append([1.0, value, 0.0])
        self._compress()
        return self.count % EVERY == 0 and self._cut()

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        return {
            "name": NAME,
            "delta": self.delta,
            "count": self.count,
            "buckets": [list(bucket) for bucket in self._buckets],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted.

        Raises
        ------
        IncompatibleSnapshotError
            The state is of something else.
        """
        if state.get("name") != NAME or state["delta"] != self.delta:
            raise IncompatibleSnapshotError(f"not a state of {NAME}")
        self.count = state["count"]
        self._buckets = [list(bucket) for bucket in state["buckets"]]

    def _compress(self) -> None:
        """Merge the two oldest buckets of a size that has too many."""
        buckets, end = self._buckets, len(self._buckets)
        while end:
            size = buckets[end - 1][0]
            start = end
            while start and buckets[start - 1][0] == size:
                start -= 1
            if end - start <= BUCKETS:
                return
            (n, a, s), (m, b, t) = buckets[start], buckets[start + 1]
            apart = a / n - b / m
            buckets[start : start + 2] = [[n + m, a + b, s + t + n * m / (n + m) * apart * apart]]
            end = start + 1

    def _cut(self) -> bool:
        before, changed = self.mean, False
        while len(self._buckets) > 1 and self._differs():
            self._buckets.pop(0)
            changed = True
        if changed:
            self.rose = self.mean > before
        return changed

    def _differs(self) -> bool:
        width = sum(bucket[0] for bucket in self._buckets)
        total = sum(bucket[1] for bucket in self._buckets)
        mean = total / width
        variance = sum(s + n * (a / n - mean) ** 2 for n, a, s in self._buckets) / width
        confidence = log(2.0 * log(max(width, 3.0)) / self.delta)
        older, older_sum = 0.0, 0.0
        for n, a, _ in self._buckets[:-1]:
            older += n
            older_sum += a
            newer = width - older
            if older < LEAST or newer < LEAST:
                continue
            m = 1.0 / older + 1.0 / newer
            bound = sqrt(2.0 * m * variance * confidence) + 2.0 / 3.0 * m * confidence
            if abs(older_sum / older - (total - older_sum) / newer) > bound:
                return True
        return False
