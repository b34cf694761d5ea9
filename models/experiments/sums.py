"""Sufficient statistics of experiments: sums that add. They are stored; results are worked out when somebody looks.

Sums of whole numbers (money in minor units) are exact whatever their size. Sums of floats work, too, with the accuracy
of floats: the outside CSV files of `kairos experiments results` bring those.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Shortage: TypeAlias = Literal[
    "no_users",
    "too_few_users",
    "no_variance",
    "denominator_near_zero",
    "control_near_zero",
    "no_stratum_has_both_arms",
]

WORDS: dict[Shortage, str] = {
    "no_users": "an arm has no users yet",
    "too_few_users": "an arm has too few users",
    "no_variance": "all users have the same value: nothing can be compared",
    "denominator_near_zero": "the mean of the ratio's denominator lies within three standard errors of zero",
    "control_near_zero": "the control's value lies within three standard errors of zero: no relative lift",
    "no_stratum_has_both_arms": "no stratum has two users in each arm",
}


@dataclass(frozen=True, slots=True)
class Proportion:
    """Sufficient statistic of a share: users, and those of them with the event.

    Examples
    --------
    >>> (Proportion(4, 1) + Proportion(6, 2)).rate
    0.3
    """

    n: int
    successes: int

    def __post_init__(self) -> None:
        if not 0 <= self.successes <= self.n:
            raise ValueError(f"{self.successes} of {self.n} is no share")

    def __add__(self, other: Proportion) -> Proportion:
        return Proportion(self.n + other.n, self.successes + other.successes)

    @property
    def rate(self) -> float:
        """Share of the users, 0 without any."""
        return self.successes / self.n if self.n else 0.0

    @property
    def as_mean(self) -> Mean:
        """The same users with the values 0 and 1."""
        return Mean(self.n, self.successes, self.successes)


@dataclass(frozen=True, slots=True)
class Mean:
    """Sufficient statistic of an average: users, sum and sum of squares of their values (integers: exact).

    Examples
    --------
    >>> (Mean(2, 300, 50_000) + Mean(1, 300, 90_000)).variance
    10000.0
    """

    n: int
    total: int | float
    total_sq: int | float

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.n + other.n, self.total + other.total, self.total_sq + other.total_sq)

    @property
    def mean(self) -> float:
        """Average per user, 0 without any."""
        return self.total / self.n if self.n else 0.0

    @property
    def variance(self) -> float:
        """Sample variance, 0 with fewer than two users."""
        if self.n < 2:
            return 0.0
        # In this order integers lose nothing before the one division.
        return max(0.0, (self.n * self.total_sq - self.total * self.total) / (self.n * (self.n - 1)))


@dataclass(frozen=True, slots=True)
class Moments:
    """Sufficient statistic of several values per user: sums and sums of products.

    What the values are, the caller says: (numerator, denominator) of a ratio, (outcome, covariate, missing) for
    CUPED, (numerator, denominator, covariate, missing) for both.

    Parameters
    ----------
    n : users. sums : of each value. products : of each pair of values, row by row of the upper triangle
        (for two values: aa, ab, bb).

    Examples
    --------
    >>> one, two = Moments.of([(1, 2), (3, 4)]), Moments.of([(5, 9)])
    >>> (one + two).sums, (one + two).products
    ((9, 15), (35, 59, 101))
    >>> (one + two).covariance(0, 1)
    7.0
    """

    n: int
    sums: tuple[int | float, ...]
    products: tuple[int | float, ...]

    def __post_init__(self) -> None:
        size = len(self.sums)
        if len(self.products) != size * (size + 1) // 2:
            raise ValueError(f"{size} sums go with {size * (size + 1) // 2} products, not {len(self.products)}")

    @classmethod
    def of(cls, rows: Iterable[Sequence[int | float]], size: int | None = None) -> Moments:
        """Add up the values of users, one row each; `size` says how many values where there may be no row."""
        listed = [tuple(row) for row in rows]
        size = len(listed[0]) if listed else size or 1
        pairs = [(i, j) for i in range(size) for j in range(i, size)]
        sums = tuple(sum(row[i] for row in listed) for i in range(size))
        return cls(len(listed), sums, tuple(sum(row[i] * row[j] for row in listed) for i, j in pairs))

    def __add__(self, other: Moments) -> Moments:
        sums = tuple(a + b for a, b in zip(self.sums, other.sums, strict=True))
        products = tuple(a + b for a, b in zip(self.products, other.products, strict=True))
        return Moments(self.n + other.n, sums, products)

    def mean(self, index: int) -> float:
        """Average of one value, 0 without users."""
        return self.sums[index] / self.n if self.n else 0.0

    def covariance(self, first: int, second: int) -> float:
        """Sample covariance of two values, 0 with fewer than two users."""
        if self.n < 2:
            return 0.0
        i, j = min(first, second), max(first, second)
        product = self.products[i * len(self.sums) - i * (i - 1) // 2 + j - i]
        found = (self.n * product - self.sums[i] * self.sums[j]) / (self.n * (self.n - 1))
        return max(0.0, found) if i == j else found

    @property
    def means(self) -> Floats:
        """Averages of all values."""
        return np.array([self.mean(i) for i in range(len(self.sums))], dtype=np.float64)

    @property
    def covariances(self) -> Floats:
        """Matrix of the sample covariances."""
        size = len(self.sums)
        found = np.zeros((size, size))
        for i in range(size):
            for j in range(i, size):
                found[i, j] = found[j, i] = self.covariance(i, j)
        return found

    def one(self, index: int) -> Mean:
        """Sums of one of the values alone."""
        square = index * len(self.sums) - index * (index - 1) // 2
        return Mean(self.n, self.sums[index], self.products[square])
