"""A real SMTP server for tests that takes mails and, for some, misbehaves at a chosen step."""

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, Self, cast

from aiosmtpd.controller import Controller

from support.ports import LOOPBACK, free_port


@dataclass(slots=True)
class Mail:
    """A mail that lies at the server."""

    message: EmailMessage
    raw: bytes
    recipient: str


@dataclass(slots=True)
class _Handler:
    sink: "MailSink"

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        sink = self.sink
        how = sink.how(address)
        sink.seen[how] += 1
        if how == "refuse":
            return "550 5.1.1 no such user"
        if how == "later" and sink.seen[how] <= sink.later_times:
            return "451 4.7.1 greylisted, try again later"
        if how == "vanish-before":
            server.transport.abort()
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        sink = self.sink
        how = sink.how(envelope.rcpt_tos[0])
        if how == "full":
            return "554 5.6.0 not this content"
        raw = cast(bytes, envelope.original_content)
        sink.take(Mail(message_from_bytes(raw, policy=default), raw, envelope.rcpt_tos[0]))
        if how == "vanish-after":
            server.transport.abort()
        if how == "slow":
            await asyncio.sleep(sink.slow_s)
        if how == "busy":
            await asyncio.sleep(0.02)
        return f"250 2.0.0 taken as {len(sink.mails)}"


@dataclass(slots=True)
class MailSink:
    """An SMTP server in a thread of its own.

    The local part of a recipient says how the server behaves: ``refuse`` (550 at RCPT), ``later`` (451 at RCPT,
    `later_times` times), ``full`` (554 after the dot), ``vanish-before`` (hangs up at RCPT), ``vanish-after``
    (takes the mail and hangs up without an answer), ``slow`` (takes it and answers after `slow_s`), ``busy`` (after
    20 ms); anything else is taken. ``refuse+anything`` works, too.
    """

    later_times: int = 1
    slow_s: float = 5.0
    port: int = field(default_factory=free_port)
    mails: list[Mail] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _controller: Controller | None = None

    @staticmethod
    def how(address: str) -> str:
        """Behaviour asked for by an address."""
        return address.partition("@")[0].partition("+")[0]

    def take(self, mail: Mail) -> None:
        """Keep a mail."""
        with self._lock:
            self.mails.append(mail)

    def ids(self) -> Counter[str]:
        """How often each Kairos message id arrived."""
        with self._lock:
            return Counter(str(mail.message["X-Kairos-Message-Id"]) for mail in self.mails)

    def start(self) -> Self:
        self._controller = Controller(_Handler(self), hostname=LOOPBACK, port=self.port)
        self._controller.start()
        return self

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
