"""The log channel: writes the message instead of sending it, for trying a campaign out.

With a file it writes JSON lines with the whole message; without one it logs that it would have sent, with
neither content nor address (logs carry no payloads).
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import structlog

from models.decisions import MessageCommand
from services.channels.base import Channel, ChannelConfig, Delivered, Outcome, Rendered, Transient

NAME = "log"
_log = structlog.get_logger(__name__)


class LogChannel:
    """Write messages down.

    Parameters
    ----------
    file : JSON lines file, appended to; None: the process log.
    """

    name = NAME
    concurrency = 1  # lines are whole and in order
    idempotent = False
    time_limit_s = 10.0

    def __init__(self, file: Path | None) -> None:
        self._file = file

    async def deliver(self, command: MessageCommand, rendered: Rendered) -> Outcome:
        """Append one line."""
        if self._file is None:
            _log.info("message_logged", message=command.id, campaign=command.campaign, template=command.template)
            return Delivered("log")
        line = json.dumps(
            {
                "id": command.id,
                "user": command.user,
                "campaign": command.campaign,
                "variant": command.variant,
                "decided_at": command.decided_at,
                "reason": command.reason,
                "subject": rendered.subject,
                "text": rendered.text,
            },
            ensure_ascii=False,
        )
        try:
            await asyncio.to_thread(_append, self._file, line + "\n")
        except OSError as error:
            return Transient(f"cannot write {self._file.name}: {error.strerror}")
        return Delivered(self._file.name)

    async def close(self) -> None:
        """Nothing is held open."""


def _append(file: Path, line: str) -> None:
    with file.open("a", encoding="utf-8") as out:
        out.write(line)


def channel(config: ChannelConfig) -> Channel:
    """Make the channel."""
    return LogChannel(config.log_file)
