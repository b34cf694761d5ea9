"""`kairos evaluate value`: labels by hand, the baselines' formulas, the document, and files that cannot be used."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from models.errors import IncompatibleSnapshotError
from models.learners.envelope import pack_state, unpack_state
from models.learners.value import Value
from services.jobs.evaluate import evaluate_app
from services.jobs.evaluate.bgnbd import expected_orders, fit_bgnbd
from services.jobs.evaluate.churn import Snapshot
from services.jobs.evaluate.value import labels_of_value

START = date(2024, 1, 1)


def lines(customers: int = 60, days: int = 400) -> list[str]:
    """Some buy every week for 20, some every month for 50, some once."""
    found = ["customer_id,date,value"]
    for customer in range(customers):
        every, money = ((7, 20.0), (30, 50.0), (1000, 30.0))[customer % 3]
        found += [
            f"c{customer},{START + timedelta(days=day)},{money + customer % 5}"
            for day in range(customer % 29, days, every)
        ]
    return found


def said(tmp_path: Path, text: list[str], *options: str) -> tuple[int, str]:
    path = tmp_path / "orders.csv"
    path.write_text("\n".join(text) + "\n")
    result = CliRunner().invoke(evaluate_app, ["value", "--data", str(path), *options])
    return result.exit_code, " ".join(result.output.split())


def test_labels_by_hand() -> None:
    bought = {"a": [(3, 100), (10, 250), (12, 50), (100, 900)], "b": [(9, 100)], "c": [(9, 100), (99, 70), (99, 30)]}
    labels = labels_of_value(Snapshot(10, ["a", "b", "c"], []), bought, 90)
    assert labels.money.tolist() == [3.0, 0.0, 1.0]
    assert labels.days.tolist()[0] == 0.0
    assert np.isnan(labels.days[1])
    assert labels.days.tolist()[2] == 89.0


def test_document_has_the_promised_shape_and_knows_regular_customers(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    code, output = said(tmp_path, lines(), "--json", str(out))
    assert code == 0, output
    result = json.loads(out.read_text())
    assert {"task", "protocol", "rows", "scored_rows", "metrics", "baselines", "cost"} <= set(result)
    names = {"mae", "rmse", "spearman", "top_fifth", "said_to_spent", "next_order_mae_days"}
    assert set(result["metrics"]) == names
    assert result["metrics"]["mae"] < result["baselines"]["mean_of_all"]["mae"] / 3
    assert result["metrics"]["spearman"] > 0.8
    assert 0.8 < result["metrics"]["said_to_spent"] < 1.2
    assert result["metrics"]["next_order_mae_days"] < result["baselines"]["mean_of_all"]["next_order_mae_days"]


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        (lines()[:1], "", "no row has a customer and a date"),
        (lines()[:11], "", "nothing to score"),
        (lines(days=100), "", "nothing to score"),
        (lines(), "--columns value=price", "no column 'price'"),
        ([*lines(), "c1,never,3"], "", "column 'date'"),
        ([*lines(), "c1,2024-02-02,inf"], "", "no amount of money"),
        (lines(), "--horizon-days 0", "horizon and snapshot days"),
    ],
)
def test_what_cannot_be_used_is_told_with_the_file_and_ends_with_2(
    tmp_path: Path, text: list[str], options: str, told: str
) -> None:
    code, output = said(tmp_path, text, *options.split())
    assert code == 2, output
    assert told in output
    assert "orders.csv" in output


def test_nobody_buys_again(tmp_path: Path) -> None:
    text = ["customer_id,date,value", *(f"c{i},{START + timedelta(days=i)},10" for i in range(300))]
    assert said(tmp_path, text)[0] == 2  # nothing has been learned that could be scored


def test_bgnbd_finds_the_parameters_of_a_simulation() -> None:
    """Customers who buy with gamma rates and leave after each purchase with beta chances."""
    rng = np.random.default_rng(0)
    count, age = 3000, 52.0
    repeats, last = np.zeros(count), np.zeros(count)
    for customer in range(count):
        rate, leaves, at = rng.gamma(0.8) / 6.0, rng.beta(1.0, 3.0), 0.0
        while rng.random() > leaves or repeats[customer] == 0:
            at += rng.exponential(1.0 / rate)
            if at > age:
                break
            repeats[customer] += 1
            last[customer] = at
    fitted = fit_bgnbd(repeats, last, np.full(count, age))
    assert fitted[0] / fitted[1] == pytest.approx(0.8 / 6.0, rel=0.25)
    ahead = expected_orders(np.array([0.0, 10.0, 10.0]), np.array([0.0, 50.0, 5.0]), np.full(3, age), 10.0, fitted)
    assert ahead[1] > ahead[0] > ahead[2]


def test_restored_learner_goes_on_bit_by_bit() -> None:
    rng = np.random.default_rng(0)
    x, money = rng.random((500, 3)), rng.gamma(2.0, 20.0, 500)
    first, second = Value(3), Value(3)
    for place in range(300):
        first.learn_one(x[place], 20.0, money[place], 5.0 if place % 3 else None)
    packed = pack_state(first.snapshot())
    second.restore(unpack_state(packed))
    for learner in (first, second):
        for place in range(300, 500):
            learner.learn_one(x[place], 20.0, money[place], 5.0 if place % 3 else None)
    assert pack_state(first.snapshot()) == pack_state(second.snapshot())
    assert first.count == 500
    with pytest.raises(IncompatibleSnapshotError):
        Value(3).restore({})
