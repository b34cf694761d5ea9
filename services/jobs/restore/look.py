"""Hold positions in Redis against what the log still holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from config.settings import Settings
from config.topics import INPUT_NAMES, JOURNAL, LEARNED_FROM, TRAINING
from models.decisions import JournalEntry
from models.lane import refuse_other_layout
from services.bus import offset_ranges, read_topic
from services.jobs.audit.replay import position_of
from services.jobs.restore.found import InputGap, LaneGap, LearnGap
from services.state import keys
from services.state.lanes import read_fences, read_lanes
from services.state.learn_store import LearnStore
from services.state.redis_lane import Client, translated

Progress = Callable[[str, int, int], object]
LOOK_BACK = 200
_decode = msgspec.json.Decoder(JournalEntry).decode


def look_at_lanes(settings: Settings, client: Client, progress: Progress) -> list[LaneGap]:
    """Fence, journal and inputs of every lane.

    Raises
    ------
    ConfigurationError
        The backup is of another number of lanes.
    """
    bootstrap, numbers = settings.kafka.bootstrap, range(settings.lanes)
    fences, states = read_fences(client, numbers), read_lanes(client, settings.lanes)
    for lane in numbers:
        refuse_other_layout(states[lane], lane, settings.lanes)
    ranges = {name: offset_ranges(bootstrap, name) for name in (*INPUT_NAMES, JOURNAL.name)}
    found: list[LaneGap] = []
    for lane in numbers:
        with translated():
            outbox: Any = client.zcard(keys.outbox_index(lane))
        gap = LaneGap(lane, fences[lane].seq, states[lane].epoch, int(outbox))
        gap.inputs = [
            InputGap(name, lane, offset, *ranges[name].get(lane, (0, 0)))
            for name, offset in zip(INPUT_NAMES, fences[lane].offsets, strict=True)
        ]
        _read_journal(bootstrap, gap, *ranges[JOURNAL.name].get(lane, (0, 0)), progress)
        found.append(gap)
    return found


def _read_journal(bootstrap: str, gap: LaneGap, first: int, end: int, progress: Progress) -> None:
    """What the journal says happened after the last batch that Redis knows."""
    if first == end:
        return
    back = LOOK_BACK
    while (start := max(first, end - back)) > first:
        (oldest,) = read_topic(bootstrap, JOURNAL.name, gap.lane, start, start + 1)
        if gap.knows(*position_of(oldest)):
            break
        back *= 8
    applied = {one.topic: one for one in gap.inputs}
    newest = (0, 0)
    for done, record in enumerate(read_topic(bootstrap, JOURNAL.name, gap.lane, start, end), 1):
        if done % 500 == 0:
            progress(f"journal of lane {gap.lane}", done, end - start)
        position, entry = position_of(record), _decode(record.value or b"")
        newest = max(newest, position)
        if gap.knows(*position):
            gap.since_ms = max(gap.since_ms, entry.broker_ms)
            continue
        gap.forgotten += 1
        gap.until_ms = max(gap.until_ms, entry.broker_ms)
        for topic, _, until in entry.sources:
            applied[topic].applied = max(applied[topic].applied, until)
    gap.journal_epoch, gap.journal_seq = newest
    progress(f"journal of lane {gap.lane}", end - start, end - start)


def look_at_models(settings: Settings, client: Client) -> list[LearnGap]:
    """Checkpoints of the learners."""
    ranges, store = offset_ranges(settings.kafka.bootstrap, TRAINING.name), LearnStore(client)
    found: list[LearnGap] = []
    for model, partition in LEARNED_FROM.items():
        stored = store.load(model)
        offset = -1 if stored.offset is None else stored.offset
        gap = LearnGap(TRAINING.name, partition, offset, *ranges[partition], model, stored.latest_version)
        if stored.offset is not None:
            found.append(gap)
    return found
