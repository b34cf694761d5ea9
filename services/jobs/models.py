"""All models that are served, tried or kept: what ``kairos models list`` tells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from config.loader import load_definitions
from config.topics import LEARNED_FROM
from models.errors import ConfigurationError, IncompatibleSnapshotError
from models.learners import linear
from models.learners.batch import BatchModel
from models.learners.contest import ONLINE
from models.learners.standing import Standing
from models.learners.task import CHURN, Task
from services.state.redis_lane import Client
from services.state.registry import ModelRegistry
from services.state.snapshots import SnapshotReader


def tasks_of(config_dir: Path) -> tuple[Task, ...]:
    """Every score that batch models can be trained for: churn, and the goals of `config_dir`.

    Raises
    ------
    DefinitionError
        A file of `config_dir` has a mistake.
    """
    goals = load_definitions(config_dir, check_templates=False).goals
    return CHURN, *(Task.of_goal(goal.id, goal.code) for goal in goals if goal.enabled)


def task_named(name: str, config_dir: Path) -> Task:
    """Score of this name: `churn` or `goal:<id>`.

    Raises
    ------
    ConfigurationError
        There is none of this name.
    DefinitionError
        It is a goal, and a file of `config_dir` has a mistake.
    """
    if name == CHURN.score:
        return CHURN
    tasks = {task.score: task for task in tasks_of(config_dir)}
    if name not in tasks:
        raise ConfigurationError(f"no score {name!r} has batch models", remedy=f"one of {', '.join(tasks)}")
    return tasks[name]


def listing(client: Client, tasks: Sequence[Task] = (CHURN,)) -> list[dict[str, Any]]:
    """One entry a model: the online learners with their newest version, then every batch version, newest first."""
    reader = SnapshotReader(client)
    names = tuple(LEARNED_FROM)
    latest = reader.latest(names)
    found = [_online(client, reader, name, latest.get(name, 0)) for name in names]
    for task in tasks:
        registry = ModelRegistry(client, task)
        standing = registry.standing()
        found += [_batch(registry, version, standing) for version in range(registry.newest(), 0, -1)]
    return found


def _online(client: Client, reader: SnapshotReader, name: str, version: int) -> dict[str, Any]:
    entry: dict[str, Any] = {"model": name, "version": version, "kind": "online"}
    entry["state"] = _state(ONLINE, ModelRegistry(client).standing()) if name == linear.NAME else "serves"
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
    task = registry.task
    entry: dict[str, Any] = {"model": task.batch, "version": version, "kind": "batch", "score": task.score}
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
