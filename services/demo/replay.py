"""Replay the year closed-loop.

A slice of event time goes out, then a tick into every input partition; the next slice follows when the lanes
have caught up. So event time never runs apart between the topics by more than the slices that are under way,
however fast the replay is.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Protocol

from config.topics import DAY_MS, INPUT_NAMES
from models.errors import TransientError
from services.demo.events import ShopEvent, iso
from services.demo.reactions import Reaction

_POLL_S = 0.01


class Bus(Protocol):
    """What the replay needs of :class:`services.bus.Publisher`."""

    def publish(self, topic: str, event: bytes, user_id: str | None = None, partition: int | None = None) -> None:
        """Hand over one event."""

    def flush(self) -> None:
        """Return when all are confirmed."""


class Shop(Protocol):
    """Where the events come from (:class:`services.demo.events.ShopEvents`)."""

    def until(self, end_ms: int) -> list[ShopEvent]:
        """Events before `end_ms` that were not handed out yet."""


class ReplayStalledError(TransientError):
    """The lanes no longer move on."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How the year is cut.

    Parameters
    ----------
    step_ms : shortest slice. longest_ms : longest one; slices grow by `step_ms` until they hold `events_min`
        events.
    ahead : slices that may be on their way beyond the one that is waited for.
    waiting_max : the next slice waits until no more messages than this are without an outcome: customers who
        hear of a mail a week of the shop's time late would click outside every window.
    stall_s : lanes, or messages, that do not move for this long are a failure.
    """

    step_ms: int = DAY_MS
    longest_ms: int = 3 * DAY_MS
    events_min: int = 1_000
    ahead: int = 1
    waiting_max: int = 60
    stall_s: float = 60.0


@dataclass(slots=True)
class Progress:
    """Where the replay is; also its result.

    Parameters
    ----------
    clock_ms : the shop's time, up to which all lanes have decided. started_ms, end_ms : of the replay, event
        time.
    events, ticks, reactions, slices : published so far. shifted : reactions that came too late for their own
        time and were moved to the slice that was next. wall_s : since the start. waited_s : of it, waiting
        for the lanes.
    """

    started_ms: int
    end_ms: int
    clock_ms: int
    events: int = 0
    ticks: int = 0
    reactions: int = 0
    shifted: int = 0
    slices: int = 0
    wall_s: float = 0.0
    waited_s: float = 0.0

    @property
    def speed(self) -> float:
        """Event time passed per wall time."""
        return (self.clock_ms - self.started_ms) / 1000 / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def share(self) -> float:
        """Part of the replay that is done."""
        whole = self.end_ms - self.started_ms
        return min(1.0, (self.clock_ms - self.started_ms) / whole) if whole > 0 else 1.0


@dataclass(slots=True)
class Replay:
    """One run.

    Parameters
    ----------
    shop : events by slice.
    bus : publisher.
    watermarks : watermark of every lane, ms of event time.
    lanes : how many there are.
    outcomes : simulated reactions that became known since the last call.
    waiting : messages that were decided and have no outcome yet.
    on_progress : told after each slice and while waiting.
    pace : how the year is cut.
    clock_s, pause : monotonic clock and sleep, for the tests.
    """

    shop: Shop
    bus: Bus
    watermarks: Callable[[], Mapping[int, int]]
    lanes: int
    outcomes: Callable[[], Iterable[Reaction]] = tuple
    waiting: Callable[[], int] = lambda: 0
    on_progress: Callable[[Progress], None] = lambda _: None
    pace: Pace = field(default_factory=Pace)
    clock_s: Callable[[], float] = monotonic
    pause: Callable[[float], None] = sleep
    _due: list[Reaction] = field(default_factory=list)

    def run(self, start_ms: int, end_ms: int) -> Progress:
        """Replay from `start_ms` to `end_ms` of event time; returns when all lanes have reached the end.

        Raises
        ------
        ReplayStalledError
            The lanes did not move for `Pace.stall_s`.
        DeliveryError
            The broker did not confirm everything.
        """
        begun_s = self.clock_s()
        progress = Progress(start_ms, end_ms, start_ms)
        under_way: deque[int] = deque()
        at_ms = start_ms
        while at_ms < end_ms:
            begin_ms, at_ms, events = at_ms, *self._next_slice(at_ms, end_ms)
            self._publish(progress, begin_ms, at_ms, events)
            under_way.append(at_ms)
            while len(under_way) > self.pace.ahead:
                self._wait(progress, under_way.popleft(), begun_s)
            self._wait_for_outcomes(progress, begun_s)
        while under_way:
            self._wait(progress, under_way.popleft(), begun_s)
        return progress

    def settle(self, progress: Progress, unfinished: Callable[[], int], timeout_s: float = 60.0) -> int:
        """Let time stand still, after the last slice, until every message has an outcome and all is applied.

        Returns
        -------
        Messages that still have no outcome after `timeout_s`; 0 when all is well.
        """
        begun_s = self.clock_s()
        while (left := unfinished()) and self.clock_s() - begun_s < timeout_s:
            self.pause(_POLL_S)
        self._collect()
        self._due.clear()  # what customers would do after the end belongs to no day of this shop
        # One more tick behind the last outcomes: when the lanes' time reaches it, they have applied them.
        end_ms = progress.clock_ms + 1000
        self._tick(progress, end_ms)
        self.bus.flush()
        self._wait(progress, end_ms, begun_s, count_time=False)
        return left

    def _next_slice(self, at_ms: int, end_ms: int) -> tuple[int, list[ShopEvent]]:
        """End of the slice that starts at `at_ms`, and its events: quiet days are joined."""
        limit_ms = min(end_ms, at_ms + self.pace.longest_ms)
        events: list[ShopEvent] = []
        while at_ms < limit_ms:
            at_ms = min(limit_ms, at_ms + self.pace.step_ms)
            events += self.shop.until(at_ms)
            if len(events) >= self.pace.events_min:
                break
        return at_ms, events

    def _publish(self, progress: Progress, begin_ms: int, end_ms: int, events: list[ShopEvent]) -> None:
        self._collect()
        publish = self.bus.publish
        reactions = self._reactions_of(progress, begin_ms, end_ms)
        if reactions:
            events = sorted([*events, *reactions])
        for event in events:
            publish(event.topic, event.value, event.user)
        progress.events += len(events) - len(reactions)
        progress.reactions += len(reactions)
        progress.slices += 1
        # A producer keeps the order within a partition, so a tick lies behind all events of its slice.
        self._tick(progress, end_ms)
        self.bus.flush()

    def _reactions_of(self, progress: Progress, begin_ms: int, end_ms: int) -> list[ShopEvent]:
        """Take the reactions due before `end_ms`.

        Of a message known too late, all are moved by the same time, so that nobody clicks before opening.
        """
        found: list[ShopEvent] = []
        moved: dict[str, int] = {}
        again: list[Reaction] = []
        while self._due and self._due[0].at_ms < end_ms:
            reaction = heapq.heappop(self._due)
            if reaction.at_ms < begin_ms and reaction.message_id not in moved:
                # To the same time of the day: night stays night.
                days = -(-(begin_ms - reaction.at_ms) // DAY_MS)
                moved[reaction.message_id] = days * DAY_MS
                progress.shifted += 1
            at_ms = reaction.at_ms + moved.get(reaction.message_id, 0)
            if at_ms < end_ms:
                value = reaction.value(at_ms)
                found.append(ShopEvent(at_ms, 1_000_000_000 + len(found), reaction.topic, reaction.user, value))
            else:
                again.append(reaction.moved_to(at_ms))
        # Its later reactions move with it.
        if moved:
            later = [one.moved_to(one.at_ms + moved.get(one.message_id, 0)) for one in self._due]
            self._due = [*later, *again]
            heapq.heapify(self._due)
        return found

    def _collect(self) -> None:
        for reaction in self.outcomes():
            heapq.heappush(self._due, reaction)

    def _tick(self, progress: Progress, at_ms: int) -> None:
        tick = f'{{"type":"tick","timestamp":"{iso(at_ms)}"}}'.encode()
        for topic in INPUT_NAMES:
            for lane in range(self.lanes):
                self.bus.publish(topic, tick, None, lane)
        progress.ticks += len(INPUT_NAMES) * self.lanes

    def _wait_for_outcomes(self, progress: Progress, begun_s: float) -> None:
        """Wait until deliver is not far behind."""
        moved_s, known = self.clock_s(), -1
        while (left := self.waiting()) > self.pace.waiting_max:
            now_s = self.clock_s()
            if left != known:
                known, moved_s = left, now_s
            if now_s - moved_s > self.pace.stall_s:
                raise ReplayStalledError(f"{left} messages have had no outcome for {self.pace.stall_s:.0f} s")
            progress.wall_s = now_s - begun_s
            self.on_progress(progress)
            self._collect()
            self.pause(_POLL_S)

    def _wait(self, progress: Progress, until_ms: int, begun_s: float, *, count_time: bool = True) -> None:
        """Wait until every lane's watermark has reached `until_ms`."""
        entered_s = moved_s = self.clock_s()
        known: Mapping[int, int] = {}
        while True:
            marks = self.watermarks()
            now_s = self.clock_s()
            if marks != known:
                known, moved_s = dict(marks), now_s
            slowest = min((marks.get(lane, 0) for lane in range(self.lanes)), default=0)
            progress.clock_ms = max(progress.clock_ms, min(slowest, progress.end_ms))
            if count_time:
                progress.wall_s = now_s - begun_s
            self.on_progress(progress)
            if slowest >= until_ms:
                break
            if now_s - moved_s > self.pace.stall_s:
                behind = {lane: iso(marks.get(lane, 0)) for lane in range(self.lanes) if marks.get(lane, 0) < until_ms}
                raise ReplayStalledError(
                    f"these lanes have not moved for {self.pace.stall_s:.0f} s, waiting for {iso(until_ms)}: {behind}"
                )
            self._collect()
            self.pause(_POLL_S)
        progress.waited_s += self.clock_s() - entered_s
