"""Divide a lane in two: what a lane and its new sibling start from, for `kairos repartition` and for the audit.

With twice as many partitions a user of lane `p` belongs to `p` or to `p + P`: the same hash, modulo another number. The
lane keeps its counts and its place in the log; its next transaction says in the journal that it was divided, and so
does the sibling's first. Users, their offers and timers go where they belong; counters stay: readers add up all lanes.
"""

from __future__ import annotations

from typing import Any

from config.topics import INPUT_NAMES
from models.lane import Fence, LaneState, decode_fence, decode_state
from models.offers.limits import halved
from models.wire import lane_of
from services.state.step import SPLIT, marking
from services.state.store import Change, MemoryLaneStore


def sibling_of(lane: int, lanes: int) -> int:
    """Lane that is divided off `lane` when there are `lanes` lanes afterwards.

    Examples
    --------
    >>> sibling_of(1, 8)
    5
    """
    return lane + lanes // 2


def divided(fence: bytes | None, state: bytes | None, lane: int, lanes: int, epoch: int) -> Change:
    """Next transaction of a lane that is divided; its users are not in it.

    Parameters
    ----------
    lanes : how many there are afterwards. epoch : above any published one.
    """
    inputs = len(INPUT_NAMES)
    found, after = decode_state(state, inputs), decode_fence(fence, inputs).step({})
    found.lanes, found.epoch = lanes, max(found.epoch + 1, epoch)
    found.given = {offer: halved(*given) for offer, given in found.given.items()}
    return _change(lane, found, after)


def sibling(parent: bytes, lane: int, lanes: int) -> Change:
    """First transaction of the lane that is divided off `lane`, given the state that this has now.

    It starts at the beginning of its partitions, which are new, with the time and the origins of the other: what was
    forwarded to that one and taken there must not be taken here.
    """
    inputs = len(INPUT_NAMES)
    other = decode_state(parent, inputs)
    state = LaneState(
        other.epoch, list(other.watermarks), origins=dict(other.origins), lanes=other.lanes, given=dict(other.given)
    )
    return _change(sibling_of(lane, lanes), state, Fence(1, (0,) * inputs))


def _change(lane: int, state: LaneState, after: Fence) -> Change:
    return marking(lane, SPLIT, state, after, lanes=abs(state.lanes))[0]


def split_store(store: MemoryLaneStore, lane: int, lanes: int, epoch: int) -> MemoryLaneStore:
    """Divide a lane in memory; returns the new sibling."""
    mine = divided(store.fence, store.state, lane, lanes, epoch)
    other = MemoryLaneStore()
    for one, change in ((store, mine), (other, sibling(mine.state, lane, lanes))):
        one.load(None, 0, lambda due: due)
        one.commit(change)
    target = sibling_of(lane, lanes)
    for old, new in ((store.profiles, other.profiles), (store.offers, other.offers), (store.timers, other.timers)):
        _move(old, new, target, lanes)
    return other


def _move(old: dict[str, Any], new: dict[str, Any], target: int, lanes: int) -> None:
    for user in [user for user in old if lane_of(user, lanes) == target]:
        new[user] = old.pop(user)
