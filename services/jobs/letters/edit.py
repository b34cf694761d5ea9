"""Mend the value of a letter: fields by their path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from models.errors import KairosError


class EditError(KairosError):
    """The value cannot be changed that way."""


def edited(value: bytes, changes: Sequence[str]) -> bytes:
    """Apply ``path=value`` changes to a JSON object; ``path=`` takes the field away.

    Parameters
    ----------
    value : JSON object.
    changes : ``properties.price=2.5``; the right side is JSON, or text where it is not. Numbers in the path are
        places in a list.

    Raises
    ------
    EditError
        `value` is no JSON object, a change has no ``=``, or its path leads nowhere.

    Examples
    --------
    >>> edited(b'{"properties": {"price": "cheap"}}', ["properties.price=2.5", "userId=u1"])
    b'{"properties":{"price":2.5},"userId":"u1"}'
    """
    try:
        found: Any = msgspec.json.decode(value)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise EditError(f"the value is not JSON ({error}): write it anew with --value FILE") from error
    if not isinstance(found, dict):
        raise EditError("the value is not a JSON object: write it anew with --value FILE")
    for change in changes:
        path, separator, text = change.partition("=")
        if not separator or not path:
            raise EditError(f"{change!r} is not path=value, such as properties.price=2.5")
        _set(found, path.split("."), text, change)
    return msgspec.json.encode(found)


def _set(tree: Any, path: list[str], text: str, change: str) -> None:
    *way, last = path
    place: Any = tree
    for step in way:
        place = place.setdefault(step, {}) if isinstance(place, dict) else place[_index(place, step, change)]
    if isinstance(place, dict):
        if text:
            place[last] = _value(text)
        else:
            place.pop(last, None)
        return
    index = _index(place, last, change)
    if text:
        place[index] = _value(text)
    else:
        del place[index]


def _index(place: Any, step: str, change: str) -> int:
    if not isinstance(place, list) or not step.isdigit() or int(step) >= len(place):
        raise EditError(f"{change!r}: there is no {step!r} at this place")
    return int(step)


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError):
        return text
