from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from models.chunk import Batch
from models.decisions import Cause, Exposure, JournalEntry
from models.outcome import Outcome
from services.state.step import BATCH, outputs

ENTRY: dict[str, Any] = {"versions": {}, "policy": "", "sources": [], "fired": []}


@given(st.integers(0, 1 << 42))
@example(0)
@example(999)
@example(1000)
@example(1262304000005)
def test_the_time_of_an_effect_is_iso_8601_to_the_millisecond(at: int) -> None:
    effect = Exposure("id", "u1", at, "e", "a", Cause("event", "m1", "X", at))
    entry = JournalEntry(lane=0, seq=1, epoch=1, kind=BATCH, watermark=0, broker_ms=0, **ENTRY)
    record, _ = outputs(Outcome(effects=[effect]), Batch(0, 1), entry)
    time = dict(record.headers)["ce_time"].decode()
    assert time == datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")
