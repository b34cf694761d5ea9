"""Read the lanes from outside: positions, counts and watermarks, for the page, the replay and the audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import redis

from config.topics import INPUT_NAMES
from models.lane import Fence, LaneState, decode_fence, decode_state
from services.state import keys
from services.state.cluster import get_many
from services.state.redis_lane import translated

__all__ = ["Fence", "LaneState", "decode_lanes", "read_fences", "read_lanes", "read_watermarks"]


def lane_keys(lanes: int) -> list[str]:
    """Keys that :func:`decode_lanes` wants the values of."""
    return [keys.state(lane) for lane in range(lanes)]


def decode_lanes(values: Sequence[bytes | None]) -> dict[int, LaneState]:
    """Lane states of raw values, lane 0 first; a lane that never committed is empty."""
    return {lane: decode_state(packed, len(INPUT_NAMES)) for lane, packed in enumerate(values)}


def read_lanes(client: redis.Redis, lanes: int) -> dict[int, LaneState]:
    """State of every lane."""
    with translated():
        values = get_many(client, lane_keys(lanes))
    return decode_lanes(values)


def read_watermarks(client: redis.Redis, lanes: int) -> dict[int, int]:
    """Watermark of every lane, ms of event time."""
    return {lane: state.watermark for lane, state in read_lanes(client, lanes).items()}


def read_fences(client: redis.Redis, lanes: Sequence[int]) -> Mapping[int, Fence]:
    """Position of each of `lanes`."""
    if not lanes:
        return {}
    with translated():
        values = get_many(client, [keys.fence(lane) for lane in lanes])
    return {lane: decode_fence(packed, len(INPUT_NAMES)) for lane, packed in zip(lanes, values, strict=True)}
