"""The contract of a lane's state, and its implementation in memory for tests, simulation and the audit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from models.errors import FenceError


@dataclass(slots=True)
class Loaded:
    """What a transaction starts from: raw values, in the order in which they were asked for."""

    fence: bytes | None
    state: bytes | None
    profiles: list[bytes | None]
    due: list[str]


@dataclass(slots=True)
class Change:
    """What one transaction writes. All of it or nothing.

    Parameters
    ----------
    fence, state : new values. profiles : user -> packed. offers : user -> JSON, None: deleted.
    counters : "exp:id" -> field -> increment. due : user -> due ms, 0 = out of the index.
    seq, outbox : entry of this transaction (None: nothing to publish). published : entries to delete.
    """

    fence: bytes
    state: bytes
    seq: int
    profiles: dict[str, bytes] = field(default_factory=dict)
    offers: dict[str, bytes | None] = field(default_factory=dict)
    counters: dict[str, dict[str, int]] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    outbox: bytes | None = None
    published: Sequence[int] = ()


class LaneStore(Protocol):
    """State of one lane. `load` begins a transaction, `commit` ends it; both may raise TransientError.

    `users` of `load` is called with the users whose timers are due, so that one MGET brings all profiles.
    """

    def load(self, due_until: int | None, limit: int, users: Callable[[list[str]], list[str]]) -> Loaded:
        """Read fence, state and profiles as they stand together; `due_until` None: no timers are looked at."""
        ...

    def commit(self, change: Change) -> int | None:
        """Write if nobody moved the fence since `load`; returns the earliest due time in the index, ms.

        Raises
        ------
        FenceError
            Somebody else did: reload and go on from the fence.
        """
        ...

    def pending(self) -> list[tuple[int, bytes]]:
        """Outbox entries not yet deleted, in order."""
        ...


class MemoryLaneStore:
    """A lane in plain dictionaries, with one owner: only whoever loaded may commit, once."""

    def __init__(self) -> None:
        self.fence: bytes | None = None
        self.state: bytes | None = None
        self.profiles: dict[str, bytes] = {}
        self.offers: dict[str, bytes] = {}
        self.counters: dict[str, dict[str, int]] = {}
        self.timers: dict[str, int] = {}
        self.outbox: dict[int, bytes] = {}
        self._loaded = False

    def load(self, due_until: int | None, limit: int, users: Callable[[list[str]], list[str]]) -> Loaded:
        """See :class:`LaneStore`."""
        self._loaded = True
        due: list[str] = []
        if due_until is not None:
            ready = sorted((at, user) for user, at in self.timers.items() if at <= due_until)
            due = [user for _, user in ready[:limit]]
        wanted = users(due)
        return Loaded(self.fence, self.state, [self.profiles.get(user) for user in wanted], due)

    def commit(self, change: Change) -> int | None:
        """See :class:`LaneStore`."""
        loaded, self._loaded = self._loaded, False
        if not loaded:
            raise FenceError("commit without load")
        self.fence, self.state = change.fence, change.state
        self.profiles.update(change.profiles)
        for user, offer in change.offers.items():
            if offer is None:
                self.offers.pop(user, None)
            else:
                self.offers[user] = offer
        for key, fields in change.counters.items():
            counts = self.counters.setdefault(key, {})
            for name, by in fields.items():
                counts[name] = counts.get(name, 0) + by
        for user, due in change.due.items():
            if due:
                self.timers[user] = due
            else:
                self.timers.pop(user, None)
        for seq in change.published:
            self.outbox.pop(seq, None)
        if change.outbox is not None:
            self.outbox[change.seq] = change.outbox
        return min(self.timers.values(), default=None)

    def pending(self) -> list[tuple[int, bytes]]:
        """See :class:`LaneStore`."""
        return sorted(self.outbox.items())
