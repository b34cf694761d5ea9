"""Names of attributes of users that something is learned from."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints

from config.units import mistake

MOST_ATTRIBUTES: Final = 8
# They tell one person from another and nothing about the next one; and what is learned is kept for the audit.
_OF_ONE_PERSON: Final = frozenset(
    {"email", "phone", "name", "first_name", "last_name", "firstName", "lastName", "username", "address", "avatar"}
    | {"push", "push_subscription", "consent"}
)


def _in_one_order(names: tuple[str, ...]) -> tuple[str, ...]:
    """Examples keep the values in this order: another one in the file changes nothing."""
    if len(set(names)) < len(names):
        raise mistake("an attribute is named twice", "each attribute once")
    for name in names:
        if name in _OF_ONE_PERSON:
            raise mistake(f"{name} tells one person from another and nothing about the next", "[country, plan]")
    return tuple(sorted(names))


AttributeNames = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, max_length=64)], ...],
    Field(max_length=MOST_ATTRIBUTES),
    AfterValidator(_in_one_order),
]
