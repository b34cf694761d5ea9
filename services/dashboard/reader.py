"""One reading of Redis for all who look: pages, JSON and metrics share it."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import deque
from collections.abc import Callable

from config.definitions import Definitions
from models.errors import IncompatibleSnapshotError
from models.fairness import counter_key
from services.dashboard.build import build_away, build_page, sample
from services.dashboard.chosen import counters_of
from services.dashboard.context import PageContext, Sample
from services.dashboard.status import away_status, unreadable_status
from services.state.live import LiveReader, RedisAwayError

HISTORY_MS = 5 * 60_000
SAMPLE_EVERY_MS = 1_000
READ_EVERY_S = 0.5

logger = logging.getLogger(__name__)


class PageReader:
    """Keep the newest page and the last minutes of its plots.

    Parameters
    ----------
    live : reads the keys.
    definitions : campaigns and experiments, for their words.
    now_ms : wall clock.
    every_s : pause between two readings; half a second brings a number to every open page within 1 s.

    Notes
    -----
    Memory is bounded by the history: 300 points.
    """

    def __init__(
        self,
        live: LiveReader,
        definitions: Definitions,
        now_ms: Callable[[], int],
        every_s: float = READ_EVERY_S,
    ) -> None:
        self._live = live
        self._definitions = definitions
        self._now_ms = now_ms
        self._every_s = every_s
        self._experiments = tuple(one.id for one in definitions.experiments)
        self._campaigns = tuple(one.id for one in definitions.campaigns)
        fairness = definitions.policy.fairness
        compared = () if fairness is None else (counter_key(fairness.attribute),)
        self._counters = (*compared, *counters_of(definitions))
        self._history: deque[Sample] = deque(maxlen=HISTORY_MS // SAMPLE_EVERY_MS)
        self._away = False
        self._task: asyncio.Task[None] | None = None
        self._page: PageContext | None = None

    @property
    def page(self) -> PageContext | None:
        """The newest page; None before the first reading."""
        return self._page

    @property
    def broken(self) -> bool:
        """Whether the background reading ended by an error nobody foresaw."""
        return self._task is not None and _unforeseen(self._task) is not None

    async def start(self) -> None:
        """Read once, then go on reading in the background."""
        await self.read()
        self._task = asyncio.create_task(self._run(), name="page-reader")
        self._task.add_done_callback(_end_when_broken)

    async def stop(self) -> None:
        """End the background reading and close the connections."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._live.close()

    async def read(self) -> PageContext:
        """Read now. A Redis that is away gives the page that says so; it raises nothing."""
        try:
            raw = await self._live.read(self._experiments, self._campaigns, self._counters)
        except RedisAwayError as error:
            if not self._away:
                logger.warning("dashboard.redis_away address=%s", error.address)
            self._away = True
            self._page = build_away(away_status(error.address), tuple(self._history), self._now_ms())
            return self._page
        except IncompatibleSnapshotError as error:
            self._page = build_away(unreadable_status(str(error)), tuple(self._history), self._now_ms())
            return self._page
        if self._away:
            logger.info("dashboard.redis_back")
        self._away = False
        page = build_page(raw, self._definitions, tuple(self._history), self._now_ms())
        if not self._history or page.at_ms - self._history[-1].at_ms >= SAMPLE_EVERY_MS * 0.9:
            # Minutes ago is where a plot starts, also when the page could not read for a while.
            while self._history and self._history[0].at_ms < page.at_ms - HISTORY_MS:
                self._history.popleft()
            self._history.append(sample(page))
        self._page = page
        return page

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self.read()


def _unforeseen(task: asyncio.Task[None]) -> BaseException | None:
    return task.exception() if task.done() and not task.cancelled() else None


def _end_when_broken(task: asyncio.Task[None]) -> None:
    """End the process on an error nobody foresaw: a page that stands still would show old numbers as true."""
    if (error := _unforeseen(task)) is not None:
        logger.critical("dashboard.reader_failed", exc_info=error)
        signal.raise_signal(signal.SIGTERM)
