"""The suite of all models that learn in the stream; a new one is found by its name in `config.topics`."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from config.topics import LEARNED_FROM
from models.errors import IncompatibleSnapshotError
from models.learners.envelope import pack_state, unpack_state
from models.learners.model import model_class
from models.learners.session import LearnSession
from support.training_examples import constant, examples, extreme, one_class

ROOT = Path(__file__).resolve().parents[4]
NAMES = sorted(LEARNED_FROM)
every_model = pytest.mark.parametrize("name", NAMES)
COUNT = 240


@dataclass(frozen=True)
class Lying:
    """A record as it lies in `training`."""

    offset: int
    value: bytes
    headers: list[tuple[str, bytes]] = field(default_factory=list)


def teach(session: LearnSession, values: Sequence[bytes], cuts: Sequence[int] = ()) -> None:
    """Learn the examples behind those that were learned, in chunks that end at `cuts`."""
    records = [Lying(session.offset + place, value) for place, value in enumerate(values)]
    edges = [0, *cuts, len(records)]
    for start, end in pairwise(edges):
        chunk = records[start:end]
        if chunk:
            applied = session.apply(chunk, chunk[0].offset, chunk[-1].offset + 1)
            assert (applied.learned, applied.refused) == (len(chunk), [])


def taught(name: str, values: Sequence[bytes], cuts: Sequence[int] = ()) -> LearnSession:
    session = LearnSession(name)
    teach(session, values, cuts)
    return session


def of(name: str, count: int = COUNT, **how: Any) -> list[bytes]:
    return examples(model_class(name).learns, count, **how)


def state(session: LearnSession) -> bytes:
    return pack_state(session.model.snapshot())


def numbers(value: Any) -> Iterator[float]:
    """Every number in a decoded value; packed arrays are read as what they are."""
    if isinstance(value, dict):
        for one in value.values():
            yield from numbers(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from numbers(one)
    elif isinstance(value, float):
        yield value


@every_model
def test_the_cut_of_the_stream_does_not_matter(name: str) -> None:
    values = of(name)
    whole = state(taught(name, values))
    for cuts in ([1], [100, 101, 200], range(1, COUNT)):
        assert state(taught(name, values, list(cuts))) == whole


@every_model
@pytest.mark.parametrize("before", [0, 1, 77])
def test_restored_it_goes_on_bit_by_bit(name: str, before: int) -> None:
    values = of(name)
    first, second = taught(name, values[:before]), LearnSession(name)
    second.restore(first.checkpoint())
    assert second.checkpoint() == first.checkpoint()
    assert second.model.payload() == first.model.payload()
    for session in (first, second):
        teach(session, values[before:])
    assert second.checkpoint() == first.checkpoint()
    assert second.model.payload() == first.model.payload()
    assert second.model.meta() == first.model.meta()


@every_model
def test_a_snapshot_is_a_copy(name: str) -> None:
    values = of(name)
    session = taught(name, values[:100])
    held = session.model.snapshot()
    packed = pack_state(held)
    twin = LearnSession(name)
    twin.model.restore(held)
    for one in (session, twin):
        for value in values[100:]:
            one.model.learn(value)
    assert pack_state(held) == packed


@every_model
def test_what_is_not_its_state_is_refused_with_the_reason(name: str) -> None:
    whole = unpack_state(taught(name, of(name, 30)).checkpoint())
    other = next(one for one in NAMES if one != name)
    for changed, told in (
        ({"state": {}}, name),
        ({"schema": 999}, "schema 999"),
        ({"model": other}, other),
    ):
        with pytest.raises(IncompatibleSnapshotError, match=told):
            LearnSession(name).restore(pack_state(whole | changed))
    with pytest.raises(IncompatibleSnapshotError):
        LearnSession(name).restore(b"\xc1 no state")


@every_model
@pytest.mark.parametrize("change", [extreme, constant, one_class], ids=lambda change: change.__name__)
def test_nothing_infinite_comes_out(name: str, change: Any) -> None:
    session = taught(name, of(name, change=change))
    for told in (session.model.meta(), msgspec.msgpack.decode(session.model.payload())):
        assert all(math.isfinite(value) for value in numbers(told)), told
    teach(session, of(name, seed=1))
    assert all(math.isfinite(value) for value in numbers(session.model.meta()))
    LearnSession(name).restore(session.checkpoint())


@every_model
def test_what_is_published_can_be_decoded_and_told(name: str) -> None:
    session = taught(name, of(name))
    session.changed = True
    envelope = session.snapshot(0)
    assert envelope is not None
    assert (envelope.name, envelope.schema) == (name, model_class(name).schema)
    msgspec.json.encode(session.model.meta())


def digests() -> str:
    """One line for each model: what it has learned, as a checksum."""
    return "".join(f"{name} {hashlib.sha256(state(taught(name, of(name)))).hexdigest()}\n" for name in NAMES)


def test_nothing_hangs_on_the_process() -> None:
    """Another order of sets must not change a bit: the next owner of a partition goes on where this one was."""
    command = [sys.executable, "-c", "import test_streamed_conformance as suite; print(suite.digests(), end='')"]
    here = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)])
    found = set()
    for seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": here}
        found.add(subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert found == {digests()}
