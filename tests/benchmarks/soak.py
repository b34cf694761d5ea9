"""``make soak``: resident memory of the workers while the mail server and Redis are too slow for what comes in.

The mail server takes connections and never greets, so every mail waits; Redis stands still for two of every ten seconds. More comes
in than goes out the whole time. What must stay flat is the memory of the workers: what waits, waits in the log.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.bus import Publisher, create_topics
from services.embedded.stack import EmbeddedStack
from services.state.live import worker_figures
from services.state.redis_lane import connect

ROLES = ("decide", "learn", "deliver")
DOC = Path(__file__).resolve().parents[2] / "docs" / "soak.md"
EVERY_S = 5.0
USERS = 5_000
START_MS = 1_704_067_200_000  # 1 January 2024


@contextmanager
def deaf_mail_server() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:

        def take() -> None:
            with suppress(OSError):
                while True:
                    held.append(server.accept()[0])
                    del held[:-64]

        threading.Thread(target=take, daemon=True).start()
        yield int(server.getsockname()[1])
        for connection in held:
            connection.close()


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


@contextmanager
def load(bootstrap: str, rate: int, sent: list[int]) -> Iterator[None]:
    """Orders of people who may be mailed, all the time; the shop's days pass in seconds, so that no cap stops a mail."""
    ending = threading.Event()

    def publish() -> None:
        with Publisher(bootstrap) as bus:
            for number in range(USERS):
                traits = {"email": f"u{number}@example.test", "consent": {"email": True}}
                bus.publish_event({"type": "identify", "userId": f"u{number}", "timestamp": START_MS, "traits": traits})
            bus.flush()
            began = time.monotonic()
            while not ending.is_set():
                now_ms = START_MS + sent[0] * 40_000
                for number in range(50):
                    bus.publish_event(_order(f"u{(sent[0] + number) % USERS}", now_ms + number))
                sent[0] += 50
                ending.wait(max(0.0, began + sent[0] / rate - time.monotonic()))

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def _order(user: str, at_ms: int) -> dict[str, object]:
    lamp = {"product_id": f"p{at_ms % 40}", "name": "Lamp", "price": 25.0, "quantity": 1}
    properties = {"order_id": f"{user}-{at_ms}", "revenue": 25.0, "currency": "GBP", "products": [lamp]}
    event = {"type": "track", "event": "Order Completed", "userId": user, "timestamp": at_ms, "properties": properties}
    return {**event, "messageId": f"{user}-{at_ms}"}


@contextmanager
def slow_redis(pid: int) -> Iterator[None]:
    """Redis stands still for two of every ten seconds."""
    ending = threading.Event()

    def stall() -> None:
        while not ending.wait(8.0):
            os.kill(pid, signal.SIGSTOP)
            ending.wait(2.0)
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=stall)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
        os.kill(pid, signal.SIGCONT)


def measure(minutes: float, rate: int) -> tuple[dict[str, list[float]], int, int, int]:
    """Resident memory of each role every five seconds, events sent, messages that wait, starts beyond the first."""
    seen: dict[str, list[float]] = {role: [] for role in ROLES}
    sent = [0]
    with deaf_mail_server() as port, tempfile.TemporaryDirectory() as folder:
        settings = {"KAIROS_SMTP__PORT": str(port), "KAIROS_SMTP__TIMEOUT_MS": "5000"}
        with EmbeddedStack(Path(folder), create_topics, roles=ROLES, settings=settings) as stack:
            time.sleep(5.0)
            redis = stack.supervisor.pids()["redis"]
            with load(stack.bootstrap, rate, sent), slow_redis(redis):
                end = time.monotonic() + minutes * 60
                while time.monotonic() < end:
                    time.sleep(EVERY_S)
                    for role in ROLES:
                        with suppress(KeyError, FileNotFoundError, ProcessLookupError):
                            seen[role].append(resident_mib(stack.supervisor.pids()[role]))
            with closing(connect(stack.env()["KAIROS_REDIS__URL"])) as client:
                told: dict[str, Any] = next(
                    (one for one in worker_figures(client) if one["role"] == "deliver"), {"lag": {}}
                )
            restarts = sum(number for name, number in stack.supervisor.restarts().items() if name in ROLES)
    return seen, sent[0], sum(told["lag"].values()), restarts


def report(seen: dict[str, list[float]], minutes: float, rate: int, sent: int, waiting: int, restarts: int) -> str:
    """The page: the second fifth of the run against the last, when caches are full."""
    lines = []
    for role, values in seen.items():
        fifth = max(1, len(values) // 5)
        early, late = statistics.median(values[fifth : 2 * fifth]), statistics.median(values[-fifth:])
        lines.append(
            f"| {role} | {values[0]:.0f} | {early:.0f} | {late:.0f} | {max(values):.0f} | {late / early:.2f} |"
        )
    table = "\n".join(lines)
    return f"""# Memory under overload

Written by `make soak` (tests/benchmarks/soak.py): {minutes:g} minutes, {rate} events/s ({sent:,} sent), embedded broker and Redis. The mail server takes
connections and never greets; Redis stands still for two of every ten seconds. What waits, waits in the log:
{waiting:,} messages at the end. Workers started again: {restarts}.

{datetime.now(UTC):%d %B %Y}, {platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores shared with other work, {platform.system()}.

| worker | at the start, MiB | second fifth, median | last fifth, median | highest | last / second |
| --- | --- | --- | --- | --- | --- |
{table}
"""


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=200)
    chosen = parser.parse_args()
    page = report(*_run(chosen.minutes, chosen.rate))
    DOC.write_text(page)
    sys.stdout.write(page)


def _run(minutes: float, rate: int) -> tuple[dict[str, list[float]], float, int, int, int, int]:
    seen, sent, waiting, restarts = measure(minutes, rate)
    return seen, minutes, rate, sent, waiting, restarts


if __name__ == "__main__":
    main()
