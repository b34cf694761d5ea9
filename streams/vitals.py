"""Whether a worker is alive, ready and moving; a small HTTP server that says so, and an end for one that is not.

::

    GET /livez    200 while the event loop turns, else 503: start the process again
    GET /readyz   200 when it has its partitions and goes on, else 503 with why
                  (both with the same JSON: role, status, why, and what the role adds)

All of it runs in a thread of its own: a loop that hangs cannot answer that it hangs.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from weakref import WeakKeyDictionary

import faust
import msgspec
import structlog

log = structlog.get_logger(__name__)

STUCK = 70  # exit code of a worker that was ended because it hung (EX_SOFTWARE)
PULSE_S = 0.5
# SIGTERM to the end. Whatever is cut off then is where a kill -9 would leave it: in Redis, in the log, `unknown`.
SHUTDOWN_S = 9.0


class Watchdog:
    """Finds what makes no progress while there is work for it.

    Parameters
    ----------
    limit_s : how long nothing may move.

    Examples
    --------
    >>> dog = Watchdog(60)
    >>> dog.look({"lane 3": 7}, {"lane 3": 1}, 0.0), dog.look({"lane 3": 7}, {"lane 3": 2}, 60.0)
    ('', '')
    >>> dog.look({"lane 3": 9}, {"lane 3": 2}, 121.0)
    'no progress in lane 3 for 61 s while 9 records wait'
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._seen: dict[str, tuple[object, float]] = {}

    def look(self, behind: Mapping[str, int], marks: Mapping[str, object], now_s: float) -> str:
        """What stands still, as a sentence; nothing while all is well.

        Parameters
        ----------
        behind : records that wait, by name. marks : anything that changes when one of them moves.
        """
        seen, self._seen = self._seen, {}
        for name, waiting in behind.items():
            mark = marks.get(name)
            before, since_s = seen.get(name, (mark, now_s))
            if waiting == 0 or mark != before:
                since_s = now_s
            self._seen[name] = (mark, since_s)
            if now_s - since_s > self._limit_s:
                return f"no progress in {name} for {now_s - since_s:.0f} s while {waiting} records wait"
        return ""


@dataclass(slots=True)
class Vitals:
    """What one process knows of its own health.

    Parameters
    ----------
    role : decide, learn or deliver.
    unready : why it cannot do its work at this moment; asked from another thread.
    told : what the role adds to the answer; asked from another thread.
    """

    role: str
    unready: Callable[[], list[str]] = field(default=lambda: ["starting"])
    told: Callable[[], dict[str, Any]] = field(default=dict)
    _beats: int = 0
    _missed: int = 0
    _stop_began_s: float | None = None
    _over: threading.Event = field(default_factory=threading.Event)
    _server: ThreadingHTTPServer | None = None

    # -- from the worker

    def start(self, loop: asyncio.AbstractEventLoop, *, stuck_s: float, host: str, port: int | None) -> None:
        """Watch `loop`, and answer on `host`:`port`; returns at once.

        Parameters
        ----------
        stuck_s : a loop that does not turn for so long ends the process.
        """
        threading.Thread(target=self._watch, args=(loop, stuck_s), name="vitals", daemon=True).start()
        if port is not None:
            self._server = ThreadingHTTPServer((host, port), _handler(self))
            threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
            log.info("health", host=host, port=self._server.server_port)

    def stop_began(self) -> None:
        """Note that the worker ends: it is not ready any more, and it has `SHUTDOWN_S` to be gone."""
        if self._stop_began_s is None:
            self._stop_began_s = time.monotonic()

    @property
    def stopping(self) -> bool:
        """Whether the worker ends."""
        return self._stop_began_s is not None

    def close(self) -> None:
        """Stop to watch: the loop has ended."""
        self._over.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    # -- the answer

    def report(self) -> tuple[bool, bool, dict[str, Any]]:
        """Alive, ready, and the rest for a person."""
        alive = self._missed * PULSE_S < 5.0
        why = ["the worker ends"] if self.stopping else self.unready()
        if not alive:
            why = [f"the event loop has not turned for {self._missed * PULSE_S:.0f} s", *why]
        status = "ok" if not why else "not ready"
        return alive, not why, {"role": self.role, "status": status, "why": why, **self.told()}

    # -- the thread

    def _watch(self, loop: asyncio.AbstractEventLoop, stuck_s: float) -> None:
        seen = -1
        while not self._over.wait(PULSE_S):
            # Counted in looks of this thread, not in seconds: a process that was frozen has not hung.
            self._missed = self._missed + 1 if self._beats == seen else 0
            seen = self._beats
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._beat)
            if loop.is_running() and self._missed * PULSE_S > stuck_s:
                _end(f"the event loop of {self.role} has not turned for {stuck_s:.0f} s: the process ends")
            began_s = self._stop_began_s
            if began_s is not None and time.monotonic() - began_s > SHUTDOWN_S:
                _end(f"{self.role} was not done {SHUTDOWN_S:.0f} s after it was asked to end: it ends now")

    def _beat(self) -> None:
        self._beats += 1


def _end(why: str) -> None:
    """End the process at once, and say where each thread was."""
    log.error("worker_hangs", why=why)
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    os._exit(STUCK)


def _handler(vitals: Vitals) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            alive, ready, told = vitals.report()
            good = {"/livez": alive, "/readyz": ready, "/healthz": ready}.get(self.path)
            body = msgspec.json.encode(told)
            self.send_response(404 if good is None else 200 if good else 503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Write nothing: probes come every few seconds."""

    return Handler


_of: WeakKeyDictionary[faust.App, Vitals] = WeakKeyDictionary()


def vitals_of(app: faust.App) -> Vitals:
    """The vitals of an app, made at the first call."""
    found = _of.get(app)
    if found is None:
        found = _of[app] = Vitals(str(app.conf.id))
    return found
