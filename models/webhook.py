"""Webhooks in the form of the Standard Webhooks specification: body, signature, and what a receiver's answer means.

References
----------
Standard Webhooks, https://www.standardwebhooks.com, version 1.0.0.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

LONGEST_WISH_S = 86_400.0


def body_of(event: str, at_ms: int, data: bytes) -> bytes:
    """Body of a webhook; the same for every attempt.

    Parameters
    ----------
    event : what happened, such as ``churn.alert``. at_ms : when. data : JSON of it, put in as it is.
    """
    when = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return msgspec.json.encode({"type": event, "timestamp": when, "data": msgspec.Raw(data)})


def headers_of(name: str, at_s: int, body: bytes, keys: Sequence[bytes]) -> Mapping[str, str]:
    """Headers of an attempt: one signature for each key.

    Parameters
    ----------
    name : the idempotency key, the same for every attempt. at_s : when the attempt is made, seconds since 1970.
    """
    signed = b".".join((name.encode(), str(at_s).encode(), body))
    signatures = (base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)
    return {
        "content-type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(f"v1,{one}" for one in signatures),
    }


def wished_pause_s(retry_after: str | None, now_s: float) -> float | None:
    """Pause that a ``Retry-After`` header asks for, a day at most; None where it asks for none.

    Examples
    --------
    >>> wished_pause_s("7", 0.0), wished_pause_s("Thu, 01 Jan 1970 00:01:00 GMT", 20.0), wished_pause_s("soon", 0.0)
    (7.0, 40.0, None)
    """
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), LONGEST_WISH_S)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max(0.0, until.timestamp() - now_s), LONGEST_WISH_S)
