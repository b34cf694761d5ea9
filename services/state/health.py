"""What Redis says about itself, for the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

from services.state.redis_lane import translated


@dataclass(frozen=True, slots=True)
class RedisHealth:
    """Facts; settings are "" where Redis does not tell (CONFIG forbidden)."""

    version: tuple[int, ...]
    role: str
    now_ms: int
    used_bytes: int
    max_bytes: int
    appendonly: str
    appendfsync: str
    policy: str
    aof_failing: bool


def read_health(client: redis.Redis) -> RedisHealth:
    """Ask.

    Raises
    ------
    TransientError
        Redis is away.
    """
    with translated():
        info: Any = client.info()
        seconds, micros = client.time()
        try:
            config: Any = client.config_get("append*") | client.config_get("maxmemory-policy")
        except redis.ResponseError:
            config = {}
    version = tuple(int(part) for part in str(info["redis_version"]).split(".") if part.isdigit())
    return RedisHealth(
        version=version,
        role=str(info["role"]),
        now_ms=int(seconds) * 1000 + int(micros) // 1000,
        used_bytes=int(info["used_memory"]),
        max_bytes=int(info.get("maxmemory", 0)),
        appendonly=str(config.get("appendonly", "yes" if info.get("aof_enabled") else "")),
        appendfsync=str(config.get("appendfsync", "")),
        policy=str(config.get("maxmemory-policy", info.get("maxmemory_policy", ""))),
        aof_failing=info.get("aof_last_write_status", "ok") != "ok",
    )
