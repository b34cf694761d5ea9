"""Uplift as the stream learns it: made-up campaigns whose truth is known, and what is published of them."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from models.decisions import UpliftExample
from models.errors import IncompatibleSnapshotError
from models.features.goals import FEATURE_NAMES, RAW_NAMES, as_matrix, expand
from models.learners.envelope import Envelope, pack_state, unpack_state
from models.learners.session import LearnSession
from models.learners.streamed.uplift import UpliftModel
from models.learners.uplift_scores import UpliftPayload, UpliftScores

CODE = 1 << 16
FloatArray = npt.NDArray[np.float64]


def people(count: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Raw vectors of made-up users."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 400, (count, len(RAW_NAMES)))
    x[:, 7] = np.where(rng.random(count) < 0.3, -1, x[:, 7])
    return x.astype(np.int64)


def chances(x: npt.NDArray[np.int64], effect: float) -> tuple[FloatArray, FloatArray]:
    """P(conversion) without and with the message: it helps those with few sessions, and harms the others."""
    sessions = np.log1p(x[:, 3])
    side = (sessions - sessions.mean()) / sessions.std()
    odds = -1.0 + 0.5 * (np.log1p(x[:, 5]) - 4.0)
    first, second = (1 / (1 + np.exp(-(odds - t * effect * side))) for t in (0, 1))
    return first, second


def example(x: list[int], treated: int, label: int, n: int, told: int | None = None, code: int = CODE) -> bytes:
    at = 1_000_000_000_000 + n * 60_000
    made = UpliftExample(
        str(n), f"u{n}", "nudge", code, at, at + 1, at + 1, treated, label, [int(one) for one in x], told
    )
    return msgspec.json.encode(made)


def taught(effect: float, count: int = 4000, seed: int = 0, model: UpliftModel | None = None) -> UpliftModel:
    """Learns as the stream does: what is served is told with the example."""
    model = UpliftModel() if model is None else model
    rng = np.random.default_rng(seed + 1)
    x = people(count, seed)
    without, given = chances(x, effect)
    for n in range(count):
        treated = int(rng.integers(0, 2))
        told = None
        if n >= 1000 and n % 500 == 0:
            scores = model.scores()
        if n >= 1000 and scores.learned:
            told = round(float(scores.score(CODE, as_matrix([x[n].tolist()]))[0]) * 10_000)
        chance = (without, given)[treated][n]
        model.learn(example(x[n].tolist(), treated, int(rng.random() < chance), n, told))
    return model


def test_it_finds_whom_the_message_changes() -> None:
    model = taught(1.0)
    x = people(2000, 99)
    without, given = chances(x, 1.0)
    served = model.scores().score(CODE, as_matrix(x.tolist()))
    assert np.corrcoef(served, given - without)[0, 1] > 0.8
    found = model.meta()["campaigns"][str(CODE)]
    assert found["learned"]
    assert found["qini"] > 0.1
    told, seen = ([one[name] for one in found["groups"]] for name in ("told", "effect"))
    assert told == sorted(told, reverse=True)
    assert seen[0] > 0.1 > -0.1 > seen[-1], "those told the most gain, those told the least are disturbed"


def test_it_can_be_written_down() -> None:
    session = LearnSession("uplift")
    session.model = taught(1.0, 1500)
    session.changed = True
    envelope = session.snapshot(5)
    assert envelope is not None
    assert Envelope.from_bytes(envelope.to_bytes()).meta["campaigns"] == session.model.meta()["campaigns"]


def test_without_an_effect_it_says_so() -> None:
    model = taught(0.0)
    found = model.meta()["campaigns"][str(CODE)]
    assert found["effect_low"] < 0.0 < found["effect_high"]
    assert abs(found["qini"]) < 0.1
    served = model.scores().score(CODE, as_matrix(people(2000, 99).tolist()))
    assert np.abs(served).mean() < 0.05


def test_what_is_published_is_what_was_learned() -> None:
    model = taught(1.0, 1500)
    payload = msgspec.msgpack.decode(model.payload(), type=UpliftPayload)
    x = people(50, 5)
    served = UpliftScores(payload).score(CODE, as_matrix(x.tolist()))
    pool = model.learners[CODE].pool
    wanted = [pool.uplift(row) for row in expand(as_matrix(x.tolist()))]
    assert served == pytest.approx(wanted, abs=1e-9)


def test_nothing_is_told_until_both_groups_are_known() -> None:
    model = UpliftModel()
    x = people(900, 3)
    for n in range(900):
        model.learn(example(x[n].tolist(), int(n % 5 == 0), int(n % 3 == 0), n))
    assert not model.meta()["campaigns"][str(CODE)]["learned"], "180 of the treated"
    assert model.scores().learned == frozenset()
    for n in range(20):
        model.learn(example(x[n].tolist(), 1, 0, 900 + n))
    assert model.meta()["campaigns"][str(CODE)]["learned"]
    assert model.scores().learned == {CODE}


def test_the_average_effect_is_counted() -> None:
    model = UpliftModel()
    x = people(1000, 4)
    for n in range(1000):
        treated = n % 2
        model.learn(example(x[n].tolist(), treated, int(n % 10 < (3 if treated else 2)), n))
    found = model.meta()["campaigns"][str(CODE)]
    rates = found["converted_treated"] / found["treated"], found["converted_held_out"] / found["held_out"]
    assert found["effect"] == pytest.approx(rates[0] - rates[1])
    assert found["effect_low"] < found["effect"] < found["effect_high"]


def test_campaigns_are_told_apart_and_the_oldest_goes() -> None:
    model = UpliftModel()
    x = [0] * len(RAW_NAMES)
    for n in range(140):
        model.learn(example(x, n % 2, 0, n, code=CODE + 2 * n))
    assert len(model.learners) == 128
    assert CODE not in model.learners


def test_drift_is_found() -> None:
    model = taught(0.0, 1500)
    assert model.meta()["campaigns"][str(CODE)]["drifts"] == 0
    x = people(600, 8)
    for n in range(600):
        model.learn(example(x[n].tolist(), n % 2, 1, 2000 + n))
    found = model.meta()["campaigns"][str(CODE)]
    assert found["drifts"] >= 1
    assert found["last_drift_ms"] > 1_000_000_000_000 + 2000 * 60_000


@pytest.mark.parametrize("count", [10, 300, 1200])
def test_restored_model_goes_on_bit_by_bit(count: int) -> None:
    first = taught(1.0, count)
    packed = pack_state(first.snapshot())
    second = UpliftModel()
    second.restore(unpack_state(packed))
    assert pack_state(second.snapshot()) == packed
    for model in (first, second):
        taught(1.0, 150, seed=7, model=model)
    assert second.payload() == first.payload()
    assert second.meta() == first.meta()
    with pytest.raises(IncompatibleSnapshotError):
        UpliftModel().restore({"learners": {"1": {"campaign": "x"}}})


@pytest.mark.parametrize("wrong", [{"treated": 2}, {"label": -1}, {"x": [1, 2]}, {"type": "goal"}])
def test_what_is_no_example_is_refused(wrong: dict[str, object]) -> None:
    made = msgspec.json.decode(example([0] * len(RAW_NAMES), 1, 0, 1)) | wrong
    with pytest.raises(msgspec.DecodeError):
        UpliftModel().learn(msgspec.json.encode(made))


def test_foreign_snapshots_are_refused() -> None:
    model = taught(1.0, 600)
    good = Envelope(name="uplift", schema=1, library="", version=3, created_ms=0, meta={}, payload=model.payload())
    assert UpliftScores.from_envelope(good).version == 3
    for wrong in ({"name": "goals"}, {"schema": 2}, {"payload": b"\x93"}):
        with pytest.raises(IncompatibleSnapshotError):
            UpliftScores.from_envelope(msgspec.structs.replace(good, **wrong))
    (payload,) = msgspec.msgpack.decode(model.payload(), type=UpliftPayload).campaigns.values()
    for changed in ({"features": list(FEATURE_NAMES[:-1])}, {"shares": [1.0]}, {"groups": payload.groups[:1]}):
        with pytest.raises(IncompatibleSnapshotError):
            UpliftScores(UpliftPayload(campaigns={CODE: msgspec.structs.replace(payload, **changed)}))
