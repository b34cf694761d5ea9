"""Batch challengers against the champion, in time order."""

import numpy as np
import pytest

from models.decisions import ChurnExample
from models.errors import ConfigurationError
from services.jobs.train import CHALLENGERS, CHAMPION, compare_churn, examples_of

DAY_MS = 86_400_000
HORIZON_MS = 90 * DAY_MS


def examples(count: int) -> list[ChurnExample]:
    """Customers whose chance to be lost grows with their silence; labels come 90 days later."""
    rng = np.random.default_rng(7)
    found = []
    for i in range(count):
        at = int(i * 400 * DAY_MS / count)
        recency, days = int(rng.integers(0, 180)), int(rng.integers(1, 12))
        lost = rng.random() < 1 / (1 + np.exp(-(recency - 70) / 15))
        x = [recency, days, int(rng.integers(100, 90_000)), recency + 30 * days, int(100 * min(days, 2))]
        due = at + HORIZON_MS
        found.append(ChurnExample(f"e{i}", f"u{i}", at, due, due, int(lost), x))
    return found


def test_all_models_learn_and_nobody_sees_the_future() -> None:
    told: list[tuple[int, int]] = []
    result = compare_churn(examples(4000), lambda done, total: told.append((done, total)))
    assert set(result.metrics) == {CHAMPION, *CHALLENGERS}
    assert all(found["auc"] > 0.85 for found in result.metrics.values())
    assert 1000 < result.scored < result.examples == 4000
    assert told[-1] == (5, 5)


def test_labels_that_say_nothing_teach_nothing() -> None:
    """With shuffled labels an honest protocol finds about one half; a leak would find more."""
    found = examples(3000)
    labels = np.random.default_rng(1).permutation([example.label for example in found])
    mixed = [
        ChurnExample(e.id, e.user, e.at, e.due, e.known_at, int(label), e.x)
        for e, label in zip(found, labels, strict=True)
    ]
    result = compare_churn(mixed, lambda *_: None)
    assert all(0.44 < one["auc"] < 0.56 for one in result.metrics.values())


def test_too_few_examples_say_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="500 are needed"):
        compare_churn(examples(20), lambda *_: None)


def test_each_example_counts_once() -> None:
    import msgspec

    values = [msgspec.json.encode(example) for example in examples(10)]
    assert len(examples_of([*values, *values])) == 10
