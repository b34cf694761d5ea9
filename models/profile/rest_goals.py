"""Examples of goals in the small form of a profile at rest."""

from __future__ import annotations

from models.features.goals import raw
from models.profile.awaited import GoalSample
from models.profile.state import Profile


def waiting(profile: Profile, last_seen: int) -> list[list[int]]:
    """Examples of goals: code, 2 x (seconds since last seen) + reached, propensity, features unless they can be told.

    Most were begun in silence: nothing happened since, and the profile says of that moment what it said then.
    """
    return [
        [one.code, 2 * (one.at - last_seen) + one.reached, one.p_e4, *(one.x if one.x != raw(profile, one.at) else ())]
        for one in profile.goal_samples
    ]


def unwaited(profile: Profile, last_seen: int, packed: list[int]) -> GoalSample:
    """One of what :func:`waiting` was made of."""
    code, moment, p_e4, *x = packed
    at = last_seen + (moment >> 1)
    return GoalSample(code, at, bool(moment & 1), p_e4, x or raw(profile, at))
