"""Redis, where the state is, and the settings that guard it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from config.settings import Settings
from models.errors import KairosError
from services.jobs.doctor.finding import Finding, bad, ok, warn
from services.state.health import RedisHealth, read_health
from services.state.redis_lane import Client

OLDEST = (6, 2)
CLOCK_MS = 1_000


def settings_findings(settings: Settings, *_: Any) -> Iterator[Finding]:
    """Settings that must not stay as they are."""
    if settings.secret_key.get_secret_value() == "change-me":
        yield warn(
            "secret key",
            "KAIROS_SECRET_KEY is the one that everybody knows: anybody can sign an unsubscribe link",
            "set it to a long random text, the same for all processes (openssl rand -hex 32)",
        )
    else:
        yield ok("secret key", "is set")


def redis_findings(_: Settings, client: Client, now_ms: int) -> Iterator[Finding]:
    """What Redis says about itself."""
    try:
        health = read_health(client)
    except KairosError as error:
        yield bad("redis", str(error), "start Redis, or set KAIROS_REDIS__URL to an address that is reached from here")
        return
    version = ".".join(map(str, health.version))
    if health.version[:2] < OLDEST:
        yield bad("redis", f"version {version}", "Redis 6.2 or newer")
    else:
        yield ok("redis", f"version {version} answers")
    yield from _durable(health)
    if abs(health.now_ms - now_ms) > CLOCK_MS:
        apart_s = (health.now_ms - now_ms) / 1000
        yield warn("redis clock", f"{apart_s:+.1f} s against this machine", "run NTP (chrony) on both")
    else:
        yield ok("redis clock", f"{health.now_ms - now_ms:+d} ms against this machine")


def _durable(health: RedisHealth) -> Iterator[Finding]:
    if health.appendonly == "":
        yield warn("persistence", "Redis does not tell (CONFIG is forbidden)", "see that appendonly is yes")
    elif health.appendonly != "yes":
        yield bad(
            "persistence",
            "appendonly is off: a restart of Redis forgets everything since its last dump",
            "redis-cli CONFIG SET appendonly yes, and the same in redis.conf",
        )
    elif health.appendfsync != "always":
        yield warn(
            "persistence",
            f"appendfsync is {health.appendfsync}: a power cut forgets a second or more. The log fills it, but "
            "messages of that time may become `unknown`",
            "redis-cli CONFIG SET appendfsync always (about 10 % slower), and the same in redis.conf",
        )
    else:
        yield ok("persistence", "append-only file, synced at every write")
    if health.aof_failing:
        yield bad("disk", "Redis could not write its append-only file", "look at its log; is the disk full?")
    if health.policy not in {"", "noeviction"}:
        yield bad(
            "eviction",
            f"maxmemory-policy is {health.policy}: a full Redis forgets customers without a word",
            "redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
        )
    elif health.policy:
        yield ok("eviction", "none")
    if health.max_bytes and health.used_bytes > 0.8 * health.max_bytes:
        yield warn(
            "memory",
            f"{health.used_bytes / health.max_bytes:.0%} of maxmemory is in use; when it is full, the stream stops",
            "raise maxmemory, or move lanes to another Redis",
        )
    else:
        limit = f" of {health.max_bytes / 2**20:,.0f} MiB" if health.max_bytes else ", no limit set"
        yield ok("memory", f"{health.used_bytes / 2**20:,.0f} MiB{limit}")
    if health.role != "master":
        yield bad("redis role", f"it is a {health.role}: writes are refused", "point KAIROS_REDIS__URL to the master")
