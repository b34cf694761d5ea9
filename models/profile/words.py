"""Words that many profiles hold, and the small numbers that stand for them in profiles at rest.

Only ever append: the numbers are stored. A word that is not here is stored as it is.
"""

from __future__ import annotations

from typing import Any, TypeVar

_T = TypeVar("_T")

# Names of attributes and channels. At most 32: the number and its negative each take one byte.
NAMES = (
    "email",
    "country",
    "timezone",
    "push",
    "sms",
    "log",
    "suppressed",
    "name",
    "first_name",
    "last_name",
    "phone",
    "city",
    "language",
    "locale",
    "birthday",
    "gender",
    "company",
    "currency",
    "postal_code",
    "state",
    "plan",
    "age",
    "push_subscription",
    "created_at",
)

VALUES = (
    *("Europe/London", "United Kingdom", "Europe/Dublin", "Ireland", "EIRE", "Europe/Paris", "France"),
    *("Europe/Berlin", "Germany", "Europe/Madrid", "Spain", "Europe/Rome", "Italy", "Europe/Lisbon", "Portugal"),
    *("Europe/Amsterdam", "Netherlands", "Europe/Brussels", "Belgium", "Europe/Zurich", "Switzerland"),
    *("Europe/Vienna", "Austria", "Europe/Copenhagen", "Denmark", "Europe/Stockholm", "Sweden", "Europe/Oslo"),
    *("Norway", "Europe/Helsinki", "Finland", "Europe/Warsaw", "Poland", "Europe/Prague", "Czech Republic", "Czechia"),
    *("Europe/Budapest", "Hungary", "Europe/Athens", "Greece", "Europe/Istanbul", "Turkey", "Europe/Bucharest"),
    *("Romania", "Europe/Kyiv", "Ukraine", "Europe/Moscow", "Russia", "America/New_York", "America/Chicago"),
    *("America/Denver", "America/Los_Angeles", "America/Toronto", "America/Vancouver", "United States", "USA"),
    *("Canada", "America/Mexico_City", "Mexico", "America/Sao_Paulo", "Brazil", "America/Argentina/Buenos_Aires"),
    *("Argentina", "America/Bogota", "Colombia", "Asia/Tokyo", "Japan", "Asia/Seoul", "South Korea", "Asia/Shanghai"),
    *("China", "Asia/Hong_Kong", "Hong Kong", "Asia/Singapore", "Singapore", "Asia/Kolkata", "India", "Asia/Dubai"),
    *("United Arab Emirates", "Asia/Jerusalem", "Israel", "Australia/Sydney", "Australia/Melbourne", "Australia"),
    *("Pacific/Auckland", "New Zealand", "Africa/Johannesburg", "South Africa", "Africa/Lagos", "Nigeria"),
    *("Africa/Cairo", "Egypt", "Asia/Jakarta", "Indonesia", "Asia/Manila", "Philippines", "Asia/Bangkok", "Thailand"),
    *("UTC", "en-GB", "en-US", "de-DE", "fr-FR", "es-ES", "it-IT", "nl-NL", "en", "de", "fr", "es", "it"),
)

NAME_NUMBERS = {name: number for number, name in enumerate(NAMES)}
VALUE_NUMBERS = {value: number for number, value in enumerate(VALUES)}


def short(attributes: dict[str, Any]) -> list[Any]:
    """Names and values in turn: a known name is its number n, or -1 - n before the number of a known value."""
    found: list[Any] = []
    for name, value in attributes.items():
        number = NAME_NUMBERS.get(name)
        word = VALUE_NUMBERS.get(value) if number is not None and isinstance(value, str) else None
        if number is None:
            found += (name, value)
        elif word is None:
            found += (number, value)
        else:
            found += (-1 - number, word)
    return found


def long(packed: list[Any]) -> dict[str, Any]:
    """What :func:`short` was made of."""
    found: dict[str, Any] = {}
    for name, value in zip(packed[::2], packed[1::2], strict=True):
        if isinstance(name, str):
            found[name] = value
        elif name >= 0:
            found[NAMES[name]] = value
        else:
            found[NAMES[-1 - name]] = VALUES[value]
    return found


def named(numbered: dict[str | int, _T]) -> dict[str, _T]:
    """Names instead of their numbers."""
    return {NAMES[name] if isinstance(name, int) else name: value for name, value in numbered.items()}
