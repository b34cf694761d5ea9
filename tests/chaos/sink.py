"""The mail provider: a real SMTP server that takes every mail, and at times hangs up before it has said so.

``python -m chaos.sink PORT CONTROL FILE``. For each mail one line is in FILE before anything is answered:
``<message id> <answered or dropped>``. Commands on the control port: ``drop S`` (for so many seconds: take the mail,
then hang up without an answer), ``busy S`` (answer 451 and take nothing), ``count``.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import uvloop
from aiosmtpd.smtp import SMTP, Envelope
from chaos.control import LOOPBACK, listen

_IDENT = re.compile(rb"^X-Kairos-Message-Id: *(\w+)", re.IGNORECASE | re.MULTILINE)
ANSWERED, DROPPED = "answered", "dropped"


class Sink:
    """Takes mails and says how it feels."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._until = {"drop": 0.0, "busy": 0.0}
        self.count = 0

    def obey(self, words: list[str]) -> str:
        """A command."""
        match words:
            case [("drop" | "busy") as mood, seconds]:
                self._until[mood] = time.monotonic() + float(seconds)
                return "ok"
            case ["count"]:
                return str(self.count)
        return f"no such command: {words}"

    async def handle_DATA(self, server: SMTP, _: Any, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        now = time.monotonic()
        if now < self._until["busy"]:
            return "451 4.3.2 come again"
        found = _IDENT.search(envelope.content if isinstance(envelope.content, bytes) else b"")
        ident = found[1].decode() if found else "none"
        end = DROPPED if now < self._until["drop"] else ANSWERED
        os.write(self._file, f"{ident} {end}\n".encode())
        self.count += 1
        if end == DROPPED:
            transport: Any = server.transport
            transport.abort()
        return "250 OK"


def read_mails(path: Path) -> list[tuple[str, str]]:
    """(message id, answered or dropped) of each mail, in the order of arrival."""
    if not path.exists():
        return []
    return [(ident, end) for ident, end in (line.split() for line in path.read_text().splitlines())]


async def main(port: int, control: int, path: Path) -> None:
    """Serve until the end of the process."""
    sink = Sink(path)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(sink, hostname="sink.test", loop=loop), LOOPBACK, port)
    await listen(control, sink.obey)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
