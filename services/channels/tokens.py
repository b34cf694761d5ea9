"""Opaque, signed tokens for links in messages (unsubscribe, click, open).

AES-SIV: authenticated, so nobody can make one up; encrypted, so that user ids do not stand in proxies'
logs; and deterministic, so that a message rendered twice is the same message, byte for byte. The key is
derived from ``settings.secret_key`` with HMAC-SHA-512; the kind of link is bound in, so that a click link
never unsubscribes.

References
----------
D. Harkins, "Synthetic Initialization Vector (SIV) Authenticated Encryption Using AES", RFC 5297, 2008.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from models.errors import PermanentError

Kind = Literal["unsubscribe", "click", "open"]


class Link(msgspec.Struct, frozen=True, array_like=True):
    """What a link stands for; `url` is the target of a click."""

    user: str
    message: str
    campaign: str
    url: str = ""


class InvalidTokenError(PermanentError):
    """Not a token of this service, damaged, or of another kind."""


class Tokens:
    """Make and read tokens.

    Examples
    --------
    >>> tokens = Tokens("secret")
    >>> token = tokens.sign("unsubscribe", Link("u1", "m1", "win-back"))
    >>> tokens.read("unsubscribe", token).user
    'u1'
    """

    def __init__(self, secret_key: str) -> None:
        self._cipher = AESSIV(hmac.digest(secret_key.encode(), b"kairos/links/1", "sha512"))

    def sign(self, kind: Kind, link: Link) -> str:
        """Token for a link."""
        sealed = self._cipher.encrypt(msgspec.msgpack.encode(link), [kind.encode()])
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def read(self, kind: Kind, token: str) -> Link:
        """Read a token.

        Raises
        ------
        InvalidTokenError
            It was not made by :meth:`sign` with this key and kind.
        """
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            return msgspec.msgpack.decode(self._cipher.decrypt(sealed, [kind.encode()]), type=Link)
        except (InvalidTag, binascii.Error, ValueError, msgspec.DecodeError) as error:
            raise InvalidTokenError("not a link of this service") from error
