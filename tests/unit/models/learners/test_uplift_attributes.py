"""Uplift learned from attributes, against a truth that is known: a message that only the plan decides about."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from models.decisions import UpliftExample
from models.errors import IncompatibleSnapshotError
from models.features.attributes import Told
from models.features.goals import RAW_NAMES, as_matrix
from models.learners.envelope import pack_state
from models.learners.streamed.uplift import UpliftModel
from models.learners.uplift_scores import UpliftScores

CODE = 1 << 16
HELPS = {"pro": 1.2, "basic": -1.2, "free": 0.0, None: 0.0}


def example(n: int, rng: np.random.Generator, *, about: bool = True) -> bytes:
    plan = [*HELPS][int(rng.integers(4))]
    x = [int(value) for value in rng.integers(0, 400, len(RAW_NAMES))]
    treated = int(rng.integers(2))
    odds = -0.8 + 0.3 * (np.log1p(x[5]) - 4.0) + (treated - 0.5) * HELPS[plan]
    label = int(rng.random() < 1.0 / (1.0 + np.exp(-odds)))
    told: dict[str, Told] = {"city": f"city {int(rng.zipf(1.5)) % 90}", "plan": plan}
    at = 1_000_000_000_000 + n * 60_000
    known = told if about else msgspec.UNSET
    return msgspec.json.encode(
        UpliftExample(str(n), "u", "nudge", CODE, at, at + 1, at + 1, treated, label, x, None, known)
    )


def taught(count: int, *, about: bool = True) -> UpliftModel:
    model, rng = UpliftModel(), np.random.default_rng(3)
    for n in range(count):
        model.learn(example(n, rng, about=about))
    return model


def told(scores: UpliftScores, *abouts: dict[str, Told]) -> list[float]:
    rng = np.random.default_rng(9)
    x = as_matrix([[int(value) for value in rng.integers(0, 400, len(RAW_NAMES))]])
    return [float(scores.score(CODE, x, [about])[0]) for about in abouts]


def test_whom_the_message_helps_is_learned_from_what_is_known_about_them() -> None:
    scores = taught(4_000).scores()
    pro, free, basic, unseen, nothing = told(
        scores, {"plan": "pro"}, {"plan": "free"}, {"plan": "basic"}, {"plan": "trial", "city": "Atlantis"}, {}
    )
    assert pro > 0.1 > free > -0.1 > basic
    assert basic < unseen < pro
    assert basic < nothing < pro
    blind = taught(4_000, about=False).scores()
    assert len(set(told(blind, {"plan": "pro"}, {"plan": "basic"}))) == 1


def test_it_goes_on_as_it_stopped() -> None:
    whole, first, again = taught(900), taught(500), UpliftModel()
    again.restore(first.snapshot())
    rng = np.random.default_rng(3)
    for n in range(900):
        value = example(n, rng)
        if n >= 500:
            again.learn(value)
    assert pack_state(again.snapshot()) == pack_state(whole.snapshot())
    assert again.payload() == whole.payload()


def test_arrays_that_do_not_fit_are_refused() -> None:
    payload = taught(900).scores().payload
    found = payload.campaigns[CODE]
    for wrong in (
        msgspec.structs.replace(found, attributes=msgspec.UNSET),
        msgspec.structs.replace(found, features=found.features[1:]),
    ):
        with pytest.raises(IncompatibleSnapshotError):
            UpliftScores(msgspec.structs.replace(payload, campaigns={CODE: wrong}))
