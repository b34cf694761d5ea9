"""Purchase value in the stream: what the learner knows is what is served, and before that the customer's own pace."""

from __future__ import annotations

import math
import random

import msgspec
import numpy as np
import pytest

from models.decisions import ChurnExample
from models.errors import IncompatibleSnapshotError
from models.features import churn
from models.learners.envelope import pack_state
from models.learners.session import LearnSession
from models.learners.streamed.value import MIN_EXAMPLES, ValueModel
from models.learners.value import Value
from models.learners.value_scores import ValueScores

DAY_MS = churn.DAY_MS


def example(number: int, rng: random.Random, days: int = 90) -> ChurnExample:
    """Customers with a shorter silence and more purchase days buy more."""
    recency, bought = rng.randint(0, 150), rng.randint(1, 12)
    money = bought * rng.randint(500, 5000)
    buys = rng.random() < 1 / (1 + math.exp(0.03 * recency - 0.3 * bought))
    at = number * DAY_MS // 40
    return ChurnExample(
        id=str(number),
        user=f"u{number}",
        at=at,
        due=at + days * DAY_MS,
        known_at=at + days * DAY_MS,
        label=int(not buys),
        x=[recency, bought, money, recency + 30 * bought, 20 * bought],
        spent_minor=money // bought * rng.randint(1, 3) if buys else 0,
        next_order_days=rng.randint(0, 60) if buys else None,
    )


def examples(count: int, seed: int = 3) -> list[ChurnExample]:
    rng = random.Random(seed)
    return [example(number, rng) for number in range(count)]


def taught(found: list[ChurnExample]) -> ValueModel:
    model = ValueModel()
    for one in found:
        model.learn(msgspec.json.encode(one))
    return model


def test_what_is_served_is_what_the_learner_says() -> None:
    found, learner = examples(900), Value(len(churn.FEATURE_NAMES))
    model = taught(found)
    for one in found:
        raw = churn.as_matrix([one.x])
        own = churn.recent_money(raw, 90) / 100.0
        days = None if one.next_order_days is None else float(one.next_order_days)
        learner.learn_one(churn.expand(raw)[0], float(own[0]), (one.spent_minor or 0) / 100.0, days)
    scores = model.scores()
    assert scores.learned
    for one in found[::50]:
        raw = churn.as_matrix([one.x])
        said = learner.score(churn.expand(raw), churn.recent_money(raw, 90) / 100.0)
        told = scores.expected(one.x)
        assert told.days == pytest.approx(min(said.days[0], 90.0), abs=0.06)
        assert told.returns == pytest.approx(said.returns[0], abs=1e-4)
        assert told.if_returns is not None
        parts = (1 - model.own_share) * said.returns[0] * told.if_returns + model.own_share * told.own
        assert told.money == pytest.approx(parts, abs=0.02)


def test_the_own_pace_is_served_until_what_was_learned_was_judged_as_it_was_served() -> None:
    """A label tells of what was served a horizon before: nothing is judged by a model that knew later labels."""
    found = examples(6000)
    known = sorted(found, key=lambda one: one.known_at)
    young = taught(known[:3000])
    assert young.own_share == 1.0, "75 days of examples: none was scored by what was learned"
    told = young.scores().expected([3, 10, 30_000, 300, 200])
    assert told.money == told.own
    old = taught(known)
    assert 0.0 < old.own_share < 0.9
    assert len(old.snapshot()["served"]) <= 32


def test_it_learns_who_spends_more() -> None:
    scores = taught(examples(6000)).scores()
    fresh, gone = scores.expected([3, 10, 30_000, 300, 200]), scores.expected([140, 1, 1_000, 140, 20])
    assert fresh.money > 5 * gone.money
    assert fresh.returns is not None
    assert gone.returns is not None
    assert fresh.returns > 0.8
    assert gone.returns < 0.3


def test_before_it_has_learned_the_own_pace_is_told() -> None:
    model = taught(examples(MIN_EXAMPLES - 1))
    scores, x = model.scores(), [10, 3, 9000, 70, 200]
    assert not scores.learned
    assert scores.expected(x) == ValueScores().expected(x)
    assert scores.expected(x).returns is None


def test_examples_of_before_money_was_told_are_left_out() -> None:
    found = examples(3)
    old = {
        key: value
        for key, value in msgspec.to_builtins(found[0]).items()
        if key not in {"spent_minor", "next_order_days"}
    }
    model = ValueModel()
    model.learn(msgspec.json.encode(old))
    assert model.value.count == 0
    model.learn(msgspec.json.encode(found[1]))
    assert model.value.count == 1


def test_another_horizon_begins_anew() -> None:
    model = taught(examples(600))
    model.learn(msgspec.json.encode(example(700, random.Random(1), days=60)))
    assert (model.horizon_days, model.value.count) == (60, 1)
    assert model.scores().horizon_days == 60


def test_published_and_read_again_it_says_the_same() -> None:
    session = LearnSession("value")
    for one in examples(700):
        session.model.learn(msgspec.json.encode(one))
    session.changed = True
    envelope = session.snapshot(5)
    assert envelope is not None
    read, x = ValueScores.from_envelope(envelope), [10, 3, 9000, 70, 200]
    assert isinstance(session.model, ValueModel)
    assert read.expected(x) == session.model.scores().expected(x)
    assert (read.version, read.learned) == (1, True)
    for wrong in ({"schema": 99}, {"name": "churn"}, {"payload": b"\xc1"}):
        with pytest.raises(IncompatibleSnapshotError):
            ValueScores.from_envelope(msgspec.structs.replace(envelope, **wrong))
    payload = replace_features(envelope.payload)
    with pytest.raises(IncompatibleSnapshotError, match="other features"):
        ValueScores.from_envelope(msgspec.structs.replace(envelope, payload=payload))


def replace_features(payload: bytes) -> bytes:
    return msgspec.msgpack.encode(msgspec.msgpack.decode(payload) | {"features": ["other"]})


def test_restored_it_goes_on_bit_by_bit() -> None:
    found = examples(400)
    whole, half, again = taught(found), taught(found[:150]), ValueModel()
    again.restore(half.snapshot())
    for one in found[150:]:
        again.learn_examples([one])
    assert pack_state(again.snapshot()) == pack_state(whole.snapshot())
    with pytest.raises(IncompatibleSnapshotError):
        again.restore({"value": Value(3).snapshot(), "buyers": 0, "first_label_ms": None, "horizon_days": 90})
    with pytest.raises(IncompatibleSnapshotError, match="without"):
        again.restore({"value": whole.value.snapshot()})


def test_amounts_stay_finite() -> None:
    scores = taught(examples(600)).scores()
    for x in ([0, 1, 10**14, 0, 100], [100_000, 1, -5, 0, 0], [0, 3000, 1, 0, 10**6]):
        told = scores.expected(x)
        assert np.isfinite([told.money, told.days, told.own]).all()
        assert told.money >= 0
