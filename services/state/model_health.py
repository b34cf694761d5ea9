"""How the models do: what their learners wrote, judged by the time of the shop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import redis

from config.topics import LEARNED_FROM
from models.learners.health import ScoreHealth, State
from services.state import keys
from services.state.lanes import read_watermarks
from services.state.redis_lane import translated

_decode = msgspec.json.Decoder(ScoreHealth).decode


class Row(msgspec.Struct, frozen=True):
    """One score of a model, as `kairos models health`, `GET /v1/models` and the page show it."""

    model: str
    score: str
    state: State
    health: ScoreHealth


def read_model_health(client: redis.Redis, lanes: int) -> list[Row]:
    """Every score of every model that has a learner.

    Raises
    ------
    TransientError
        Redis is away.
    """
    with translated():
        found: dict[str, Any] = {name: client.hgetall(keys.model_health(name)) for name in LEARNED_FROM}
    return judged(found, max(read_watermarks(client, lanes).values(), default=None))


def judged(found: Mapping[str, Mapping[bytes, bytes]], now_ms: int | None) -> list[Row]:
    """Rows of what lay in Redis; models that wrote nothing yet have learned nothing. `now_ms` : event time."""
    rows = []
    for model in LEARNED_FROM:
        scores = found.get(model) or {model.encode(): b""}
        for name, packed in sorted(scores.items()):
            health = _readable(packed)
            rows.append(Row(model, name.decode(), health.state(now_ms), health))
    return rows


def troubled(rows: Iterable[Row]) -> list[Row]:
    """Those that somebody should look at."""
    return [row for row in rows if row.state not in {"fine", "not learned yet"}]


def _readable(packed: bytes) -> ScoreHealth:
    try:
        return _decode(packed)
    except msgspec.DecodeError:  # nothing, or of another version: it is written anew within seconds
        return ScoreHealth(learned=False, examples=0)
