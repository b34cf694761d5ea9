"""The send ledger after a restore: outcomes that the log tells are written into it again; the rest is in doubt.

deliver hands over only what lies below the offset that it has committed to Kafka before, and nothing commits while it
does not run. So whatever lies below that offset and has no outcome in the restored ledger may have been sent. Of most
`feedback` tells what became of them; those get their outcome back, and are not sent again when decide decides them
once more under the same id. Of the others nobody knows: deliver says `unknown`, and does not send them either.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

import msgspec

from config.settings import Settings
from config.topics import FEEDBACK, INPUT_NAMES, MESSAGES
from models.decisions import MessageCommand
from models.delivery import FEEDBACK_STATES, OUTCOMES, DeliverFence, State, is_same_run
from services.bus import Record, committed_offsets, offset_ranges, read_topic
from services.jobs.restore.found import LaneGap, MessagesGap
from services.jobs.restore.look import Progress
from services.state.ledger import Ledger, Outcome

GROUP = "kairos-deliver"
AT_ONCE = 500
OWNER = "restore"
_command = msgspec.json.Decoder(MessageCommand).decode


class _Properties(msgspec.Struct):
    message_id: str | None = None
    reason: str = ""


class _Told(msgspec.Struct):
    event: str | None = None
    properties: _Properties | None = None


_told = msgspec.json.Decoder(_Told).decode


class Messages:
    """Partitions of `messages`, looked at and then mended.

    Parameters
    ----------
    settings : where Kafka and Redis are. lanes : as they were found.
    """

    def __init__(self, settings: Settings, lanes: list[LaneGap], progress: Progress) -> None:
        self._settings, self._bootstrap, self._lanes = settings, settings.kafka.bootstrap, lanes
        self._url = settings.redis.url.get_secret_value()
        self._progress = progress
        self._went_back = any(lane.forgotten for lane in lanes)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Ledger]:
        settings = self._settings
        ledger = Ledger(self._url, timeout_ms=settings.redis.timeout_ms, ttl_ms=settings.ledger_ttl_s * 1000)
        try:
            yield ledger
        finally:
            await ledger.close()

    async def look(self) -> list[MessagesGap]:
        """What is in doubt, and what the log knows about it."""
        return await self._each(0, write=False)

    async def mend(self, now_ms: int) -> list[MessagesGap]:
        """Write outcomes into the ledger, then what is in doubt into deliver's position."""
        return await self._each(now_ms, write=True)

    async def _each(self, now_ms: int, *, write: bool) -> list[MessagesGap]:
        ranges = offset_ranges(self._bootstrap, MESSAGES.name)
        committed = committed_offsets(self._bootstrap, GROUP, MESSAGES.name)
        told_until = {number: end for number, (_, end) in offset_ranges(self._bootstrap, FEEDBACK.name).items()}
        found: list[MessagesGap] = []
        async with self._open() as ledger:
            run = await ledger.run_id()
            for lane in self._lanes:
                raw, fence = await ledger.fence(lane.lane)
                known = fence or DeliverFence()
                first, end = ranges.get(lane.lane, (0, 0))
                gap = MessagesGap(MESSAGES.name, lane.lane, -1 if known.offset is None else known.offset, first, end)
                found.append(gap)
                if is_same_run(known.run_id, run) and not self._went_back and gap.position in {-1, gap.inside}:
                    gap.begun = max(known.doubt_until, gap.inside)
                    continue  # Redis has forgotten nothing since deliver wrote this
                gap.committed = lane.lane in committed
                # Kafka forgets a group that nobody used for a week. Then all that was published may have been sent.
                gap.begun = max(committed.get(lane.lane, end), known.doubt_until)
                told = self._outcomes(lane, told_until.get(lane.lane, 0)) if gap.begun > gap.inside else {}
                await self._settle(ledger, gap, told, now_ms, write=write)
                if write:
                    offset = None if known.offset is None else gap.inside
                    await ledger.advance(
                        lane.lane, raw, DeliverFence(offset, run, min(gap.begun, end), known.highest, known.schema)
                    )
        return found

    def _outcomes(self, lane: LaneGap, end: int) -> Mapping[str, tuple[State, str]]:
        """Newest outcome that `feedback` tells of each message, since Redis stands where it stands."""
        position = lane.inputs[INPUT_NAMES.index(FEEDBACK.name)]
        found: dict[str, tuple[State, str]] = {}
        for record in self._read(FEEDBACK.name, lane.lane, position.inside, end):
            try:
                event = _told(record.value or b"")
            except msgspec.DecodeError:
                continue  # decide refuses it, too
            state = FEEDBACK_STATES.get(event.event or "")
            about = event.properties
            if state is not None and about is not None and about.message_id is not None:
                known = found.get(about.message_id)
                if known is None or known[0] is not State.DELIVERED:
                    found[about.message_id] = (state, about.reason)
        return found

    async def _settle(
        self, ledger: Ledger, gap: MessagesGap, told: Mapping[str, tuple[State, str]], now_ms: int, *, write: bool
    ) -> None:
        """Go through what was begun."""
        waiting: dict[str, MessageCommand] = {}
        for record in self._read(MESSAGES.name, gap.partition, gap.inside, min(gap.begun, gap.end)):
            try:
                command = _command(record.value or b"")
            except msgspec.DecodeError:
                continue  # deliver refuses it, too
            if command.suppressed is None:
                waiting[command.id] = command
            if len(waiting) >= AT_ONCE:
                await _look_up(ledger, gap, waiting, told, now_ms, write=write)
                waiting = {}
        await _look_up(ledger, gap, waiting, told, now_ms, write=write)

    def _read(self, topic: str, partition: int, start: int, end: int) -> Iterator[Record]:
        if start >= end:
            return
        for done, record in enumerate(read_topic(self._bootstrap, topic, partition, start, end), 1):
            if done % 500 == 0:
                self._progress(f"{topic}-{partition}", done, end - start)
            yield record


async def _look_up(
    ledger: Ledger,
    gap: MessagesGap,
    commands: Mapping[str, MessageCommand],
    told: Mapping[str, tuple[State, str]],
    now_ms: int,
    *,
    write: bool,
) -> None:
    """Hold some messages against the ledger; write outcomes that it does not know."""
    outcomes: list[Outcome] = []
    for ident, command in commands.items():
        entry = await ledger.read(gap.partition, ident)
        if entry is not None and entry.state in OUTCOMES:
            continue
        known = told.get(ident)
        if known is None:
            gap.doubtful += 1
            continue
        state, reason = known
        gap.told[state.value] = gap.told.get(state.value, 0) + 1
        token = entry.token if entry is not None else ""
        outcomes.append(Outcome(command, state, owner=OWNER, token=token, reason=reason, ref="told by the log"))
    if write and outcomes:
        await ledger.outcome_many(gap.partition, outcomes, now_ms)
