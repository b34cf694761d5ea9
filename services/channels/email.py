"""E-mail over SMTP.

The conversation is held step by step, because the step decides: until the final dot has been written the
server cannot have taken the mail, so everything lost before is :class:`Transient`; once it has been written
only the server's answer tells, and without one the end is :class:`Unknown`. Connections are kept and used
again.

References
----------
RFC 5321 (SMTP), section 4.2.1 and 4.5.4; RFC 8058 (one-click unsubscribe); RFC 2919 (List-ID).
"""

from __future__ import annotations

import asyncio
import re
import socket
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import format_datetime, parseaddr

import aiosmtplib

from models.decisions import MessageCommand
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

NAME = "email"
START_INPUT, COMPLETED = 354, 250
_DOTS = re.compile(rb"(?m)^\.")
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")  # as in HTML forms
_LINES = re.compile(rb"\r\n|\r|\n")


class _MailPolicy(EmailPolicy):
    """Leave the unsubscribe link in one piece: folded, it is an encoded word, which no client follows."""

    def fold_binary(self, name: str, value: str) -> bytes:
        if name.lower() == "list-unsubscribe":
            return f"{name}: {value}\r\n".encode("ascii")
        return super().fold_binary(name, value)


_POLICY = _MailPolicy(linesep="\r\n")


class EmailChannel:
    """Hand mails to one SMTP server over a few kept connections.

    Parameters
    ----------
    config : `smtp_*`, `sender` and `public_url` are used.
    """

    name = NAME
    idempotent = False

    def __init__(self, config: ChannelConfig) -> None:
        self._config = config
        self.concurrency = config.smtp_connections
        # MAIL, RCPT, DATA, the dot and a connection: each has its own limit; this one only catches what
        # hangs.
        self.time_limit_s = config.smtp_timeout_s * 6
        self._idle: list[aiosmtplib.SMTP] = []
        self._sender_address = parseaddr(config.sender)[1]

    async def deliver(self, command: MessageCommand, rendered: Rendered) -> Outcome:
        """Hand over one mail."""
        if not command.to:
            return Failed("no e-mail address is known")
        try:
            mail = compose(command, rendered, self._config)
        except ValueError as error:  # a header with a line break, an address that is none
            return Failed(f"cannot be written as a mail: {error}")
        while self._idle:
            smtp = self._idle.pop()
            outcome = await self._hand_over(smtp, command.to, mail)
            # The server may have closed a connection that waited; nothing was sent then, so the next one is
            # tried.
            if not isinstance(outcome, Transient) or smtp.is_connected:
                return outcome
        try:
            smtp = await self._connect()
        except (TimeoutError, aiosmtplib.SMTPException, OSError) as error:
            return Transient(f"mail server not reachable: {_say(error)}")
        return await self._hand_over(smtp, command.to, mail)

    async def close(self) -> None:
        """Say QUIT on the kept connections."""
        while self._idle:
            smtp = self._idle.pop()
            try:
                await smtp.quit(timeout=1.0)
            except (aiosmtplib.SMTPException, OSError):
                smtp.close()

    async def _connect(self) -> aiosmtplib.SMTP:
        config = self._config
        smtp = aiosmtplib.SMTP(
            hostname=config.smtp_host,
            port=config.smtp_port,
            timeout=config.smtp_timeout_s,
            start_tls=config.smtp_starttls,
            username=config.smtp_username,
            password=config.smtp_password,
            local_hostname=socket.gethostname(),  # the default asks DNS, which may hang
        )
        await smtp.connect()
        return smtp

    async def _hand_over(self, smtp: aiosmtplib.SMTP, to: str, mail: bytes) -> Outcome:
        try:
            outcome = await self._converse(smtp, to, mail)
        except asyncio.CancelledError:
            smtp.close()
            raise
        if smtp.is_connected and not isinstance(outcome, Unknown):
            self._idle.append(smtp)
        else:
            smtp.close()
        return outcome

    async def _converse(self, smtp: aiosmtplib.SMTP, to: str, mail: bytes) -> Outcome:
        try:
            await smtp.mail(self._sender_address)
            await smtp.rcpt(to)
            answer = await smtp.execute_command(b"DATA")
            if answer.code != START_INPUT:
                return await self._refused(smtp, answer.code, answer.message)
        except aiosmtplib.SMTPResponseException as error:
            return await self._refused(smtp, error.code, error.message)
        except ValueError as error:
            await self._reset(smtp)
            return Failed(f"not an address that can be mailed: {error}")
        except (TimeoutError, aiosmtplib.SMTPException, OSError) as error:
            smtp.close()
            return Transient(f"connection lost before the mail was handed over: {_say(error)}")
        return await self._data(smtp, mail)

    async def _data(self, smtp: aiosmtplib.SMTP, mail: bytes) -> Outcome:
        protocol = smtp.protocol
        if protocol is None:
            return Transient("connection lost before the mail was handed over")
        try:
            protocol.write(_stuffed(mail))  # raises, if at all, before anything is written
        except (aiosmtplib.SMTPException, OSError) as error:
            smtp.close()
            return Transient(f"connection lost before the mail was handed over: {_say(error)}")
        # The point of no return: the final dot is on its way.
        try:
            answer = await protocol.read_response(timeout=self._config.smtp_timeout_s)
        except (TimeoutError, aiosmtplib.SMTPException, OSError) as error:
            return Unknown(f"no answer after the mail was handed over: {_say(error)}")
        if answer.code == COMPLETED:
            return Delivered(answer.message)
        return await self._refused(smtp, answer.code, answer.message)

    async def _refused(self, smtp: aiosmtplib.SMTP, code: int, message: str) -> Outcome:
        words = f"{code} {' '.join(message.split())}"
        if code == aiosmtplib.SMTPStatus.domain_unavailable:  # 421: the server says goodbye
            smtp.close()
            return Transient(words)
        await self._reset(smtp)
        if 400 <= code < 500:
            # The server is well and speaks of this mail (greylisting, a full mailbox).
            return Transient(words, provider_down=False)
        return Failed(words)

    async def _reset(self, smtp: aiosmtplib.SMTP) -> None:
        try:
            await smtp.rset()
        except (TimeoutError, aiosmtplib.SMTPException, OSError):
            smtp.close()


