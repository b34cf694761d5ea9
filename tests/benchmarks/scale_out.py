"""Two workers beside one, on a backlog that was published before: how much quicker is the log worked off.

A machine of two cores cannot show it directly, because broker and Redis need their share of the same cores. So it is
measured twice: with each worker on a core of its own, as far as the servers leave it, and with each worker held to
half a core (stopped for half of every 20 ms), so that the servers always have room. The second says what another
machine would add.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.ground import Ground, cpu_s
from benchmarks.shop import PARTITIONS, ShopRecord, publish

from services.state.lanes import read_lanes
from services.state.live import worker_figures
from services.state.redis_lane import Client
from support.ports import wait_until

WARM_SHARE = 0.2
HELD_MS = 10  # of every 20
TIMEOUT_S = 240.0


@dataclass(frozen=True, slots=True)
class Drain:
    """One measurement between the end of the warm-up and the last event.

    Parameters
    ----------
    workers_s, redis_s, broker_s : processor time meanwhile, of each worker and of the servers.
    """

    events: int
    wall_s: float
    workers_s: tuple[float, ...]
    redis_s: float
    broker_s: float

    @property
    def per_s(self) -> float:
        """Events per second."""
        return self.events / self.wall_s

    @property
    def worker_us(self) -> float:
        """Processor time of all workers per event, microseconds."""
        return sum(self.workers_s) / self.events * 1e6

    @property
    def servers_us(self) -> float:
        """Processor time of broker and Redis per event, microseconds."""
        return (self.redis_s + self.broker_s) / self.events * 1e6

    @property
    def busy(self) -> tuple[float, ...]:
        """Share of a core that each worker used."""
        return tuple(used / self.wall_s for used in self.workers_s)


@dataclass(frozen=True, slots=True)
class Scaled:
    """One worker and two, on cores of their own and held to half a core each."""

    cores: tuple[Drain, Drain]
    halves: tuple[Drain, Drain]

    @property
    def possible(self) -> float:
        """What two cores could give at most: all of them used, at the processor time per event of one worker."""
        one = self.cores[0]
        return 2 * one.worker_us / (one.worker_us + one.servers_us)


def measure(ground: Ground, records: Sequence[ShopRecord], tell: Callable[[str], object]) -> Scaled:
    """Drain the same backlog four times."""
    found: list[Drain] = []
    for held in (False, True):
        for workers in (1, 2):
            tell(f"{workers} worker{'s' * (workers - 1)}{', held to half a core each' if held else ''} ...")
            found.append(_drain(ground, records, workers, held=held))
    return Scaled((found[0], found[1]), (found[2], found[3]))


def _drain(ground: Ground, records: Sequence[ShopRecord], workers: int, *, held: bool) -> Drain:
    ground.clear()
    ground.renew_topics()
    expected = len(records)
    client = ground.redis()
    with contextlib.ExitStack() as stack:
        # Redis lets nothing be written while the backlog is published: nobody may begin before it is all there.
        env = ground.env(KAIROS_TICKER="false", KAIROS_REDIS__TIMEOUT_MS="120000", KAIROS_WATCHDOG_S="120")
        cores = sorted(os.sched_getaffinity(0))
        pids: list[int] = []
        for number in range(workers):
            process = stack.enter_context(ground.process(f"decide-{number}", ["-m", "streams", "decide"], env))
            # Threads that it starts later stay there, too.
            os.sched_setaffinity(process.pid, {cores[number]})
            pids.append(process.pid)
        wait_until(lambda: _dealt_out(client, workers), "every worker has its lanes", 60.0, 0.1)
        client.client_pause(120_000, all=False)
        asyncio.run(publish(ground.bootstrap, records))
        if held:
            stack.enter_context(_half(pids))
        client.client_unpause()

        def applied() -> int:
            return sum(state.applied - state.ticks for state in read_lanes(client, PARTITIONS).values())

        def now() -> tuple[float, ...]:
            servers = (cpu_s(ground.redis_pid), cpu_s(ground.broker_pid))
            return (applied(), time.perf_counter(), *servers, *(cpu_s(pid) for pid in pids))

        wait_until(lambda: applied() >= WARM_SHARE * expected, "the warm-up", TIMEOUT_S, 0.02)
        begun = now()
        wait_until(lambda: applied() >= expected, "the last event", TIMEOUT_S, 0.02)
        events, wall, redis, broker, *used = (b - a for a, b in zip(begun, now(), strict=True))
    client.close()
    return Drain(int(events), wall, tuple(used), redis, broker)


def _dealt_out(client: Client, workers: int) -> bool:
    """Whether so many workers tell of their lanes, each of as many as the others."""
    held = [{place.rpartition("-")[2] for place in one["lag"]} for one in worker_figures(client)]
    return [len(lanes) for lanes in held] == [PARTITIONS // workers] * workers


@contextlib.contextmanager
def _half(pids: Sequence[int]) -> Iterator[None]:
    """Stop each process for half of the time, one while the other runs."""
    ending = threading.Event()

    def turn() -> None:
        running = 0
        for pid in pids[1:]:
            os.kill(pid, signal.SIGSTOP)
        while not ending.wait(HELD_MS / 1000):
            os.kill(pids[running], signal.SIGSTOP)
            if len(pids) == 1:
                if ending.wait(HELD_MS / 1000):
                    break
            else:
                running = 1 - running
            os.kill(pids[running], signal.SIGCONT)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=turn, name="half")
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
