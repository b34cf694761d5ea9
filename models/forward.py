"""Records that a lane sends to the inputs of another one, by way of its outbox."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from config.topics import PROFILES
from models.profile.codec import encode_profile
from models.profile.state import Profile
from models.wire import ORIGIN, USER, VIA, Headers, Input, header

Hop = tuple[str, str, int]
"""A redirect that a record has come through: of whom, to whom, time of the alias (ms)."""

_hops = msgspec.json.Decoder(list[Hop]).decode
_encode = msgspec.json.Encoder().encode


class Forward(NamedTuple):
    """A record to write: into which input, and for whom."""

    topic: str
    owner: int
    user: str
    value: bytes
    headers: list[tuple[str, bytes]]


class Departure(msgspec.Struct, rename="camel"):
    """The internal record with which a profile goes to the user into whom it is merged.

    Its `timestamp` is 0: it comes before everything that was forwarded behind it, whatever that is about. `merged_at`
    is the time of the alias, `profile` the packed profile in base64.
    """

    user_id: str
    previous_id: str
    message_id: str
    merged_at: int
    profile: str
    timestamp: int = 0
    type: str = "merge"


def _kept(headers: Headers) -> list[tuple[str, bytes]]:
    return [(name, value or b"") for name, value in headers if not name.startswith("kairos-")]


def _origin(event: Input) -> tuple[str, bytes]:
    return ORIGIN, (header(event.record.headers, ORIGIN) or event.message_id).encode()


def onward(event: Input, owner: int) -> Forward:
    """The record as it came, in the partition where its user belongs."""
    headers = event.record.headers
    way = [(name, value or b"") for name, value in headers if name in {USER, VIA}]
    kept = [*_kept(headers), *way, _origin(event)]
    return Forward(event.source, owner, event.user, event.record.value or b"", kept)


def redirected(event: Input, owner: int, user: str, hops: Sequence[Hop]) -> Forward:
    """The record for `user`, into whom its own was merged.

    All inputs of the old id go through one topic from here on: nothing overtakes the profile, which went before.
    """
    way = [(USER, user.encode()), (VIA, _encode(hops)), _origin(event)]
    kept = _kept(event.record.headers)
    return Forward(PROFILES.name, owner, user, event.record.value or b"", [*kept, *way])


def departing(user: str, profile: Profile, to: str, owner: int, at: int, ident: str) -> Forward:
    """The profile of `user`, for `to`. It is packed here."""
    packed = b64encode(encode_profile(profile)).decode()
    value = _encode(Departure(to, user, ident, at, packed))
    hops: list[Hop] = [(user, to, at)]
    return Forward(PROFILES.name, owner, to, value, [(VIA, _encode(hops)), (ORIGIN, ident.encode())])


_departure = msgspec.json.Decoder(Departure).decode


def departure_of(value: bytes | None) -> tuple[Departure, bytes]:
    """The record of a profile that comes, and the packed profile. Raises ValueError where it is none."""
    found = _departure(value or b"")
    return found, b64decode(found.profile, validate=True)


def hops_of(event: Input) -> list[Hop]:
    """Redirects that a record has come through, the first one first."""
    text = header(event.record.headers, VIA)
    try:
        return _hops(text) if text else []
    except msgspec.DecodeError:
        return []
