"""Which entries of the journal count after Redis went back in time, worked out again by going through a history."""

from collections.abc import Iterator

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from models.decisions import JournalEntry
from services.bus.reader import Record
from services.jobs.audit.replay import Timeline, journal_entries
from services.state.step import OutboxEntry, Output


def entry(epoch: int, seq: int) -> bytes:
    found = JournalEntry(
        lane=0,
        seq=seq,
        epoch=epoch,
        kind="batch",
        sources=[],
        watermark=0,
        broker_ms=0,
        fired=[],
        versions={},
        policy="",
    )
    return msgspec.json.encode(found)


def record(epoch: int, seq: int, offset: int = 0) -> Record:
    place = (("lane", 0), ("epoch", epoch), ("seq", seq), ("n", 0))
    headers = tuple((f"kairos-{name}", str(value).encode()) for name, value in place)
    return Record("journal", 0, offset, 0, None, entry(epoch, seq), headers)


def kept(published: list[tuple[int, int]], pending: list[tuple[int, int]], until: int) -> list[tuple[int, int]]:
    waiting = [OutboxEntry(0, e, s, [Output("journal", 0, None, entry(e, s), [])]) for e, s in pending]
    timeline = Timeline([*published, *pending], until)
    return [(one.epoch, one.seq) for one in journal_entries((record(*at) for at in published), waiting, timeline)]


# A history: how many batches each owner wrote, and how many of them Redis forgot before the next one came.
histories = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 8)), min_size=1, max_size=6)


@given(histories)
def test_what_redis_holds_is_what_counts(history: list[tuple[int, int]]) -> None:
    held: list[tuple[int, int]] = []
    published: list[tuple[int, int]] = []
    for epoch, (wrote, forgot) in enumerate(history, start=1):
        for _ in range(wrote):
            held.append((epoch, len(held) + 1))
            published.append(held[-1])
        if epoch < len(history):
            held = held[: max(0, len(held) - forgot)]
            published += held[-2:]  # the next owner publishes again what it finds in the outbox
    assert kept(published, [], len(held)) == held
    assert kept(published[:-1], held[-1:], len(held)) == held, "the last one still waits in the outbox"


def test_a_worker_that_slept_publishes_its_lost_batches_late() -> None:
    late: Iterator[tuple[int, int]] = iter([(7, 1), (7, 2), (9, 2), (9, 3), (7, 2), (7, 3)])
    assert kept(list(late), [], 3) == [(7, 1), (9, 2), (9, 3)]


def test_the_new_owner_has_not_published_anything_yet() -> None:
    assert kept([(7, 1), (7, 2), (7, 3)], [(9, 2)], 2) == [(7, 1), (9, 2)]
