"""The worker decide, as it is, with a meter that also notes how old each event was when its decision was in Redis.

    python -m benchmarks.latency_worker FILE

An event's `timestamp` is the time at which it was handed to the producer (wall clock, whole ms, rounded down), so

    latency = wall clock after the transaction (EXEC answered, synced to disk) - timestamp

holds everything: the producer's batching, the broker, the fetch, waiting in the lane, the core, Redis. Both clocks are
that of one machine. The histogram goes to FILE as JSON when the worker ends in order.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faust

from config.settings import load_settings
from models.chunk import Batch
from services.logs import configure_logs
from services.state.step import Done
from streams import decide
from streams.app import run
from streams.metrics import DecideMeter
from streams.transport import Chunk


class AgeMeter(DecideMeter):
    """Counts events by (second in which they were published, age in ms)."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.ages: dict[tuple[int, int], int] = {}

    def committed(self, lane: int, batch: Batch, done: Done, chunks: Sequence[Chunk]) -> None:
        now_ms = int(time.time() * 1000)
        ages = self.ages
        for event in batch.inputs:
            seen = (event.at // 1000, now_ms - event.at)
            ages[seen] = ages.get(seen, 0) + 1
        super().committed(lane, batch, done, chunks)

    def write(self, path: Path) -> None:
        """Write the histogram: [second, age in ms, events]."""
        path.write_text(json.dumps([[*seen, events] for seen, events in sorted(self.ages.items())]))


def main() -> None:
    """Run until SIGTERM."""
    settings = load_settings()
    configure_logs(settings.log_level)
    # The role makes its own meter; everything else of it stays as it is.
    setattr(decide, "DecideMeter", AgeMeter)  # noqa: B010
    role = decide.DecideRole(settings)
    meter = role.meter
    assert isinstance(meter, AgeMeter)

    async def stopped(app: faust.App, **_: object) -> None:
        meter.write(Path(sys.argv[1]))

    role.app.on_before_shutdown.connect(stopped)  # type: ignore[arg-type]
    run(role.app, settings.log_level)


if __name__ == "__main__":
    main()
