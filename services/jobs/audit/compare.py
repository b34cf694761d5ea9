"""Compare what Redis holds with what the replay made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from config.topics import INPUT_NAMES
from models.lane import decode_fence, decode_state
from models.profile.codec import decode_profile
from models.profile.moved import MovedError
from models.profile.state import fields_of
from services.state.lane_dump import LaneDump
from services.state.store import MemoryLaneStore


def compare(lane: int, held: LaneDump, made: MemoryLaneStore) -> list[str]:
    """Differences in words; empty when Redis holds exactly what the log says."""
    inputs = len(INPUT_NAMES)
    found: list[str] = []
    if decode_fence(held.fence, inputs) != decode_fence(made.fence, inputs):
        found.append(
            f"lane {lane}: position {decode_fence(held.fence, inputs)}, by the log {decode_fence(made.fence, inputs)}"
        )
    if decode_state(held.state, inputs) != decode_state(made.state, inputs):
        found.append(
            f"lane {lane}: counts {decode_state(held.state, inputs)}, by the log {decode_state(made.state, inputs)}"
        )
    for user in sorted(held.profiles.keys() | made.profiles.keys()):
        mine, theirs = held.profiles.get(user), made.profiles.get(user)
        if mine != theirs:
            found += _profile(lane, user, mine, theirs)
    found += _maps(lane, "offers of user", held.offers, made.offers)
    found += _maps(lane, "timer of user", held.timers, made.timers)
    for key in sorted(held.counters.keys() | made.counters.keys()):
        found += _maps(lane, f"counter {key}", held.counters.get(key, {}), made.counters.get(key, {}))
    return found


def _profile(lane: int, user: str, mine: bytes | None, theirs: bytes | None) -> list[str]:
    if mine is None or theirs is None:
        return [f"lane {lane}: profile of user {user} is only {'in the log' if mine is None else 'in Redis'}"]
    one, two = _fields(mine), _fields(theirs)
    found = []
    for name in sorted(one.keys() | two.keys()):
        held, made = one.get(name), two.get(name)
        if held != made:
            text = f"lane {lane}: user {user}, {name} is {_short(held)}, by the log {_short(made)}"
            found.append(text)
    return found


def _fields(packed: bytes) -> dict[str, Any]:
    try:
        return fields_of(decode_profile(packed))
    except MovedError as away:
        redirect = away.redirect
        return {name: getattr(redirect, name) for name in redirect.__struct_fields__}


def _maps(lane: int, what: str, held: Mapping[str, Any], made: Mapping[str, Any]) -> list[str]:
    return [
        f"lane {lane}: {what} {name} is {_short(held.get(name))}, by the log {_short(made.get(name))}"
        for name in sorted(held.keys() | made.keys())
        if held.get(name) != made.get(name)
    ]


def _short(value: Any) -> str:
    text = repr(msgspec.to_builtins(value)) if isinstance(value, msgspec.Struct) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
