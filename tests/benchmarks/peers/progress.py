"""How every peer measures itself, and the command line that all of them share."""

from __future__ import annotations

import json
import os
import time
from typing import NamedTuple, NoReturn

WARM_SHARE = 5  # the first fifth is not measured
CHUNK = 4000  # events of a partition in one transaction of a backlog, as in Kairos


class Task(NamedTuple):
    """What a peer is told: `KAFKA TOPIC REDIS_URL EVENTS`; each partition of the topic is read from its beginning."""

    bootstrap: str
    topic: str
    redis_url: str
    events: int


def task_of(arguments: list[str]) -> Task:
    """Task of the command line."""
    bootstrap, topic, redis_url, events = arguments
    return Task(bootstrap, topic, redis_url, int(events))


class Progress:
    """Measures from the end of the warm-up to the last event, prints the figures and ends the process."""

    def __init__(self, expected: int) -> None:
        self.expected, self.seen = expected, 0
        self._warm = 0
        self._cpu = self._wall = 0.0

    def add(self, events: int = 1) -> None:
        self.seen += events
        if not self._warm and self.seen >= self.expected // WARM_SHARE:
            self._warm = self.seen
            self._cpu, self._wall = time.process_time(), time.perf_counter()
        elif self.seen >= self.expected:
            self._report()

    def _report(self) -> NoReturn:
        cpu, wall = time.process_time() - self._cpu, time.perf_counter() - self._wall
        print(json.dumps({"events": self.seen - self._warm, "cpu_s": cpu, "wall_s": wall}), flush=True)
        os._exit(0)
