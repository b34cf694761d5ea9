"""Every model that learns in the stream keeps the contract of `models.learners.model`."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass, field

import msgspec
import pytest

from config.topics import LEARNED_FROM, TRAINING, TRAINING_ALONG, TRAINING_PARTITION
from models.decisions import EXAMPLES, Effect
from models.learners import streamed
from models.learners.model import model_class
from models.learners.session import LearnSession


@dataclass(frozen=True)
class Lying:
    """A record as it lies in `training`."""

    offset: int
    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)


def test_every_file_is_a_model_that_reads_somewhere() -> None:
    assert {info.name for info in pkgutil.iter_modules(streamed.__path__)} == set(LEARNED_FROM)
    assert sorted(TRAINING_PARTITION.values()) == list(range(TRAINING.partitions or 0))
    assert not set(TRAINING_ALONG) & set(TRAINING_PARTITION)


def test_every_example_has_a_partition_and_every_model_an_example() -> None:
    assert set(EXAMPLES.values()) == set(TRAINING_PARTITION)
    assert {one for one in Effect.__args__ if one.topic == TRAINING.name} == set(EXAMPLES)
    by_type = {msgspec.structs.fields(one)[-1].default: owner for one, owner in EXAMPLES.items()}
    for name, partition in LEARNED_FROM.items():
        assert TRAINING_PARTITION[by_type[model_class(name).learns]] == partition, name


@pytest.mark.parametrize("name", sorted(LEARNED_FROM))
def test_what_it_does_not_learn_is_skipped_and_what_cannot_be_read_is_refused(name: str) -> None:
    session = LearnSession(name)
    before = msgspec.msgpack.encode(session.model.meta())
    records = [
        Lying(0, b'{"type":"of another model"}'),
        Lying(1, b'{"x":[1]}'),
        Lying(2, b'{"type":"%s"}' % session.model.learns.encode()),
        Lying(3, b"{"),
        Lying(4, None),
    ]
    applied = session.apply(records, 0, 5)
    assert (applied.learned, applied.skipped, [offset for offset, _ in applied.refused]) == (0, 2, [2, 3, 4])
    assert msgspec.msgpack.encode(session.model.meta()) == before
    assert session.snapshot(1) is None, "nothing was learned, so there is nothing to publish"


@pytest.mark.parametrize("name", sorted(LEARNED_FROM))
def test_a_checkpoint_of_nothing_is_restored(name: str) -> None:
    session, again = LearnSession(name), LearnSession(name)
    again.restore(session.checkpoint())
    assert again.checkpoint() == session.checkpoint()
