"""The profiles of one batch: unpacked at the first look, packed again as soon as the batch is through with them.

A profile lives for a moment this way, in memory that the one before it has just left. When all of a batch were unpacked
first and packed last, a fifth of the processor's time was spent waiting for memory.
"""

from __future__ import annotations

from collections.abc import Iterable

from models.profile.codec import decode_profile
from models.profile.moved import Moved, MovedError
from models.profile.state import Profile


class Opened(dict[str, Profile | None]):
    """User -> profile, None for one that nobody knows and for one who was merged into another.

    They are the core's own: it changes them in place, and whoever calls opens fresh ones for another try.

    Parameters
    ----------
    packed : what Redis holds of every user of the batch; None for nothing.

    Attributes
    ----------
    moved : users looked at who were merged into others.

    Raises
    ------
    IncompatibleSnapshotError
        At the first look at a profile that this code cannot read.
    """

    __slots__ = ("_packed", "moved")

    def __init__(self, packed: Iterable[tuple[str, bytes | None]]) -> None:
        super().__init__()
        self._packed = dict(packed)
        self.moved: dict[str, Moved] = {}

    def __missing__(self, user: str) -> Profile | None:
        packed = self._packed.pop(user)
        if packed is None:
            self[user] = None
            return None
        try:
            found = self[user] = decode_profile(packed)
        except MovedError as away:
            found, self.moved[user] = None, away.redirect
            self[user] = None
        return found
