"""What is left of a profile that was merged into another one: where its late records go, and which it has seen.

It takes the profile's place under the same key, so that it costs no other events a look-up. See docs/identity.md.
"""

from __future__ import annotations

import msgspec

from models.errors import KairosError

FORM = 127
# Written out, though the array is short: the number after the header tells the forms of a profile apart.
_HEADER = b"\xdc\x00\x07"


class Moved(msgspec.Struct, array_like=True, gc=False):
    """A redirect.

    Parameters
    ----------
    to : user id. at : event time of the alias, ms.
    indexed_due_ms : when to look at it again, as the timer index has it.
    seen, seen_before, seen_since : as in a profile: a sender that retries still uses the old id.
    """

    form: int = FORM
    to: str = ""
    at: int = 0
    indexed_due_ms: int = 0
    seen: bytes = b""
    seen_before: bytes = b""
    seen_since: int = 0


class MovedError(KairosError):
    """What lies there is no profile any more but a redirect."""

    def __init__(self, redirect: Moved) -> None:
        super().__init__(f"merged into {redirect.to}")
        self.redirect = redirect


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Moved).decode


def encode_moved(redirect: Moved) -> bytes:
    """Packed form of a redirect.

    Examples
    --------
    >>> encode_moved(Moved(to="u1"))[3] == FORM
    True
    """
    return _HEADER + _encode(redirect)[1:]


def decode_moved(packed: bytes) -> Moved:
    """Redirect from its packed form."""
    return _decode(packed)
