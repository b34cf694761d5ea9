"""Batch models as arrays: they score as told, explain exactly, and refuse what does not fit."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import IncompatibleSnapshotError
from models.features import churn, goals
from models.learners.base import MAX_LOG_ODDS
from models.learners.batch import SCHEMA, BatchModel, state_of
from models.learners.envelope import Envelope, pack_state
from models.learners.goal_scores import GoalPayload, GoalScores, GoalsPayload
from models.learners.linear import LinearPayload
from models.learners.task import CHURN, Task

NAME = CHURN.batch
GOAL = Task.of_goal("buy-again", 7)

RAW = st.tuples(
    st.integers(0, 400), st.integers(1, 60), st.integers(0, 10**7), st.integers(0, 800), st.integers(100, 900)
).map(list)
REFERENCE = churn.expand(churn.as_matrix([[30, 3, 9000, 200, 150]]))[0]
STUMP = {"feature": [0.0, 0, 0], "threshold": [3.0, 0, 0], "missing_left": [1.0, 0, 0], "left": [1.0, 1, 2]}
TREE: dict[str, Any] = {
    "name": "forest",
    "seed": 0,
    "examples": 9,
    "depth": 1,
    "baseline": 0.0,
    "arrays": {
        name: np.array(values)
        for name, values in {**STUMP, "right": [2.0, 1, 2], "value": [0.5, 0.1, 0.8], "roots": [0.0]}.items()
    },
}


def state(kind: str, **changes: Any) -> dict[str, Any]:
    columns = list(range(8))
    rng = np.random.default_rng(3)
    model: dict[str, Any] = {
        "linear": {"kind": "linear", "w": rng.normal(size=8), "b": -0.2},
        "network": {
            "kind": "network",
            "layers": [
                {"w": rng.normal(size=(8, 4)), "b": rng.normal(size=4)},
                {"w": rng.normal(size=(4, 1)), "b": np.zeros(1)},
            ],
        },
        "trees": {"kind": "trees", "trees": TREE},
    }
    standard = (REFERENCE.copy(), np.full(8, 2.0)) if kind != "trees" else (np.zeros(8), np.ones(8))
    return state_of(columns, REFERENCE, standard, REFERENCE, 5, model[kind]) | changes


def envelope(kind: str = "linear", **changes: Any) -> Envelope:
    made = Envelope(
        name=NAME, schema=SCHEMA, library="", version=4, created_ms=0, meta={}, payload=pack_state(state(kind))
    )
    return msgspec.structs.replace(made, **changes)


@pytest.mark.parametrize("kind", ["linear", "network", "trees"])
@settings(max_examples=25, deadline=None)
@given(raw=RAW)
def test_shares_add_up_to_the_log_odds(kind: str, raw: list[int]) -> None:
    model = BatchModel(state(kind))
    total = model.base_log_odds + sum(share for _, share in model.contributions(raw))
    assert total == pytest.approx(float(model.log_odds(churn.as_matrix([raw]))[0]), abs=1e-9)


def test_shares_of_a_linear_model_are_its_terms() -> None:
    model, raw = BatchModel(state("linear")), [90, 5, 123, 300, 240]
    weights = np.random.default_rng(3).normal(size=8) / 2.0
    terms = weights * (churn.expand(churn.as_matrix([raw]))[0] - REFERENCE)
    shares = dict(model.contributions(raw))
    assert shares["money"] == pytest.approx(terms[churn.FEATURE_NAMES.index("money")])
    assert shares["recency"] == pytest.approx(terms[0] + terms[1])  # the square belongs to its base
    assert churn.reasons(model.contributions(raw), raw)


@pytest.mark.parametrize("kind", ["linear", "network", "trees"])
def test_the_trip_through_an_envelope_changes_no_bit(kind: str) -> None:
    raw = churn.as_matrix([[3, 4, 5000, 60, 300], [99, 1, 100, 99, 100]])
    stored = BatchModel.from_envelope(Envelope.from_bytes(envelope(kind).to_bytes(), name=NAME))
    assert (stored.version, stored.name, stored.until_ms) == (4, NAME, 5)
    assert stored.score(raw).tobytes() == BatchModel(state(kind)).score(raw).tobytes()
    assert stored.score(raw[:0]).shape == (0,)


def test_a_missing_value_is_filled() -> None:
    model = BatchModel(state("linear"))
    features = REFERENCE[None, :].copy()
    features[0, 3] = np.nan
    assert model.log_odds_of(features)[0] == pytest.approx(model.base_log_odds)


@pytest.mark.parametrize(
    "changes",
    [
        {"features": ["x"]},
        {"columns": [0, 1, 99]},
        {"columns": [0, 1]},
        {"fill": np.array([np.nan] * 8)},
        {"scale": np.zeros(8)},
        {"model": {"kind": "pickle", "data": b"cos\nsystem"}},
        {"model": {"kind": "linear", "w": np.ones(3), "b": 0.0}},
        {"model": {"kind": "linear", "w": np.full(8, np.inf), "b": 0.0}},
        {"model": {"kind": "trees", "trees": TREE | {"name": "boosted tree"}}},
        {"model": {"kind": "trees", "trees": TREE | {"arrays": TREE["arrays"] | {"left": np.array([7.0, 1, 2])}}}},
        {"model": {"kind": "trees", "trees": TREE | {"arrays": TREE["arrays"] | {"feature": np.array([8.0, 0, 0])}}}},
        {"model": {"kind": "trees", "trees": TREE | {"arrays": TREE["arrays"] | {"value": np.array([0.5])}}}},
        {"model": 3},
        {"until_ms": None},
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(IncompatibleSnapshotError):
        BatchModel(state("linear") | changes)


def test_other_schemas_and_damaged_snapshots_are_refused() -> None:
    for changes in ({"schema": SCHEMA + 1}, {"name": "churn"}):
        with pytest.raises(IncompatibleSnapshotError, match=r"is not schema|is no batch model"):
            BatchModel.from_envelope(envelope(**changes))
    packed = envelope("trees").to_bytes()
    stored = msgspec.msgpack.decode(packed)
    changed = bytearray(stored["payload"])
    changed[-3] ^= 1
    with pytest.raises(IncompatibleSnapshotError, match="damaged"):
        Envelope.from_bytes(msgspec.msgpack.encode(stored | {"payload": bytes(changed)}))
    with pytest.raises(IncompatibleSnapshotError, match="damaged"):  # another version's bytes under this number
        Envelope.from_bytes(msgspec.msgpack.encode(stored | {"version": 5}))
    assert Envelope.from_bytes(packed).meta == {}


def of_goal(seed: int = 3) -> BatchModel:
    """A linear model of a goal."""
    rng, width = np.random.default_rng(seed), len(goals.FEATURE_NAMES)
    linear = {"kind": "linear", "w": rng.normal(size=width), "b": -0.2}
    return BatchModel(
        state_of(
            list(range(width)), np.zeros(width), (np.zeros(width), np.ones(width)), np.ones(width), 5, linear, GOAL
        ),
        3,
        GOAL,
    )


@settings(max_examples=10, deadline=None)
@given(raw=st.lists(st.integers(0, 10**5), min_size=len(goals.RAW_NAMES), max_size=len(goals.RAW_NAMES)))
def test_a_goals_score_is_told_by_concepts(raw: list[int]) -> None:
    model = of_goal()
    shares = model.contributions(raw)
    total = model.base_log_odds + sum(share for _, share in shares)
    odds = np.clip(total, -MAX_LOG_ODDS, MAX_LOG_ODDS)
    assert abs(odds) == MAX_LOG_ODDS or odds == pytest.approx(
        float(model.log_odds(goals.as_matrix([raw]))[0]), abs=1e-6
    )
    assert {name for name, _ in shares} <= set(goals.CONCEPTS.values())
    told = goals.reasons(shares, raw, top=12)
    assert sum(share for _, share in told) == pytest.approx(sum(share for _, share in shares))


def test_a_promoted_model_scores_its_goal_and_no_other() -> None:
    width = len(goals.FEATURE_NAMES)
    flat = LinearPayload(
        features=list(goals.FEATURE_NAMES), weights=[0.0] * width, bias=1.0, mean=[0.0] * width, scale=[1.0] * width,
        platt=(1.0, 0.0), learned=True, examples=500, first_label_ms=0,
    )  # fmt: skip
    young = msgspec.structs.replace(flat, learned=False)
    payload = GoalsPayload(goals={code: GoalPayload(goal="x", model=flat) for code in (5, 7)})
    payload.goals[8] = GoalPayload(goal="young", model=young)
    online, model = GoalScores(payload, 9), of_goal()
    found = online.with_batch({7: model})
    assert found.with_batch({7: model}) is found
    assert (found.version, found.codes, found.of([7, 5]).codes) == (9, (5, 7), (7, 5))
    raw = goals.as_matrix([[1] * len(goals.RAW_NAMES), [50] * len(goals.RAW_NAMES)])
    assert found.score(raw)[:, 0].tolist() == online.score(raw)[:, 0].tolist()
    assert found.of([7, 5]).score(raw)[:, 0].tolist() == model.score(raw).tolist()
    assert found.contributions(7, [1] * len(goals.RAW_NAMES)) == model.contributions([1] * len(goals.RAW_NAMES))
    assert found.base_log_odds(7) == model.base_log_odds
    assert found.base_log_odds(5) == 1.0
    assert GoalScores().with_batch({7: model}).score(raw)[:, 0].tolist() == model.score(raw).tolist()
    assert online.with_batch({8: model}).codes == (5, 7, 8), "promoted before the online model has learned"
    assert found.of([5]).score(raw).shape == (2, 1)
