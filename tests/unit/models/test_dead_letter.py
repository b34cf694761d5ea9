"""A refused record always fits into `dead-letters`: one that did not would stop its lane for good."""

import msgspec

from models.chunk import dead_letter
from models.wire import Record

BROKER_LIMIT = 1_048_588


def test_large_headers_are_cut() -> None:
    headers = [("h" * 5_000, b"\xff" * 5_000)] * 300
    letter = dead_letter("clickstream", 0, Record(1, 0, b"k" * 9_000, b"x" * 300_000, headers), "too_large", "")
    assert letter.truncated
    assert len(msgspec.json.encode(letter)) < BROKER_LIMIT / 2


def test_small_ones_are_carried_as_they_are() -> None:
    letter = dead_letter("clickstream", 0, Record(1, 0, b"k", b"x", [("a", b"1"), ("b", None)]), "unreadable", "")
    assert (letter.truncated, letter.headers) == (False, [("a", "1"), ("b", "")])
