"""Cohorts added up: which of them belong to a moment, a day or a part of the users."""

from __future__ import annotations

from typing import Any

import pytest

from config.definitions import Experiment
from models.experiments.fields import DAY_MS, limbs, prefix
from models.experiments.reading import counted
from models.experiments.tally import ONCE, tally

DAY = 14_670
TEST = Experiment.model_validate(
    {
        "id": "test",
        "variants": [{"id": "a", "weight": 0.5}, {"id": "b", "weight": 0.5}],
        "expose_on": "message",
        "metrics": [
            {"id": "clicked", "event": "Email Link Clicked", "within": "1d"},
            {"id": "revenue", "event": "Order Completed", "within": "3d", "kind": "revenue"},
        ],
        "lateness": "6h",
    }
)
HOUR_MS = DAY_MS // 24
BIG = 10**9


def cohort(day: int, segment: str, variant: str, users: int, clicked: int, revenue: int) -> dict[str, int]:
    """Counters of one cohort; each user with revenue brought BIG more, so that squares take more than one limb."""
    before = prefix(day, segment, variant)
    sums = {"n": users, "clicked|a": clicked, "clicked|aa": clicked, "revenue|a": revenue, "revenue|aa": BIG * revenue}
    return dict(change for name, value in sums.items() for change in limbs(before + name, value))


# Three days, and what else lies in the same hash.
COUNTS = (
    {"w|0.5,0.5": 500, "late": 3, "mismatch|b": 2, f"{DAY - 1}||a|n": 0}
    | cohort(DAY, "", "a", 100, 10, 500)
    | cohort(DAY, "", "b", 110, 20, 700)
    | cohort(DAY + 1, "", "a", 50, 5, 200)
    | cohort(DAY + 2, "", "b", 60, 7, 300)
    | cohort(DAY, "twice=yes", "a", 4, 1, 40)
    | cohort(DAY + 2, "twice=yes", "b", 6, 2, 60)
    | cohort(DAY, "device=mobile", "a", 30, 3, 90)
)


Told = dict[str, tuple[int, tuple[float, ...], tuple[float, ...]]]


def told(**chosen: Any) -> Told:
    """Exposed users; users and clicks; users, revenue and its squares; by variant."""
    found: Told = {}
    for variant, arm in tally(COUNTS, TEST, **chosen).arms.items():
        clicked, revenue = arm.metrics["clicked"], arm.metrics["revenue"]
        products = (revenue.n, revenue.sums[0], revenue.products[0])
        found[variant] = (arm.exposed, (clicked.n, clicked.sums[0]), products)
    return found


def test_all_cohorts() -> None:
    assert told() == {
        "a": (150, (150, 15), (150, 700, 700 * BIG)),
        "b": (170, (170, 27), (170, 1000, 1000 * BIG)),
    }
    found = tally(COUNTS, TEST)
    assert found.days == (DAY, DAY + 1, DAY + 2), "a day whose users went back to 0 has none"
    assert found.twice == {"a": 4, "b": 6}


def test_a_day_and_the_parts_of_the_users() -> None:
    assert told(day=DAY + 1) == {"a": (50, (50, 5), (50, 200, 200 * BIG)), "b": (0, (0, 0), (0, 0, 0))}
    assert tally(COUNTS, TEST, day=DAY + 1).days == (DAY + 1,)
    assert told(segment=ONCE) == {
        "a": (146, (146, 14), (146, 660, 660 * BIG)),
        "b": (164, (164, 25), (164, 940, 940 * BIG)),
    }
    assert told(segment="device=mobile") == {"a": (30, (30, 3), (30, 90, 90 * BIG)), "b": (0, (0, 0), (0, 0, 0))}
    assert told(segment="device=desktop") == dict.fromkeys("ab", (0, (0, 0), (0, 0, 0)))


@pytest.mark.parametrize(
    ("window", "days", "clicked", "revenue"),
    [
        # A cohort is over when its day, the metric's window after its last moment, and the lateness are.
        (HOUR_MS * (48 + 6) - 1, 0, (0, 0), (0, 0)),
        (HOUR_MS * (48 + 6), 1, (100, 110), (0, 0)),
        (HOUR_MS * (72 + 6), 2, (150, 110), (0, 0)),
        (HOUR_MS * (96 + 6) - 1, 2, (150, 110), (0, 0)),
        (HOUR_MS * (96 + 6), 3, (150, 170), (100, 110)),
        (HOUR_MS * (144 + 6), 3, (150, 170), (150, 170)),
    ],
)
def test_a_cohort_matures_as_a_whole_and_for_each_metric_by_itself(
    window: int, days: int, clicked: tuple[int, int], revenue: tuple[int, int]
) -> None:
    watermark = DAY * DAY_MS + window
    found = told(matured_by=watermark)
    assert {name: arm[0] for name, arm in found.items()} == {"a": 150, "b": 170}, "exposed users, matured or not"
    assert tuple(arm[1][0] for arm in found.values()) == clicked
    assert tuple(arm[2][0] for arm in found.values()) == revenue
    assert found["a"][1][1] == (0, 10, 15, 15)[days]
    now = counted(COUNTS, TEST, watermark)
    for variant, arm in tally(COUNTS, TEST).arms.items():
        for metric, moments in arm.metrics.items():
            assert now.matured[variant][metric] + now.waiting[variant][metric] == moments
    assert now.open is (revenue != (150, 170))
