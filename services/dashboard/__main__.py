"""Start the page: ``python -m services.dashboard``, configured by ``KAIROS_...``."""

from __future__ import annotations

import logging
import signal
import sys
import time

import uvicorn

from config.loader import DefinitionError
from services.bootstrap import BAD_INPUT, settings_or_exit
from services.dashboard.app import make_app


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def main() -> None:
    """Serve until stopped."""
    settings = settings_or_exit()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("dashboard").info("dashboard.start http://%s:%d", settings.http.host, settings.http.port)
    try:
        app = make_app(settings, _now_ms)
    except DefinitionError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(BAD_INPUT)
    # uvicorn stops in order and then raises the signal once more, as if it had not been handled: with Python's default
    # the process would seem killed. A reader that broke raises it, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(app.state.reader.broken)))
    uvicorn.run(
        app,
        host=settings.http.host,
        port=settings.http.port,
        # It logs every web socket at INFO.
        log_level="debug" if settings.log_level == "DEBUG" else "warning",
        # Open pages hold a websocket; they do not keep the process alive.
        timeout_graceful_shutdown=2,
        access_log=False,
    )


if __name__ == "__main__":
    main()
