"""What Kairos holds at the end, read out of Redis: the side of the comparison that is under test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from config.definitions import Definitions
from config.loader import load_definitions
from config.settings import PACKAGE_CONFIG_DIR
from models.lane import Fence, LaneState
from models.profile.codec import decode_profile
from models.profile.state import Profile
from services.state.counters import read_counters
from services.state.lanes import read_fences, read_lanes
from services.state.ledger_index import ledger_field, ledger_states

TWICE, NOT_COUNTED = 1, 2  # of an exposure
FLAGS = {1: "sent", 2: "opened", 4: "clicked", 8: "ordered"}


@dataclass(slots=True)
class Held:
    """Everything."""

    profiles: dict[str, dict[str, Any]]
    counters: dict[tuple[str, str], int]
    fences: Mapping[int, Fence]
    lanes: Mapping[int, LaneState]
    ledger: dict[str, str]
    reasons: dict[str, str]
    timers: dict[str, int]


def read_state(client: Any, lanes: int) -> Held:
    """Read all of it."""
    profiles: dict[str, dict[str, Any]] = {}
    timers: dict[str, int] = {}
    for lane in range(lanes):
        prefix = f"{{p{lane}}}:u:"
        keys = list(client.scan_iter(match=prefix + "*", count=5_000))
        for first in range(0, len(keys), 1_000):
            some = keys[first : first + 1_000]
            for key, packed in zip(some, client.mget(some), strict=True):
                profiles[key.decode()[len(prefix) :]] = plain(decode_profile(packed))
        timers |= {user.decode(): int(at) for user, at in client.zrange(f"{{p{lane}}}:timers", 0, -1, withscores=True)}
    ledger = ledger_states(client)
    return Held(
        profiles,
        plain_counters(read_counters(client, lanes)),
        read_fences(client, range(lanes)),
        read_lanes(client, lanes),
        ledger,
        {ident: reason for ident, reason in ledger_field(client, "reason").items() if ledger.get(ident) == "unknown"},
        timers,
    )


def plain(profile: Profile) -> dict[str, Any]:
    """A profile under the names of the recount."""
    return {
        "events": profile.events,
        "first_seen": profile.first_seen,
        "last_seen": profile.last_seen_ms,
        "sessions": profile.sessions,
        "session_start": profile.session_start,
        "session_events": profile.session_events,
        "orders": profile.orders,
        "refunds": profile.refunds,
        "money": profile.money_minor,
        "first_order": profile.first_order,
        "last_order": profile.last_order_ms,
        "cart": {item: price for item, _, price in profile.cart},
        "attributes": dict(profile.attributes),
        "consent": dict(profile.consent),
        "sends": sorted(
            (one.at, one.campaign, one.digest.hex(), sorted(name for bit, name in FLAGS.items() if one.flags & bit))
            for one in profile.sends
        ),
        "timers": sorted((one.due, one.rule, one.kind == "release", one.set_at) for one in profile.timers),
        **_experiments(profile),
    }


def _experiments(profile: Profile) -> dict[str, Any]:
    """Exposures. Profiles hold codes of experiments and variants; here are names."""
    exposures: dict[str, tuple[str, int, bool, bool]] = {}
    for test in _definitions().experiments:
        held = profile.exposures.get(test.code)
        if held is not None:
            variant = next(one.id for one in test.variants if one.code == held.variant)
            counted, twice = not held.flags & NOT_COUNTED, bool(held.flags & TWICE)
            exposures[test.id] = (variant, held.at, counted, twice)
    return {"exposures": exposures}


@cache
def _definitions() -> Definitions:
    return load_definitions(PACKAGE_CONFIG_DIR)


def plain_counters(found: Mapping[str, Mapping[str, int]]) -> dict[tuple[str, str], int]:
    """By (hash, field), without zeros; a number that is kept in several counters (`aa`, `aa^1`, ...) as one."""
    counters: dict[tuple[str, str], int] = {}
    for name, fields in found.items():
        for field, value in fields.items():
            plain_name, _, limb = field.partition("^")
            place = (name, plain_name)
            counters[place] = counters.get(place, 0) + (value << 26 * int(limb or 0))
    return {place: value for place, value in counters.items() if value}
