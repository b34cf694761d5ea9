"""Sufficient statistics add up in any order to those of all users."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.experiments.sums import Mean, Moments, Proportion

PROPORTIONS = st.integers(1, 100_000).flatmap(lambda n: st.builds(Proportion, st.just(n), st.integers(0, n)))
VALUES = st.lists(st.integers(0, 10_000_000), min_size=2, max_size=60)
MONEY = st.integers(-(10**12), 10**12)
ROWS = st.lists(st.tuples(MONEY, MONEY, st.integers(0, 1)), max_size=40)


def mean_of(values: list[int]) -> Mean:
    return Mean(len(values), sum(values), sum(value * value for value in values))


@given(st.lists(PROPORTIONS, min_size=3, max_size=3))
def test_proportions_add_up_in_any_order(parts: list[Proportion]) -> None:
    one, two, three = parts
    assert (one + two) + three == one + (two + three) == (three + one) + two


@given(st.lists(VALUES, min_size=3, max_size=3))
def test_means_add_up_in_any_order_to_the_mean_of_all(parts: list[list[int]]) -> None:
    one, two, three = (mean_of(values) for values in parts)
    assert (one + two) + three == one + (two + three) == (three + one) + two
    values = [value for part in parts for value in part]
    together = one + two + three
    assert together.mean == pytest.approx(np.mean(values))
    assert together.variance == pytest.approx(np.var(values, ddof=1), rel=1e-9, abs=1e-6)


def test_large_sums_keep_their_variance() -> None:
    """Integers do not cancel, where floats would give nonsense."""
    values = [10**12 + step for step in range(100)]
    assert mean_of(values).variance == pytest.approx(np.var(np.arange(100), ddof=1), rel=1e-12)


ROW_LISTS = st.lists(ROWS, min_size=3, max_size=3)


@given(ROW_LISTS)
def test_moments_add_up_exactly(lists: list[list[tuple[int, ...]]]) -> None:
    one, two, three = lists
    parts = [Moments.of(rows, 3) for rows in (one, two, three)]
    assert (parts[0] + parts[1]) + parts[2] == parts[0] + (parts[1] + parts[2]) == Moments.of(one + two + three, 3)


@given(st.lists(st.tuples(MONEY, MONEY, MONEY), min_size=2, max_size=40))
def test_moments_as_numpy(rows: list[tuple[int, ...]]) -> None:
    found = Moments.of(rows)
    scale = np.abs(np.array(rows, dtype=float)).max() ** 2 + 1.0
    assert found.covariances / scale == pytest.approx(np.cov(np.array(rows, dtype=float).T) / scale, abs=1e-9)
    assert found.one(1) == mean_of([row[1] for row in rows])
    assert found.mean(2) == pytest.approx(np.mean([row[2] for row in rows]))


def test_moments_have_a_product_for_each_pair() -> None:
    with pytest.raises(ValueError, match="2 sums go with 3 products"):
        Moments(1, (1, 2), (1, 2))


@pytest.mark.parametrize(("n", "successes"), [(1, 2), (-1, -1), (5, -1)])
def test_no_share_beyond_all(n: int, successes: int) -> None:
    with pytest.raises(ValueError, match="is no share"):
        Proportion(n, successes)
