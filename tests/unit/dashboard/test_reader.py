"""The page's reader: a fault that nobody foresaw ends the process, and is told from an orderly end."""

import asyncio
import signal
from collections.abc import Iterable
from typing import cast

import pytest

from config.definitions import Definitions
from services.dashboard.reader import PageReader
from services.state.live import LiveReader, RawLive


class Figures:
    """Reads well `good` times, then raises."""

    def __init__(self, good: int) -> None:
        self.good = good

    async def read(self, experiments: Iterable[str], campaigns: Iterable[str], counters: Iterable[str] = ()) -> RawLive:
        self.good -= 1
        if self.good < 0:
            raise RuntimeError("nobody thought of this")
        return RawLive()

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("good", "broken"), [(2, True), (10_000, False)])
async def test_a_broken_reader_asks_for_the_end_and_says_so(
    good: int, broken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    reader = PageReader(cast(LiveReader, Figures(good)), Definitions(), lambda: 1_700_000_000_000, every_s=0.001)
    await reader.start()
    await asyncio.sleep(0.1)
    await reader.stop()
    assert reader.broken is broken
    assert raised == ([signal.SIGTERM] if broken else [])
