"""`kairos evaluate forecast`: weeks, the protocol by hand, the document, and every file that cannot be used."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from models.learners.demand import MEMBERS
from services.jobs.evaluate import evaluate_app
from services.jobs.evaluate.forecast import ForecastProtocol, evaluate_forecast, read_weeks

MONDAY = date(2024, 1, 1)


def days(count: int, *, every: int = 1, series: str = "") -> list[str]:
    rng = np.random.default_rng(0)
    found = ["date,value,series" if series else "date,value"]
    for day in range(0, count, every):
        at = MONDAY + timedelta(days=day)
        found.append(f"{at},{20 + 10 * rng.random():.2f}" + (f",{series}" if series else ""))
    return found


def written(tmp_path: Path, text: list[str]) -> Path:
    path = tmp_path / "sales.csv"
    path.write_text("\n".join(text) + "\n")
    return path


def said(path: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(evaluate_app, ["forecast", "--data", str(path), *options])
    return result.exit_code, " ".join(result.output.split())


def test_days_are_added_up_by_week_from_monday_to_sunday(tmp_path: Path) -> None:
    text = ["date,value", "2024-01-03,1", "2024-01-07,2", "2024-01-08,4", "2024-01-21,8"]
    data = read_weeks(written(tmp_path, text))
    assert data.values["all"].tolist() == [3.0, 4.0, 8.0]
    assert data.dropped_days == 0


@pytest.mark.parametrize(("count", "weeks", "dropped"), [(70, 10, 0), (71, 10, 1), (76, 10, 6), (77, 11, 0)], ids=str)
def test_last_week_is_dropped_when_it_is_not_complete(tmp_path: Path, count: int, weeks: int, dropped: int) -> None:
    data = read_weeks(written(tmp_path, days(count)))
    assert (data.weeks, data.dropped_days) == (weeks, dropped)


@pytest.mark.parametrize("weekday", range(7))
def test_weeks_of_a_file_that_has_weeks_stay(tmp_path: Path, weekday: int) -> None:
    text = ["date,value", *(f"{MONDAY + timedelta(days=7 * week + weekday)},{week}" for week in range(12))]
    assert read_weeks(written(tmp_path, text)).values["all"].tolist() == list(map(float, range(12)))


def test_a_shop_that_rests_on_sundays_has_whole_weeks(tmp_path: Path) -> None:
    text = [row for row in days(76) if row[:4] == "date" or date.fromisoformat(row[:10]).weekday() < 6]
    assert read_weeks(written(tmp_path, text)).dropped_days == 0
    assert read_weeks(written(tmp_path, text[:-1])).dropped_days == 5


def test_order_of_rows_does_not_matter_and_duplicates_add_up(tmp_path: Path) -> None:
    text = days(70)
    forward = read_weeks(written(tmp_path, text)).values["all"]
    backward = read_weeks(written(tmp_path, [text[0], *reversed(text[1:])])).values["all"]
    assert backward == pytest.approx(forward)
    assert read_weeks(written(tmp_path, [*text, *text[1:]])).values["all"] == pytest.approx(2 * forward)


def test_wape_by_hand(tmp_path: Path) -> None:
    """The four-week mean of each series against what followed, pooled over series and weeks."""
    text = ["date,value,series"]
    values = {"a": [float(5 + week % 3) for week in range(30)], "b": [float(50 + week) for week in range(30)]}
    for name, numbers in values.items():
        text += [f"{MONDAY + timedelta(days=7 * week)},{number},{name}" for week, number in enumerate(numbers)]
    result = evaluate_forecast(read_weeks(written(tmp_path, text)), ForecastProtocol((1, 4), 6))
    assert result["scored_rows"] == 6 * 2 * 2
    for h, name in ((1, "wape"), (4, "wape_h4")):
        off = sold = 0.0
        for numbers in values.values():
            for week in range(24, 30):
                origin = week - h
                off += abs(sum(numbers[origin - 3 : origin + 1]) / 4 - numbers[week])
                sold += numbers[week]
        assert result["baselines"]["four_week_mean"][name] == pytest.approx(off / sold)


def test_document_has_the_promised_shape(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    code, output = said(
        written(tmp_path, days(7 * 40 + 2)), "--score-last", "8", "--horizon", "1,4,2", "--json", str(out)
    )
    assert code == 0, output
    result = json.loads(out.read_text())
    assert {"task", "protocol", "rows", "scored_rows", "metrics", "baselines", "cost"} <= set(result)
    assert list(result["metrics"]) == ["wape", "wape_h4", "wape_h2"]
    assert set(result["baselines"]) == {*MEMBERS, "best_so_far", "batch_ridge_on_lags"}
    assert (result["weeks"], result["series"], result["scored_rows"]) == (40, 1, 24)
    assert "the last week ends after 2 days and is left out" in output
    # Noise around a level: the pool is near its mean, whatever it takes from the methods that follow the noise.
    assert result["metrics"]["wape"] <= result["baselines"]["four_week_mean"]["wape"] + 0.01


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        (days(1)[:1], "", "no row has a date and a value"),
        (days(10), "", "too few to forecast"),
        (days(3), "", "too few to forecast"),
        (days(300), "--columns value=price", "no column 'price'"),
        (days(300), "--columns series=shop", "no column 'shop'"),
        ([*days(300), "yesterday,3"], "", "column 'date', row 301"),
        ([*days(300), "2024-05-05,many"], "", "not a number"),
        ([*days(300), "2024-05-05,inf"], "", "row 301: inf is no demand"),
        ([*days(300), "1024-05-05,3"], "", "days away from other dates"),
        (["date,value", *(f"{MONDAY + timedelta(days=i)},0" for i in range(300))], "", "nothing was sold"),
        (days(300), "--horizon soon", "--horizon 'soon'"),
        (days(300), "--horizon 0", "--horizon must be weeks"),
        (days(300), "--score-last 0", "--score-last must be"),
        (days(300), "--score-last 50", "a smaller --score-last"),
    ],
)
def test_what_cannot_be_used_is_told_with_the_file_and_ends_with_2(
    tmp_path: Path, text: list[str], options: str, told: str
) -> None:
    code, output = said(written(tmp_path, text), *options.split())
    assert code == 2, output
    assert told in output
    assert "sales.csv" in output


def test_rows_without_what_is_needed_are_left_out_and_counted(tmp_path: Path) -> None:
    text = [*days(280, series="a"), "2024-02-02,,a", ",4,a", "2024-02-02,4,", "2024-02-02,nan,a"]
    data = read_weeks(written(tmp_path, text))
    assert data.skipped == {"without a date": 1, "without a value": 2, "without a series": 1}
    assert list(data.values) == ["a"]
