"""What a channel is: it calls a provider once and says what it knows about the end of that call.

The art of a channel is to know **which step** failed. Only a call that certainly did not reach the point of
no return is :class:`Transient` (it will be tried again); a call that may have succeeded is :class:`Unknown`
(it never will). Exceptions of client libraries are translated here and go no further.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from models.decisions import MessageCommand


@dataclass(frozen=True, slots=True)
class Delivered:
    """The provider took the message; `provider_ref` is its own id or words."""

    provider_ref: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The provider will never take this message (no such address, subscription gone, too large)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Transient:
    """The provider certainly did not take it and may take it later.

    Parameters
    ----------
    reason : for a person.
    retry_after_s : the provider's own wish, if it said one.
    provider_down : it is the provider, not this message: counts for the circuit breaker.
    """

    reason: str
    retry_after_s: float | None = None
    provider_down: bool = True


@dataclass(frozen=True, slots=True)
class Unknown:
    """The provider may or may not have taken it."""

    reason: str


Outcome = Delivered | Failed | Transient | Unknown


@dataclass(frozen=True, slots=True)
class Rendered:
    """A message ready for a channel. E-mail uses all but `push`; push uses `subject` as its title and `push`.

    Parameters
    ----------
    unsubscribe_url : None for transactional messages.
    """

    subject: str
    text: str
    html: str
    push: str
    unsubscribe_url: str | None = None


class Channel(Protocol):
    """One way to reach a person.

    Attributes
    ----------
    name : as in a campaign's ``channel:``.
    concurrency : calls at the same time.
    idempotent : the provider recognises a repeated message id, so a call of unknown end may be repeated.
    time_limit_s : a call that takes longer has an unknown end.
    """

    name: str
    concurrency: int
    idempotent: bool
    time_limit_s: float

    async def deliver(self, command: MessageCommand, rendered: Rendered) -> Outcome:
        """Call the provider once."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(frozen=True, slots=True)
class ChannelConfig:
    """What channels are made from; plain values, taken from the settings at the entry point.

    Parameters
    ----------
    clock_ms : wall clock.
    smtp_* : mail server, see ``config.settings.SmtpSettings``.
    vapid_private_key : base64url of the raw key or DER; None: no push.
    public_url : address that links in messages point to.
    log_file : JSON lines file of the log channel; None: the process log.
    push_allow_insecure : accept push endpoints over http and in private networks (tests only).
    """

    clock_ms: Callable[[], int]
    smtp_host: str = "127.0.0.1"
    smtp_port: int = 1025
    smtp_username: str | None = None
    smtp_password: str | None = None
    smtp_starttls: bool = False
    smtp_timeout_s: float = 10.0
    smtp_connections: int = 4
    sender: str = "Kairos <hello@kairos.test>"
    vapid_private_key: str | None = None
    vapid_subject: str = "mailto:ops@kairos.test"
    public_url: str = "http://127.0.0.1:8080"
    log_file: Path | None = None
    push_allow_insecure: bool = False
