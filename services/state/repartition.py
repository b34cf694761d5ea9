"""What `kairos repartition` does in Redis: freeze the lanes, copy users, check and remove them, free the lanes.

Every step may be interrupted and done again. While a lane is frozen nobody can open it, neither a worker of the old
number of lanes nor one of the new, nor one that was asleep: the mark lies in the lane's own state, under its fence.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import redis

from config.topics import INPUT_NAMES
from models.errors import ConfigurationError, KairosError
from models.lane import LaneState, decode_state, encode
from models.wire import lane_of
from services.state import keys
from services.state.lane_marking import commit_marking
from services.state.redis_lane import translated
from services.state.split import divided, sibling, sibling_of
from services.state.store import Change

AT_ONCE = 1000
_USER_KEY = re.compile(rb"\{p(\d+)\}:([uo]):(.*)", re.DOTALL)


class DamagedStateError(KairosError):
    """Redis holds something that this step cannot have left behind."""


class Repartition:
    """Divide every lane of `lanes // 2` in two.

    Parameters
    ----------
    client : of :func:`services.state.redis_lane.connect`.
    lanes : how many there are afterwards.
    epoch : above any published one.
    """

    def __init__(self, client: redis.Redis, lanes: int, epoch: int) -> None:
        self._client, self._lanes, self._epoch = client, lanes, epoch
        self._old = range(lanes // 2)

    def state(self, lane: int) -> LaneState:
        """What a lane says of itself."""
        with translated():
            packed: Any = self._client.get(keys.state(lane))
        return decode_state(packed, len(INPUT_NAMES))

    def check(self) -> None:
        """See that every lane is where this, begun or not, can find it.

        Raises
        ------
        ConfigurationError
            The lanes are not those of half as many partitions.
        """
        allowed = {0, self._lanes // 2, self._lanes, -self._lanes}
        for lane in self._old:
            found = self.state(lane).lanes
            if found not in allowed:
                raise ConfigurationError(
                    f"the users of lane {lane} are dealt out among {abs(found)} lanes",
                    remedy=f"From there it goes on with `kairos repartition --to {2 * abs(found)}`.",
                )

    def begun(self) -> bool:
        """Whether an earlier run came to freeze a lane."""
        return any(abs(self.state(lane).lanes) == self._lanes for lane in self._old)

    def finished(self) -> bool:
        """Whether every lane is divided and free."""
        return all(self.state(lane).lanes == self._lanes for lane in range(self._lanes))

    def freeze(self) -> None:
        """Take every lane over, and make those that are divided off them."""
        for lane in self._old:
            found = self.state(lane).lanes
            if found == self._lanes:
                continue  # it is free again already
            if found != -self._lanes:
                self._commit(lane, partial(self._divided, lane))
            self._make_sibling(lane)

    def _divided(self, lane: int, fence: bytes | None, state: bytes | None) -> Change:
        return self._marked(divided(fence, state, lane, self._lanes, self._epoch))

    def _make_sibling(self, lane: int) -> None:
        number = sibling_of(lane, self._lanes)
        found = abs(self.state(number).lanes)
        if found == self._lanes:
            return
        with translated():
            parent: Any = self._client.get(keys.state(lane))

        def made(fence: bytes | None, _: bytes | None) -> Change:
            if fence is not None:
                raise DamagedStateError(f"lane {number} exists already: it is no part of {self._lanes // 2} lanes")
            return sibling(parent, lane, self._lanes)  # marked as its parent is

        self._commit(number, made)

    def _marked(self, change: Change, sign: int = -1) -> Change:
        state = decode_state(change.state, len(INPUT_NAMES))
        state.lanes = sign * self._lanes
        change.state = encode(state)
        return change

    def _commit(self, lane: int, made: Callable[[bytes | None, bytes | None], Change]) -> None:
        commit_marking(self._client, lane, made)

    # -- users

    def copy(self, moved: Callable[[int], object]) -> int:
        """Copy whoever moves to the other lane, with offers and timers; answers how many keys."""
        total = 0
        with translated():
            for lane, names in self._moving():
                values: Any = self._client.mget([keys.lane(lane, name) for name in names])
                target = sibling_of(lane, self._lanes)
                found = {keys.lane(target, name): value for name, value in zip(names, values, strict=True)}
                self._client.mset({name: value for name, value in found.items() if value is not None})
                total += len(names)
                moved(len(names))
            for lane, timers in self._timers():
                self._client.zadd(keys.timers(sibling_of(lane, self._lanes)), timers)
                moved(len(timers))
        return total

    def remove(self, moved: Callable[[int], object]) -> None:
        """Take what was copied out of the old lanes, once it is seen in the new ones.

        Raises
        ------
        DamagedStateError
            A copy is missing or differs. Nothing of that was removed.
        """
        with translated():
            for lane, names in self._moving():
                target = sibling_of(lane, self._lanes)
                old = [keys.lane(lane, name) for name in names]
                before: Any = self._client.mget(old)
                after: Any = self._client.mget([keys.lane(target, name) for name in names])
                for name, one, other in zip(names, before, after, strict=True):
                    if one is not None and one != other:
                        raise DamagedStateError(f"{keys.lane(target, name)} is not what {keys.lane(lane, name)} is")
                self._client.delete(*old)
                moved(len(names))
            for lane, timers in self._timers():
                there: Any = self._client.zmscore(keys.timers(sibling_of(lane, self._lanes)), list(timers))
                if there != list(timers.values()):
                    raise DamagedStateError(f"timers of lane {lane} are missing in the new lane")
                self._client.zrem(keys.timers(lane), *timers)
                moved(len(timers))

    def count(self) -> int:
        """How many keys and timers would move now."""
        with translated():
            return sum(len(names) for _, names in self._moving()) + sum(len(part) for _, part in self._timers())

    def _moving(self) -> Iterator[tuple[int, list[str]]]:
        """Lane and names of keys that belong to the other lane, in portions of one lane.

        One pass over all of Redis, not one per lane. It meets every key that is there from its beginning to its end.
        """
        waiting: dict[int, dict[str, None]] = defaultdict(dict)
        names: Any = self._client.scan_iter(match="{p*}:[uo]:*", count=AT_ONCE)
        for packed in names:
            found = _USER_KEY.fullmatch(packed)
            lane = int(found[1]) if found else self._lanes
            if found is None or lane not in self._old:
                continue
            user = found[3].decode()
            if lane_of(user, self._lanes) == lane:
                continue
            part = waiting[lane]
            part[f"{found[2].decode()}:{user}"] = None  # SCAN may name a key twice
            if len(part) == AT_ONCE:
                yield lane, list(waiting.pop(lane))
        for lane in sorted(waiting):
            yield lane, list(waiting[lane])

    def _timers(self) -> Iterator[tuple[int, dict[str, float]]]:
        for lane in self._old:
            found: Any = self._client.zrange(keys.timers(lane), 0, -1, withscores=True)
            moving = [(user.decode(), due) for user, due in found if lane_of(user.decode(), self._lanes) != lane]
            for first in range(0, len(moving), AT_ONCE):
                yield lane, dict(moving[first : first + AT_ONCE])

    # -- the end

    def free(self) -> None:
        """Let workers of the new number of lanes in."""
        for lane in reversed(range(self._lanes)):
            self._commit(lane, lambda fence, state: self._marked(Change(fence or b"", state or b"", seq=0), 1))
