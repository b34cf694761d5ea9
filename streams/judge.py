"""The role judge: a turn of :class:`services.judge.Judge` each second, with the health of the other roles.

It reads no topic, so it is no Faust app: what it judges lies in Redis. A second process only repeats looks, and goes on
where the first one dies.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
import uvloop

from config.definitions import Definitions
from config.loader import DefinitionError, load_definitions
from config.settings import Settings
from config.topics import VERDICTS
from models.campaigns.conditions import condition_fault
from models.errors import KairosError, TransientError
from models.experiments.record import VerdictChanged
from services.bootstrap import BAD_INPUT
from services.bus import Publisher
from services.bus.reader import read_topic
from services.judge import Judge, Turn
from services.state.frozen import hold_frozen
from services.state.live import publish_worker, retire_worker
from services.state.redis_lane import connect, translated
from services.watched import WatchedFolder
from streams.vitals import STUCK, Vitals

log = structlog.get_logger(__name__)
ROLE: Final = "judge"
# A look may take this share of the time at most, however many experiments there are.
SHARE: Final = 0.2
CONFIRM_S: Final = 10.0


class JudgeRole:
    """One process of the role."""

    def __init__(self, settings: Settings, wall_ms: Callable[[], int]) -> None:
        self.settings = settings
        self.vitals = Vitals(ROLE, self._unready, self._told)
        self._wall_ms = wall_ms
        self._worker = f"{socket.gethostname()}-{os.getpid()}"
        self._redis = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
        self._bus = Publisher(settings.kafka.bootstrap, client_id="kairos-judge", linger_ms=0)
        self._rules = WatchedFolder(settings.config_dir, _definitions, (DefinitionError,), (".yaml", ".yml"))
        self._taken: Definitions | None = None
        with suppress(TransientError):  # looked at again at the first turn
            self._take()
        self._judge = Judge(self._redis, settings.lanes, self._publish, self._published)
        self._turn = Turn()
        self._trouble = "it has not judged yet"
        self._turns = self._events = 0
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Judge until SIGTERM."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ends)
        asked = asyncio.Event()
        loop.add_signal_handler(signal.SIGHUP, asked.set)
        looked_s = 0.0
        log.info("judge", experiments=len(self._rules.value.experiments))
        while not self._stop.is_set():
            began_s = time.monotonic()
            reload_s = self.settings.reload_s
            if asked.is_set() or (reload_s and began_s - looked_s >= reload_s):
                looked_s = began_s
                await asyncio.to_thread(self._rules.look, at_once=asked.is_set())
                asked.clear()
            await self._limited(asyncio.create_task(asyncio.to_thread(self._one_turn)))
            took_s = time.monotonic() - began_s
            pause_s = max(self.settings.judge_every_ms / 1000 - took_s, took_s * (1.0 / SHARE - 1.0))
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stop.wait()
        await asyncio.to_thread(self._retire)

    async def _limited(self, turn: asyncio.Task[None]) -> None:
        """Wait for a turn; one that never ends is ended with the process."""
        await asyncio.wait([turn], timeout=self.settings.watchdog_s + CONFIRM_S)
        if not turn.done():
            log.error("judge_hangs", seconds=self.settings.watchdog_s)
            os._exit(STUCK)
        turn.result()

    def _one_turn(self) -> None:
        began_s = time.monotonic()
        try:
            self._turn = self._judge.turn(self._take().experiments)
        except (KairosError, DefinitionError) as error:
            self._trouble = str(error)
            log.warning("turn_failed", error=str(error))
            return
        self._trouble = ""
        self._turns += 1
        self._events += self._turn.events
        try:
            with translated():
                publish_worker(self._redis, ROLE, self._worker, self._figures((time.monotonic() - began_s) * 1000))
        except TransientError as error:
            log.warning("live_figures_skipped", error=str(error))

    def _take(self) -> Definitions:
        """The newest definitions that change no running experiment; decide refuses the same ones."""
        newest = self._rules.value
        if newest is not self._taken:
            try:
                hold_frozen(self._redis, newest.experiments, self.settings.config_dir)
            except DefinitionError as error:
                if self._taken is None:
                    raise
                self._rules.refuse(self._taken, str(error))
                return self._taken
            self._taken = newest
        return newest

    def _figures(self, took_ms: float) -> dict[str, Any]:
        return {
            "at": self._wall_ms(),
            "events_total": self._events,
            "events_per_s": 0.0,
            "turns_total": self._turns,
            "turn_ms": round(took_ms, 1),
            "judged": self._turn.judged,
            "watermark": self._turn.watermark,
            "faults": self._turn.faults,
            "config_error": self._rules.error,
            "cpu_s": time.process_time(),
        }

    def _publish(self, events: Sequence[VerdictChanged]) -> None:
        for event in events:
            headers = [
                ("ce_specversion", b"1.0"),
                ("ce_id", event.id.encode()),
                ("ce_type", event.type.encode()),
                ("ce_source", b"kairos/judge"),
            ]
            self._bus.publish(VERDICTS.name, msgspec.json.encode(event), event.experiment, headers=headers)
        self._bus.flush(CONFIRM_S)

    def _published(self) -> Iterator[VerdictChanged]:
        for record in read_topic(self.settings.kafka.bootstrap, VERDICTS.name, stall_s=CONFIRM_S):
            try:
                yield msgspec.json.decode(record.value or b"", type=VerdictChanged)
            except msgspec.DecodeError as error:
                log.warning("verdict_unreadable", offset=record.offset, error=str(error))

    def _unready(self) -> list[str]:
        return [self._trouble] if self._trouble else []

    def _told(self) -> dict[str, Any]:
        return {
            "judged": self._turn.judged,
            "watermark": self._turn.watermark,
            "faults": self._turn.faults,
            "config_error": self._rules.error,
        }

    def _ends(self) -> None:
        self.vitals.stop_began()
        self._stop.set()

    def _retire(self) -> None:
        try:
            with translated():
                retire_worker(self._redis, ROLE, self._worker)
            self._bus.close(1.0)
        except TransientError as error:
            log.warning("live_figures_skipped", error=str(error))


def _definitions(folder: Path) -> Definitions:
    return load_definitions(folder, condition_fault)


def judge(settings: Settings) -> None:
    """Run the role until SIGTERM: ``python -m streams judge``."""
    try:
        role = JudgeRole(settings, lambda: int(time.time() * 1000))
    except DefinitionError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(BAD_INPUT)
    loop = uvloop.new_event_loop()
    role.vitals.start(loop, stuck_s=settings.watchdog_s, host=settings.health_host, port=settings.health_port)
    try:
        loop.run_until_complete(role.run())
    finally:
        role.vitals.close()
        loop.close()
