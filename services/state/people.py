"""A user as Redis has them: whoever was merged into another is found under the id that is left."""

from __future__ import annotations

from typing import NamedTuple, cast

import redis

from config.topics import INPUT_NAMES
from models.identity import MAX_HOPS
from models.lane import decode_state
from models.profile.codec import decode_profile
from models.profile.moved import MovedError
from models.profile.state import Profile
from models.wire import lane_of
from services.state import keys
from services.state.redis_lane import translated


class Person(NamedTuple):
    """A user, and event time where the user is: the lane's watermark, or the last event, if that is later (ms)."""

    user: str
    profile: Profile
    at_ms: int


def find_person(client: redis.Redis, lanes: int, user: str) -> Person | None:
    """A user by id; None if nobody knows the user.

    Raises
    ------
    TransientError
        Redis is away.
    """
    for _ in range(MAX_HOPS):
        lane = lane_of(user, lanes)
        with translated():
            packed = cast(bytes | None, client.get(keys.profile(lane, user)))
            state = cast(bytes | None, client.get(keys.state(lane)))
        if packed is None:
            return None
        try:
            profile = decode_profile(packed)
        except MovedError as away:
            user = away.redirect.to
            continue
        return Person(user, profile, max(decode_state(state, len(INPUT_NAMES)).watermark, profile.last_seen_ms))
    return None
