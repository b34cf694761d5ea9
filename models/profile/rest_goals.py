"""Examples of goals in the small form of a profile at rest."""

from __future__ import annotations

from typing import Any

from models.features.goals import RAW_NAMES, raw
from models.profile.awaited import GoalSample
from models.profile.state import Profile

DAY_S = 86_400
RAW = len(RAW_NAMES)  # more than any goal has attributes: what lies behind tells whether the vector is there


def waiting(profile: Profile, last_seen: int) -> list[Any]:
    """Examples of goals: code, propensity, moment, features unless they can be told.

    Most were begun in silence, at a tick: whole days before the next one, and the profile says of that moment what it
    said then. The moment is 2 x days before the next tick + reached, and the propensity is -2 less it; or else
    2 x seconds since last seen + reached, and the propensity plus 1. Of one example, as nearly always, only that.
    """
    found: list[Any] = []
    for one in profile.goal_samples:
        days, rest_s = divmod(profile.tick_due - one.at, DAY_S)
        if rest_s or days < 0:
            moment, told = 2 * (one.at - last_seen) + one.reached, one.p_e4 + 1
        else:
            moment, told = 2 * days + one.reached, -2 - one.p_e4
        known = one.x[RAW:] if one.x[:RAW] == raw(profile, one.at) else one.x
        found.append([one.code, told, moment, *known])
    return found[0] if len(found) == 1 else found


def unwaited(profile: Profile, last_seen: int, packed: list[Any]) -> list[GoalSample]:
    """What :func:`waiting` was made of."""
    examples = [packed] if packed and isinstance(packed[0], int) else packed
    return [_unwaited(profile, last_seen, one) for one in examples]


def _unwaited(profile: Profile, last_seen: int, packed: list[Any]) -> GoalSample:
    code, told, moment, *x = packed
    if told < 0:
        at, p_e4 = profile.tick_due - (moment >> 1) * DAY_S, -2 - told
    else:
        at, p_e4 = last_seen + (moment >> 1), told - 1
    return GoalSample(code, at, bool(moment & 1), p_e4, x if len(x) >= RAW else raw(profile, at) + x)