def compose(command: MessageCommand, rendered: Rendered, config: ChannelConfig) -> bytes:
    """Write the mail. The same command gives the same bytes; `Date` is the event time of the decision.

    Raises
    ------
    ValueError
        A header cannot be written (line breaks, an address that is none).
    """
    if not _ADDRESS.fullmatch(command.to or ""):
        raise ValueError("the address is none, or not in ASCII")
    domain = parseaddr(config.sender)[1].rpartition("@")[2] or "kairos.test"
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = config.sender
    mail["To"] = command.to
    mail["Subject"] = rendered.subject
    mail["Date"] = format_datetime(datetime.fromtimestamp(command.decided_at / 1000, UTC))
    mail["Message-ID"] = f"<{command.id}@{domain}>"
    mail["X-Kairos-Message-Id"] = command.id
    mail["List-ID"] = f"{command.campaign} <{_label(command.campaign)}.{domain}>"
    if rendered.unsubscribe_url is not None:
        mail["List-Unsubscribe"] = f"<{rendered.unsubscribe_url}>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail.set_content(rendered.text, cte="quoted-printable")
    mail.add_alternative(rendered.html, subtype="html", cte="quoted-printable")
    # A boundary of its own making would differ each time the mail is written.
    mail.set_boundary(f"kairos-{command.id}")
    return mail.as_bytes()


def _label(campaign: str) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", campaign.lower()).strip("-") or "kairos"


def _stuffed(mail: bytes) -> bytes:
    lines = _DOTS.sub(b"..", _LINES.sub(b"\r\n", mail))
    return lines + (b".\r\n" if lines.endswith(b"\r\n") else b"\r\n.\r\n")


def _say(error: BaseException) -> str:
    return str(error) or type(error).__name__


def channel(config: ChannelConfig) -> Channel:
    """Make the channel."""
    return EmailChannel(config)
