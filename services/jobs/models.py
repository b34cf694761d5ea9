"""All models that are served, tried or kept: what ``kairos models list`` tells."""

from __future__ import annotations

from typing import Any

from config.topics import LEARNED_FROM
from models.errors import IncompatibleSnapshotError
from models.learners import batch, linear
from models.learners.batch import BatchModel
from models.learners.contest import ONLINE
from models.learners.standing import Standing
from services.state.redis_lane import Client
from services.state.registry import ModelRegistry
from services.state.snapshots import SnapshotReader


def listing(client: Client) -> list[dict[str, Any]]:
    """One entry a model: the online learners with their newest version, then every batch version, newest first."""
    reader, registry = SnapshotReader(client), ModelRegistry(client)
    standing = registry.standing()
    names = tuple(LEARNED_FROM)
    latest = reader.latest(names)
    found = [_online(reader, name, latest.get(name, 0), standing) for name in names]
    found += [_batch(registry, version, standing) for version in range(registry.newest(), 0, -1)]
    return found


def _online(reader: SnapshotReader, name: str, version: int, standing: Standing) -> dict[str, Any]:
    entry: dict[str, Any] = {"model": name, "version": version, "kind": "online"}
    entry["state"] = _state(ONLINE, standing) if name == linear.NAME else "serves"
    if not version:
        return entry | {"state": "nothing learned yet"}
    try:
        envelope = reader.load(name, version)
    except IncompatibleSnapshotError as error:
        return entry | {"state": "refused", "refused": str(error)}
    return entry | {
        "created_ms": envelope.created_ms,
        "schema": envelope.schema,
        "library": envelope.library,
        "checksum": envelope.checksum,
        **envelope.meta,
    }


def _batch(registry: ModelRegistry, version: int, standing: Standing) -> dict[str, Any]:
    entry: dict[str, Any] = {"model": batch.NAME, "version": version, "kind": "batch"}
    try:
        envelope = registry.envelope(version)
        BatchModel.from_envelope(envelope)
    except IncompatibleSnapshotError as error:
        return entry | {"state": "refused", "refused": str(error)}
    return entry | {
        "state": _state(version, standing),
        "created_ms": envelope.created_ms,
        "schema": envelope.schema,
        "library": envelope.library,
        "checksum": envelope.checksum,
        **envelope.meta,
    }


def _state(version: int, standing: Standing) -> str:
    if version == standing.champion:
        return "serves"
    if version == standing.shadow:
        return "shadow"
    return "served before" if version in standing.former else "kept"
