"""Goals learned from attributes, against a truth that is known: scores as they were served, labels two weeks late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import msgspec
import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from models.decisions import GoalExample
from models.errors import IncompatibleSnapshotError
from models.features.attributes import AttributesPayload, Told
from models.features.goals import RAW_NAMES, as_matrix
from models.learners.envelope import pack_state
from models.learners.goal_scores import GoalScores, GoalsPayload
from models.learners.streamed.goals import GoalLearner, GoalsModel

DAY_MS = 86_400_000
LATE_MS = 14 * DAY_MS
COUNT, SCORED_FROM = 6_000, 3_000
NAMES = ("age", "city", "country", "plan")
COUNTRIES = [f"country {n}" for n in range(12)]


@dataclass(frozen=True)
class User:
    """Somebody of the made-up shop, and the chance that is the truth."""

    at: int
    x: list[int]
    about: dict[str, Told]
    chance: float
    label: int


@cache
def shop(seed: int, *, useful: bool) -> list[User]:
    """Views and silence count, if `useful` also country, plan and age, the city never; 15 % do not tell one of them."""
    rng = np.random.default_rng(seed)
    common = 1.0 / np.arange(1, len(COUNTRIES) + 1)
    of_country = dict(zip(COUNTRIES, rng.normal(0.0, 0.9, len(COUNTRIES)), strict=True))
    of_plan = {"free": -0.7, "basic": 0.0, "pro": 0.9}
    found = []
    for n in range(COUNT):
        x, views, silence = [0] * len(RAW_NAMES), rng.gamma(1.0, 3.0), int(rng.exponential(100))
        x[RAW_NAMES.index("views_7d")], x[RAW_NAMES.index("silence_hours")] = int(100 * views), silence
        x[RAW_NAMES.index("tenure_days")] = int(rng.integers(1, 400))
        age = int(rng.integers(18, 75))
        about: dict[str, Told] = {
            "age": age,
            "city": f"city {int(rng.zipf(1.4)) % 500}",
            "country": COUNTRIES[int(rng.choice(len(COUNTRIES), p=common / common.sum()))],
            "plan": ["free", "basic", "pro"][int(rng.choice(3, p=[0.6, 0.3, 0.1]))],
        }
        for name in ("age", "country", "plan"):
            if rng.random() < 0.15:
                about[name] = None
        odds = -1.6 + 0.6 * np.log1p(views) - 0.3 * np.log1p(silence / 24)
        if useful:
            odds += of_country.get(str(about["country"]), 0.0) + of_plan.get(str(about["plan"]), -0.3)
            odds += 0.0 if about["age"] is None else (age - 45) * 0.03
        chance = float(1.0 / (1.0 + np.exp(-odds)))
        found.append(User(n * DAY_MS // 60, x, about, chance, int(rng.random() < chance)))
    return found


def example(user: User, names: Sequence[str], p: float | None) -> GoalExample:
    due = user.at + LATE_MS
    about = {name: user.about[name] for name in names}
    told = about or msgspec.UNSET
    p_e4 = -1 if p is None else round(p * 10_000)
    return GoalExample(str(user.at), "u", "buy", 1, user.at, due, due, user.label, user.x, p_e4, told)


@cache
def served(seed: int, *, useful: bool, names: tuple[str, ...]) -> tuple[list[float], GoalLearner]:
    """What was served to each user behind `SCORED_FROM`, models taken over once a day; and the learner at the end."""
    learner, scores, waiting, taken = GoalLearner("buy", names), GoalScores(), list[GoalExample](), 0
    found = []
    for n, user in enumerate(shop(seed, useful=useful)):
        while waiting and waiting[0].known_at <= user.at:
            learner.learn(waiting.pop(0))
        if user.at - taken >= DAY_MS:
            scores, taken = GoalScores(GoalsPayload(goals={1: learner.payload()})), user.at
        p = float(scores.score(as_matrix([user.x]), [user.about])[0, 0]) if scores.codes else None
        waiting.append(example(user, names, p))
        if n >= SCORED_FROM:
            assert p is not None
            found.append(p)
    return found, learner


def labels(seed: int, *, useful: bool) -> tuple[list[int], list[float]]:
    users = shop(seed, useful=useful)[SCORED_FROM:]
    return [user.label for user in users], [user.chance for user in users]


def test_what_hangs_on_attributes_is_learned_and_calibrated() -> None:
    found, without, label, truth = list[float](), list[float](), list[int](), list[float]()
    for seed in (0, 1):
        found += served(seed, useful=True, names=NAMES)[0]
        without += served(seed, useful=True, names=())[0]
        label += labels(seed, useful=True)[0]
        truth += labels(seed, useful=True)[1]
    assert roc_auc_score(label, found) > roc_auc_score(label, truth) - 0.02
    assert roc_auc_score(label, found) > roc_auc_score(label, without) + 0.08
    assert log_loss(label, found) < log_loss(label, truth) + 0.01
    bins = np.array_split(np.argsort(found), 10)
    errors = [abs(float(np.mean(np.take(found, one)) - np.mean(np.take(label, one)))) for one in bins]
    assert max(errors) <= 0.05


def test_attributes_that_say_nothing_cost_little() -> None:
    label, _ = labels(1, useful=False)
    with_them, without = (log_loss(label, served(1, useful=False, names=names)[0]) for names in (NAMES, ()))
    assert with_them < without + 0.003


def test_what_was_never_seen_or_not_told_moves_nobody_far() -> None:
    _, learner = served(0, useful=True, names=NAMES)
    scores = GoalScores(GoalsPayload(goals={1: learner.payload()}))
    user = shop(0, useful=True)[-1]
    each = [user.about | {"country": country} for country in (*COUNTRIES, "Atlantis", None)]
    *known, unseen, missing = scores.score(as_matrix([user.x] * len(each)), each)[:, 0].tolist()
    assert min(known) < unseen < max(known)
    assert min(known) < missing < max(known)
    shares = dict(scores.contributions(1, user.x, user.about | {"country": "Atlantis"}))
    assert abs(shares["attribute country"]) < 0.7
    far = scores.score(as_matrix([user.x] * 2), [user.about | {"age": age} for age in (75, 10**15)])[:, 0]
    assert far[1] < 0.999999, "a number beyond all others is held within reach"


def test_it_goes_on_as_it_stopped() -> None:
    users = shop(0, useful=True)[:900]
    whole, first, again = GoalsModel(), GoalsModel(), GoalsModel()
    for user in users:
        whole.learn(msgspec.json.encode(example(user, NAMES, 0.3)))
    for user in users[:500]:
        first.learn(msgspec.json.encode(example(user, NAMES, 0.3)))
    again.restore(first.snapshot())
    for user in users[500:]:
        again.learn(msgspec.json.encode(example(user, NAMES, 0.3)))
    assert pack_state(again.snapshot()) == pack_state(whole.snapshot())
    assert again.payload() == whole.payload()


def test_what_is_served_is_bounded() -> None:
    _, learner = served(0, useful=True, names=NAMES)
    assert len(msgspec.msgpack.encode(learner.payload())) < 30_000
    assert learner.pool.dimensions < 20 + 4 * 35


def test_models_that_do_not_fit_are_refused() -> None:
    _, learner = served(0, useful=True, names=NAMES)
    good = learner.payload()
    assert isinstance(good.attributes, AttributesPayload)
    fewer = msgspec.structs.replace(good.model, **{
        name: getattr(good.model, name)[:-1] for name in ("features", "weights", "mean", "scale")
    })  # fmt: skip
    unread = msgspec.structs.replace(good.attributes, encoder={})
    for wrong in (
        msgspec.structs.replace(good, attributes=msgspec.UNSET),
        msgspec.structs.replace(good, attributes=unread),
        msgspec.structs.replace(good, model=fewer),
    ):
        with pytest.raises(IncompatibleSnapshotError):
            GoalScores(GoalsPayload(goals={1: wrong}))


def test_too_many_attributes_are_refused() -> None:
    value = msgspec.json.encode(example(shop(0, useful=True)[0], NAMES, None))
    wrong = msgspec.json.decode(value) | {"attributes": {f"a{n}": n for n in range(9)}}
    with pytest.raises(msgspec.ValidationError, match="more than 8"):
        GoalsModel().learn(msgspec.json.encode(wrong))
