"""Where the time of a decision goes: the steps of a lane in this process, under Python's profiler."""

from __future__ import annotations

import contextlib
import cProfile
import gc
import io
import pstats
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ground import ROOT, Ground
from benchmarks.shop import ShopRecord

from config.loader import load_definitions
from config.settings import PACKAGE_CONFIG_DIR
from config.topics import INPUT_NAMES
from models.brain import Brain
from models.campaigns.conditions import condition_fault
from models.chunk import Batch, merge, read_chunk
from models.wire import Record
from services.state.step import Position, begin, open_lane, read_position, work
from support.lane_store import BlockingLaneStore

CHUNK = 1000
LANE = 0


@dataclass(frozen=True, slots=True)
class Cost:
    """One function's own time."""

    where: str
    share: float
    calls_per_event: float


@dataclass(frozen=True, slots=True)
class HotPath:
    """Costs without Kafka, microseconds of processor time per event (unprofiled), and the largest ones (profiled)."""

    events: int
    parts_us: dict[str, float]
    largest: list[Cost]
    listing: str

    @property
    def cpu_us(self) -> float:
        """Processor time per event."""
        return sum(self.parts_us.values())


class HandFedLane:
    """A lane fed by hand, as in the worker: decode, load, work, commit; `parts` are the seconds spent on each."""

    def __init__(self, ground: Ground, brain: Brain) -> None:
        self._brain = brain
        self._store = BlockingLaneStore(ground.redis_url, LANE)
        self._store.commit(open_lane(self._store, LANE, 1, self._brain).change)
        self._position = read_position(self._store)
        self._published: list[int] = []
        self._end = 0
        self.parts = dict.fromkeys(("decode", "Redis: load", "work", "Redis: commit"), 0.0)

    def run(self, records: Sequence[ShopRecord]) -> None:
        """Apply `records`."""
        for first in range(0, len(records), CHUNK):
            chunk = records[first : first + CHUNK]
            marks = [time.process_time()]
            batch = self._decode(chunk)
            marks.append(time.process_time())
            loaded, users = begin(self._store, self._position, batch)
            marks.append(time.process_time())
            done = work(loaded, users, batch, self._brain, self._published)
            marks.append(time.process_time())
            due = self._store.commit(done.change)
            marks.append(time.process_time())
            self._position = Position(done.fence, done.state, due, batch.broker_ms)
            self._published = [done.fence.seq]
            for name, begun, ended in zip(self.parts, marks[:-1], marks[1:], strict=True):
                self.parts[name] += ended - begun

    def _decode(self, chunk: Sequence[ShopRecord]) -> Batch:
        batches = []
        start, self._end = self._end, self._end + len(chunk)
        for index, name in enumerate(INPUT_NAMES):
            found = [record for record in chunk if record.topic == name]
            records = [Record(start + i, 1 << 42, b"", record.value) for i, record in enumerate(found)]
            if records:
                batches.append(
                    read_chunk(
                        records,
                        topic=name,
                        topic_index=index,
                        lane=LANE,
                        lanes=1,
                        start=start,
                        end=self._end,
                        future_limit_ms=0,
                    )
                )
        return merge(batches)


@contextlib.contextmanager
def tamed_collector() -> Iterator[None]:
    """Python's garbage collector as the worker sets it."""
    gc.collect()
    gc.freeze()
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def measure(ground: Ground, records: Sequence[ShopRecord], top: int = 10) -> HotPath:
    """Run all `records` twice: once timed, once profiled."""
    brain = Brain(load_definitions(PACKAGE_CONFIG_DIR, condition_fault))
    with tamed_collector():
        ground.clear()
        timed = HandFedLane(ground, brain)
        timed.run(records)
        ground.clear()
        lane = HandFedLane(ground, brain)
        profiler = cProfile.Profile()
        profiler.runcall(lane.run, records)
    parts = {name: seconds / len(records) * 1e6 for name, seconds in timed.parts.items()}
    stats = pstats.Stats(profiler, stream=(listing := io.StringIO()))
    stats.sort_stats("tottime").print_stats(60)
    return HotPath(len(records), parts, _largest(stats, len(records), top), _anonymous(listing.getvalue()))


def _largest(stats: pstats.Stats, events: int, top: int) -> list[Cost]:
    rows: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = stats.stats  # type: ignore[attr-defined]
    total = sum(row[2] for row in rows.values())
    ranked = sorted(rows.items(), key=lambda item: item[1][2], reverse=True)[:top]
    return [Cost(_name(*place), row[2] / total, row[1] / events) for place, row in ranked]


def _anonymous(listing: str) -> str:
    """Without the folders of this machine."""
    lines = [re.sub(r"(/\S+?)?/site-packages/", "", line.replace(f"{ROOT}/", "")) for line in listing.splitlines()]
    return "\n".join(re.sub(r"/\S+/lib/python", "python", line).rstrip() for line in lines).strip() + "\n"


def _name(path: str, _line: int, function: str) -> str:
    if path == "~":
        return function.strip("<>").replace("method ", "").replace("built-in ", "")
    place = Path(path)
    ours = place.is_relative_to(ROOT) and "site-packages" not in path
    return f"{place.relative_to(ROOT) if ours else Path(*place.parts[-2:])}:{function}"
