"""Whoever reads a topic may take longer over what came than the broker may take to send more."""

from __future__ import annotations

import time
from collections import namedtuple
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import TopicPartition

from models.errors import TransientError
from services.bus import reader

PLACE = TopicPartition("t", 0)
Found = namedtuple("Found", "topic partition offset timestamp key value headers")


class Script:
    """Answers each poll as written; an empty answer takes 20 ms, as one that was waited for."""

    def __init__(self, polls: list[int]) -> None:
        self._polls, self._read = iter(polls), 0

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        count = next(self._polls)
        if not count:
            time.sleep(0.02)
            return {}
        first, self._read = self._read, self._read + count
        return {PLACE: [Found("t", 0, n, 0, None, b"", []) for n in range(first, self._read)]}

    def position(self, _: TopicPartition) -> int:
        return self._read

    def __getattr__(self, name: str) -> Any:
        return {"partitions_for_topic": lambda _: {0}, "highwater": lambda _: 4}.get(name, lambda *_: None)


def slowly(records: Iterator[Any]) -> list[int]:
    found = []
    for record in records:
        found.append(record.offset)
        time.sleep(0.1)
    return found


def test_only_the_time_that_the_broker_takes_counts() -> None:
    read = reader._read(Script([2, 0, 0, 2]), "t", 0, None, None, 0.09)
    assert slowly(read) == [0, 1, 2, 3]


def test_a_broker_that_sends_nothing_is_told() -> None:
    with pytest.raises(TransientError, match="nothing came from t"):
        slowly(reader._read(Script([2, *[0] * 50]), "t", 0, None, None, 0.09))
