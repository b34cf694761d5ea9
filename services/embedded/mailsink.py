"""A mail server that keeps what it gets: ``python -m services.embedded.mailsink --port 1025 --dir mails``.

Every mail is stored before it is answered with 250, so what Kairos believes to be delivered can be counted
here: ``mails.mbox`` gets the raw bytes, then ``mails.jsonl`` one line that says where they lie. Both are only
appended to, with one ``write`` each; a killed sink loses nothing that it has answered, and a line cut off by
a kill belongs to a mail that was never answered.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from services.embedded.mailbox import INDEX_NAME, MBOX_NAME, encode_line, repair_tail, summarise
from services.embedded.ports import LOOPBACK, answers
from services.embedded.process import Process

_MAX_MAIL_BYTES = 20 << 20


class MailStore:
    """The two files of a mail folder, opened for appending.

    Parameters
    ----------
    directory : the folder; made if missing.
    clock : answers the time as epoch seconds.
    """

    def __init__(self, directory: Path, clock: Callable[[], float]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        repair_tail(directory / INDEX_NAME)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._mbox = os.open(directory / MBOX_NAME, flags, 0o600)
        self._index = os.open(directory / INDEX_NAME, flags, 0o600)
        self._size = os.fstat(self._mbox).st_size
        self._clock = clock

    def add(self, sender: str, recipients: list[str], raw: bytes) -> None:
        """Store one mail; when this returns, the operating system has it.

        Raises
        ------
        OSError
            It could not be written (no space).
        """
        received_at = int(self._clock() * 1000)
        _write_all(self._mbox, raw)
        offset, self._size = self._size, self._size + len(raw)
        _write_all(self._index, encode_line(summarise(raw, sender, recipients, offset, received_at)))

    def close(self) -> None:
        os.close(self._mbox)
        os.close(self._index)


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


class _Handler:
    def __init__(self, store: MailStore) -> None:
        self._store = store

    async def handle_DATA(  # noqa: N802 (aiosmtpd looks for this name)
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        content = envelope.content
        raw = content if isinstance(content, bytes) else (content or "").encode()
        try:
            self._store.add(envelope.mail_from or "", list(envelope.rcpt_tos), raw)
        except OSError as error:
            return f"451 not stored: {error.strerror}"
        return "250 OK stored"


async def serve(port: int, directory: Path, host: str = LOOPBACK) -> None:
    """Accept mails until SIGTERM or SIGINT."""
    store = MailStore(directory, time.time)
    handler = _Handler(store)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    server = await loop.create_server(
        lambda: SMTP(
            handler,
            hostname="mailsink.kairos.test",
            data_size_limit=_MAX_MAIL_BYTES,
            enable_SMTPUTF8=True,
            loop=loop,
        ),
        host,
        port,
    )
    try:
        await ended.wait()
    finally:
        server.close()
        store.close()


def mailsink_process(port: int, data_dir: Path, log_path: Path) -> Process:
    """Describe the mail sink's process; it is restarted when it dies, and goes on with the same files."""
    argv = (
        sys.executable,
        "-m",
        "services.embedded.mailsink",
        "--port",
        str(port),
        "--dir",
        str(data_dir.resolve()),
    )
    return Process(
        name="mailsink",
        argv=argv,
        # `-m` looks for the packages of Kairos in the working directory, wherever the caller stands.
        cwd=Path(__file__).resolve().parents[2],
        log_path=log_path.resolve(),
        ready=lambda: answers(LOOPBACK, port),
    )


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m services.embedded.mailsink", description="Keep mails in a file.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default=LOOPBACK)
    parser.add_argument("--dir", type=Path, required=True, help="folder for mails.jsonl and mails.mbox")
    options = parser.parse_args(argv)
    asyncio.run(serve(options.port, options.dir, options.host))


if __name__ == "__main__":
    main()
