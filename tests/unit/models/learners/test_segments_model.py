"""Segments by behaviour in the stream: a full fit of all who are remembered, once a fortnight of event time."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from models.decisions import ChurnExample
from models.errors import IncompatibleSnapshotError
from models.features import churn
from models.learners.envelope import pack_state
from models.learners.segment_centres import SegmentCentres, names_of, place_of
from models.learners.session import LearnSession
from models.learners.streamed import segments as streamed
from models.learners.streamed.segments import SegmentsModel

DAY_MS = churn.DAY_MS
# Days silent, purchase days, money: four kinds of customers.
KINDS = ([5, 20, 400_000], [90, 12, 250_000], [8, 1, 2_000], [120, 1, 1_500])


def example(user: str, at: int, x: list[int]) -> ChurnExample:
    return ChurnExample(user + str(at), user, at, at + 90 * DAY_MS, at + 90 * DAY_MS, 0, x)


def shop(customers: int = 200, weeks: int = 6, seed: int = 5) -> list[ChurnExample]:
    rng, found = random.Random(seed), []
    for week in range(weeks):
        for number in range(customers):
            recency, days, money = KINDS[number % 4]
            x = [max(0, recency + rng.randint(-4, 4)), days, money + rng.randint(0, 400), 300, 100]
            found.append(example(f"u{number}", week * 7 * DAY_MS + number * 1000, x))
    return found


def taught(found: list[ChurnExample]) -> SegmentsModel:
    model = SegmentsModel()
    for one in found:
        model.learn(msgspec.json.encode(one))
    return model


def test_customers_of_one_kind_share_a_segment_with_a_name() -> None:
    centres = taught(shop()).centres()
    assert centres.payload is not None
    assert sorted(centres.payload.names) == ["at-risk", "high-value", "lapsed", "new"]
    told = [centres.segment_of([recency, days, money, 300, 100]) for recency, days, money in KINDS]
    assert told == ["high-value", "at-risk", "new", "lapsed"]
    assert centres.payload.shares == pytest.approx([0.25] * 4, abs=0.01)


def test_it_is_the_fit_of_scikit_learn_on_where_customers_stand() -> None:
    """A customer who tells nothing new is silent for longer: places are grown to the newest example."""
    found = [*shop(120, 1), example("late", 30 * DAY_MS, [1, 2, 500, 40, 100])]
    model = taught(found)
    served = model.centres().payload
    assert served is not None
    assert (served.customers, served.at_ms) == (121, 30 * DAY_MS)
    rows = [churn.grown(one.x, (30 * DAY_MS - one.at) // DAY_MS) for one in found]
    places = np.array([place_of(row) for row in rows])
    scale = places.std(axis=0)
    best = KMeans(4, n_init=10, random_state=0).fit(places / scale)
    gaps = ((places[:, None, :] - np.array(served.centres)[None]) / np.array(served.scale)) ** 2
    assert gaps.sum(axis=2).min(axis=1).sum() == pytest.approx(best.inertia_, rel=1e-6)


def test_nothing_is_told_before_there_are_enough() -> None:
    assert taught(shop(20, 1)).centres().segment_of([1, 1, 1, 1, 1]) == ""
    alike = taught([example(f"u{number}", 0, [7, 1, 100, 7, 100]) for number in range(300)])
    alike.learn_example(example("u0", 14 * DAY_MS, [21, 1, 100, 21, 100]))
    assert not alike.centres().learned, "there is nothing to tell apart"


def test_it_is_published_once_a_fortnight_of_event_time() -> None:
    session, versions = LearnSession("segments"), 0
    for offset, one in enumerate(shop(150, 7)):
        session.apply([Lying(offset, msgspec.json.encode(one))], offset, offset + 1)
        versions += session.snapshot(offset) is not None
    assert versions == 3


class Lying:
    """A record as it lies in `training`."""

    def __init__(self, offset: int, value: bytes) -> None:
        self.offset, self.value = offset, value
        self.headers: list[tuple[str, bytes]] = []


def test_restored_it_goes_on_bit_by_bit() -> None:
    found = shop()
    whole, half, again = taught(found), taught(found[:500]), SegmentsModel()
    again.restore(half.snapshot())
    for one in found[500:]:
        again.learn_example(one)
    assert pack_state(again.snapshot()) == pack_state(whole.snapshot())
    with pytest.raises(IncompatibleSnapshotError):
        again.restore({"segments": whole.segments.snapshot()})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 50)), max_size=80))
def test_memory_is_bounded_and_holds_the_newest_of_a_fair_sample(seen: list[tuple[int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streamed, "MOST_CUSTOMERS", 10)
        model = taught([example(f"u{user}", at * 1000, [at, 1, 1, 1, 1]) for user, at in seen])
    codes = {user: xxhash.xxh3_64_intdigest(f"u{user}".encode()) >> 1 for user, _ in seen}
    kept = sorted(codes.values())[:10]
    state = model.snapshot()
    assert state["users"] == kept
    newest = {codes[user]: max(at for other, at in seen if other == user) for user, _ in seen}
    held = {code: known[1] for code, known in zip(state["users"], state["known"], strict=True)}
    # Whoever was crowded out and came back has told at least what came since.
    assert all(held[code] <= newest[code] for code in kept)
    assert len(held) == min(10, len(codes))


def test_a_snapshot_of_another_kind_is_refused() -> None:
    session = LearnSession("segments")
    for one in shop():
        session.model.learn(msgspec.json.encode(one))
    session.changed = True
    envelope = session.snapshot(1)
    assert envelope is not None
    assert SegmentCentres.from_envelope(envelope).learned
    for wrong in ({"schema": 99}, {"name": "value"}, {"payload": b"\xc1"}):
        with pytest.raises(IncompatibleSnapshotError):
            SegmentCentres.from_envelope(msgspec.structs.replace(envelope, **wrong))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.floats(0, 12)] * 3), min_size=2, max_size=8))
def test_names_differ_and_the_one_worth_most_comes_first(centres: list[tuple[float, float, float]]) -> None:
    found = names_of(np.array(centres), np.array(centres).mean(axis=0))
    assert len(set(found)) == len(centres)
    assert {name.rstrip("0123456789").rstrip("-") for name in found} <= {
        "high-value",
        "at-risk",
        "lapsed",
        "new",
        "regular",
    }
