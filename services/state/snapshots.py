"""Published model snapshots in Redis, as decide and the audit read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import redis

from models.errors import IncompatibleSnapshotError, TransientError
from models.learners.envelope import Envelope
from services.state import keys
from services.state.cluster import get_many
from services.state.redis_lane import translated

TRIES = 20


class SnapshotReader:
    """Reads versions of models.

    Parameters
    ----------
    client : synchronous client (:func:`services.state.redis_lane.connect`).
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def latest(self, names: Sequence[str]) -> dict[str, int]:
        """Newest version by name, in one round trip; names without a snapshot are left out.

        Raises
        ------
        TransientError
            Redis is away.
        """
        with translated():
            found = get_many(self._client, [keys.snapshot_latest(name) for name in names])
        return {name: int(value) for name, value in zip(names, found, strict=True) if value is not None}

    def load(self, name: str, version: int) -> Envelope:
        """One version.

        Raises
        ------
        IncompatibleSnapshotError
            There is no such version, or it is not a snapshot of `name`.
        TransientError
            Redis is away.
        """
        with translated():
            data: Any = self._client.get(keys.snapshot(name, version))
        if data is None:
            raise IncompatibleSnapshotError(f"snapshot {version} of {name} is not in Redis (any more)")
        return Envelope.from_bytes(data, name=name)


def publish_snapshot(client: redis.Redis, name: str, make: Callable[[int], Envelope]) -> Envelope:
    """Store a new version of what a batch job made, and make it the newest; its number is the next that is free.

    Parameters
    ----------
    make : the envelope with a given version.

    Raises
    ------
    TransientError
        Redis is away.
    """
    for _ in range(TRIES):
        envelope = make(SnapshotReader(client).latest([name]).get(name, 0) + 1)
        with translated():
            taken = not client.set(keys.snapshot(name, envelope.version), envelope.to_bytes(), nx=True)
            # Taken: somebody else has just written it, or stopped between the two writes.
            client.set(keys.snapshot_latest(name), envelope.version)
        if not taken:
            return envelope
    raise TransientError(f"others publish versions of {name} all the time")
