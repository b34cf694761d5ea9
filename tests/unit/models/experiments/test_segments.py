"""Parts of the users: what is shown of them equals what other libraries say of the same counts."""

from typing import Any

import pytest
from scipy.stats import chi2_contingency, false_discovery_control
from statsmodels.stats.proportion import proportions_ztest

from config.experiment import Experiment
from models.experiments.fields import TWICE, USERS
from models.experiments.segments import WITHOUT_TWICE, breakdown, twice_document
from support.experiment_shop import experiment

DAY, LATER = 14_600, 14_700 * 86_400_000
METRICS: list[dict[str, Any]] = [{"id": "ordered", "event": "Order Completed", "within": "1d"}]
TEST = Experiment.model_validate(experiment(metrics=METRICS, dimensions=["device"]))
# Part -> variant -> users, buyers.
CELLS = {
    "": {"a": (1000, 120), "b": (1000, 160)},
    "device=desktop": {"a": (600, 80), "b": (580, 75)},
    "device=mobile": {"a": (400, 40), "b": (420, 85)},
    "device=tablet": {"a": (60, 3), "b": (70, 9)},
    TWICE: {"a": (30, 5), "b": (50, 9)},
}


@pytest.fixture
def counts() -> dict[str, int]:
    found = {}
    for part, arms in CELLS.items():
        for variant, (users, buyers) in arms.items():
            found[f"{DAY}|{part}|{variant}|{USERS}"] = users
            found[f"{DAY}|{part}|{variant}|ordered|a"] = found[f"{DAY}|{part}|{variant}|ordered|aa"] = buyers
    return found


def test_each_part_is_tested_as_statsmodels_does(counts: dict[str, int]) -> None:
    rows = {row["segment"]: row for row in breakdown(counts, TEST, LATER)}
    once = {"a": (970, 115), "b": (950, 151)}
    for part, arms in {
        WITHOUT_TWICE: once,
        **{part: CELLS[part] for part in ("device=desktop", "device=mobile")},
    }.items():
        (n_a, got_a), (n_b, got_b) = arms["a"], arms["b"]
        row = rows[part]
        assert (row["n_control"], row["n"]) == (n_a, n_b)
        assert row["difference"] == pytest.approx(got_b / n_b - got_a / n_a, abs=1e-12)
        assert row["p"] == pytest.approx(proportions_ztest([got_b, got_a], [n_b, n_a])[1], rel=1e-8)
    tested = [row for row in rows.values() if row["p"] is not None]
    assert [row["p_adjusted"] for row in tested] == pytest.approx(false_discovery_control([row["p"] for row in tested]))


def test_a_small_part_is_shown_and_not_tested(counts: dict[str, int]) -> None:
    row = next(row for row in breakdown(counts, TEST, LATER) if row["segment"] == "device=tablet")
    assert (row["n_control"], row["n"], row["p"], row["interval"]) == (60, 70, None, None)


def test_users_inside_their_window_are_left_out(counts: dict[str, int]) -> None:
    assert all(row["n"] == 0 and row["p"] is None for row in breakdown(counts, TEST, DAY * 86_400_000))


def test_users_shown_two_variants(counts: dict[str, int]) -> None:
    found = twice_document(counts, TEST)
    assert found["users"] == {"a": 30, "b": 50}
    assert found["share"] == {"a": 0.03, "b": 0.05}
    table = [[30, 970], [50, 950]]
    assert found["p"] == pytest.approx(chi2_contingency(table, correction=False).pvalue, rel=1e-10)


def test_nobody_shown_two() -> None:
    found = {f"{DAY}||{variant}|{USERS}": 10 for variant in ("a", "b")}
    assert twice_document(found, TEST) == {"users": {"a": 0, "b": 0}, "share": {"a": 0.0, "b": 0.0}, "p": None}
    assert breakdown(found, TEST, LATER) == []
    assert twice_document({}, TEST)["p"] is None
