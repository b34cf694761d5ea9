"""How profiles are stored: packed for speed while a user is active, packed small while the user rests.

Both forms hold the same, and the profile alone says which one it takes, so that nothing that follows can tell whether a
profile went through Redis or stayed in memory. The number after the array's header tells the forms apart: the version
of the state, negative at rest. Profiles of the version before are read and become this version's when they are next
written.
"""

from __future__ import annotations

import msgspec

from models.errors import IncompatibleSnapshotError
from models.profile import moved, rest, version1, version2
from models.profile.state import VERSION, Profile

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Profile).decode
_FORM = 3  # where the form's number is: every form has more than 15 fields, whose array header takes three bytes
_RESTING, _RESTED = rest.FORM & 0xFF, rest.FORM_OF_2 & 0xFF


def encode_profile(profile: Profile) -> bytes:
    """Packed form of a profile; its sections are closed."""
    if not profile.session_start:
        return _encode(rest.folded(profile))
    profile.close()
    return _encode(profile)


def decode_profile(packed: bytes) -> Profile:
    """Profile from its packed form.

    Raises
    ------
    IncompatibleSnapshotError
        The stored version is newer than this code, or it is no profile. Fields that are not there yet get their
        default: within a version they are only ever appended.
    MovedError
        The user was merged into another one.
    """
    try:
        form = packed[_FORM]
        if form == VERSION:
            return _decode(packed)
        if form in (_RESTING, _RESTED):
            return rest.unfolded(packed)
        if form == version2.VERSION:
            return version2.upgraded(_decode(packed))
        if form == version1.VERSION:
            return version1.upgraded(packed)
        if form == moved.FORM:
            raise moved.MovedError(moved.decode_moved(packed))
        found = msgspec.msgpack.decode(packed, type=list[object])[0]
    except (msgspec.DecodeError, IndexError, TypeError, ValueError) as error:
        raise IncompatibleSnapshotError(f"a stored profile cannot be read: {error}") from error
    raise IncompatibleSnapshotError(f"profile of version {found}, this code reads up to {VERSION}")
