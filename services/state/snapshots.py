"""Published model snapshots in Redis, as decide and the audit read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from models.errors import IncompatibleSnapshotError
from models.learners.envelope import Envelope
from services.state import keys
from services.state.cluster import get_many
from services.state.redis_lane import translated


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
