"""A receiver of webhooks: a real HTTP server that answers as a test says and remembers what it got."""

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from standardwebhooks import Webhook

from support.ports import LOOPBACK

SECRET = "whsec_" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"


@dataclass(frozen=True)
class Answer:
    """What it answers, and after how long; None as status: it hangs up instead."""

    status: int | None = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    after_s: float = 0.0


@dataclass(frozen=True)
class Call:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str = SECRET) -> dict[str, Any]:
        """The body, if the reference implementation of the specification takes its signature."""
        found: dict[str, Any] = Webhook(secret).verify(self.body, self.headers)
        return found


class Receiver:
    """Serves on the loopback address; `answers` are used up in turn, then it is `otherwise`."""

    def __init__(self, *answers: Answer, otherwise: Answer | None = None) -> None:
        self.calls: list[Call] = []
        self.answers = deque(answers)
        self.otherwise = otherwise or Answer()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.calls.append(Call(self.path, headers, body, time.time()))
                try:
                    answer = receiver.answers.popleft()
                except IndexError:
                    answer = receiver.otherwise
                receiver.ended.wait(answer.after_s)
                if answer.status is None:
                    self.close_connection = True
                    return
                try:
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.send_header("content-length", "0")
                    self.end_headers()
                except OSError:
                    return  # whoever asked is gone

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        self.ended = threading.Event()
        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://{LOOPBACK}:{self._server.server_port}/alerts"

    def ids(self) -> list[str]:
        """Ids in the order of the calls."""
        return [call.id for call in self.calls]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
