"""What the customers of the real shop weigh in Redis after their year: at rest, active, and field by field."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

import msgspec
import redis
from benchmarks.ground import Ground
from benchmarks.year import LANE, TEACH_EVERY_DAYS, YearLane, days_of

from config.loader import load_definitions
from config.settings import PACKAGE_CONFIG_DIR
from config.topics import DAY_MS
from models.brain import Brain
from models.campaigns.conditions import condition_fault
from models.profile.codec import decode_profile
from models.profile.rest import Folded, folded
from models.profile.state import Profile
from services.demo.history import load_history
from services.state import keys

REST_DAYS = 60
RESTING_AFTER_MS = 30 * DAY_MS
ACTIVE_WITHIN_MS = 7 * DAY_MS


@dataclass(frozen=True, slots=True)
class Weight:
    """One customer: `memory` as Redis counts it (MEMORY USAGE: value, key, allocator's rounding), `packed` the value."""

    user: str
    memory: int
    packed: int
    profile: Profile


@dataclass(frozen=True, slots=True)
class Spread:
    """Quantiles of some sizes, bytes."""

    count: int
    p50: int
    p90: int
    p99: int

    @classmethod
    def of(cls, sizes: Sequence[int]) -> Spread:
        """Quantiles; of nothing, zeros.

        Examples
        --------
        >>> Spread.of([5, 1, 3])
        Spread(count=3, p50=3, p90=5, p99=5)
        """
        ranked = sorted(sizes) or [0]
        at = [ranked[min(len(ranked) - 1, int(share * len(ranked)))] for share in (0.5, 0.9, 0.99)]
        return cls(len(sizes), *at)


@dataclass(frozen=True, slots=True)
class Sizes:
    """The result.

    Parameters
    ----------
    events, messages : applied and decided in the year.
    year, resting, active : at the end of the year: all customers, those silent for 30 days, those seen in 7 days.
    rest : all customers after another 60 days of silence.
    packed_rest : their packed values.
    offers, timers : beside the profile: the latest offers of a user, and the user's share of the timer index.
    fields : of the median customer at rest, (field, bytes there, mean bytes over all).
    """

    events: int
    messages: int
    year: Spread
    resting: Spread
    active: Spread
    rest: Spread
    packed_rest: Spread
    offers: Spread
    timers: int
    fields: list[tuple[str, int, float]] = field(default_factory=list)


def measure(ground: Ground, days: int | None = None) -> Sizes:
    """Live through the year (or its first `days`), then through silence, and weigh every customer."""
    ground.clear()
    client = ground.redis()
    lane = YearLane(ground.redis_url, Brain(load_definitions(PACKAGE_CONFIG_DIR, condition_fault)))
    end_ms = 0
    for number, (end_ms, events) in enumerate(islice(days_of(load_history()), days), start=1):
        lane.live(events, end_ms)
        if number % TEACH_EVERY_DAYS == 0:
            lane.teach()
    year = weigh(client)
    offers = _memory(client, [keys.offers(LANE, weight.user) for weight in year])
    applied, messages = lane.events, lane.messages
    for _ in range(REST_DAYS):
        end_ms += DAY_MS
        lane.live([], end_ms)
    rest = sorted(weigh(client), key=lambda weight: (weight.packed, weight.user))
    timers = _memory(client, [keys.timers(LANE)])[0]
    waiting = client.zcard(keys.timers(LANE)) or 1
    client.close()
    year_end_ms = end_ms - REST_DAYS * DAY_MS
    return Sizes(
        applied,
        messages,
        Spread.of([one.memory for one in year]),
        Spread.of([one.memory for one in year if year_end_ms - one.profile.last_seen_ms > RESTING_AFTER_MS]),
        Spread.of([one.memory for one in year if year_end_ms - one.profile.last_seen_ms < ACTIVE_WITHIN_MS]),
        Spread.of([one.memory for one in rest]),
        Spread.of([one.packed for one in rest]),
        Spread.of([size for size in offers if size]),
        timers // waiting,
        by_field(rest[len(rest) // 2].profile, [one.profile for one in rest]),
    )


def weigh(client: redis.Redis) -> list[Weight]:
    """Every profile of the lane."""
    prefix = keys.profile(LANE, "")
    found = [key.decode() for key in client.scan_iter(match=prefix + "*", count=5000)]
    memory, packed = _memory(client, found), cast(list[bytes], client.mget(found))
    return [
        Weight(key.removeprefix(prefix), size, len(value), decode_profile(value))
        for key, size, value in zip(found, memory, packed, strict=True)
    ]


def by_field(median: Profile, profiles: Sequence[Profile]) -> list[tuple[str, int, float]]:
    """Bytes of each field in the packed form of profiles at rest, largest mean first."""
    resting, all_resting = folded(median), [folded(one) for one in profiles]
    rows = [
        (name, _packed(getattr(resting, name)), statistics.fmean(_packed(getattr(one, name)) for one in all_resting))
        for name in Folded.__struct_fields__
    ]
    return sorted(rows, key=lambda row: -row[2])


def _packed(value: Any) -> int:
    return len(msgspec.msgpack.encode(value))


def _memory(client: redis.Redis, names: Sequence[str]) -> list[int]:
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.memory_usage(name, samples=0)
    return [int(size or 0) for size in pipe.execute()]
