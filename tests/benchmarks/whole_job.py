"""The whole job in one process, Kairos and its peer in turn: processor time per event, and events per second."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import redis
from benchmarks.ground import Ground, cpu_s, create_topic
from benchmarks.shop import PARTITIONS, ShopRecord, publish

from services.state.lanes import read_lanes

PEER_TOPIC = "tutorial-events"
OUTPUT_TOPIC = "tutorial-alerts"
PEER = "tests/benchmarks/peers/tutorial_faust.py"
WARM_SHARE = 0.2
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement between the end of the warm-up and the last event.

    Parameters
    ----------
    events : measured ones. cpu_s, wall_s : of the worker. redis_s, broker_s : processor time of the servers meanwhile.
    """

    events: int
    cpu_s: float
    wall_s: float
    redis_s: float = 0.0
    broker_s: float = 0.0

    @property
    def cpu_us(self) -> float:
        """Processor time per event, microseconds."""
        return self.cpu_s / self.events * 1e6

    @property
    def per_s(self) -> float:
        """Events per second of wall time."""
        return self.events / self.wall_s


def median_of(runs: Sequence[Run]) -> Run:
    """The run with the median processor time per event.

    Examples
    --------
    >>> median_of([Run(10, 3.0, 1.0), Run(10, 1.0, 1.0), Run(10, 2.0, 1.0)]).cpu_s
    2.0
    """
    return sorted(runs, key=lambda run: run.cpu_us)[len(runs) // 2]


def compare(
    ground: Ground, records: Sequence[ShopRecord], peer_events: int, rounds: int
) -> tuple[list[Run], list[Run]]:
    """Fill the topics once, then run both in turn; the peer gets the first `peer_events` of the same records."""
    create_topic(ground, PEER_TOPIC)
    create_topic(ground, OUTPUT_TOPIC)
    asyncio.run(publish(ground.bootstrap, records))
    asyncio.run(publish(ground.bootstrap, records[:peer_events], PEER_TOPIC))
    kairos, peer = [], []
    for _ in range(rounds):
        kairos.append(kairos_run(ground, len(records)))
        peer.append(peer_run(ground, peer_events))
    ground.clear()
    return kairos, peer


def kairos_run(ground: Ground, expected: int) -> Run:
    """`python -m streams decide`, from the first record to the last."""
    ground.clear()
    client = ground.redis()
    with ground.process("decide", ["-m", "streams", "decide"], ground.env()) as process:
        deadline = time.monotonic() + TIMEOUT_S
        begun: tuple[int, float, float, float, float] | None = None
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"decide ended with {process.returncode}")
            seen = _applied(client)
            now = (seen, time.perf_counter(), cpu_s(process.pid), cpu_s(ground.redis_pid), cpu_s(ground.broker_pid))
            if begun is None and seen >= WARM_SHARE * expected:
                begun = now
            if begun is not None and seen >= expected:
                events, wall, cpu, redis_cpu, broker_cpu = (b - a for a, b in zip(begun, now, strict=True))
                client.close()
                return Run(int(events), cpu, wall, redis_cpu, broker_cpu)
            time.sleep(0.05)
    raise TimeoutError(f"decide has not finished {expected} events in {TIMEOUT_S:.0f} s")


def _applied(client: redis.Redis) -> int:
    # Ticks of the worker's own clock are records too; they are not what is measured.
    return sum(state.applied - state.ticks for state in read_lanes(client, PARTITIONS).values())


def peer_run(ground: Ground, expected: int) -> Run:
    """The tutorial-style worker; it measures itself in the same way and ends."""
    ground.clear()
    redis_cpu, broker_cpu = cpu_s(ground.redis_pid), cpu_s(ground.broker_pid)
    arguments = [PEER, ground.bootstrap, PEER_TOPIC, ground.redis_url, str(expected)]
    with ground.process("tutorial", arguments, ground.env()) as process:
        said, _ = process.communicate(timeout=TIMEOUT_S)
        # Faust writes escape codes for a progress spinner before it.
        _, brace, figures = said.rpartition("{")
        if not brace:
            raise RuntimeError(f"the tutorial worker ended with {process.returncode} and no figures")
        found = json.loads(brace + figures)
    redis_cpu, broker_cpu = cpu_s(ground.redis_pid) - redis_cpu, cpu_s(ground.broker_pid) - broker_cpu
    measured = found["events"] / expected
    return Run(found["events"], found["cpu_s"], found["wall_s"], redis_cpu * measured, broker_cpu * measured)
