"""How long a worker takes to its first decision: started with events waiting, and after `kill -9` under load."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

import redis
from benchmarks.ground import Ground
from benchmarks.latency import load
from benchmarks.shop import PARTITIONS, publish, shop_events

from config.settings import KafkaSettings
from services.state.lanes import read_lanes

TIMEOUT_S = 90.0
RATE = 1_000
WAITING = 1_000
_LOOK_S = 0.01


@dataclass(frozen=True, slots=True)
class Starts:
    """Seconds.

    Parameters
    ----------
    first : from the start of the process to its first decision, with events waiting.
    session_s : Kafka's session timeout of the workers.
    recovered : from `kill -9` (the next worker is started at once) to the first transaction of the next worker.
    caught_up : from `kill -9` until every event published meanwhile is decided.
    rate, backlog : events per second meanwhile, and how many had to be caught up.
    lost, twice : events missing in the lanes' counts at the end, and counted too often.
    """

    first: float
    session_s: float
    recovered: float
    caught_up: float
    rate: int
    backlog: int
    lost: int
    twice: int


def measure(ground: Ground, seconds: int = 30) -> Starts:
    """Start a worker, load it, kill it in the middle, start the next."""
    ground.clear()
    client = ground.redis()
    waiting = list(shop_events(WAITING, int(time.time() * 1000)))
    asyncio.run(publish(ground.bootstrap, waiting))
    begun = time.perf_counter()
    with contextlib.ExitStack() as stack:
        with ground.process("killed", ["-m", "streams", "decide"], ground.env()) as process:
            _wait(lambda: _events(client) > 0, process)
            first = time.perf_counter() - begun
            _until_all_there(client, process)
            before = _events(client)
            producer = stack.enter_context(load(ground, seconds, RATE))
            _wait(lambda: _events(client) > before + RATE * 3, process)
            process.kill()
            killed = time.perf_counter()
            process.wait()
        at_kill, epochs = _events(client), _epochs(client)
        process = stack.enter_context(ground.process("next", ["-m", "streams", "decide"], ground.env()))
        _wait(lambda: _epochs(client) != epochs and _events(client) > at_kill, process)
        recovered = time.perf_counter() - killed

        def caught() -> bool:
            published = at_kill - before + int((time.perf_counter() - killed) * RATE)
            return _events(client) - before >= min(published, RATE * seconds) - RATE // 10

        _wait(caught, process)
        caught_up = time.perf_counter() - killed
        producer.wait(seconds + 60)
        total = RATE * seconds
        deadline = time.monotonic() + 20
        while _events(client) - before < total and time.monotonic() < deadline:
            time.sleep(0.1)
        difference = _events(client) - before - total
    client.close()
    backlog = int(recovered * RATE)
    session_s = KafkaSettings().session_timeout_ms / 1000
    return Starts(first, session_s, recovered, caught_up, RATE, backlog, max(0, -difference), max(0, difference))


def _wait(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not happened():
        if process.poll() is not None:
            raise RuntimeError(f"the worker ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise TimeoutError("the worker does nothing")
        time.sleep(_LOOK_S)


def _until_all_there(client: redis.Redis, process: subprocess.Popen[str]) -> None:
    """Wait until every lane is open and the count stands still."""
    last, since = -1, time.monotonic()

    def settled() -> bool:
        nonlocal last, since
        events = _events(client)
        if events != last or not all(state.ticks for state in read_lanes(client, PARTITIONS).values()):
            last, since = events, time.monotonic()
        return time.monotonic() - since > 2.0

    _wait(settled, process)


def _events(client: redis.Redis) -> int:
    return sum(state.applied - state.ticks for state in read_lanes(client, PARTITIONS).values())


def _epochs(client: redis.Redis) -> list[int]:
    return [state.epoch for state in read_lanes(client, PARTITIONS).values()]
