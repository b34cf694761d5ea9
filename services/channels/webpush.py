"""Web Push (RFC 8030) with VAPID, through pywebpush.

`to` of a command is the browser's subscription as JSON: ``{"endpoint": ..., "keys": {"p256dh": ..., "auth":
...}}``. The push service replaces an undelivered message by a newer one of the same ``Topic``; it is
derived from the message id, so that even there one message stays one message. pywebpush is synchronous and
runs in threads.

References
----------
M. Thomson et al., "Generic Event Delivery Using HTTP Push", RFC 8030, 2016; "VAPID", RFC 8292, 2017.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
from py_vapid import Vapid, VapidException
from pywebpush import WebPushException, webpush

from models.decisions import MessageCommand
from models.errors import ConfigurationError
from services.channels.base import (
    Channel,
    ChannelConfig,
    Delivered,
    Failed,
    Outcome,
    Rendered,
    Transient,
    Unknown,
)

NAME = "push"
MAX_TTL_S = 28 * 86_400  # push services cut longer ones
TIMEOUT_S = 10.0


class WebPushChannel:
    """Call the push service named in the subscription.

    Parameters
    ----------
    config : `vapid_*`, `public_url`, `clock_ms`, `push_allow_insecure` are used.

    Raises
    ------
    ConfigurationError
        The VAPID key cannot be read, or the subject is no address.
    """

    name = NAME
    concurrency = 16
    idempotent = False
    time_limit_s = 3 * TIMEOUT_S

    def __init__(self, config: ChannelConfig) -> None:
        self._config = config
        try:
            self._vapid = Vapid.from_string(config.vapid_private_key or "")
            self._vapid.sign({"sub": config.vapid_subject, "aud": "https://push.example.com"})
        except (ValueError, VapidException) as error:
            raise ConfigurationError(
                f"Web Push cannot be set up: {error}",
                where="KAIROS_PUSH__VAPID_PRIVATE_KEY, KAIROS_PUSH__VAPID_SUBJECT",
                remedy="The key is base64url of 32 bytes (or DER); the subject is mailto:somebody@your.domain",
            ) from error

    async def deliver(self, command: MessageCommand, rendered: Rendered) -> Outcome:
        """Hand over one notification."""
        try:
            subscription = msgspec.json.decode(command.to or "null", type=dict[str, Any])
            endpoint = urlsplit(str(subscription["endpoint"]))
        except (msgspec.DecodeError, KeyError, ValueError):
            return Failed("no push subscription is known")
        if endpoint.scheme not in {"http", "https"} or not endpoint.hostname:
            return Failed("the subscription's endpoint is no web address")
        if not self._config.push_allow_insecure and not _is_public(endpoint.scheme, endpoint.hostname):
            return Failed("the subscription's endpoint is no public https address")
        ttl_s = max(0, min((command.expires_at - self._config.clock_ms()) // 1000, MAX_TTL_S))
        data = json.dumps(
            {
                "title": rendered.subject,
                "body": rendered.push,
                "id": command.id,
                "url": self._config.public_url,
            },
            ensure_ascii=False,
        )
        headers = {
            "Urgency": "high" if command.purpose == "transactional" else "normal",
            "Topic": command.id[:32],
        }
        return await asyncio.to_thread(self._call, subscription, data, headers, ttl_s)

    async def close(self) -> None:
        """Nothing is held open."""

    def _call(self, subscription: Mapping[str, Any], data: str, headers: dict[str, str], ttl_s: int) -> Outcome:
        try:
            response = webpush(
                subscription_info=subscription,
                data=data,
                vapid_private_key=self._vapid,
                vapid_claims={"sub": self._config.vapid_subject},
                ttl=ttl_s,
                headers=headers,
                timeout=TIMEOUT_S,
                # A kept connection that the service closed meanwhile could not be told from a lost answer.
                requests_session=None,
            )
        except WebPushException as error:
            if error.response is None:
                return Failed(f"the subscription cannot be used: {error.message}")
            return translate(int(error.status_code or 0), error.retry_after, error.response.text)
        except requests.ConnectionError as error:
            return _not_answered(error)
        except requests.Timeout as error:
            return Unknown(f"no answer from the push service: {type(error).__name__}")
        except requests.RequestException as error:
            return Failed(f"the endpoint cannot be called: {type(error).__name__}")
        except ValueError as error:  # keys that are no points on the curve, wrong base64
            return Failed(f"the subscription cannot be used: {error}")
        return Delivered(response.headers.get("Location", str(response.status_code)))


def translate(status: int, retry_after: str | None, text: str) -> Outcome:
    """Say what a push service's refusal means.

    Examples
    --------
    >>> translate(410, None, "")
    Failed(reason='subscription gone')
    >>> translate(429, "7", "slow down")
    Transient(reason='429 slow down', retry_after_s=7.0, provider_down=True)
    """
    words = f"{status} {' '.join(text.split())[:200]}".strip()
    if status in {404, 410}:
        return Failed("subscription gone")
    if status in {429, 500, 503}:
        wish = float(retry_after) if retry_after and retry_after.isdigit() else None
        return Transient(words, wish)
    if status >= 500:  # a gateway lost the answer of what stands behind it
        return Unknown(words)
    return Failed("too large for the push service" if status == 413 else words)


def _not_answered(error: requests.ConnectionError) -> Outcome:
    # requests wraps urllib3: only "no connection was made" is certain.
    cause = getattr(error.args[0], "reason", None) if error.args else None
    made = type(cause).__name__ not in {
        "NewConnectionError",
        "NameResolutionError",
        "ConnectTimeoutError",
        "SSLError",
    }
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.SSLError) or not made:
        return Transient(f"push service not reachable: {type(cause or error).__name__}")
    return Unknown("connection lost before the push service answered")


def _is_public(scheme: str, host: str | None) -> bool:
    if scheme != "https" or not host or host == "localhost":
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return True  # a name


def channel(config: ChannelConfig) -> Channel | None:
    """Make the channel; None without a VAPID key."""
    return WebPushChannel(config) if config.vapid_private_key else None
