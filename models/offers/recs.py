"""The recommender's snapshot as decide reads it."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from models.errors import IncompatibleSnapshotError
from models.learners.envelope import Envelope

NAME = "recs"
SCHEMA = 1


class RecsPayload(msgspec.Struct, frozen=True):
    """Catalogue, neighbours of each item by co-visitation, and decayed popularity."""

    items: dict[str, tuple[str, int]]
    neighbours: dict[str, list[tuple[str, float]]]
    popular: list[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Recs:
    """What all users share for recommendations, immutable.

    Parameters
    ----------
    items : item -> (name, price in minor units). neighbours : item -> [(item, weight)]. popular : [(item, weight)].
    version : snapshot version, 0 before anything was learned.
    """

    items: dict[str, tuple[str, int]] = field(default_factory=dict)
    neighbours: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    popular: list[tuple[str, float]] = field(default_factory=list)
    version: int = 0

    @classmethod
    def from_envelope(cls, envelope: Envelope) -> Recs:
        """Recs of a `recs` snapshot.

        Raises
        ------
        IncompatibleSnapshotError
            Another model or layout.
        """
        if (envelope.name, envelope.schema) != (NAME, SCHEMA):
            raise IncompatibleSnapshotError(f"{envelope.name} schema {envelope.schema} is not recs schema {SCHEMA}")
        try:
            payload = msgspec.msgpack.decode(envelope.payload, type=RecsPayload)
        except msgspec.DecodeError as error:
            raise IncompatibleSnapshotError(f"recs payload: {error}") from error
        return cls(payload.items, payload.neighbours, payload.popular, envelope.version)
