"""Everything that goes wrong on purpose. A fault takes the world and a random source, and says what it did."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from chaos.fleet import ROLES, Fleet
from chaos.servers import Servers

from models.errors import TransientError
from services.state.lanes import read_fences

SESSION_TIMEOUT_MS = 3_000
STORM, STORM_S = 20, 110.0
MOST_DECIDE = 4
LANES = 4


@dataclass(slots=True)
class World:
    """What faults work on, and the locks that keep two of them from working on the same thing."""

    servers: Servers
    fleet: Fleet
    locks: dict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))

    def wait_for_work(self, timeout_s: float = 30.0) -> None:
        """Return when decide commits something, so that a fault hits work and not a fleet that still recovers."""
        before, deadline = self._written(), time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            time.sleep(0.05)
            now = self._written()
            if before is not None and now is not None and now > before:
                return
            before = now if before is None or (now is not None and now < before) else before

    def _written(self) -> int | None:
        client = self.servers.client()
        try:
            return sum(fence.seq for fence in read_fences(client, range(LANES)).values())
        except TransientError:
            return None
        finally:
            client.close()


class Fault(NamedTuple):
    """A kind of fault.

    Parameters
    ----------
    name : for people. on : what it works on; two faults on the same thing wait for each other.
    run : carries it out. idle : it makes sense also while decide has nothing to do or is not there.
    """

    name: str
    on: str
    run: Callable[[World, Random], str]
    idle: bool = False


def _one(world: World, role: str, draw: Random) -> str:
    return draw.choice(world.fleet.names(role))


def _kill(role: str) -> Callable[[World, Random], str]:
    def run(world: World, draw: Random) -> str:
        name = _one(world, role, draw)
        return f"{name} (process {world.fleet.signal(name, signal.SIGKILL)})"

    return run


def _terminate(world: World, draw: Random) -> str:
    name = _one(world, draw.choice(ROLES), draw)
    return f"{name} (process {world.fleet.signal(name, signal.SIGTERM)})"


def _freeze(role: str) -> Callable[[World, Random], str]:
    def run(world: World, draw: Random) -> str:
        name, seconds = _one(world, role, draw), SESSION_TIMEOUT_MS / 1000 + draw.uniform(0.5, 3.0)
        pid = world.fleet.signal(name, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            if pid:
                os.kill(pid, signal.SIGCONT)
        return f"{name} for {seconds:.1f} s"

    return run


def _join(world: World, draw: Random) -> str:
    names = world.fleet.names("decide")
    if len(names) >= MOST_DECIDE or (len(names) > 1 and draw.random() < 0.5):
        name, kill = draw.choice(names), draw.random() < 0.3
        world.fleet.stop(name, kill=kill)
        return f"{name} left" + (" by kill -9" if kill else "")
    return f"{world.fleet.start('decide')} joined"


def _storm(world: World, draw: Random) -> str:
    began = time.monotonic()
    for number in range(STORM):
        _join(world, draw)
        time.sleep(max(0.0, began + (number + 1) * STORM_S / STORM * draw.uniform(0.6, 1.0) - time.monotonic()))
    return f"{STORM} workers joined or left in {time.monotonic() - began:.0f} s"


def _upgrade(world: World, draw: Random) -> str:
    """Workers of the next version, which read one more topic, take over, and give way again."""
    fleet = world.fleet
    for following in (True, False):
        old = fleet.names("decide")
        for name in old:
            new = fleet.start("decide", following=following)
            fleet.wait_for_lanes(new)
            time.sleep(draw.uniform(0.0, 2.0))
            fleet.stop(name)
    return f"{len(old)} workers replaced by those of a next version with one more topic, and back"


def _raise(world: World, draw: Random) -> str:
    names = world.fleet.names("decide")
    for name in names:  # one of them has something to do at this moment
        world.fleet.signal(name, signal.SIGRTMIN)
    return ", ".join(names)


# -- the broker


def _broker(world: World, draw: Random) -> str:
    kill, down_s = draw.random() < 0.6, draw.uniform(0.0, 3.0)
    (world.servers.kafka.kill if kill else world.servers.kafka.stop)()
    time.sleep(down_s)
    world.servers.kafka.start()
    return f"{'kill -9' if kill else 'SIGTERM'}, {down_s:.1f} s"


# -- Redis


def _redis_power(world: World, draw: Random) -> str:
    servers, seconds = world.servers, draw.uniform(0.1, 2.5)
    aof = servers.shorten_aof()
    before = aof.stat().st_size
    time.sleep(seconds)
    servers.redis.kill()
    # Anywhere in what was written meanwhile, in the middle of a transaction too.
    size = aof.stat().st_size
    kept = before + int((size - before) * draw.random())
    os.truncate(aof, kept)
    servers.restart_redis()
    return f"{size - kept:,} bytes of the AOF's last {seconds:.1f} s are lost"


def _redis_fail_over(world: World, draw: Random) -> str:
    lag_s = draw.uniform(0.1, 2.0)
    return f"{world.servers.fail_over(lag_s):,} bytes ({lag_s:.1f} s) had not reached the replica"


def _redis_restart(world: World, draw: Random) -> str:
    kill, down_s = draw.random() < 0.5, draw.uniform(0.0, 3.0)
    (world.servers.redis.kill if kill else world.servers.redis.stop)()
    time.sleep(down_s)
    world.servers.restart_redis()
    return f"{'kill -9' if kill else 'SIGTERM'}, {down_s:.1f} s"


def _redis_full(world: World, draw: Random) -> str:
    seconds, client = draw.uniform(1.0, 4.0), world.servers.client()
    client.config_set("maxmemory", "1mb")
    time.sleep(seconds)
    client.config_set("maxmemory", "0")
    client.close()
    return f"{seconds:.1f} s"


def _redis_read_only(world: World, draw: Random) -> str:
    seconds = draw.uniform(1.0, 3.0)
    replica = world.servers.replica()
    try:
        world.servers.proxy(f"target {replica.port}")
        time.sleep(seconds)
    finally:
        world.servers.proxy(f"target {world.servers.redis.port}")
        replica.close()
    return f"{seconds:.1f} s on a replica"


def _redis_frozen(world: World, draw: Random) -> str:
    seconds = draw.uniform(1.0, 5.0)
    world.servers.redis.pause()
    time.sleep(seconds)
    world.servers.redis.resume()
    return f"{seconds:.1f} s"


def _redis_slow(world: World, draw: Random) -> str:
    delay_ms, seconds = draw.randrange(5, 120), draw.uniform(2.0, 5.0)
    world.servers.proxy(f"delay {delay_ms}")
    time.sleep(seconds)
    world.servers.proxy("delay 0")
    return f"{delay_ms} ms for {seconds:.1f} s"


def _redis_cut(world: World, draw: Random) -> str:
    cut = 0
    for _ in range(draw.randrange(1, 6)):
        cut += int(world.servers.proxy("cut"))
        time.sleep(draw.uniform(0.0, 0.5))
    return f"{cut} connections"


def _redis_swallow(world: World, draw: Random) -> str:
    before = int(world.servers.proxy("swallowed"))
    for _ in range(draw.randrange(2, 7)):
        world.servers.proxy("swallow 1")
        time.sleep(draw.uniform(0.1, 0.8))
        world.wait_for_work(5.0)
    world.servers.proxy("swallow 0")
    return f"{int(world.servers.proxy('swallowed')) - before} answers cut in half"


# -- the mail provider


def _smtp_drop(world: World, draw: Random) -> str:
    seconds = draw.uniform(0.5, 2.0)
    world.servers.sink(f"drop {seconds}")
    return f"for {seconds:.1f} s"


def _smtp_busy(world: World, draw: Random) -> str:
    seconds = draw.uniform(0.2, 0.6)
    world.servers.sink(f"busy {seconds}")
    return f"for {seconds:.1f} s"


FAULTS: tuple[Fault, ...] = (
    Fault("kill -9 of decide", "decide", _kill("decide")),
    Fault("kill -9 of learn", "learn", _kill("learn"), idle=True),
    Fault("kill -9 of deliver", "deliver", _kill("deliver"), idle=True),
    Fault("SIGTERM of a worker", "decide", _terminate, idle=True),
    Fault("a worker joins or leaves", "decide", _join, idle=True),
    Fault("decide is frozen and wakes up as a zombie", "decide", _freeze("decide")),
    Fault("deliver is frozen and wakes up as a zombie", "deliver", _freeze("deliver"), idle=True),
    Fault("the core raises once in a batch", "decide", _raise),
    Fault("the broker restarts", "kafka", _broker),
    Fault("Redis loses power: the end of its AOF is gone", "redis", _redis_power),
    Fault("Redis fails over to a lagging replica", "redis", _redis_fail_over),
    Fault("Redis restarts", "redis", _redis_restart),
    Fault("Redis is full and refuses writes", "redis", _redis_full),
    Fault("Redis is a read-only replica", "redis", _redis_read_only),
    Fault("Redis does not answer", "redis", _redis_frozen),
    Fault("Redis is slow", "redis", _redis_slow),
    Fault("connections to Redis are cut", "redis", _redis_cut),
    Fault("answers of Redis are cut off after EXEC", "redis", _redis_swallow),
    Fault("SMTP takes mails and hangs up without an answer", "smtp", _smtp_drop, idle=True),
    Fault("SMTP is busy", "smtp", _smtp_busy, idle=True),
)
# These take long and come once in a run (if it has more faults than these).
LONG: tuple[Fault, ...] = (
    Fault("a storm of rebalances", "decide", _storm, idle=True),
    Fault("a rolling upgrade with a changed subscription", "decide", _upgrade, idle=True),
)


class Planned(NamedTuple):
    """A fault, and after how many published events it comes."""

    number: int
    at_event: int
    fault: Fault


def plan(seed: int, events: int, faults: int, known: tuple[Fault, ...] = FAULTS) -> list[Planned]:
    """Draw the faults of a run: every kind once before any comes twice, in random order, at random moments.

    Examples
    --------
    >>> plan(7, 1000, 30) == plan(7, 1000, 30), len({one.fault.name for one in plan(7, 1000, 30)})
    (True, 22)
    """
    draw = Random(f"faults {seed}")
    kinds: list[Fault] = list(LONG)
    while len(kinds) < faults:
        kinds += draw.sample(known, min(len(known), faults - len(kinds)))
    kinds = kinds[:faults]
    draw.shuffle(kinds)
    moments = sorted(draw.randrange(events // 50, events - events // 20) for _ in kinds)
    return [Planned(number, at, fault) for number, (at, fault) in enumerate(zip(moments, kinds, strict=True), 1)]
