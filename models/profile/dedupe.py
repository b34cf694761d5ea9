"""MessageIds a user's events carried: two generations of 8-byte hashes in the profile, rotated daily by broker time.

An id is remembered for 24 to 48 hours. Kept as plain bytes: searching is one `bytes.find`, storing one concatenation.
"""

from __future__ import annotations

from typing import Protocol

from models.profile.state import SEEN_IDS

ROTATE_S = 86_400


class Remembers(Protocol):
    """A profile, or what is left of one."""

    seen: bytes
    seen_before: bytes
    seen_since: int


def _holds(ids: bytes, digest: bytes) -> bool:
    found = ids.find(digest)
    while found >= 0:
        if found % 8 == 0:
            return True
        found = ids.find(digest, found + 1)  # a match across two ids is none
    return False


def rotate(profile: Remembers, broker_ms: int) -> None:
    """Forget ids older than two generations."""
    age = broker_ms // 1000 - profile.seen_since
    if age >= ROTATE_S:
        profile.seen_before = profile.seen if age < 2 * ROTATE_S else b""
        profile.seen = b""
        profile.seen_since = broker_ms // 1000


def is_duplicate(profile: Remembers, digest: bytes, broker_ms: int) -> bool:
    """True if the id was seen before; otherwise it is remembered.

    Examples
    --------
    >>> from models.profile.state import Profile
    >>> profile = Profile()
    >>> [is_duplicate(profile, digest, 0) for digest in (b"12345678", b"abcdefgh", b"12345678")]
    [False, False, True]
    """
    if broker_ms // 1000 - profile.seen_since >= ROTATE_S:
        rotate(profile, broker_ms)
    if _holds(profile.seen, digest) or (profile.seen_before and _holds(profile.seen_before, digest)):
        return True
    profile.seen += digest
    return False


def union(one: Remembers, other: Remembers) -> tuple[bytes, bytes, int]:
    """Ids that either has seen, by generation, each once; none of them is forgotten earlier than it would have been."""
    older, newer = sorted((one, other), key=_since)
    found = []
    for name in ("seen", "seen_before"):
        ids: bytes = getattr(older, name) + getattr(newer, name)
        found.append(b"".join(dict.fromkeys(ids[i : i + 8] for i in range(0, len(ids), 8))))
    return found[0], found[1], newer.seen_since


def _since(held: Remembers) -> tuple[int, bytes, bytes]:
    return held.seen_since, held.seen, held.seen_before


def overflow(profile: Remembers) -> int:
    """Drop the oldest ids above the limit of each generation; returns how many (a metric counts them)."""
    if len(profile.seen) <= 8 * SEEN_IDS and len(profile.seen_before) <= 8 * SEEN_IDS:
        return 0
    over = max(0, len(profile.seen) // 8 - SEEN_IDS)
    over_before = max(0, len(profile.seen_before) // 8 - SEEN_IDS)
    if over:
        profile.seen = profile.seen[8 * over :]
    if over_before:  # a generation that ended within the batch that filled it
        profile.seen_before = profile.seen_before[8 * over_before :]
    return over + over_before
