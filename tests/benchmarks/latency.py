"""From the hand-over of an event to its decision, at a fixed rate (see :mod:`benchmarks.latency_worker` for the clock)."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks.ground import Ground, cpu_s
from benchmarks.shop import PARTITIONS
from benchmarks.venvs import python_of

from services.state.lanes import read_lanes

RATES = (1_000, 5_000, 20_000)
SECONDS = 25
WARM_S = 5
LINGER_MS = 2  # of the load
LOAD_VENV = "bytewax"  # has a producer in C


@dataclass(frozen=True, slots=True)
class Latency:
    """Quantiles in ms over all events after the warm-up.

    Parameters
    ----------
    wanted, rate : events per second that were to be published, and that really were.
    kept_up : the worker had decided all of them within half a minute.
    worker_us : processor time of the worker per event at this rate (small chunks cost more).
    """

    wanted: int
    events: int
    rate: float
    p50: int
    p99: int
    p999: int
    worst: int
    worker_us: float
    kept_up: bool = True

    @property
    def at_rate(self) -> bool:
        """Whether the load was what it was to be: a producer that falls behind makes the worker look quick."""
        return self.kept_up and self.rate >= 0.95 * self.wanted


def quantile(ages: Sequence[tuple[int, int]], share: float) -> int:
    """Smallest age that at least `share` of the events do not exceed; `ages` are (age, events), sorted.

    Examples
    --------
    >>> quantile([(1, 98), (7, 1), (50, 1)], 0.99)
    7
    """
    wanted, below = share * sum(events for _, events in ages), 0
    for age, events in ages:
        below += events
        if below >= wanted:
            return age
    raise ValueError("no events")


def summary(
    histogram: Iterable[tuple[int, int, int]], first_s: int, last_s: int, wanted: int = 0, worker_us: float = 0.0
) -> Latency:
    """Quantiles of a histogram of (second of publishing, age in ms, events), of the whole seconds `first_s` to `last_s`.

    Examples
    --------
    >>> summary([(0, 900, 5), (1, 10, 4), (2, 30, 4), (3, 7, 1)], 1, 2).p99
    30
    """
    by_age: dict[int, int] = {}
    seconds = set()
    for second, age, events in histogram:
        if first_s <= second <= last_s:
            seconds.add(second)
            by_age[age] = by_age.get(age, 0) + events
    ages = sorted(by_age.items())
    total = sum(by_age.values())
    p50, p99, p999 = (quantile(ages, share) for share in (0.5, 0.99, 0.999))
    return Latency(wanted, total, total / len(seconds), p50, p99, p999, ages[-1][0], worker_us)


def measure(ground: Ground, rate: int, seconds: int = SECONDS) -> Latency:
    """Publish at `rate` while a worker decides; topics hold the records of earlier measurements, which it skips."""
    target = ground.folder / "ages.json"
    client = ground.redis()
    with ground.process("latency", ["-m", "benchmarks.latency_worker", str(target)], ground.env()) as process:
        _until_settled(ground, process)
        published = rate * seconds
        with load(ground, seconds, rate) as producer:
            before = sum(state.received for state in read_lanes(client, PARTITIONS).values())
            cpu = cpu_s(process.pid)
            first_s = int(time.time()) + 1 + WARM_S
            if producer.wait(seconds + 60):
                raise RuntimeError(f"the load ended with {producer.returncode}")
        last_s = int(time.time()) - 1
        cpu = cpu_s(process.pid) - cpu
        deadline, kept_up = time.monotonic() + 30, True
        while kept_up and sum(state.received for state in read_lanes(client, PARTITIONS).values()) < before + published:
            kept_up = time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    client.close()
    rows = [(row[0], row[1], row[2]) for row in json.loads(target.read_text())]
    return replace(summary(rows, first_s, last_s, rate, cpu / published * 1e6), kept_up=kept_up)


def _until_settled(ground: Ground, process: subprocess.Popen[str], timeout_s: float = 60.0) -> None:
    """Wait until the worker has its lanes and nothing to do but ticks."""
    client, last, since = ground.redis(), -1, time.monotonic()
    deadline = since + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the worker ended with {process.returncode}")
        states = read_lanes(client, PARTITIONS).values()
        applied = sum(state.applied - state.ticks for state in states)
        if applied != last or not all(state.ticks for state in states):
            last, since = applied, time.monotonic()
        elif time.monotonic() - since > 2.0:
            client.close()
            return
        time.sleep(0.1)
    raise TimeoutError("the worker did not come to rest")


@contextlib.contextmanager
def load(ground: Ground, seconds: int, rate: int) -> Iterator[subprocess.Popen[str]]:
    """A process that publishes `rate` events a second from now on and ends (:mod:`benchmarks.peers.load`)."""
    argv = ["-m", "benchmarks.peers.load", ground.bootstrap, str(seconds), str(rate)]
    with ground.process("load", argv, ground.peer_env(), python_of(LOAD_VENV)) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError("the load ended before it began")
        yield process
