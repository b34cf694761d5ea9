"""Quiet hours: the night of the user's own time zone, right on the days when clocks change."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

_DAY_MS = 86_400_000
_MINUTE_MS = 60_000
# Zone names come from users: bounded in length and number.
_LONGEST_NAME = 64


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo | None:
    """Time zone of an IANA name, None for a name that is none."""
    if len(name) > _LONGEST_NAME:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def quiet_until(
    at_ms: int, tz_name: str | None, start_minute: int, end_minute: int, *, default: str = "UTC"
) -> int | None:
    """End of the quiet hours that `at_ms` falls into; None when it falls into none.

    Parameters
    ----------
    at_ms : epoch ms.
    tz_name : the user's time zone; None or an unknown name stands for `default`.
    start_minute, end_minute : minutes of the local day; the start is quiet, the end is not. The night may
        span midnight; equal minutes mean no quiet hours.

    Returns
    -------
    Epoch ms of the first moment at which the wall clock of the zone shows a time outside the quiet hours.

    Examples
    --------
    >>> quiet_until(0, "UTC", 21 * 60, 8 * 60) == 8 * 3_600_000
    True
    """
    if start_minute == end_minute:
        return None
    zone = (zone_of(tz_name) if tz_name else None) or zone_of(default)
    at = at_ms
    while True:
        offset_ms = _offset_ms(at, zone)
        local_ms = (at + offset_ms) % _DAY_MS
        if not _is_quiet(local_ms, start_minute * _MINUTE_MS, end_minute * _MINUTE_MS):
            return at if at > at_ms else None
        end = at + (end_minute * _MINUTE_MS - local_ms) % _DAY_MS
        if _offset_ms(end, zone) == offset_ms:
            return end
        # The clock changes before the end: look again from the first moment of the new time.
        at = _change_between(at, end, zone)


def _is_quiet(local_ms: int, start_ms: int, end_ms: int) -> bool:
    if start_ms < end_ms:
        return start_ms <= local_ms < end_ms
    return local_ms >= start_ms or local_ms < end_ms


def _offset_ms(at_ms: int, zone: ZoneInfo | None) -> int:
    offset = datetime.fromtimestamp(at_ms // 1000, zone or UTC).utcoffset()
    return 0 if offset is None else round(offset.total_seconds()) * 1000


def _change_between(before_ms: int, after_ms: int, zone: ZoneInfo | None) -> int:
    """First moment of the offset that holds at `after_ms`; clocks change at whole seconds."""
    old = _offset_ms(before_ms, zone)
    low, high = before_ms // 1000, -(-after_ms // 1000)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset_ms(middle * 1000, zone) == old:
            low = middle
        else:
            high = middle
    return high * 1000
