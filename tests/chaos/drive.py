"""Publish the file while things go wrong, and wait until everything that follows from it is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import msgspec
from chaos.faults import Planned, World
from chaos.shop import TICK_EVERY, TOPICS, read_input, value_of
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from models.delivery import DeliverFence
from models.errors import TransientError
from services.bus import Publisher
from services.state.lanes import read_fences
from services.state.ledger import fence_key
from support.journal import last_seq

AT_ONCE = 2
FAR_BEHIND = 20_000
STUCK_S = 150.0


@dataclass(slots=True)
class Done:
    """A fault that was carried out."""

    number: int
    at_event: int
    name: str
    what: str
    began_s: float
    took_s: float


class StuckError(Exception):
    """Nothing moves any more."""


class Faults:
    """Carries out the planned faults, at most two at a time, when their moment comes.

    Parameters
    ----------
    world : what they work on. planned : in order. seed : for what is decided at the moment itself.
    """

    def __init__(self, world: World, planned: list[Planned], seed: int) -> None:
        self._world, self._left, self._seed = world, list(planned), seed
        self._busy: list[threading.Thread] = []
        self._began = time.monotonic()
        self.done: list[Done] = []
        self.active: dict[int, str] = {}
        self.errors: list[BaseException] = []

    @property
    def late(self) -> bool:
        """Whether more faults are due than may happen at once."""
        return len(self.active) >= AT_ONCE

    def due(self, published: int) -> bool:
        """Start what is due after `published` events; False while something due has to wait."""
        self._busy = [thread for thread in self._busy if thread.is_alive()]
        if self.errors:
            raise self.errors[0]
        while self._left and self._left[0].at_event <= published:
            if len(self._busy) >= AT_ONCE:
                return False
            planned = self._left.pop(0)
            self.active[planned.number] = planned.fault.name
            thread = threading.Thread(target=self._carry_out, args=(planned, published), name=planned.fault.name)
            thread.start()
            self._busy.append(thread)
        return True

    def join(self) -> None:
        """Wait for those under way."""
        for thread in self._busy:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def _carry_out(self, planned: Planned, published: int) -> None:
        fault, began = planned.fault, time.monotonic()
        try:
            with self._world.locks[fault.on]:
                if not fault.idle:
                    self._world.wait_for_work()
                began = time.monotonic()
                what = fault.run(self._world, Random(f"fault {self._seed} {planned.number}"))
            took_s = time.monotonic() - began
            self.done.append(Done(planned.number, published, fault.name, what, began - self._began, took_s))
        except BaseException as error:  # noqa: BLE001 - raised again by the driver
            error.add_note(f"in fault {planned.number}, {fault.name}")
            self.errors.append(error)
        finally:
            self.active.pop(planned.number, None)


class Driver:
    """Publishes the input.

    Parameters
    ----------
    world, faults : what goes wrong meanwhile. bootstrap, lanes : where to. path : of the file.
    tell : called with (events published, records that wait).
    """

    def __init__(
        self, world: World, faults: Faults, bootstrap: str, lanes: int, path: Path, tell: Callable[[int, int], None]
    ) -> None:
        self._world, self._faults, self._bootstrap, self._lanes = world, faults, bootstrap, lanes
        self._path, self._tell = path, tell
        self._moved_at, self._applied = time.monotonic(), -1

    def publish(self, seconds: float) -> int:
        """Publish everything, spread over at least `seconds`; returns the number of records."""
        lines = events = 0
        total = sum(1 for line in read_input(self._path) if line[4] != "tick")
        began, looked, pause_s = time.monotonic(), 0.0, 0.0
        with Publisher(self._bootstrap, delivery_timeout_ms=120_000) as bus:
            for line in read_input(self._path):
                bus.publish(line[0], value_of(line), line[2], line[1])
                lines += 1
                if line[4] == "tick":
                    continue
                events += 1
                if events % 50:
                    continue
                # Twice as slow as planned while faults queue up: traffic goes on during every one of them.
                waits = not self._faults.due(events)
                ahead_s = began + pause_s + events / total * seconds - time.monotonic()
                if ahead_s > 0 or waits:
                    extra_s = 2 * 50 * seconds / total if waits else 0.0
                    pause_s += extra_s
                    time.sleep(max(0.0, ahead_s) + extra_s)
                while time.monotonic() - looked > 0.5:
                    looked = time.monotonic()
                    behind = self._behind(lines)
                    self._tell(events, behind)
                    if behind > FAR_BEHIND:
                        time.sleep(0.2)
                        looked = 0.0
            bus.flush()
        while not self._faults.due(events):
            time.sleep(0.1)
        return lines

    def _behind(self, lines: int) -> int:
        """About how many records wait for decide; raises when nothing has moved for long."""
        self._world.fleet.check()
        try:
            client = self._world.servers.client()
            fences = read_fences(client, range(self._lanes))
            client.close()
        except TransientError:
            return 0 if time.monotonic() - self._moved_at < STUCK_S else self._stuck("Redis does not answer")
        applied = sum(max(0, offset) for fence in fences.values() for offset in fence.offsets)
        if applied != self._applied or lines - applied < TICK_EVERY:
            self._applied, self._moved_at = applied, time.monotonic()
        if time.monotonic() - self._moved_at > STUCK_S:
            self._stuck(f"{lines - applied} records wait")
        return max(0, lines - applied)

    def _stuck(self, why: str) -> int:
        raise StuckError(f"nothing has moved for {STUCK_S:.0f} s: {why}; active faults: {self._faults.active}")

    def settle(self, tell: Callable[[int], None], timeout_s: float = 600.0) -> None:
        """Return when everything is applied, published, delivered and told, and stays so for two seconds."""
        consumer = KafkaConsumer(bootstrap_servers=self._bootstrap)
        deadline, quiet, least = time.monotonic() + timeout_s, 0, 1 << 60
        moved = time.monotonic()
        try:
            while quiet < 8:
                time.sleep(0.25)
                try:
                    waiting = self._waiting(consumer)
                except (TransientError, KafkaError):
                    continue
                finally:
                    self._world.fleet.check()
                    if time.monotonic() > deadline or time.monotonic() - moved > STUCK_S:
                        raise StuckError(f"not settled; the least that waited: {least}")
                tell(waiting)
                if waiting != least:
                    least, moved = waiting, time.monotonic()
                quiet = quiet + 1 if waiting == 0 else 0
        finally:
            consumer.close(autocommit=False)

    def _waiting(self, consumer: KafkaConsumer) -> int:
        """Records, messages and outbox entries that still have to be dealt with."""
        places = [TopicPartition(name, lane) for name in (*TOPICS, "messages") for lane in range(self._lanes)]
        ends = consumer.end_offsets(places)
        client = self._world.servers.client()
        fences = read_fences(client, range(self._lanes))
        # The journal entry is the last thing that a batch publishes.
        waiting = sum(fences[lane].seq - last_seq(consumer, lane) for lane in range(self._lanes))
        for (name, lane), end in ends.items():
            if name == "messages":
                raw = client.get(fence_key(lane))
                at = (msgspec.msgpack.decode(raw, type=DeliverFence).offset or 0) if raw else 0
            else:
                at = max(0, fences[lane].offsets[TOPICS.index(name)])
            waiting += end - at
        client.close()
        return int(waiting)
