"""Assignment equals that of the GrowthBook SDK."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from growthbook import Experiment as GrowthBookExperiment
from growthbook import GrowthBook
from growthbook.core import fnv1a32 as growthbook_fnv1a32
from growthbook.core import inNamespace as growthbook_inNamespace
from hypothesis import given
from hypothesis import strategies as st

from config.definitions import Experiment, Namespace
from models.experiments.assign import BUCKETS, Assigner, bucket_table, fnv1a32, in_namespace

USERS = 10_000


USER_NAMES = ("user-{}", "{}", "Kundin-ä-{}", "客户🎁{}", "{}@shop.example")


def experiment(weights: list[float], coverage: float, seed: str, **more: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "id": "test",
            "seed": seed,
            "variants": [{"id": f"v{i}", "weight": weight} for i, weight in enumerate(weights)],
            "coverage": coverage,
            "expose_on": "message",
            "metrics": [{"id": "m", "event": "Order Completed", "within": "7d"}],
            **more,
        }
    )


CONFIGURATIONS = [
    ([0.5, 0.5], 1.0, "cart-subject"),
    ([0.5, 0.5], 0.2, "aa-check"),
    ([0.1, 0.9], 1.0, "skew"),
    ([0.2, 0.3, 0.5], 1.0, "three"),
    ([1 / 3, 1 / 3, 1 / 3], 0.7, "thirds"),
    ([0.1] * 10, 0.99, "ten"),
    ([0.0001, 0.9999], 1.0, "rare"),
    ([0.7, 0.3], 0.0001, "hardly"),
    ([0.5, 0.5], 1.0, "Größe-東京-🎁"),
]


@pytest.mark.parametrize(("weights", "coverage", "seed"), CONFIGURATIONS)
def test_ten_thousand_users_get_the_variant_that_growthbook_gives(
    weights: list[float], coverage: float, seed: str
) -> None:
    assigner = Assigner(experiment(weights, coverage, seed))
    rng = random.Random(seed)
    different = 0
    for number in range(USERS):
        user = USER_NAMES[number % len(USER_NAMES)].format(rng.randrange(10**9))
        client = GrowthBook(attributes={"id": user})
        test = GrowthBookExperiment(
            key="test",
            variations=list(range(len(weights))),
            weights=weights,
            coverage=coverage,
            seed=seed,
            hashVersion=2,
        )
        result = client.run(test)
        expected = f"v{result.variationId}" if result.inExperiment else None
        different += assigner.variant(user) != expected
    assert different == 0


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("checkout", 0.0, 0.5),
        ("checkout", 0.5, 1.0),
        ("checkout", 0.1, 0.123),
        ("mails", 0.25, 0.251),
        ("mails", 0.0005, 0.9995),
        ("a", 0.3, 0.7),
    ],
)
def test_ten_thousand_users_lie_in_the_namespace_where_growthbook_puts_them(
    name: str, start: float, end: float
) -> None:
    """Alone, and before variants with weights and coverage."""
    inside = Namespace.model_validate({"id": name, "from": start, "to": end})
    assigner = Assigner(experiment([0.2, 0.3, 0.5], 0.8, "among", namespace=inside))
    rng = random.Random(f"{name} {start}")
    test = GrowthBookExperiment(
        key="test",
        variations=[0, 1, 2],
        weights=[0.2, 0.3, 0.5],
        coverage=0.8,
        namespace=(name, start, end),
        seed="among",
        hashVersion=2,
    )
    different = taken = 0
    for number in range(USERS):
        user = USER_NAMES[number % len(USER_NAMES)].format(rng.randrange(10**9))
        there = growthbook_inNamespace(user, (name, start, end))
        taken += there
        different += in_namespace(user, inside) != there
        result = GrowthBook(attributes={"id": user}).run(test)
        different += assigner.variant(user) != (f"v{result.variationId}" if result.inExperiment else None)
    assert different == 0
    # Thousandths that lie in it; five standard deviations.
    share = sum(start <= place / 1000 < end for place in range(1000)) / 1000
    assert abs(taken - USERS * share) < 5 * (USERS * share * (1 - share)) ** 0.5 + 1


def test_stretches_of_a_namespace_exclude_each_other() -> None:
    """Every user is in exactly one of three that lie side by side; another namespace shuffles anew."""
    bounds = (0.0, 0.2, 0.5, 1.0)
    side_by_side = [
        Assigner(experiment([0.5, 0.5], 1.0, seed, namespace={"id": "shop", "from": start, "to": end}))
        for seed, start, end in zip(("one", "two", "three"), bounds, bounds[1:], strict=False)
    ]
    other = Assigner(experiment([0.5, 0.5], 1.0, "one", namespace={"id": "elsewhere", "from": 0.0, "to": 0.2}))
    both = 0
    for number in range(USERS):
        user = f"u{number}"
        assert sum(one.variant(user) is not None for one in side_by_side) == 1
        both += other.variant(user) is not None and side_by_side[0].variant(user) is not None
    # 4 % of 10,000; five standard deviations are 98.
    assert abs(both - 400) < 98


@given(st.text(), st.text())
def test_the_hash_goes_on_from_a_prefix(prefix: str, text: str) -> None:
    whole: int = growthbook_fnv1a32(prefix + text)
    assert fnv1a32(prefix + text) == fnv1a32(text, fnv1a32(prefix)) == whole


@given(
    st.lists(st.integers(1, 1000), min_size=2, max_size=10),
    st.floats(0.0, 1.0, exclude_min=True),
)
def test_each_variant_gets_its_share_of_the_buckets(parts: list[int], coverage: float) -> None:
    weights = [part / sum(parts) for part in parts]
    counts = Counter(bucket_table(weights, coverage))
    for index, weight in enumerate(weights):
        assert abs(counts[index] - BUCKETS * weight * coverage) <= 1.0 + 1e-6


def test_a_user_keeps_the_variant_when_coverage_grows() -> None:
    small = Assigner(experiment([0.5, 0.5], 0.3, "grow"))
    large = Assigner(experiment([0.5, 0.5], 0.6, "grow"))
    users = [f"u{number}" for number in range(2_000)]
    inside = [user for user in users if small.variant(user) is not None]
    assert 500 < len(inside) < 700
    assert all(small.variant(user) == large.variant(user) for user in inside)


def test_experiments_are_independent() -> None:
    first, second = (Assigner(experiment([0.5, 0.5], 1.0, seed)) for seed in ("one", "two"))
    pairs = Counter((first.variant(f"u{n}"), second.variant(f"u{n}")) for n in range(10_000))
    # Four cells of 2,500; five standard deviations are about 217.
    assert all(abs(count - 2_500) < 217 for count in pairs.values())
    assert len(pairs) == 4


def test_a_user_without_an_id_takes_no_part() -> None:
    assert Assigner(experiment([0.5, 0.5], 1.0, "x")).variant("") is None
