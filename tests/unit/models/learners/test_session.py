"""A learning session: every example once, and everything that decides it in one checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decisions import BasketExample, ChurnExample
from models.errors import ConfigurationError, FenceError, IncompatibleSnapshotError
from models.learners.envelope import pack_state
from models.learners.linear import LinearModel
from models.learners.session import LearnSession, position_of


@dataclass(frozen=True)
class Lying:
    """A record as it lies in `training`."""

    offset: int
    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)


def churn_record(offset: int, position: tuple[int, int, int, int] | None = None, **changes: object) -> Lying:
    example = ChurnExample(
        id=f"e{offset}",
        user="u",
        at=offset * 1000,
        due=offset * 1000 + 5,
        known_at=offset * 1000 + 9,
        label=offset % 3 == 0,
        x=[offset % 90, 1 + offset % 7, 100 + offset, offset % 90 + 30, 150],
    )
    value = msgspec.json.encode(msgspec.to_builtins(example) | {"label": int(offset % 3 == 0)} | changes)
    headers: list[tuple[str, bytes]] = []
    if position is not None:
        parts = zip(("lane", "epoch", "seq", "n"), position, strict=True)
        headers = [(f"kairos-{part}", str(number).encode()) for part, number in parts]
    return Lying(offset, value, headers)


def run(records: list[Lying], cuts: list[int]) -> LearnSession:
    session = LearnSession("churn")
    edges = [0, *sorted(min(cut, len(records)) for cut in cuts), len(records)]
    for start, end in pairwise(edges):
        if start < end:
            session.apply(records[start:end], start, end)
    return session


def test_learns_every_record_once_and_publishes_versions() -> None:
    session = LearnSession("churn")
    records = [churn_record(offset) for offset in range(900)]
    assert session.apply(records[:10], 0, 10).learned == 10
    first = session.snapshot(5)
    assert first is not None
    assert (first.version, first.name, first.created_ms) == (1, "churn", 5)
    assert not LinearModel.from_envelope(first).learned
    assert session.snapshot(6) is None, "nothing new, nothing to publish"
    session.apply(records[10:], 10, 900)
    second = session.snapshot(7)
    assert second is not None
    assert (second.version, second.meta["learned"], second.meta["examples"]) == (2, True, 900)
    assert LinearModel.from_envelope(second).payload.first_label_ms == 9


def test_overlapping_and_old_chunks_change_nothing() -> None:
    session = run([churn_record(offset) for offset in range(50)], [20])
    before = session.checkpoint()
    assert session.apply([churn_record(offset) for offset in range(30)], 0, 30).learned == 0
    assert session.checkpoint() == before
    overlap = session.apply([churn_record(offset) for offset in range(40, 60)], 40, 60)
    assert (overlap.learned, session.offset) == (10, 60)


def test_gap_is_refused() -> None:
    session = run([churn_record(offset) for offset in range(5)], [])
    with pytest.raises(FenceError, match="up to 5"):
        session.apply([churn_record(7)], 7, 8)
    assert session.offset == 5
    # Holes that compaction or transactions left inside a chunk are no gap.
    session.apply([churn_record(7)], 5, 9)
    assert session.offset == 9


def test_outputs_published_twice_are_learned_once() -> None:
    records = [
        churn_record(0, (1, 0, 4, 0)),
        churn_record(1, (1, 0, 4, 1)),
        churn_record(2, (2, 0, 4, 0)),  # another lane has positions of its own
        churn_record(3, (1, 0, 4, 0)),  # again, after a crash between publishing and clearing the outbox
        churn_record(4, (1, 0, 4, 1)),
        churn_record(5, (1, 0, 5, 0)),
        churn_record(6, (1, 1, 0, 0)),  # a new epoch starts over
        churn_record(7, (1, 0, 9, 0)),  # an old epoch's late record
    ]
    session = LearnSession("churn")
    applied = session.apply(records, 0, 8)
    assert (applied.learned, applied.duplicates, applied.refused) == (5, 3, [])
    restored = LearnSession("churn")
    restored.restore(session.checkpoint())
    assert restored.apply([churn_record(8, (2, 0, 4, 0))], 8, 9).duplicates == 1


def test_unreadable_examples_are_refused_one_by_one() -> None:
    bad = [
        Lying(0, None),
        Lying(1, b"{"),
        Lying(2, b'{"type":"churn"}'),
        churn_record(3, x=[1, 2]),
        churn_record(4, label=2),
        churn_record(5, type="basket"),  # another model's business
        churn_record(6, x="no"),
        churn_record(7),
    ]
    session = LearnSession("churn")
    applied = session.apply(bad, 0, 8)
    assert (applied.learned, applied.skipped) == (1, 1)
    assert [offset for offset, _ in applied.refused] == [0, 1, 2, 3, 4, 6]
    assert session.offset == 8


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=4), st.integers(0, 400))
def test_crash_and_restore_anywhere_equals_one_run(cuts: list[int], crash: int) -> None:
    records = [churn_record(offset) for offset in range(400)]
    whole = run(records, cuts)
    before = run(records[:crash], [])
    after = LearnSession("churn")
    after.restore(before.checkpoint())
    after.apply(records[crash:], crash, 400)
    assert after.offset == whole.offset
    assert pack_state(after.model.snapshot()) == pack_state(whole.model.snapshot())


def test_recs_session_learns_baskets() -> None:
    session = LearnSession("recs")
    for offset in range(3):
        basket = BasketExample(
            id="x",
            user="u",
            at=offset,
            order_id="o",
            items=[("a", "Tea", 1, 1), ("b", "Cup", 2, 1)],
            history=["c"],
        )
        session.apply([Lying(offset, msgspec.json.encode(basket))], offset, offset + 1)
    envelope = session.snapshot(1)
    assert envelope is not None
    assert envelope.meta == {"baskets": 3, "items": 2, "lists": 0}
    other = LearnSession("recs")
    other.restore(session.checkpoint())
    assert other.checkpoint() == session.checkpoint()


def test_foreign_checkpoints_are_refused() -> None:
    churn, recs = LearnSession("churn"), LearnSession("recs")
    with pytest.raises(IncompatibleSnapshotError):
        recs.restore(churn.checkpoint())
    with pytest.raises(IncompatibleSnapshotError):
        recs.restore(b"junk")
    with pytest.raises(IncompatibleSnapshotError, match="without"):
        recs.restore(pack_state({"schema": 1, "model": "recs"}))
    with pytest.raises(ConfigurationError):
        LearnSession("weather")


def test_headers_that_cannot_be_read_are_no_position() -> None:
    assert position_of([]) is None
    assert position_of([("kairos-lane", b"1"), ("kairos-epoch", b"x")]) is None
    assert (
        position_of([("kairos-lane", b"1"), ("kairos-epoch", b"0"), ("kairos-seq", b"q"), ("kairos-n", b"1")]) is None
    )
