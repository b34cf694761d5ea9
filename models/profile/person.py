"""Section of a profile that holds what the user told us."""

from __future__ import annotations

from typing import Any

import msgspec


class Person(msgspec.Struct, array_like=True, gc=False):
    """What the user told us. `consent_at`: time of the newest consent known."""

    attributes: dict[str, Any] = {}
    consent: dict[str, bool] = {}
    consent_at: int = 0


class Reviewer(Person):
    """The same of somebody who reviewed products (:mod:`models.reviews`): for everybody else that takes no byte."""

    reviews: list[int] = []


_person = msgspec.msgpack.Decoder(Person).decode
_reviewer = msgspec.msgpack.Decoder(Reviewer).decode
_FIELDS_OF_REVIEWER = 0x90 + len(Reviewer.__struct_fields__)  # header of an array of so many


def decode_person(packed: bytes) -> Person:
    """The section, unpacked."""
    return _reviewer(packed) if packed[0] == _FIELDS_OF_REVIEWER else _person(packed)


def reviews_of(person: Person) -> list[int]:
    """What reviews of a user say; empty without any."""
    return person.reviews if isinstance(person, Reviewer) else []


def with_reviews(person: Person, reviews: list[int]) -> Person:
    """The same person with what reviews say."""
    told = person.attributes, person.consent, person.consent_at
    return Reviewer(*told, reviews) if reviews else Person(*told)
