"""Results of a file: sums as counted by hand, and a stable code for everything that may be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from models.errors import ConfigurationError
from models.experiments.sums import Moments
from services.jobs.evaluate.ab import evaluate_ab
from services.jobs.experiments.faults import REMEDIES
from services.jobs.experiments.results import flat, read_trial, results
from services.jobs.experiments.trial import Options, Trial


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "trial.csv"
    path.write_text(text, encoding="utf-8")
    return path


def trial(tmp_path: Path, text: str, **options: Any) -> Trial:
    return read_trial(written(tmp_path, text), Options(**options))


USERS = """user,variant,bought,money,country
u1,a,1,20,de
u2,b,0,0,de
u3,a,0,,fr
u4,b,1,35,fr
u5,a,1,5,de
u6,b,1,15,de
"""


def test_rows_per_user(tmp_path: Path) -> None:
    found = trial(tmp_path, USERS, metrics=("bought", "money"))
    assert [(metric.id, metric.kind) for metric in found.metrics] == [("bought", "proportion"), ("money", "mean")]
    assert found.sums["a"] == {"bought": Moments(3, (2,), (2,)), "money": Moments(3, (25,), (425,))}
    assert (list(found.weights), found.users, found.rows) == (["a", "b"], {"a": 3, "b": 3}, 6)


def test_columns_of_numbers_are_the_metrics(tmp_path: Path) -> None:
    assert [metric.id for metric in trial(tmp_path, USERS).metrics] == ["bought", "money"]


def test_several_rows_of_a_user_are_one_user(tmp_path: Path) -> None:
    text = "user,variant,bought,money\nu1,a,1,20\nu2,b,0,0\nu1,a,1,30\nu1,b,0,1\nu3,,1,9\nu2,b,1,5\n"
    found = trial(tmp_path, text, unit="user", metrics=("bought", "money"))
    assert found.sums["a"] == {"bought": Moments(1, (1,), (1,)), "money": Moments(1, (51,), (51**2,))}
    assert found.sums["b"] == {"bought": Moments(1, (1,), (1,)), "money": Moments(1, (5,), (25,))}
    notes = " ".join(found.notes)
    assert "1 users are in more than one variant" in notes
    assert "1 rows without a variant" in notes


def test_a_ratio_a_covariate_and_strata(tmp_path: Path) -> None:
    text = "variant,clicks,views,before,country\na,1,4,2,de\na,2,5,,de\nb,3,6,1,fr\nb,0,3,4,de\n"
    options = {"metrics": ("clicks/views", "clicks"), "covariate": "before", "strata": "country"}
    found = trial(tmp_path, text, **options)
    assert found.sums["a"]["clicks/views"].sums == (3, 9, 2, 1)
    assert found.sums["b"]["clicks"].sums == (3, 5, 0)
    assert set(found.strata) == {"clicks"}
    assert found.strata["clicks"]["b"]["fr"].total == 3


def test_caps_cut_off_totals_of_users_not_rows(tmp_path: Path) -> None:
    text = "user,variant,money\nu1,a,60\nu1,a,60\nu2,b,10\n"
    found = trial(tmp_path, text, unit="user", caps={"money": 100.0})
    assert found.sums["a"]["money"].sums == (100.0,)
    assert "1 users were cut off at 100" in " ".join(found.notes)


def test_one_who_outweighs_all_and_refunds_are_told(tmp_path: Path) -> None:
    rows = [f"{'ab'[number % 2]},{-3 if number == 1 else 2}" for number in range(200)]
    found = trial(tmp_path, "variant,money\n" + "\n".join([*rows, "a,1000000"]) + "\n")
    notes = " ".join(found.notes)
    assert "1 users have a negative total" in notes
    assert "one user makes 100 % of the sum of squares" in notes
    document = results(found)
    assert document["verdict"] == "no_difference"


def test_sums_of_another_system(tmp_path: Path) -> None:
    text = (
        "variant,metric,n,successes,sum,sum_squares,denominator_sum,denominator_sum_squares,sum_products\n"
        "old,bought,1000,100,,,,,\nnew,bought,1000,130,,,,,\n"
        "old,money,1000,,5000,90000,,,\nnew,money,1000,,6000,95000,,,\n"
        "old,ratio,1000,,300,500,1000,3000,700\nnew,ratio,1000,,330,540,1000,3000,750\n"
    )
    found = trial(tmp_path, text, control="old")
    assert [metric.kind for metric in found.metrics] == ["proportion", "mean", "ratio"]
    document = results(found)
    assert [line["shortage"] for line in document["comparisons"]] == [None] * 3
    z = (0.13 - 0.1) / np.sqrt(0.115 * 0.885 * 2 / 1000)
    assert document["comparisons"][0]["fixed"]["z"] == pytest.approx(z, rel=1e-12)
    assert document["comparisons"][0]["fixed"]["p"] == pytest.approx(2 * stats.norm.sf(z), rel=1e-10)


def test_rows_and_their_sums_give_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(13)
    money, before = rng.integers(0, 500, 600), rng.integers(0, 500, 600)
    rows = "".join(f"{'ab'[i % 2]},{money[i]},{before[i]}\n" for i in range(600))
    one = results(trial(tmp_path, "variant,money,before\n" + rows, metrics=("money",), covariate="before"))
    lines = []
    for place, name in enumerate("ab"):
        m, x = money[place::2], before[place::2]
        lines.append(f"{name},money,300,{m.sum()},{m @ m},{x.sum()},{x @ x},{m @ x}")
    head = "variant,metric,n,sum,sum_squares,covariate_sum,covariate_sum_squares,covariate_sum_products\n"
    two = results(trial(tmp_path, head + "\n".join(lines) + "\n"))
    assert one["comparisons"] == two["comparisons"]


def test_intervals_alone_and_as_a_family(tmp_path: Path) -> None:
    """What an oracle gives for one metric stays the same beside a second one; the deciding interval is wider."""
    head, rows = "variant,metric,n,successes\n", "a,one,2000,200\nb,one,2000,260\n"
    alone = results(trial(tmp_path, head + rows))["comparisons"][0]
    beside = results(trial(tmp_path, head + rows + "a,two,2000,20\nb,two,2000,30\n"))["comparisons"][0]
    assert alone["interval"] == alone["fixed"]["interval"]
    assert (alone["fixed"], alone["always_valid"]) == (beside["fixed"], beside["always_valid"])
    assert beside["interval"][0] < alone["interval"][0]


def test_evaluate_ab_is_the_same_in_the_form_of_evaluations(tmp_path: Path) -> None:
    path = written(tmp_path, "variant,metric,n,successes\na,one,2000,200\nb,one,2000,260\na,two,9,2\nb,two,9,3\n")
    found = evaluate_ab(path, Options())
    line = results(read_trial(path, Options()))["comparisons"][0]
    assert (found["task"], found["rows"], found["scored_rows"]) == ("ab", 4, 4_000)
    assert found["metrics"]["z"] == line["fixed"]["z"]
    assert found["metrics"]["interval_low"] == line["fixed"]["interval"][0]
    assert found["metrics"]["always_valid_p_two"] == 1.0
    assert found["metrics"]["always_valid_low_two"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_document_is_json_and_lines_are_flat(tmp_path: Path) -> None:
    document = results(trial(tmp_path, USERS, strata="country"), "always-valid", planned=1_000, running=True)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["sample_ratio"]["evidence"] is not None
    for line in flat(document):
        assert all(not isinstance(value, dict | list) for value in line.values())
    assert document["comparisons"][0]["post_stratified"]["difference"] is not None


def test_nobody_converts(tmp_path: Path) -> None:
    document = results(trial(tmp_path, "variant,n,successes\na,500,0\nb,500,0\n"))
    assert (document["verdict"], document["comparisons"][0]["shortage"]) == ("not_enough_data", "no_variance")
    empty = results(trial(tmp_path, "variant,n,successes\na,0,0\nb,0,0\n"))
    assert (empty["verdict"], empty["comparisons"][0]["shortage"]) == ("not_enough_data", "no_users")
    assert empty["sample_ratio"]["p"] is None


@pytest.mark.parametrize(
    ("code", "text", "options"),
    [
        ("no_rows", "variant,bought\n", {}),
        ("unknown_column", "arm,bought\na,1\n", {}),
        ("unknown_column", USERS, {"metrics": ("nothing",)}),
        ("unknown_column", USERS, {"covariate": "nothing"}),
        ("no_metric", "variant,name\na,x\nb,y\n", {}),
        ("one_variant", "variant,bought\na,1\na,0\n", {}),
        ("unknown_control", USERS, {"control": "c"}),
        ("bad_weights", USERS, {"weights": {"a": 0.5, "b": 0.6}}),
        ("bad_weights", USERS, {"weights": {"a": 0.5, "c": 0.5}}),
        ("bad_weights", USERS, {"weights": {"a": 1.0, "b": 0.0}}),
        ("not_a_number", USERS, {"metrics": ("country",)}),
        ("not_a_number", "variant,money\na,inf\nb,1.5\n", {"metrics": ("money",)}),
        ("bad_option", USERS, {"guardrails": ("nothing",)}),
        ("bad_counts", "variant,n,successes\na,10,11\nb,4,4\n", {}),
        ("bad_counts", "variant,n,successes\na,-1,0\nb,4,4\n", {}),
        ("bad_counts", "variant,n,successes\na,5,1\na,5,1\nb,4,4\n", {}),
        ("bad_counts", "variant,n,sum\na,5,1\nb,4,4\n", {}),
        ("bad_counts", "variant,n,sum,sum_squares\na,5,10,1\nb,4,4,4\n", {}),
        ("bad_counts", "variant,metric,n,successes\na,x,5,1\nb,y,4,4\n", {}),
    ],
)
def test_bad_input_has_a_code_and_a_remedy(tmp_path: Path, code: str, text: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        trial(tmp_path, text, **options)
    assert caught.value.message.startswith(f"{code}: ")
    assert caught.value.remedy == REMEDIES[code]  # type: ignore[index]
