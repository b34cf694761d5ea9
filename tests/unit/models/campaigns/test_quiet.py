from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.campaigns.quiet import quiet_until, zone_of

NIGHT = (21 * 60, 8 * 60)


def ms(text: str, zone: str = "UTC", fold: int = 0) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return round(moment.timestamp() * 1000)


@pytest.mark.parametrize(
    ("at", "until"),
    [
        ("2010-06-01 20:59:59.999", None),
        ("2010-06-01 21:00", "2010-06-02 08:00"),
        ("2010-06-01 23:59", "2010-06-02 08:00"),
        ("2010-06-02 00:00", "2010-06-02 08:00"),
        ("2010-06-02 07:59:59.999", "2010-06-02 08:00"),
        ("2010-06-02 08:00", None),
        ("2010-06-02 12:00", None),
    ],
)
@pytest.mark.parametrize("zone", ["Europe/London", "America/New_York", "Asia/Kolkata", "Pacific/Chatham"])
def test_the_night_is_the_users(zone: str, at: str, until: str | None) -> None:
    assert quiet_until(ms(at, zone), zone, *NIGHT) == (None if until is None else ms(until, zone))


def test_a_quiet_time_within_the_day() -> None:
    assert quiet_until(ms("2010-06-01 12:30"), "UTC", 12 * 60, 14 * 60) == ms("2010-06-01 14:00")
    assert quiet_until(ms("2010-06-01 14:00"), "UTC", 12 * 60, 14 * 60) is None


def test_equal_bounds_are_no_quiet_hours() -> None:
    assert quiet_until(ms("2010-06-01 08:00"), "UTC", 480, 480) is None


def test_the_short_night_ends_by_the_wall_clock() -> None:
    # London, 28 March 2010: 01:00 becomes 02:00. From 23:00 to 08:00 it is eight hours, not nine.
    at = ms("2010-03-27 23:00", "Europe/London")
    until = quiet_until(at, "Europe/London", *NIGHT)
    assert until == ms("2010-03-28 08:00", "Europe/London")
    assert until - at == 8 * 3_600_000


def test_the_long_night_ends_by_the_wall_clock() -> None:
    at = ms("2010-10-30 23:00", "Europe/London")
    until = quiet_until(at, "Europe/London", *NIGHT)
    assert until == ms("2010-10-31 08:00", "Europe/London")
    assert until - at == 10 * 3_600_000


def test_an_end_that_the_clock_skips_is_the_moment_of_the_change() -> None:
    # 01:30 does not exist on that day in London: the first moment after it is 02:00.
    until = quiet_until(ms("2010-03-28 00:30", "Europe/London"), "Europe/London", 22 * 60, 90)
    assert until == ms("2010-03-28 02:00", "Europe/London")


def test_an_end_that_comes_twice_counts_at_once_and_again() -> None:
    london = "Europe/London"
    first, second = ms("2010-10-31 01:30", london), ms("2010-10-31 01:30", london, fold=1)
    assert second - first == 3_600_000
    assert quiet_until(ms("2010-10-31 00:30", london), london, 22 * 60, 90) == first
    assert quiet_until(ms("2010-10-31 01:10", london, fold=1), london, 22 * 60, 90) == second


@pytest.mark.parametrize(
    "name",
    [None, "", "Mars/Olympus", "../../etc/passwd", "/etc/passwd", "America", "Europe/London\0", "x" * 10_000],
)
def test_an_unknown_zone_is_the_default_one(name: str | None) -> None:
    at = ms("2010-06-01 20:30")
    assert quiet_until(at, name, *NIGHT) is None
    assert quiet_until(at, name, *NIGHT, default="Europe/London") == ms("2010-06-02 07:00")
    if name:
        assert zone_of(name) is None


ZONES = [
    "Europe/London",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Pacific/Apia",
    "UTC",
]


@given(
    second=st.integers(1_104_537_600, 1_420_070_400),  # 2005 to 2014
    zone=st.sampled_from(ZONES),
    start=st.integers(0, 1439),
    end=st.integers(0, 1439),
)
def test_the_result_is_the_first_moment_that_the_wall_clock_shows_as_not_quiet(
    second: int, zone: str, start: int, end: int
) -> None:
    def quiet(moment: datetime) -> bool:
        local = moment.astimezone(ZoneInfo(zone))
        minute = local.hour * 60 + local.minute
        return start <= minute < end if start <= end else minute >= start or minute < end

    moment = datetime.fromtimestamp(second, UTC)
    expected = moment
    if quiet(moment):
        expected = moment.replace(second=0)
        while quiet(expected):
            expected += timedelta(minutes=1)
    found = quiet_until(round(moment.timestamp()) * 1000, zone, start, end)
    assert found == (None if expected == moment else round(expected.timestamp()) * 1000)
