"""The service's own log of choices: from `training` to rows, to a file, and to `kairos evaluate bandit`."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from models.decisions import OfferExample
from models.errors import ConfigurationError
from services.jobs.evaluate.bandit import log_of, read_log
from services.jobs.offer_log import AMONG, choices_of, newest_question, table_of, write_choices


def choice(number: int, **more: Any) -> OfferExample:
    made: dict[str, Any] = {
        "id": f"e{number}",
        "user": f"u{number}",
        "at": 1_267_444_800_000 + number,
        "known_at": 1_268_049_600_000 + number,
        "offer": "tenth" if number % 3 else "plain",
        "among": ["tenth", "plain"],
        "propensity": 0.75 if number % 3 else 0.25,
        "x": [number, 3, 2_000, 5_000, 2],
        "reward_by": "order",
        "within_ms": 604_800_000,
        "reward": number % 2,
        "ordered": bool(number % 2),
    }
    return OfferExample(**made | more)


def test_choices_are_read_once_and_other_examples_are_not_theirs() -> None:
    encode = msgspec.json.encode
    values = [encode(choice(1)), b'{"type":"basket"}', encode(choice(2)), encode(choice(1))]
    assert [one.id for one in choices_of(values)] == ["e1", "e2"]


def test_only_answers_to_the_newest_question_are_compared() -> None:
    choices = [choice(1, reward_by="click"), choice(2), choice(3, within_ms=1), choice(4)]
    assert [one.id for one in newest_question(choices)] == ["e2", "e4"]
    with pytest.raises(ConfigurationError, match="choose: bandit"):
        newest_question([])


def test_the_log_is_what_evaluate_reads() -> None:
    log = log_of(table_of([choice(number) for number in range(40)]), Path("log"), among=AMONG)
    assert log.names == ["plain", "tenth"]
    assert log.sets == [["plain", "tenth"]]
    assert log.columns == ["orders"]  # the others never differ
    assert log.propensities[:3].tolist() == [0.25, 0.75, 0.75]
    assert log.rewards[:3].tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_a_file_that_was_exported_can_be_evaluated(tmp_path: Path, name: str) -> None:
    write_choices([choice(number) for number in range(40)], tmp_path / name)
    log = read_log(tmp_path / name, context=["orders"], among="among")
    assert len(log.actions) == 40
    assert log.among(0) == ["plain", "tenth"]


def test_other_files_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"\.csv or \.parquet"):
        write_choices([choice(1)], tmp_path / "log.xlsx")
