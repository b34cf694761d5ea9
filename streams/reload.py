"""When to look for changed files: every so often, and at once when somebody sends SIGHUP."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress


def asked_by_signal() -> asyncio.Event:
    """An event that SIGHUP sets; call it in the process's event loop."""
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
    return asked


async def wait_for(asked: asyncio.Event, every_s: float) -> bool:
    """Wait until it is time to look; True if somebody asked. `every_s` 0: only then."""
    with suppress(TimeoutError):
        async with asyncio.timeout(every_s or None):
            await asked.wait()
    found = asked.is_set()
    asked.clear()
    return found
