"""End in order when asked by a signal, not by Ctrl-C alone."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# What a service manager sends, and what a closed terminal sends.
_SIGNALS = (signal.SIGTERM, signal.SIGHUP) if sys.platform != "win32" else (signal.SIGTERM,)


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Within the block, SIGTERM and SIGHUP raise ``KeyboardInterrupt``, as Ctrl-C does.

    By default they would end this process at once, and with it, by SIGKILL, everything that it started (see
    :mod:`services.embedded.child`). Only the first one counts: a second must not break off the orderly end. A signal
    that is ignored already (``nohup``) stays so. For the main thread alone.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    heard = {number: handler for number, handler in before.items() if handler not in {signal.SIG_IGN, None}}

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in heard:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in heard:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)
