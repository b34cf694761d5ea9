"""All lanes of a small Kairos in memory: what a lane forwards, the others take, until nothing is under way."""

import json
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from config.topics import INPUT_NAMES
from models.brain import Brain
from models.profile.codec import decode_profile
from models.profile.moved import Moved, MovedError
from models.profile.state import Profile
from models.wire import Record, lane_of
from services.state.step import Output
from services.state.store import LaneStore
from support.lane import LaneRig


def alias(previous: str, user: str, at: int, mid: str | None = None) -> bytes:
    """`previous` is `user`."""
    said = {"type": "alias", "previousId": previous, "userId": user, "timestamp": at}
    return msgspec.json.encode(said | {"messageId": mid or f"alias-{previous}-{user}-{at}"})


class Lanes:
    """Lanes and the records between them.

    Parameters
    ----------
    stores : where the states are; none: in memory.
    twice : every forwarded record is published a second time, as after a crash.
    """

    def __init__(
        self, brain: Brain, lanes: int = 2, *, twice: bool = False, stores: Sequence[LaneStore | None] = ()
    ) -> None:
        self.lanes, self._twice = lanes, twice
        held = stores or [None] * lanes
        self.rigs = [LaneRig(brain, store, lane=lane, lanes=lanes) for lane, store in enumerate(held)]
        self._published = [0] * lanes
        self._under_way: deque[tuple[Output, list[tuple[str, bytes]]]] = deque()
        self.sent = 0

    def feed(self, topic: str, user: str, *values: bytes, lane: int | None = None) -> None:
        """Write into the partition of `user` (or `lane`), apply it, and leave what is forwarded under way."""
        self._apply(lane_of(user, self.lanes) if lane is None else lane, topic, *values, key=user.encode())

    def settle(self, limit: int = 2_000) -> None:
        """Take everything that was forwarded."""
        for _ in range(limit):
            if not self._under_way:
                return
            self.deliver()
        raise AssertionError("records go round for ever")

    def deliver(self) -> None:
        """Take the record that was forwarded first."""
        output, headers = self._under_way.popleft()
        record = Record(0, 0, output.key, output.value, headers)
        for _ in range(1 + self._twice):
            self._apply(output.partition, output.topic, record)

    def waiting(self) -> int:
        """How many are under way."""
        return len(self._under_way)

    def until(self, at: int) -> None:
        """Let time pass."""
        for lane, rig in enumerate(self.rigs):
            rig.until(at)
            self._collect(lane)
        self.settle()

    def _apply(self, lane: int, topic: str, *values: bytes | Record, key: bytes | None = None) -> None:
        self.rigs[lane].feed(topic, *values, key=key)
        self._collect(lane)

    def _collect(self, lane: int) -> None:
        rig = self.rigs[lane]
        new, self._published[lane] = rig.published.outputs[self._published[lane] :], len(rig.published.outputs)
        for output in new:
            if output.topic in INPUT_NAMES:
                self.sent += 1
                # One transaction may publish several: the number only has to grow.
                place = (("lane", lane), ("epoch", 1), ("seq", self.sent), ("n", 0))
                headers = [*output.headers, *((f"kairos-{name}", str(value).encode()) for name, value in place)]
                self._under_way.append((output, headers))

    # -- looking

    def find(self, user: str) -> Profile | Moved | None:
        """What lies under the user's key."""
        packed = self.rigs[lane_of(user, self.lanes)].memory.profiles.get(user)
        try:
            return None if packed is None else decode_profile(packed)
        except MovedError as away:
            return away.redirect

    def profile(self, user: str) -> Profile:
        """The user's profile."""
        found = self.find(user)
        assert isinstance(found, Profile), found
        return found

    def who(self, user: str) -> str:
        """The id that is left of a user; of a circle that no record has met yet, the one at which it will be broken."""
        way: list[tuple[int, str]] = []
        while isinstance(found := self.find(user), Moved):
            if user in [name for _, name in way]:
                return max(way[[name for _, name in way].index(user) :])[1]
            way.append((found.at, user))
            user = found.to
        return user

    def counters(self, key: str) -> dict[str, int]:
        """Counters added up over the lanes, without those that are zero."""
        found: dict[str, int] = {}
        for rig in self.rigs:
            for name, value in rig.counters(key).items():
                found[name] = found.get(name, 0) + value
        return {name: value for name, value in found.items() if value}

    def on(self, topic: str) -> list[dict[str, Any]]:
        """Everything published on a topic."""
        return [json.loads(output.value) for rig in self.rigs for output in self._of(rig, topic)]

    def count(self, fate: str) -> int:
        """Records of all lanes that went one way."""
        return sum(getattr(rig.state, fate) for rig in self.rigs)

    def balanced(self) -> bool:
        """Every received record has one fate."""
        return all(rig.state.balances() for rig in self.rigs)

    @staticmethod
    def _of(rig: LaneRig, topic: str) -> list[Output]:
        return [output for output in rig.published.outputs if output.topic == topic]
