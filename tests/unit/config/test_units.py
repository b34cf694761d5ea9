from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from config.units import (
    format_clock,
    format_duration,
    format_instant,
    parse_clock,
    parse_duration,
    parse_end,
    parse_start,
)

DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("45m", 2_700_000),
        ("24h", DAY_MS),
        ("7d", 7 * DAY_MS),
        ("2w", 14 * DAY_MS),
        ("90s", 90_000),
        ("1ms", 1),
    ],
)
def test_durations(text: str, expected: int) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("value", [45, 1.5, "45", "m", "45 minutes", "-1d", "0d", "1y", "", None, True, "10001d"])
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_duration(value)


@given(st.integers(1, 10_000 * DAY_MS))
def test_a_written_duration_reads_back(duration_ms: int) -> None:
    assert parse_duration(format_duration(duration_ms)) == duration_ms


@given(st.integers(0, 1439))
def test_a_written_clock_reads_back(minute: int) -> None:
    assert parse_clock(format_clock(minute)) == minute


@pytest.mark.parametrize("value", ["24:00", "9:00", "21", "21:60", 1260, None])
def test_what_is_no_clock(value: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_clock(value)


@given(st.integers(0, 4_102_444_800_000))
def test_a_written_instant_reads_back(at_ms: int) -> None:
    assert parse_start(format_instant(at_ms)) == parse_end(format_instant(at_ms)) == at_ms


def test_a_date_begins_at_midnight_and_ends_with_its_day() -> None:
    assert parse_start("2010-12-24") == 1_293_148_800_000
    assert parse_end("2010-12-24") == 1_293_148_800_000 + DAY_MS
    assert parse_start("2010-12-24T01:00:00+01:00") == 1_293_148_800_000


@pytest.mark.parametrize("value", ["24.12.2010", "2010-13-01", 20101224, None])
def test_what_is_no_date(value: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_start(value)
