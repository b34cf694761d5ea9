"""The whole job in one process, Kairos and its peers in turn: processor time per event, and events per second."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import redis
from benchmarks.ground import Ground, cpu_s, create_topic
from benchmarks.peers_table import PEERS, Peer
from benchmarks.shop import PARTITIONS, ShopRecord, publish
from benchmarks.venvs import python_of

from services.state.lanes import read_lanes

OUTPUT_TOPIC = "tutorial-alerts"
KAIROS = "Kairos"
WARM_SHARE = 0.2
TIMEOUT_S = 300.0


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

    def server_us(self, name: str) -> float:
        """Processor time of a server per event, microseconds; `name` of the field."""
        seconds: float = getattr(self, name)
        return seconds / self.events * 1e6


def median_of(runs: Sequence[Run]) -> Run:
    """The run with the median processor time per event.

    Examples
    --------
    >>> median_of([Run(10, 3.0, 1.0), Run(10, 1.0, 1.0), Run(10, 2.0, 1.0)]).cpu_s
    2.0
    """
    return sorted(runs, key=lambda run: run.cpu_us)[len(runs) // 2]


def compare(
    ground: Ground,
    records: Sequence[ShopRecord],
    few: int,
    rounds: int,
    tell: Callable[[str], object] = print,
) -> dict[str, list[Run]]:
    """Fill the topics once, then run Kairos and every peer in turn, `rounds` times.

    Parameters
    ----------
    records : the input; a peer reads the same records in one topic.
    few : about how many of them a peer gets that takes one event at a time (see :func:`of_some_users`).

    Returns
    -------
    Runs by name; Kairos's own under :data:`KAIROS`.
    """
    pythons = {peer.name: python_of(peer.venv, tell) for peer in PEERS}
    sample = of_some_users(records, few)
    inputs = {peer.name: sample if peer.kind == "event" else records for peer in PEERS}
    for found_input in (sample, records):
        create_topic(ground, _topic(len(found_input)))
        asyncio.run(publish(ground.bootstrap, found_input, _topic(len(found_input))))
    create_topic(ground, OUTPUT_TOPIC)
    asyncio.run(publish(ground.bootstrap, records))
    found: dict[str, list[Run]] = {KAIROS: [], **{peer.name: [] for peer in PEERS}}
    for number in range(1, rounds + 1):
        tell(f"Peers, round {number} of {rounds}: {KAIROS} ...")
        found[KAIROS].append(kairos_run(ground, len(records)))
        for peer in PEERS:
            tell(f"Peers, round {number} of {rounds}: {peer.name} ...")
            found[peer.name].append(peer_run(ground, peer, pythons[peer.name], len(inputs[peer.name])))
    ground.clear()
    return found


def of_some_users(records: Sequence[ShopRecord], count: int) -> list[ShopRecord]:
    """About `count` of the records: all of some users, so that each of them has as long a history as in the whole.

    Examples
    --------
    >>> whole = [ShopRecord("clickstream", f"user-{n % 4}", b"") for n in range(12)]
    >>> [record.user for record in of_some_users(whole, 6)]
    ['user-0', 'user-1', 'user-0', 'user-1', 'user-0', 'user-1']
    """
    users = list(dict.fromkeys(record.user for record in records))
    chosen = set(users[: max(1, len(users) * count // len(records))])
    return [record for record in records if record.user in chosen]


def _topic(size: int) -> str:
    return f"peers-{size}"


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


def peer_run(ground: Ground, peer: Peer, python: Path, expected: int) -> Run:
    """A peer; it measures itself in the same way as Kairos is measured, and ends."""
    ground.clear()
    redis_cpu, broker_cpu = cpu_s(ground.redis_pid), cpu_s(ground.broker_pid)
    argv = peer.argv(ground.bootstrap, _topic(expected), ground.redis_url, str(expected))
    with ground.process(peer.module, argv, ground.peer_env(), python) as process:
        said, _ = process.communicate(timeout=TIMEOUT_S)
        # Faust writes escape codes for a progress spinner before it.
        _, brace, figures = said.rpartition("{")
        if not brace:
            raise RuntimeError(f"{peer.name} ended with {process.returncode} and no figures")
        found = json.loads(brace + figures)
    redis_cpu, broker_cpu = cpu_s(ground.redis_pid) - redis_cpu, cpu_s(ground.broker_pid) - broker_cpu
    if peer.kind == "core":
        client = ground.redis()
        applied = _applied(client)
        client.close()
        if applied < expected:
            raise RuntimeError(f"{peer.name} has applied {applied} events of {expected}")
    measured = found["events"] / expected
    return Run(found["events"], found["cpu_s"], found["wall_s"], redis_cpu * measured, broker_cpu * measured)
