"""What decide serves: scores equal the pool's, shares add up to the log-odds, snapshots survive the trip."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import IncompatibleSnapshotError
from models.features import churn
from models.learners.envelope import Envelope, pack_state, unpack_state
from models.learners.linear import LinearModel
from models.learners.streamed.churn import MIN_EXAMPLES, ChurnModel

RAW = st.tuples(
    st.integers(0, 400), st.integers(1, 60), st.integers(0, 10**7), st.integers(0, 800), st.integers(100, 900)
).map(list)


def learned(count: int = 1200) -> ChurnModel:
    rng = np.random.default_rng(5)
    model = ChurnModel()
    for index in range(count):
        recency, days = int(rng.integers(0, 180)), int(rng.integers(1, 12))
        raw = [recency, days, int(rng.integers(100, 90_000)), recency + 20 * days, 100 + 10 * days]
        label = int(rng.random() < 1 / (1 + np.exp(-(recency / 40 - days / 3))))
        model.learn_example(raw, label, index * 3_600_000, (index + 2000) * 3_600_000)
    return model


MODEL = learned()


@given(st.lists(RAW, min_size=1, max_size=30))
def test_served_score_is_the_pools(rows: list[list[int]]) -> None:
    raw = churn.as_matrix(rows)
    expected = MODEL.pool.predict_proba_many(churn.expand(raw))
    assert MODEL.linear_model().score(raw) == pytest.approx(expected, abs=1e-9)


@given(RAW, st.booleans())
def test_shares_add_up_to_the_log_odds(raw: list[int], rule: bool) -> None:
    model = LinearModel.rule() if rule else MODEL.linear_model()
    total = model.base_log_odds + sum(share for _, share in model.contributions(raw))
    assert total == pytest.approx(float(model.log_odds(churn.as_matrix([raw]))[0]), abs=1e-9)


@given(st.lists(RAW, min_size=1, max_size=10))
def test_rule_model_is_the_rule(rows: list[list[int]]) -> None:
    raw = churn.as_matrix(rows)
    assert LinearModel.rule().score(raw) == pytest.approx(churn.rule_score(raw), abs=1e-12)


def test_rule_is_served_until_enough_labels_of_both_kinds() -> None:
    few = learned(MIN_EXAMPLES - 1)
    assert not few.linear_model().learned
    raw = churn.as_matrix([[50, 2, 100, 90, 150]])
    assert few.linear_model().score(raw) == pytest.approx(churn.rule_score(raw))
    assert few.linear_model().payload.examples == MIN_EXAMPLES - 1
    one_kind = ChurnModel()
    for index in range(MIN_EXAMPLES + 50):
        one_kind.learn_example([index % 90, 2, 100, 90, 150], 1, 0, index)
    assert not one_kind.linear_model().learned
    assert MODEL.linear_model().learned


def test_envelope_round_trip_scores_alike() -> None:
    envelope = Envelope(name="churn", schema=1, library="x", version=7, created_ms=1, meta={}, payload=MODEL.payload())
    loaded = LinearModel.from_envelope(Envelope.from_bytes(envelope.to_bytes(), name="churn", schema=1))
    raw = churn.as_matrix([[3, 4, 5000, 60, 300], [99, 1, 100, 99, 100]])
    assert loaded.version == 7
    assert loaded.score(raw).tobytes() == MODEL.linear_model().score(raw).tobytes()
    assert loaded.payload.first_label_ms == 2000 * 3_600_000


def test_other_features_models_and_schemas_are_refused() -> None:
    payload = msgspec.structs.replace(MODEL.linear_model().payload, features=["x"])
    with pytest.raises(IncompatibleSnapshotError, match="features"):
        LinearModel(payload)
    good = Envelope(name="churn", schema=1, library="", version=1, created_ms=0, meta={}, payload=MODEL.payload())
    for wrong in ({"schema": 2}, {"name": "recs"}, {"payload": b"\x00"}):
        with pytest.raises(IncompatibleSnapshotError):
            LinearModel.from_envelope(msgspec.structs.replace(good, **wrong))
    with pytest.raises(IncompatibleSnapshotError, match="schema"):
        Envelope.from_bytes(good.to_bytes(), schema=9)
    with pytest.raises(IncompatibleSnapshotError, match="asked for"):
        Envelope.from_bytes(good.to_bytes(), name="recs")
    for junk in (b"", b"nonsense", b"\xc1"):
        with pytest.raises(IncompatibleSnapshotError):
            Envelope.from_bytes(junk)
        with pytest.raises(IncompatibleSnapshotError):
            unpack_state(junk)
    broken = msgspec.structs.replace(good, meta={"encoding": "zlib"}, payload=b"not deflated")
    with pytest.raises(IncompatibleSnapshotError):
        Envelope.from_bytes(msgspec.msgpack.encode(broken))


@given(st.lists(st.floats(allow_nan=False), max_size=20), st.integers(-(2**63), 2**64 - 1), st.text())
def test_state_codec_keeps_every_bit(values: list[float], number: int, text: str) -> None:
    state = {
        "a": np.array(values).reshape(1, len(values)),
        "n": number,
        f"k{text}": [{"x": [None, True, text]}],
    }
    back = unpack_state(pack_state(state))
    assert back.pop("a").tobytes() == np.array(values).tobytes()
    state.pop("a")
    assert back == state
