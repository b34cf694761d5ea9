"""How people write durations, times of day and dates in YAML, and the integers that Kairos reckons with."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, PlainSerializer
from pydantic_core import PydanticCustomError

_UNITS_MS = {
    "w": 604_800_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_DURATION = re.compile(r"(\d+)(ms|[smhdw])")
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Ten thousand days: longer than any campaign, short enough that due times stay valid dates.
_LONGEST_MS = 10_000 * _UNITS_MS["d"]


def mistake(message: str, remedy: str = "", code: str = "") -> PydanticCustomError:
    """Make the error of a validator, in the two parts that :class:`config.loader.DefinitionError` shows."""
    return PydanticCustomError("kairos", "{message}", {"message": message, "remedy": remedy, "code": code})


def parse_duration(value: object) -> int:
    """Milliseconds of a duration such as ``45m``, ``24h`` or ``7d``.

    Raises
    ------
    PydanticCustomError
        No unit, an unknown unit, zero, or longer than 10,000 days.

    Examples
    --------
    >>> parse_duration("45m")
    2700000
    """
    remedy = "a whole number and its unit, one of ms s m h d w, for example 45m, 24h or 7d"
    found = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise mistake(f"{value!r} is not a duration", remedy)
    duration_ms = int(found[1]) * _UNITS_MS[found[2]]
    if not 0 < duration_ms <= _LONGEST_MS:
        raise mistake(f"{value!r} is not between 1ms and 10000d", remedy)
    return duration_ms


def format_duration(duration_ms: int) -> str:
    """Shortest text with one unit that :func:`parse_duration` reads back.

    Examples
    --------
    >>> format_duration(5_400_000)
    '90m'
    """
    for unit, unit_ms in _UNITS_MS.items():
        if duration_ms % unit_ms == 0:
            return f"{duration_ms // unit_ms}{unit}"
    raise AssertionError(duration_ms)  # unreachable: every int is a multiple of 1 ms


def spell_duration(duration_ms: int) -> str:
    """Say a duration as a marketer would say it.

    Examples
    --------
    >>> [spell_duration(ms) for ms in (604_800_000, 2_700_000, 86_400_000, 129_600_000)]
    ['7 days', '45 minutes', '1 day', '36 hours']
    """
    for unit, name in (("d", "day"), ("h", "hour"), ("m", "minute"), ("s", "second")):
        number, rest = divmod(duration_ms, _UNITS_MS[unit])
        if number and not rest:
            return f"{number} {name}{'' if number == 1 else 's'}"
    return f"{duration_ms} ms"


def parse_clock(value: object) -> int:
    """Minute of the day of a time such as ``21:30``.

    Examples
    --------
    >>> parse_clock("21:30")
    1290
    """
    found = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise mistake(f"{value!r} is not a time of day", 'hours and minutes in quotes, for example "21:00"')
    return int(found[1]) * 60 + int(found[2])


def format_clock(minute: int) -> str:
    """Time of day as people write it."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _instant(value: object, *, whole_day: bool) -> int:
    remedy = "a date or a time with its zone, for example 2010-11-01 or 2010-11-01T09:00:00Z"
    moment: date | None = None
    if isinstance(value, date):
        moment = value
    elif isinstance(value, str):
        try:
            moment = date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
        except ValueError:
            moment = None
    if moment is None:
        raise mistake(f"{value!r} is not a date", remedy)
    if not isinstance(moment, datetime):
        days = (moment - _EPOCH.date()).days + (1 if whole_day else 0)
        return days * _UNITS_MS["d"]
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def parse_start(value: object) -> int:
    """Epoch ms at which something begins: a date alone means its first moment, in UTC."""
    return _instant(value, whole_day=False)


def parse_end(value: object) -> int:
    """Epoch ms before which something ends: a date alone includes that whole day, in UTC.

    Examples
    --------
    >>> parse_end("1970-01-01")
    86400000
    """
    return _instant(value, whole_day=True)


def format_instant(at_ms: int) -> str:
    """ISO 8601 in UTC with milliseconds."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds")


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        remedy = "a name of the IANA list, for example Europe/London"
        raise mistake(f"{name!r} is not a time zone", remedy) from None
    return name


DurationMs = Annotated[int, BeforeValidator(parse_duration), PlainSerializer(format_duration, when_used="json")]
ClockMinute = Annotated[int, BeforeValidator(parse_clock), PlainSerializer(format_clock, when_used="json")]
StartMs = Annotated[int, BeforeValidator(parse_start), PlainSerializer(format_instant, when_used="json")]
EndMs = Annotated[int, BeforeValidator(parse_end), PlainSerializer(format_instant, when_used="json")]
TimeZone = Annotated[str, AfterValidator(_zone)]
