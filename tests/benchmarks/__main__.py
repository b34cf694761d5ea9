"""``make bench``: measure speed and size in one run, print the table and write docs/performance.md.

    PYTHONPATH=tests python -m benchmarks [--quick] [--only peers,day,...]

Takes about twenty minutes. ``--only scale`` measures two workers beside one and writes that into docs/scale.md. ``--quick`` (four minutes, smaller runs, nothing written) shows that everything works; its
figures are those of cold processes. Exit code 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from datetime import datetime

from benchmarks import (
    growth,
    hot_path,
    latency,
    learning,
    reading,
    scale_out,
    scale_page,
    sections,
    sizes,
    starts,
    whole_job,
)
from benchmarks.ground import ROOT, Ground
from benchmarks.ground import start as start_ground
from benchmarks.peers_table import PEERS
from benchmarks.report import Report, Section
from benchmarks.shop import DAY_SPAN_MS, LIVE_SPAN_MS, ShopRecord, publish, shop_events
from benchmarks.venvs import python_of, versions_of
from rich.console import Console

PARTS = ("peers", "day", "latency", "users", "rules", "starts", "profile", "learning", "size")
ALONE = ("scale",)
TARGET = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
PROFILE = ROOT / "docs" / "performance-profile.txt"


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small runs, nothing written")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts of it, of {','.join(PARTS + ALONE)}")
    given = parser.parse_args()
    wanted = [part for part in PARTS + ALONE if part in given.only.split(",")]
    if not wanted:
        parser.error(f"no such part: {given.only}; there are")
    console, begun_s = Console(), time.monotonic()
    if not console.is_terminal:
        console = Console(width=132)
    with console.status("Starting broker and Redis ...") as status, start_ground() as ground:
        report = Report(datetime.now().astimezone().date(), ground.broker, _redis_version(ground))
        bench = Bench(ground, status.update, quick=given.quick)
        for part in wanted:
            report.sections.append(bench.measure(part))
    report.took_s = time.monotonic() - begun_s
    report.show(console)
    if not given.quick and len(wanted) == len(PARTS):
        TARGET.write_text(report.markdown())
        PROFILE.write_text(bench.listing)
        for plot in (plot for section in report.sections for plot in section.plots):
            (IMAGES / plot.name).write_text(plot.svg)
        console.print(f"Written: {TARGET.relative_to(ROOT)}, {PROFILE.relative_to(ROOT)}")
    if wanted == ["scale"] and not given.quick:
        console.print(f"Written: {scale_page.write(report).relative_to(ROOT)}")
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
        measures = {
            "peers": self._peers,
            "day": self._day,
            "latency": self._latency,
            "users": self._users,
            "rules": self._rules,
            "starts": self._starts,
            "profile": self._profile,
            "learning": self._learning,
            "size": self._size,
            "scale": self._scale,
        }
        return measures[part]()

    def _peers(self) -> Section:
        events, few, rounds = (60_000, 4_000, 1) if self._quick else (400_000, 20_000, 3)
        records = _records(events)
        runs = whole_job.compare(self._ground, records, few, rounds, self._tell)
        versions = [
            line
            for peer in PEERS
            if peer.versions
            for line in versions_of(python_of(peer.venv, self._tell), peer.versions)
        ]
        mean_bytes = sum(len(record.value) for record in records) / len(records)
        return sections.peers(runs, list(dict.fromkeys(versions)), mean_bytes)

    def _day(self) -> Section:
        if not self._ground.apache:
            return sections.day(None)
        self._tell("A day's log with its timers ...")
        self._ground.renew_topics()
        records = _records(30_000 if self._quick else 200_000, DAY_SPAN_MS)
        asyncio.run(publish(self._ground.bootstrap, records))
        return sections.day(whole_job.kairos_run(self._ground, len(records)))

    def _latency(self) -> Section:
        found = []
        python_of(latency.LOAD_VENV, self._tell)
        for rate in latency.RATES if self._ground.apache else ():
            self._tell(f"Latency at {rate:,} events/s ...")
            self._ground.renew_topics()
            self._ground.clear()
            found.append(latency.measure(self._ground, rate, latency.WARM_S + 5 if self._quick else latency.SECONDS))
        return sections.delay(found)

    def _users(self) -> Section:
        counts, events = ((10_000, 100_000), 20_000) if self._quick else ((10_000, 100_000, 1_000_000), 120_000)
        return sections.users(growth.by_users(self._ground, counts, events, _now_ms(), self._tell))

    def _rules(self) -> Section:
        events = 16_000 if self._quick else 80_000
        ground, now_ms, tell = self._ground, _now_ms(), self._tell
        return sections.rules(
            growth.by_campaigns(ground, (1, 10, 100), events, now_ms, tell, all_match=False),
            growth.by_campaigns(ground, (1, 10, 100), events // 4, now_ms, tell, all_match=True),
            growth.by_experiments(ground, (1, 10, 50), events, now_ms, tell),
        )

    def _starts(self) -> Section:
        if not self._ground.apache:
            return sections.starts(None)
        python_of(latency.LOAD_VENV, self._tell)
        self._tell("Start-up, and recovery after kill -9 ...")
        self._ground.renew_topics()
        return sections.starts(starts.measure(self._ground, 20 if self._quick else 40))

    def _scale(self) -> Section:
        if not self._ground.apache:
            return scale_page.section(None)
        records = _records(60_000 if self._quick else 300_000)
        return scale_page.section(scale_out.measure(self._ground, records, self._tell))

    def _profile(self) -> Section:
        self._tell("Profile of the hot path ...")
        found = hot_path.measure(self._ground, _records(20_000 if self._quick else 100_000))
        self.listing = found.listing
        return sections.hot_path(found)

    def _learning(self) -> Section:
        found = learning.measure(self._tell, quick=self._quick)
        client = self._ground.redis()
        try:
            read = reading.measure(self._ground.redis_url, client, found, self._tell)
        finally:
            client.close()
        return sections.predictions(found, read)

    def _size(self) -> Section:
        self._tell("Size: the shop's year ...")
        return sections.size(sizes.measure(self._ground, days=60 if self._quick else None))


def _now_ms() -> int:
    return int(time.time() * 1000)


def _records(events: int, span_ms: int = LIVE_SPAN_MS) -> list[ShopRecord]:
    return list(shop_events(events, _now_ms(), span_ms=span_ms))


def _redis_version(ground: Ground) -> str:
    client = ground.redis()
    found = client.info("server")
    client.close()
    return str(found["redis_version"])


if __name__ == "__main__":
    main()
