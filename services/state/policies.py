"""Definitions in Redis by version: the audit replays with the rules that were in force."""

from __future__ import annotations

import redis

from config.definitions import Definitions
from models.errors import IncompatibleSnapshotError
from services.state import keys
from services.state.redis_lane import translated


def keep_policy(client: redis.Redis, definitions: Definitions) -> None:
    """Store `definitions` under their version; the same version is the same content."""
    with translated():
        client.set(keys.policy(definitions.version()), definitions.to_json())


def read_policy(client: redis.Redis, version: str) -> Definitions:
    """Definitions of a version.

    Raises
    ------
    IncompatibleSnapshotError
        They are not there (any more).
    """
    with translated():
        found = client.get(keys.policy(version))
    if found is None:
        raise IncompatibleSnapshotError(f"the definitions of version {version} are not in Redis (any more)")
    return Definitions.from_json(found)
