"""Short numbers for the names that marketers give, so that a million profiles need not spell them out."""

from __future__ import annotations

import zlib


def code32(name: str) -> int:
    """CRC-32 of a name: tells experiments apart.

    Examples
    --------
    >>> code32("cart-subject")
    3999359120
    """
    return zlib.crc32(name.encode())


def code16(name: str) -> int:
    """Lower half of :func:`code32`: tells the few names within one experiment apart."""
    return code32(name) & 0xFFFF
