"""Numbers, times and codes in words for people. Pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime

MINUS = "\N{MINUS SIGN}"

SUPPRESSED = {
    "frequency_cap": "had enough messages",
    "campaign_cap": "had this one already",
    "quiet_hours": "quiet hours",
    "no_consent": "no consent",
    "no_address": "no address",
    "suppressed_address": "address is blocked",
    "answered": "no longer needed",
    "empty_cart": "nothing left in the cart",
    "low_uplift": "the message would change too little",
}


def count(value: float) -> str:
    """Whole number with separators.

    Examples
    --------
    >>> count(1234567)
    '1,234,567'
    """
    return f"{round(value):,}"


def rate(value: float) -> str:
    """Events per second: whole from ten on, one digit below.

    Examples
    --------
    >>> rate(1234.4), rate(3.26), rate(0)
    ('1,234', '3.3', '0')
    """
    return count(value) if value >= 10 or value == 0 else f"{value:.1f}"


def duration(value_ms: float) -> str:
    """Duration with its unit, about three digits.

    Examples
    --------
    >>> duration(0.42), duration(12.3), duration(412), duration(2300), duration(90_000)
    ('0.42 ms', '12.3 ms', '412 ms', '2.3 s', '90 s')
    """
    if value_ms >= 10_000:
        return f"{count(value_ms / 1000)} s"
    if value_ms >= 1000:
        return f"{value_ms / 1000:.1f} s"
    if value_ms >= 100:
        return f"{value_ms:.0f} ms"
    return f"{value_ms:.1f} ms" if value_ms >= 1 else f"{value_ms:.2f} ms"


def percent(value: float, digits: int = 1) -> str:
    """Share as percent.

    Examples
    --------
    >>> percent(0.1234), percent(1)
    ('12.3 %', '100 %')
    """
    return "100 %" if value == 1 else f"{100 * value:.{digits}f} %"


def _signed(value: float, digits: int) -> str:
    shown = round(value, digits)
    sign = "+" if shown > 0 else MINUS if shown < 0 else ""
    return f"{sign}{abs(shown):,.{digits}f}"


def points(value: float) -> str:
    """Difference of two shares in percentage points.

    Examples
    --------
    >>> points(0.0182), points(-0.0004), points(-0.012)
    ('+1.8 pts', '0.0 pts', '−1.2 pts')
    """
    return f"{_signed(100 * value, 1)} pts"


def signed_percent(value: float) -> str:
    """Lift in percent.

    Examples
    --------
    >>> signed_percent(0.0421), signed_percent(-0.12)
    ('+4.2 %', '−12.0 %')
    """
    return f"{_signed(100 * value, 1)} %"


def money(minor: float, currency: str = "GBP") -> str:
    """Amount of minor units with the currency's sign.

    Examples
    --------
    >>> money(1234), money(1234, "CHF")
    ('£12.34', '12.34 CHF')
    """
    sign = {"GBP": "£", "EUR": "€", "USD": "$"}.get(currency)
    amount = f"{minor / 100:,.2f}"
    return f"{sign}{amount}" if sign else f"{amount} {currency}"


def signed_money(minor: float, currency: str = "GBP") -> str:
    """Difference of two amounts.

    Examples
    --------
    >>> signed_money(-50), signed_money(3)
    ('−£0.50', '+£0.03')
    """
    sign = "+" if round(minor) > 0 else MINUS if round(minor) < 0 else ""
    return f"{sign}{money(abs(minor), currency)}"


def probability(value: float) -> str:
    """Show a p value: never "0.000".

    Examples
    --------
    >>> probability(0.0321), probability(0.00001)
    ('0.032', '< 0.001')
    """
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def day(at_ms: int | None) -> str:
    """Date in UTC; a dash where there is none.

    Examples
    --------
    >>> day(1268559120000), day(None)
    ('14 Mar 2010', '–')
    """
    moment = _moment(at_ms)
    return f"{moment.day} {moment:%b %Y}" if moment else "\N{EN DASH}"


def time_of_day(at_ms: int | None) -> str:
    """Time in UTC; empty where there is none.

    Examples
    --------
    >>> time_of_day(1268559120000)
    '09:32'
    """
    moment = _moment(at_ms)
    return f"{moment:%H:%M}" if moment else ""


def seconds_of_day(at_ms: int | None) -> str:
    """Time in UTC to the second, for wall clocks."""
    moment = _moment(at_ms)
    return f"{moment:%H:%M:%S}" if moment else "\N{EN DASH}"


def day_and_time(at_ms: int | None) -> str:
    """Short date and time in UTC.

    Examples
    --------
    >>> day_and_time(1268559120000)
    '14 Mar 2010, 09:32'
    """
    return f"{day(at_ms)}, {time_of_day(at_ms)}" if _moment(at_ms) else "\N{EN DASH}"


def short_time(at_ms: int | None) -> str:
    """Event time in a list.

    Examples
    --------
    >>> short_time(1268559120000)
    '14 Mar 09:32'
    """
    moment = _moment(at_ms)
    return f"{moment.day} {moment:%b %H:%M}" if moment else ""


def suppressed(code: str) -> str:
    """Reason of a suppression for people.

    Examples
    --------
    >>> suppressed("quiet_hours"), suppressed("new_reason")
    ('quiet hours', 'new reason')
    """
    return SUPPRESSED.get(code.replace("-", "_"), code.replace("_", " ").replace("-", " "))


def listed(names: list[str]) -> str:
    """Join names to an enumeration.

    Examples
    --------
    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def plural(number: int, one: str, many: str = "") -> str:
    """Put a number before its noun.

    Examples
    --------
    >>> plural(1, "lane"), plural(4, "lane")
    ('1 lane', '4 lanes')
    """
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def _moment(at_ms: int | None) -> datetime | None:
    # Below year 1 or beyond 9999 stands "no time yet" (watermarks start at the ends of their range).
    if at_ms is None or not math.isfinite(at_ms) or not 0 < at_ms < 253_402_300_800_000:
        return None
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC)
