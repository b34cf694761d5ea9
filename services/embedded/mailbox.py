"""The files of the mail sink: one JSON line per mail, and the raw mails end to end in a second file.

The line names the mail by the header ``X-Kairos-Message-Id``, so that "sent once" can be counted, and by
offset and length says where the raw bytes lie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from pathlib import Path

import msgspec

INDEX_NAME = "mails.jsonl"
MBOX_NAME = "mails.mbox"
KAIROS_ID_HEADER = "X-Kairos-Message-Id"

_PARSER = BytesParser(policy=compat32)


class Mail(msgspec.Struct, frozen=True, omit_defaults=True):
    """One mail as the sink stored it.

    Parameters
    ----------
    message_id : header ``Message-ID``.
    kairos_id : header ``X-Kairos-Message-Id``; empty if the mail did not come from Kairos.
    sender, recipients : of the envelope (``MAIL FROM``, ``RCPT TO``).
    subject : decoded.
    headers : every header, decoded; of one that occurs twice, the last.
    html_chars, text_chars : length of the decoded HTML and plain text parts.
    offset, length : where the raw mail lies in ``mails.mbox``, in bytes.
    received_at : wall time, epoch ms.
    """

    message_id: str
    kairos_id: str
    sender: str
    recipients: list[str]
    subject: str
    headers: dict[str, str]
    html_chars: int
    text_chars: int
    offset: int
    length: int
    received_at: int


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Mail)


def summarise(raw: bytes, sender: str, recipients: list[str], offset: int, received_at: int) -> Mail:
    """Read what the index says of a mail out of its raw bytes; of a broken mail, what can be read."""
    message = _PARSER.parsebytes(raw)
    headers = {name: _decoded(str(value)) for name, value in message.items()}
    by_lower = {name.lower(): value for name, value in headers.items()}
    return Mail(
        message_id=by_lower.get("message-id", ""),
        kairos_id=by_lower.get(KAIROS_ID_HEADER.lower(), ""),
        sender=sender,
        recipients=recipients,
        subject=by_lower.get("subject", ""),
        headers=headers,
        html_chars=_chars(message, "text/html"),
        text_chars=_chars(message, "text/plain"),
        offset=offset,
        length=len(raw),
        received_at=received_at,
    )


def _decoded(value: str) -> str:
    if "=?" not in value:
        return value.replace("\r\n", "").replace("\n", "")
    try:
        return str(make_header(decode_header(value)))
    except (LookupError, UnicodeError, ValueError):
        return value


def _chars(message: Message, content_type: str) -> int:
    total = 0
    for part in message.walk():
        if part.get_content_type() == content_type:
            payload = part.get_payload(decode=True)
            if isinstance(payload, bytes):
                total += len(_text(payload, part.get_content_charset()))
    return total


def _text(payload: bytes, charset: str | None) -> str:
    try:
        return payload.decode(charset or "utf-8", errors="replace")
    except LookupError:
        return payload.decode("latin-1")


def encode_line(mail: Mail) -> bytes:
    """One line of the index."""
    return _ENCODER.encode(mail) + b"\n"


def repair_tail(index: Path) -> None:
    """Cut off a last line without its end, which a killed sink may leave: that mail was never answered."""
    if not index.exists():
        return
    with index.open("r+b") as file:
        data = file.read()
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            file.truncate(whole)


def read_mails(directory: Path) -> Iterator[Mail]:
    """Mails of the folder in the order of their arrival; also while the sink is running.

    Examples
    --------
    >>> import tempfile
    >>> list(read_mails(Path(tempfile.mkdtemp())))
    []
    """
    index = directory / INDEX_NAME
    if not index.exists():
        return
    with index.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield _DECODER.decode(line)


def read_raw(directory: Path, mail: Mail) -> bytes:
    """Return the mail as it came, byte by byte."""
    with (directory / MBOX_NAME).open("rb") as mbox:
        mbox.seek(mail.offset)
        return mbox.read(mail.length)


def count_by_message_id(directory: Path) -> Counter[str]:
    """How often each message was accepted, by its Kairos id, or its Message-ID if it has none."""
    return Counter(mail.kairos_id or mail.message_id for mail in read_mails(directory))
