"""`kairos evaluate churn`: the protocol against a second, plain reading of it, and no look ahead."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from models.errors import ConfigurationError
from services.jobs.evaluate import evaluate_app
from services.jobs.evaluate.churn import ChurnProtocol, evaluate_churn
from services.jobs.evaluate.metrics import calibration_error, classification_metrics
from services.jobs.evaluate.tables import Purchases, day_number, read_purchases

PROTOCOL = ChurnProtocol(horizon_days=20, snapshot_days=7, first_snapshot_day=20, eligible_days=40, score_from_day=60)
FIRST_DAY = 14_000


def shop(customers: int = 150, days: int = 150, seed: int = 0) -> list[tuple[str, int, float]]:
    """Customers who buy at rates of their own and leave one day."""
    rng = np.random.default_rng(seed)
    rows = [("c0", 0, 5.0)]
    for index in range(customers):
        day, gap = float(rng.integers(0, days // 2)), float(rng.gamma(3.0, 4.0)) + 1
        while day < days and rng.random() > 0.07:
            rows.append((f"c{index}", int(day), float(rng.integers(1, 90))))
            day += rng.exponential(gap)
    return sorted(rows, key=lambda row: row[1])


def purchases_of(rows: list[tuple[str, int, float]]) -> Purchases:
    return Purchases(
        customers=[customer for customer, _, _ in rows],
        days=np.array([FIRST_DAY + day for _, day, _ in rows]),
        money_minor=np.array([int(value * 100) for _, _, value in rows]),
        rows=len(rows),
        skipped={},
    )


def plain_reading(rows: list[tuple[str, int, float]], protocol: ChurnProtocol, last: int) -> list[tuple[str, int, int]]:
    """Scored (customer, snapshot, label), straight from the words of the protocol."""
    scored = []
    for snapshot in range(protocol.first_snapshot_day, last + 1, protocol.snapshot_days):
        if snapshot + protocol.horizon_days > last or snapshot < protocol.score_from_day:
            continue
        for customer in {name for name, _, _ in rows}:
            past = [day for name, day, _ in rows if name == customer and day < snapshot]
            if not past or (protocol.eligible_days and snapshot - max(past) > protocol.eligible_days):
                continue
            later = [d for name, d, _ in rows if name == customer and snapshot <= d < snapshot + protocol.horizon_days]
            scored.append((customer, snapshot, int(not later)))
    return scored


@pytest.mark.parametrize(
    ("eligible_days", "end_day"), [(40, None), (0, None), (40, 120)], ids=["eligible", "all", "end-date"]
)
def test_scored_rows_and_labels_follow_the_protocol(eligible_days: int, end_day: int | None) -> None:
    rows = shop()
    end_date = None if end_day is None else str(np.datetime64(FIRST_DAY + end_day, "D"))
    protocol = ChurnProtocol(20, 7, 20, eligible_days, 60, end_date)
    result = evaluate_churn(purchases_of(rows), protocol)
    expected = plain_reading(rows, protocol, rows[-1][1] if end_day is None else end_day)
    assert result["scored_rows"] == len(expected)
    assert result["positive_rate"] == pytest.approx(np.mean([label for _, _, label in expected]))


def test_document_has_the_promised_shape() -> None:
    result = evaluate_churn(purchases_of(shop()), PROTOCOL)
    assert {"task", "protocol", "rows", "scored_rows", "metrics", "baselines", "cost"} <= set(result)
    names = {"auc", "average_precision", "log_loss", "brier", "calibration_error"}
    assert set(result["metrics"]) == names
    assert {"batch_logistic_retrained", "second_order_alone", "river_logistic_alone"} <= set(result["baselines"])
    assert all(set(figures) == names for figures in result["baselines"].values())
    assert result["cost"]["us_per_event"] > 0
    json.dumps(result)


def test_learned_scores_beat_the_rule_and_keep_up_with_batch() -> None:
    result = evaluate_churn(purchases_of(shop(customers=600, days=250)), PROTOCOL)
    assert result["first_learned_day"] is not None
    best = max(figures["auc"] for figures in result["baselines"].values())
    assert result["metrics"]["auc"] > best - 0.003
    assert result["metrics"]["log_loss"] < result["baselines"]["recency_frequency_rule"]["log_loss"]


def test_future_changes_no_score_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Whatever happens from day 100 on, what was scored at snapshots up to day 100 must be the same.
    seen: list[dict[str, np.ndarray]] = []

    def record(_labels: object, scores: np.ndarray) -> dict[str, float]:
        seen.append({"scores": scores})
        return {"auc": 0.0}

    monkeypatch.setattr("services.jobs.evaluate.churn.classification_metrics", record)
    rows = shop(days=150)
    other = [row for row in rows if row[1] < 100] + [("stranger", day, 1.0) for day in range(100, 150)]
    early = []
    for history in (rows, other):
        seen.clear()
        evaluate_churn(purchases_of([*history, ("end", 149, 1.0)]), PROTOCOL)
        early.append([entry["scores"] for entry in seen])
    count = len(plain_reading([*rows, ("end", 149, 1.0)], ChurnProtocol(20, 7, 20, 40, 60), 149))
    until_100 = sum(1 for _, day, _ in plain_reading([*rows, ("end", 149, 1.0)], PROTOCOL, 149) if day <= 100)
    assert 0 < until_100 < count
    for first, second in zip(*early, strict=True):
        assert first[:until_100].tobytes() == second[:until_100].tobytes()
        assert first.tobytes() != second.tobytes()


def test_nothing_matured_means_the_rule_is_scored() -> None:
    protocol = ChurnProtocol(60, 7, 20, 40, 60)
    result = evaluate_churn(purchases_of(shop()), protocol)
    assert result["first_learned_day"] is None or result["first_learned_day"] >= 80
    short = ChurnProtocol(60, 200, 60, 40, 60)
    result = evaluate_churn(purchases_of(shop()), short)
    assert result["first_learned_day"] is None
    assert result["metrics"] == result["baselines"]["recency_frequency_rule"]


def test_history_too_short_is_told() -> None:
    with pytest.raises(ConfigurationError, match="nothing to score"):
        evaluate_churn(purchases_of(shop(days=70)), PROTOCOL)
    with pytest.raises(ConfigurationError):
        ChurnProtocol(horizon_days=0)


def test_same_day_rows_are_one_purchase() -> None:
    rows = shop()
    doubled = [row for customer, day, value in rows for row in ((customer, day, value - 1), (customer, day, 1.0))]
    once, twice = (evaluate_churn(purchases_of(history), PROTOCOL) for history in (rows, doubled))
    assert once["metrics"] == twice["metrics"]


def test_calibration_error_against_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(1003)
    labels = (rng.random(1003) < scores**2).astype(np.int64)
    order = sorted(range(1003), key=lambda index: scores[index])
    edges = np.cumsum([0, 101, 101, 101, 100, 100, 100, 100, 100, 100, 100])
    gaps = [
        abs(np.mean([scores[i] for i in order[a:b]]) - np.mean([labels[i] for i in order[a:b]]))
        for a, b in pairwise(edges)
    ]
    assert calibration_error(labels, scores) == pytest.approx(max(gaps))
    assert classification_metrics(labels, scores)["auc"] == roc_auc_score(labels, scores)
    assert "auc" not in classification_metrics(np.ones(5, dtype=np.int64), np.full(5, 0.5))


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet", "jsonl"])
def test_formats_and_columns_give_the_same_figures(tmp_path: Path, suffix: str) -> None:
    rows = shop(60)
    table = pa.table(
        {
            "client": pa.array([None, *[float(customer[1:]) for customer, _, _ in rows]]),
            "when": pa.array(
                [np.datetime64(FIRST_DAY + day, "D").astype("datetime64[s]") for _, day, _ in rows[:1] + rows]
            ),
            "n": pa.array([1, *[2 for _ in rows]]),
            "each": pa.array([1.0, *[value / 2 for _, _, value in rows]]),
        }
    )
    table = pa.concat_tables([table, table.slice(1, 3).set_column(2, "n", pa.array([-1, -1, -1]))])
    path = tmp_path / f"data.{suffix}"
    if suffix == "parquet":
        parquet.write_table(table, path)
    elif suffix == "jsonl":
        lines = [json.dumps(row | {"when": row["when"].isoformat()}) for row in table.to_pylist()]
        path.write_text("\n".join(lines))
    else:
        with pa.output_stream(path, compression="gzip" if suffix.endswith("gz") else None) as stream:
            csv.write_csv(table, stream)
    found = read_purchases(path, "customer_id=client,date=when,value=n*each", ["n>0"])
    assert found.rows == len(rows) + 4
    assert found.skipped == {"not selected by --where": 3, "without a customer": 1}
    assert found.customers == [customer[1:] for customer, _, _ in rows]
    assert found.days.tolist() == [FIRST_DAY + day for _, day, _ in rows]
    assert found.money_minor.tolist() == [int(value * 100) for _, _, value in rows]


@pytest.mark.parametrize(
    ("date", "day"),
    [
        ("2010-12-09", 14952),
        ("2010-12-09T23:59:59Z", 14952),
        ("2010-12-09 23:30:00-05:00", 14953),
        ("20101209", 14952),
        ("1291852800", 14952),
        ("1291852800000", 14952),
    ],
)
def test_dates_as_people_write_them(tmp_path: Path, date: str, day: int) -> None:
    path = tmp_path / "one.csv"
    path.write_text(f"customer_id,date,value\n7,{date},1.5\n")
    found = read_purchases(path)
    assert (found.days.tolist(), found.customers, found.money_minor.tolist()) == ([day], ["7"], [150])
    assert day_number("2010-12-09") == 14952


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("customer_id,date\n1,2010-01-01\n", "no column 'value'"),
        ("customer_id,date,value\n1,2010-01-01,2\n1,the ides of March,2\n", "bad.csv: column 'date', row 2"),
        ("customer_id,date,value\n1,2010-01-01,2\n2,2010-01-02,inf\n", "column 'value', row 2: inf"),
        ("customer_id,date,value\n1,2010-01-01,2\n2,2010-01-02,2\n3,2910-01-02,2\n", "row 3: 2910-01-02"),
        ("customer_id,date,value\n", "no row"),
        ("customer_id,date,value\n1,2010-01-01,much\n", "not a number"),
        ("customer_id,date,value\n,2010-01-01,1\n", "no row"),
        ("customer_id,date,value\n1,2010-01-01,1\n", "nothing to score"),
    ],
)
def test_command_tells_what_is_wrong_and_ends_with_2(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    result = CliRunner().invoke(evaluate_app, ["churn", "--data", str(path)])
    assert result.exit_code == 2
    assert told in " ".join(result.output.split())


def test_command_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    path, out = tmp_path / "shop.csv", tmp_path / "out.json"
    lines = [f"{customer},{np.datetime64(FIRST_DAY + day, 'D')},{value}" for customer, day, value in shop()]
    path.write_text("\n".join(["customer_id,date,value", *lines]))
    options = "--horizon-days 20 --snapshot-days 7 --first-snapshot-day 20 --eligible-days 40 --score-from-day 60"
    result = CliRunner().invoke(evaluate_app, ["churn", "--data", str(path), "--json", str(out), *options.split()])
    assert result.exit_code == 0, result.output
    assert "kairos" in result.output
    document = json.loads(out.read_text())
    expected = evaluate_churn(purchases_of(shop()), PROTOCOL)
    assert document["metrics"] == pytest.approx(expected["metrics"])
