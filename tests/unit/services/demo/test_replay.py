"""The closed loop against a watermark source that is played by the test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count

import pytest

from config.topics import DAY_MS, INPUT_NAMES
from services.demo.events import ShopEvent, iso
from services.demo.reactions import Reaction
from services.demo.replay import Pace, Progress, Replay, ReplayStalledError

LANES = 3
START = 1_262_304_000_000


class Line:
    """A shop with one event an hour, the bus, and lanes that take in one flushed slice a look."""

    def __init__(self, days: int = 10) -> None:
        self.events = [
            ShopEvent(START + hour * 3_600_000, hour, "clickstream", f"u{hour}", b"%d" % hour)
            for hour in range(days * 24)
        ]
        self.log: list[tuple[str, bytes, str | None, int | None]] = []
        self.flushed = 0
        self.read: dict[int, int] = dict.fromkeys(range(LANES), 0)
        self.stuck: int | None = None
        self.skew: list[int] = []

    def until(self, end_ms: int) -> list[ShopEvent]:
        found = [event for event in self.events if event.at_ms < end_ms]
        self.events = self.events[len(found) :]
        return found

    def publish(self, topic: str, event: bytes, user_id: str | None = None, partition: int | None = None) -> None:
        self.log.append((topic, event, user_id, partition))

    def flush(self) -> None:
        self.flushed = len(self.log)

    def ticks(self) -> list[int]:
        found = [json.loads(event)["timestamp"] for _, event, user, _ in self.log[: self.flushed] if user is None]
        return sorted({START + (_ms(text) - START) for text in found})

    def watermarks(self) -> Mapping[int, int]:
        published = self.ticks()
        for lane in range(LANES):
            later = [mark for mark in published if mark > self.read[lane]]
            if later and lane != self.stuck:
                self.read[lane] = later[0]
        self.skew.append((published[-1] - min(self.read.values())) // DAY_MS if published else 0)
        return dict(self.read)


def _ms(text: str) -> int:
    for day in range(-1, 400):
        if iso(START + day * DAY_MS)[:10] == text[:10]:
            return next(at for at in range(START + day * DAY_MS, START + (day + 1) * DAY_MS, 1000) if iso(at) == text)
    raise AssertionError(text)


def replay(line: Line, **pace: object) -> Replay:
    seconds = count()
    return Replay(
        line,
        line,
        line.watermarks,
        LANES,
        pace=Pace(**{"events_min": 1, **pace}),  # type: ignore[arg-type]
        clock_s=lambda: float(next(seconds)),
        pause=lambda _: None,
    )


def test_everything_goes_out_in_order_with_a_tick_into_every_partition_after_each_slice() -> None:
    line = Line()
    progress = replay(line).run(START, START + 10 * DAY_MS)
    assert [int(event) for _, event, user, _ in line.log if user is not None] == list(range(240))
    assert (progress.slices, progress.events, progress.ticks) == (10, 240, 10 * LANES * len(INPUT_NAMES))
    since: list[str] = []
    ticked: set[tuple[str, int | None]] = set()
    for topic, event, user, partition in line.log:
        if user is None:
            ticked.add((topic, partition))
            since = []
        else:
            if ticked:
                assert ticked == {(name, lane) for name in INPUT_NAMES for lane in range(LANES)}
                ticked = set()
            since.append(event.decode())
    assert since == []
    assert progress.clock_ms == START + 10 * DAY_MS
    assert progress.share == 1.0


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_the_log_is_never_more_than_the_slices_under_way_ahead_of_the_slowest_lane(ahead: int) -> None:
    line = Line()
    replay(line, ahead=ahead).run(START, START + 10 * DAY_MS)
    seen = [days for days in line.skew if days < 1000]  # the first look finds lanes that have no time yet
    assert max(seen) <= ahead + 1


def test_quiet_days_are_joined_up_to_the_longest_slice() -> None:
    line = Line()
    progress = replay(line, events_min=60, longest_ms=2 * DAY_MS).run(START, START + 10 * DAY_MS)
    assert progress.slices == 5
    progress = replay(Line(), events_min=60, longest_ms=5 * DAY_MS).run(START, START + 9 * DAY_MS)
    assert progress.slices == 3


def test_a_lane_that_does_not_move_is_an_error_that_names_it() -> None:
    line = Line()
    line.stuck = 2
    with pytest.raises(ReplayStalledError, match=r"\{2: "):
        replay(line, stall_s=20.0).run(START, START + 10 * DAY_MS)


def reaction(at_ms: int, name: str, message: str = "m1") -> Reaction:
    return Reaction(at_ms, message, "feedback", "u1", name, f'{{"event":"{name}","timestamp":"', '"}')


def published(line: Line) -> dict[str, str]:
    return {
        found["event"]: found["timestamp"]
        for _, event, user, _ in line.log
        if user == "u1" and isinstance(found := json.loads(event), dict)
    }


def test_reactions_go_out_at_their_time() -> None:
    line, due = Line(), [[reaction(START + 5 * DAY_MS + 1000, "Email Opened")]]
    run = replay(line)
    run.outcomes = lambda: due.pop() if due else []
    progress = run.run(START, START + 10 * DAY_MS)
    assert published(line) == {"Email Opened": iso(START + 5 * DAY_MS + 1000)}
    assert (progress.reactions, progress.shifted) == (1, 0)


def test_reactions_known_too_late_move_together_and_never_before_the_slice() -> None:
    line = Line()
    opened, clicked = START + DAY_MS - 60_000, START + DAY_MS + 60_000
    run = replay(line)
    waiting: list[Reaction] = []
    run.outcomes = lambda: [waiting.pop(0) for _ in range(len(waiting))]
    run.on_progress = lambda progress: (
        waiting.extend([reaction(opened, "Email Opened"), reaction(clicked, "Email Link Clicked")])
        if progress.slices == 4 and progress.reactions == 0 and not run._due and not waiting
        else None
    )
    progress = run.run(START, START + 10 * DAY_MS)
    found = published(line)
    # Known while slice 4 was under way: the next slice starts on day 4, so both move by the same whole days.
    assert found == {
        "Email Opened": iso(opened + 4 * DAY_MS),
        "Email Link Clicked": iso(clicked + 4 * DAY_MS),
    }
    assert (progress.reactions, progress.shifted) == (2, 1)


def test_settle_waits_for_outcomes_and_ends_with_one_more_tick() -> None:
    line = Line(days=2)
    run = replay(line)
    progress = run.run(START, START + 2 * DAY_MS)
    left = [3, 2, 1, 0]
    assert run.settle(progress, lambda: left.pop(0)) == 0
    assert line.ticks()[-1] == START + 2 * DAY_MS + 1000
    assert run.settle(progress, lambda: 5, timeout_s=10) == 5


def test_speed_is_event_time_per_wall_time() -> None:
    progress = Progress(0, 2 * DAY_MS, DAY_MS, wall_s=10.0)
    assert progress.speed == pytest.approx(8640)
    assert progress.share == 0.5
