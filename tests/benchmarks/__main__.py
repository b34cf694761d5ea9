"""``make bench``: measure speed and size in one run, print the table and write docs/performance.md.

    PYTHONPATH=tests python -m benchmarks [--quick] [--only speed,size,latency,profile] [--no-write]

Takes about five minutes. ``--quick`` (a minute, smaller runs, nothing written) shows that everything works. Exit code 1
if a goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from datetime import datetime

from benchmarks import hot_path, latency, sections, sizes, whole_job
from benchmarks.ground import ROOT, Ground, start
from benchmarks.report import Report, Section
from benchmarks.shop import DAY_SPAN_MS, LIVE_SPAN_MS, ShopRecord, publish, shop_events
from rich.console import Console

PARTS = ("speed", "latency", "profile", "size")
TARGET = ROOT / "docs" / "performance.md"
PROFILE = ROOT / "docs" / "performance-profile.txt"


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small runs, nothing written")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts of it, of {','.join(PARTS)}; nothing written")
    given = parser.parse_args()
    wanted = [part for part in PARTS if part in given.only.split(",")]
    if not wanted:
        parser.error(f"no such part: {given.only}; there are {', '.join(PARTS)}")
    console, begun_s = Console(), time.monotonic()
    with console.status("Starting broker and Redis ...") as status, start() as ground:
        report = Report(datetime.now().astimezone().date(), ground.broker, _redis_version(ground))
        bench = Bench(ground, status.update, quick=given.quick)
        for part in wanted:
            report.sections.append(bench.measure(part))
    report.took_s = time.monotonic() - begun_s
    report.show(console)
    if not given.quick and len(wanted) == len(PARTS):
        TARGET.write_text(report.markdown())
        PROFILE.write_text(bench.listing)
        console.print(f"Written: {TARGET.relative_to(ROOT)}, {PROFILE.relative_to(ROOT)}")
    missed = "; ".join(f"{row.what}: {row.value}, wanted {row.goal}" for row in report.missed)
    console.print(f"{report.took_s / 60:.1f} minutes. " + (f"MISSED: {missed}" if missed else "All goals are reached."))
    sys.exit(1 if missed else 0)


class Bench:
    """The parts, on one ground.

    Parameters
    ----------
    ground : broker and Redis. tell : shows what is going on. quick : small runs.
    """

    def __init__(self, ground: Ground, tell: Callable[[str], object], *, quick: bool) -> None:
        self._ground, self._tell, self._quick = ground, tell, quick
        self.listing = ""

    def measure(self, part: str) -> Section:
        """One part."""
        return {"speed": self._speed, "latency": self._latency, "profile": self._profile, "size": self._size}[part]()

    def _speed(self) -> Section:
        events, peer_events, rounds = (60_000, 5_000, 1) if self._quick else (400_000, 20_000, 3)
        ground, day = self._ground, None
        if ground.apache:
            self._tell("Speed: a day's log with its timers ...")
            records = _records(events // 2, DAY_SPAN_MS)
            asyncio.run(publish(ground.bootstrap, records))
            day = whole_job.kairos_run(ground, len(records))
            ground.renew_topics()
        self._tell("Speed: Kairos and the tutorial-style worker in turn ...")
        records = _records(events)
        kairos, peer = whole_job.compare(ground, records, peer_events, rounds)
        mean_bytes = sum(len(record.value) for record in records) / len(records)
        return sections.speed(kairos, peer, day, mean_bytes)

    def _latency(self) -> Section:
        self._tell("Latency ...")
        seconds = 8 if self._quick else latency.SECONDS
        return sections.delay(latency.measure(self._ground, seconds) if self._ground.apache else None)

    def _profile(self) -> Section:
        self._tell("Profile of the hot path ...")
        found = hot_path.measure(self._ground, _records(20_000 if self._quick else 100_000))
        self.listing = found.listing
        return sections.hot_path(found)

    def _size(self) -> Section:
        self._tell("Size: the shop's year ...")
        return sections.size(sizes.measure(self._ground, days=60 if self._quick else None))


def _records(events: int, span_ms: int = LIVE_SPAN_MS) -> list[ShopRecord]:
    return list(shop_events(events, int(time.time() * 1000), span_ms=span_ms))


def _redis_version(ground: Ground) -> str:
    client = ground.redis()
    found = client.info("server")
    client.close()
    return str(found["redis_version"])


if __name__ == "__main__":
    main()
