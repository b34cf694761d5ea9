"""The learner of goals: what it publishes, what it says of itself, and that it goes on as it stopped."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from models.decisions import GoalExample
from models.errors import IncompatibleSnapshotError
from models.features.goals import FEATURE_NAMES, RAW_NAMES, as_matrix
from models.learners.batch import BatchModel, state_of
from models.learners.envelope import Envelope, pack_state, unpack_state
from models.learners.goal_scores import GoalScores
from models.learners.prequential import Prequential
from models.learners.session import LearnSession
from models.learners.streamed.goals import KEPT, GoalsModel
from models.learners.task import Task

DAY_MS = 86_400_000
BUY = Task.of_goal("buy", 5)


def example(number: int, *, code: int = 5, p_e4: int = -1, **changes: object) -> GoalExample:
    """Users with many views reach the goal, the others do not (but for one in seven)."""
    views = number % 10
    x = [0] * len(RAW_NAMES)
    x[RAW_NAMES.index("views_7d")] = 100 * views
    x[RAW_NAMES.index("tenure_days")] = number % 13
    at = number * DAY_MS // 50
    label = int((views > 5) != (number % 7 == 0))
    found = GoalExample(
        id=str(number), user="u", goal="buy", code=code, at=at, due=at + DAY_MS, known_at=at + DAY_MS, label=label,
        x=x, p_e4=p_e4,
    )  # fmt: skip
    return msgspec.structs.replace(found, **changes)


def learned(count: int = 2000) -> GoalsModel:
    model = GoalsModel()
    for number in range(count):
        model.learn(msgspec.json.encode(example(number)))
    return model


def test_it_learns_what_the_examples_say() -> None:
    model = learned()
    scores = model.scores()
    assert scores.codes == (5,)
    likely, unlikely = scores.score(as_matrix([example(9).x, example(1).x]))[:, 0]
    assert likely > 0.7
    assert unlikely < 0.3


def test_nothing_is_served_before_there_are_enough_of_both_labels() -> None:
    assert learned(200).scores().codes == ()
    one_sided = GoalsModel()
    for number in range(1000):
        one_sided.learn_example(example(number, label=0))
    assert one_sided.scores().codes == ()
    assert one_sided.meta()["goals"]["5"]["learned"] is False


def test_goals_are_told_apart_by_what_they_ask() -> None:
    model = learned(400)
    for number in range(400):
        model.learn_example(example(number, code=6, label=1 - example(number).label))
    first, second = model.scores().score(as_matrix([example(9).x]))[0].tolist()
    assert first > 0.5 > second
    assert model.scores().of([6]).codes == (6,)
    assert model.scores().of([7]).codes == ()


def test_goals_of_long_ago_are_forgotten_when_there_are_many() -> None:
    model = GoalsModel()
    for code in range(KEPT + 5):
        model.learn_example(example(code, code=code))
    assert sorted(model.learners) == list(range(5, KEPT + 5))


def test_an_unreadable_example_is_refused() -> None:
    model = GoalsModel()
    wrong = ({"x": [1, 2]}, {"label": 2})
    for changes in wrong:
        value = msgspec.json.encode(msgspec.to_builtins(example(1)) | changes)
        with pytest.raises(msgspec.ValidationError):
            model.learn(value)
    assert model.learners == {}


def test_it_goes_on_as_it_stopped() -> None:
    whole, first = learned(700), learned(400)
    session = LearnSession("goals")
    session.model = first
    again = LearnSession("goals")
    again.restore(session.checkpoint())
    for number in range(400, 700):
        again.model.learn(msgspec.json.encode(example(number)))
    assert pack_state(again.model.snapshot()) == pack_state(whole.snapshot())


def test_a_snapshot_is_read_or_refused_with_a_reason() -> None:
    model = learned(400)
    good = Envelope(
        name="goals", schema=1, library="", version=3, created_ms=0, meta=model.meta(), payload=model.payload()
    )
    found = GoalScores.from_envelope(Envelope.from_bytes(good.to_bytes(), name="goals"))
    assert (found.version, found.codes) == (3, (5,))
    for wrong in ({"schema": 2}, {"name": "churn"}, {"payload": b"\x00"}):
        with pytest.raises(IncompatibleSnapshotError):
            GoalScores.from_envelope(msgspec.structs.replace(good, **wrong))
    payload = model.scores().payload
    other = msgspec.structs.replace(payload.goals[5].model, features=list(FEATURE_NAMES[1:]))
    changed = msgspec.structs.replace(payload, goals={5: msgspec.structs.replace(payload.goals[5], model=other)})
    with pytest.raises(IncompatibleSnapshotError, match="other features"):
        GoalScores(changed)


def test_drift_is_found_in_what_was_served() -> None:
    model = GoalsModel()
    for number in range(3000):
        told = 9000 if example(number).label else 1000
        model.learn_example(example(number, p_e4=told if number < 1500 else 10_000 - told))
    assert model.meta()["goals"]["5"]["drifts"] >= 1


# ------------------------------------------------------------------ prequential figures


def test_figures_agree_with_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=4000) - 1.0
    labels = (rng.random(4000) < 1.0 / (1.0 + np.exp(-truth))).astype(int)
    scores = 1.0 / (1.0 + np.exp(-(truth * 0.7 + rng.normal(size=4000) * 0.5)))
    seen = Prequential()
    for score, label in zip(scores.tolist(), labels.tolist(), strict=True):
        seen.add(score, label)
    found = seen.figures()
    assert found["judged"] == 4000
    # The newest count a little more: a half-life of 20,000 labels.
    weights = 2.0 ** (np.arange(4000) / 20_000)
    assert found["auc"] == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights), abs=0.001)
    assert found["log_loss"] == pytest.approx(log_loss(labels, scores, sample_weight=weights), abs=0.0002)
    assert found["rate"] == pytest.approx(np.average(labels, weights=weights), abs=0.0002)


@pytest.mark.parametrize(("shift", "least", "most"), [(0.0, 0.0, 0.025), (1.0, 0.1, 0.3)])
def test_calibration_is_the_distance_between_told_and_true(shift: float, least: float, most: float) -> None:
    rng = np.random.default_rng(5)
    odds = rng.normal(size=6000)
    labels = (rng.random(6000) < 1.0 / (1.0 + np.exp(-odds))).astype(int)
    seen = Prequential()
    for score, label in zip((1.0 / (1.0 + np.exp(-(odds + shift)))).tolist(), labels.tolist(), strict=True):
        seen.add(score, label)
    calibration = seen.figures()["calibration"]
    assert calibration is not None
    assert least <= calibration <= most


def test_figures_of_nothing_and_of_one_label() -> None:
    seen = Prequential()
    assert seen.figures()["auc"] is None
    seen.add(0.2, 0)
    assert (seen.figures()["auc"], seen.figures()["judged"]) == (None, 1)
    again = Prequential()
    again.restore(seen.snapshot())
    assert again.figures() == seen.figures()


def test_figures_stay_finite_over_very_many_labels() -> None:
    seen = Prequential()
    for number in range(450_000):
        seen.add(0.25, int(number % 4 == 0))
    assert seen.figures()["rate"] == pytest.approx(0.25, abs=0.001)
    assert seen.figures()["log_loss"] == pytest.approx(0.5623, abs=0.001)


def batch(weight: float, until_ms: int = -1) -> BatchModel:
    """Log-odds of the goal rise with the views of a week."""
    linear = {"kind": "linear", "w": [weight], "b": -weight * np.log1p(5.5)}
    column = FEATURE_NAMES.index("views_7d")
    return BatchModel(
        state_of([column], [0.0], ([0.0], [1.0]), np.zeros(len(FEATURE_NAMES)), until_ms, linear, BUY), 1, BUY
    )


def test_each_goal_is_compared_with_its_own_shadow() -> None:
    session = LearnSession("goals")
    model = session.model
    assert isinstance(model, GoalsModel)
    for number in range(400):
        model.learn_example(example(number))
        model.learn_example(example(number, code=6, goal="other"))
    assert [task.score for task in session.contests] == ["goal:buy", "goal:other"]
    shadow = batch(3.0)
    session.contests[BUY].between(0, 1, {1: shadow})
    found = [example(number, user=f"u{number % 200}") for number in range(400, 1400)]
    for one in found:
        model.learn_example(one)
        model.learn_example(msgspec.structs.replace(one, code=6))
    report = session.comparisons()[BUY]
    assert session.comparisons()[Task.of_goal("other", 6)].shadow is None
    assert (report.examples, report.positives) == (1000, sum(one.label for one in found))
    assert report.of_shadow is not None
    scores, labels = shadow.score(as_matrix([one.x for one in found])), [one.label for one in found]
    assert report.of_shadow.log_loss == pytest.approx(log_loss(labels, scores), abs=1e-4)
    assert report.of_champion is not None
    assert report.of_champion.log_loss < 0.6


def test_what_was_taken_before_anything_was_served_is_not_compared() -> None:
    model = GoalsModel()
    model.learn_example(example(0))
    model.learners[5].contest.between(0, 1, {1: batch(3.0)})
    for number in range(1, 200):
        model.learn_example(example(number))
    assert model.learners[5].contest.report().examples == 0


def test_a_comparison_goes_on_and_states_of_before_have_none() -> None:
    model = learned(400)
    contest = model.learners[5].contest
    contest.between(0, 1, {1: batch(3.0)})
    for number in range(400, 700):
        model.learn_example(example(number))
    again, older = GoalsModel(), GoalsModel()
    state = unpack_state(pack_state(model.snapshot()))
    again.restore(state)
    assert again.learners[5].contest.report() == contest.report()
    del state["learners"]["5"]["contest"]
    older.restore(state)
    assert older.learners[5].contest.report().shadow is None
