"""Everything that Redis holds of a lane, read as it stands at one moment: for the audit and for backups."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import redis

from models.errors import TransientError
from services.state import keys
from services.state.counters import read_lane_counters
from services.state.redis_lane import translated

TRIES = 20
AT_ONCE = 2000


@dataclass(slots=True)
class LaneDump:
    """Raw values of one lane."""

    fence: bytes | None = None
    state: bytes | None = None
    profiles: dict[str, bytes] = field(default_factory=dict)
    offers: dict[str, bytes] = field(default_factory=dict)
    counters: dict[str, dict[str, int]] = field(default_factory=dict)
    timers: dict[str, int] = field(default_factory=dict)
    outbox: list[tuple[int, bytes]] = field(default_factory=list)


def dump_lane(client: redis.Redis, lane: int) -> LaneDump:
    """Read a lane while nobody writes to it.

    Raises
    ------
    TransientError
        The lane moved during every try: stop the workers, or audit in a quieter moment.
    """
    for _ in range(TRIES):
        with translated():
            before: Any = client.get(keys.fence(lane))
            state: Any = client.get(keys.state(lane))
            found = LaneDump(fence=before, state=state)
            found.profiles = _values(client, keys.profile(lane, ""))
            found.offers = _values(client, keys.offers(lane, ""))
            found.counters = read_lane_counters(client, lane)
            timers: Any = client.zrange(keys.timers(lane), 0, -1, withscores=True)
            found.timers = {user.decode(): int(due) for user, due in timers}
            entries: Any = client.zrange(keys.outbox_index(lane), 0, -1)
            seqs = [int(seq) for seq in entries]
            packed: Any = client.mget([keys.outbox(lane, seq) for seq in seqs]) if seqs else []
            found.outbox = [(seq, entry) for seq, entry in zip(seqs, packed, strict=True) if entry is not None]
            if client.get(keys.fence(lane)) == before:
                return found
    raise TransientError(f"lane {lane} moved while it was read: stop the workers, or try in a quieter moment")


def _values(client: redis.Redis, prefix: str) -> dict[str, bytes]:
    names: list[Any] = list(client.scan_iter(match=literal(prefix) + "*", count=AT_ONCE))
    found: dict[str, bytes] = {}
    for first in range(0, len(names), AT_ONCE):
        part = names[first : first + AT_ONCE]
        values: Any = client.mget(part)
        for name, value in zip(part, values, strict=True):
            if value is not None:
                found[name.decode()[len(prefix) :]] = value
    return found


def literal(prefix: str) -> str:
    """Spell a prefix for a pattern in which its own wildcards stand for themselves."""
    return "".join(f"\\{c}" if c in "*?[]\\" else c for c in prefix)
