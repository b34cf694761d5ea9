"""Attributes as columns: what each value is, what was never seen, what is published."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from models.errors import IncompatibleSnapshotError
from models.features.attributes import LEAST_LABELS, MOST_VALUES, Attributes, AttributesPayload, Told
from models.features.tabular import MAX_SLOTS
from models.learners.envelope import pack_state


def taught(*values: Told, times: int = 10) -> Attributes:
    """Each value, so many times, in turn; every second label is a positive."""
    found = Attributes(["a"])
    for n in range(times):
        for value in values:
            found.encode({"a": value})
            found.learn({"a": value}, n % 2)
    return found


def filled(columns: Attributes, value: Told) -> set[str]:
    """Columns that are not 0 for a value."""
    told = {} if value is None else {"a": value}
    return {name for name, x in zip(columns.names_of_columns(), columns.look(told), strict=True) if x != 0.0}


def test_each_value_is_what_it_is() -> None:
    columns = taught("pro", 41, "37.5", True, None, 0)
    assert filled(columns, "pro") == {"a = pro"}
    assert filled(columns, " PRO ") == {"a = pro"}, "words are compared without case and blanks"
    assert filled(columns, 41) == {"a: log", "a: value", "a = 41"}
    assert filled(columns, "41") == filled(columns, 41.0) == filled(columns, 41)
    assert filled(columns, 37.5) == {"a: log", "a: value"}
    assert filled(columns, True) == {"a = true"}
    assert filled(columns, 0) == {"a: zero", "a = 0"}
    assert filled(columns, None) == filled(columns, "") == {"a: missing"}


@pytest.mark.parametrize("value", ["never seen", "", None, 10**15, -1e300, float("nan"), float("inf"), "nan", "1e999"])
def test_any_value_can_be_looked_at_and_changes_nothing(value: Told) -> None:
    for columns in (taught("pro", "basic"), taught(1, 2.5, 3), Attributes(["a"])):
        before = pack_state(columns.snapshot())
        assert np.isfinite(columns.look({"a": value})).all()
        assert pack_state(columns.snapshot()) == before


def test_a_word_that_was_never_seen_fills_nothing() -> None:
    assert filled(taught("pro", "basic"), "trial") == set()


def test_what_is_looked_at_is_what_was_learned_from() -> None:
    """Decide encodes by the frozen copy what learn encodes by its own."""
    columns = taught("pro", "basic", 3, None)
    packed = msgspec.msgpack.encode(columns.payload())
    frozen = Attributes.of(msgspec.msgpack.decode(packed, type=AttributesPayload))
    for value in ("pro", "basic", 3, None):
        assert frozen.look({"a": value}).tolist() == columns.encode({"a": value}).tolist()


def test_what_is_published_is_bounded_and_tells_nothing_of_the_few() -> None:
    columns = taught(*(f"only-once-{n}" for n in range(3 * MOST_VALUES)), times=1)
    for n in range(40):
        for _ in range(LEAST_LABELS + 1):
            columns.encode({"a": f"often-{n}"})
            columns.learn({"a": f"often-{n}"}, 1)
    packed = msgspec.msgpack.encode(columns.payload())
    assert b"only-once" not in packed
    assert b"often-39" in packed, "values that come late find room"
    assert columns.width <= MAX_SLOTS + 5
    state = columns.snapshot()["encoder"]["columns"][0]
    assert len(state["categories"]) <= MOST_VALUES
    assert len(packed) < 5_000


def test_a_long_text_is_cut() -> None:
    columns = taught("x" * 5_000)
    assert max(map(len, columns.snapshot()["encoder"]["columns"][0]["categories"])) == 64


def test_it_goes_on_as_it_stopped_or_says_why_not() -> None:
    first, second = taught("pro", 3, None), Attributes(["a"])
    second.restore(first.snapshot()["encoder"])
    for columns in (first, second):
        for value in ("basic", 4, "pro") * 6:
            columns.encode({"a": value})
            columns.learn({"a": value}, 1)
    assert pack_state(first.snapshot()) == pack_state(second.snapshot())
    broken = {"kinds": ["any"], "width": 3, "indicators": [], "labels": [], "columns": [1]}
    for wrong in ({}, {"kinds": ["any"]}, broken):
        with pytest.raises(IncompatibleSnapshotError):
            second.restore(wrong)
