"""The mail server: does it greet."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

from config.settings import Settings
from services.jobs.doctor.finding import Finding, bad, ok

TIMEOUT_S = 3.0


def mail_findings(settings: Settings, *_: Any) -> Iterator[Finding]:
    """Connect and read the greeting; nothing is sent but QUIT."""
    smtp = settings.smtp
    place = f"{smtp.host}:{smtp.port}"
    try:
        with socket.create_connection((smtp.host, smtp.port), timeout=TIMEOUT_S) as connection:
            greeting = connection.recv(512).decode("ascii", "replace").strip()
            connection.sendall(b"QUIT\r\n")
    except OSError as error:
        yield bad(
            "mail server",
            f"{place}: {error}",
            "start it, or set KAIROS_SMTP__HOST and KAIROS_SMTP__PORT; until then mails wait, and expire",
        )
        return
    if greeting.startswith("220"):
        yield ok("mail server", f"{place} greets")
    else:
        yield bad("mail server", f"{place} says {greeting[:80]!r}", "it is no SMTP server, or refuses this machine")
