"""The registry in a real Redis: versions, places, and what is refused while the model before serves on."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import redis

from config.definitions import Definitions
from config.topics import LEARNED_FROM
from models.brain import Brain
from models.errors import IncompatibleSnapshotError
from models.learners.batch import BatchModel, state_of
from models.learners.contest import Contest
from models.learners.envelope import Envelope
from models.learners.standing import Standing
from models.learners.streamed.churn import ChurnModel
from models.learners.task import CHURN, Task
from services.jobs.audit.run import Brains
from services.jobs.doctor.work import _models
from services.jobs.models import listing
from services.state import keys
from services.state.policies import keep_policy
from services.state.registry import ModelRegistry
from services.state.served import ServedModels
from streams.shadow import Contenders
from support.lane import shipped

NAME = CHURN.batch


@pytest.fixture
def definitions() -> Definitions:
    return shipped()


def state(weight: float = 1.0) -> dict[str, Any]:
    linear = {"kind": "linear", "w": [weight], "b": -3.0}
    return state_of([0], [0.0], ([0.0], [1.0]), np.zeros(8), 77, linear)


def publish_online(client: redis.Redis, version: int) -> None:
    payload = ChurnModel().payload()
    envelope = Envelope(
        name="churn", schema=1, library="", version=version, created_ms=5, meta={"examples": 3}, payload=payload
    )
    client.set(keys.snapshot("churn", version), envelope.to_bytes())
    client.set(keys.snapshot_latest("churn"), version)


def spoil(client: redis.Redis, version: int, **changes: Any) -> None:
    """Change a stored version without its checksum, as a mistake or another code would."""
    found: Any = client.get(keys.snapshot(NAME, version))
    client.set(keys.snapshot(NAME, version), msgspec.msgpack.encode(msgspec.msgpack.decode(found) | changes))


def test_versions_count_up_and_are_never_written_twice(client: redis.Redis) -> None:
    registry = ModelRegistry(client)
    assert registry.newest() == 0
    first, second = (registry.add(state(weight), {"title": "t"}, "lib 1", 9) for weight in (1.0, 2.0))
    assert (first.version, second.version, registry.newest()) == (1, 2, 2)
    raw = np.array([[50.0, 2, 100, 90, 150]])
    assert registry.load(2).score(raw) == BatchModel(state(2.0)).score(raw)
    assert registry.envelope(1).meta == {"title": "t"}
    # Somebody stopped between writing version 3 and saying so.
    client.set(keys.snapshot(NAME, 3), b"taken")
    assert registry.add(state(), {}, "", 9).version == 4
    assert client.get(keys.snapshot(NAME, 3)) == b"taken"
    with pytest.raises(IncompatibleSnapshotError, match="not in Redis"):
        registry.load(9)
    with pytest.raises(IncompatibleSnapshotError):
        registry.add(state() | {"features": ["x"]}, {}, "", 9)
    assert registry.newest() == 4


def test_two_who_change_places_at_once_do_not_lose_a_change(client: redis.Redis) -> None:
    registry, calls = ModelRegistry(client), 0

    def slow(standing: Standing) -> Standing:
        nonlocal calls
        calls += 1
        if calls == 1:
            ModelRegistry(client).change(lambda one: one.with_shadow(1, 10))
        return standing.with_shadow(2, 20)

    assert [change.shadow for change in registry.change(slow).changes] == [1, 2]
    assert calls == 2
    client.set(keys.registry("churn"), b"{")
    with pytest.raises(IncompatibleSnapshotError, match="cannot be read"):
        registry.standing()


def test_decide_takes_what_was_promoted_and_goes_back(client: redis.Redis, definitions: Definitions) -> None:
    registry, served = ModelRegistry(client), ServedModels(client)
    brain = served.take(Brain(definitions))
    assert brain.versions.items() >= {"churn": 0, "recs": 0, "goals": 0}.items()
    publish_online(client, 6)
    brain = served.take(brain)
    assert brain.versions.items() >= {"churn": 6, "recs": 0, "goals": 0}.items()
    registry.add(state(), {}, "", 9)
    registry.change(lambda one: one.with_shadow(1, 10))
    assert served.take(brain) is brain, "a shadow serves nobody"
    registry.change(lambda one: one.promoted(None, 11, force=True))
    brain = served.take(brain)
    assert brain.versions.items() >= {NAME: 1, "recs": 0, "goals": 0}.items()
    assert isinstance(brain.churn, BatchModel)
    publish_online(client, 7)
    assert served.take(brain) is brain, "the online model learns on, and does not serve"
    assert served.take(brain, anew=True).versions.items() >= {NAME: 1, "recs": 0, "goals": 0}.items()
    registry.change(lambda one: one.rolled_back(12))
    assert served.take(brain).versions.items() >= {"churn": 7, "recs": 0, "goals": 0}.items()


@pytest.mark.parametrize("changes", [{"schema": 9}, {"payload": b"x"}, {"name": "other"}])
def test_a_champion_that_cannot_be_read_is_refused_and_the_one_before_serves_on(
    client: redis.Redis, definitions: Definitions, changes: dict[str, Any]
) -> None:
    registry, served = ModelRegistry(client), ServedModels(client)
    publish_online(client, 4)
    for weight in (1.0, 2.0):
        registry.add(state(weight), {}, "", 9)
    spoil(client, 2, **changes)
    registry.change(lambda one: one.with_shadow(1, 10).promoted(None, 11, force=True))
    brain = served.take(Brain(definitions))
    assert brain.versions.items() >= {NAME: 1, "recs": 0, "goals": 0}.items()
    registry.change(lambda one: one.with_shadow(2, 12).promoted(None, 13, force=True))
    assert served.take(brain).versions.items() >= {NAME: 1, "recs": 0, "goals": 0}.items()
    # A worker that starts now has nothing before it: the online model serves.
    assert served.take(Brain(definitions)).versions.items() >= {"churn": 4, "recs": 0, "goals": 0}.items()
    told = {one["version"]: one["state"] for one in listing(client) if one["model"] == NAME}
    assert told == {2: "refused", 1: "shadow"}


def test_a_shadow_that_cannot_be_read_is_not_compared(client: redis.Redis) -> None:
    registry, clock, contest = ModelRegistry(client), [0.0], Contest()
    contenders, contests = Contenders(client, lambda: clock[0]), {CHURN: contest}
    contenders.bring(contests)
    assert not contest.active
    registry.add(state(), {}, "", 9)
    registry.change(lambda one: one.with_shadow(1, 10))
    contenders.bring_if_due(contests)
    assert contest.shadow is None, "looked a moment ago"
    clock[0] = 2.0
    contenders.bring_if_due(contests)
    assert (contest.active, contest.since_ms) == (True, 77)
    registry.add(state(), {}, "", 9)
    spoil(client, 2, payload=b"x")
    registry.change(lambda one: one.with_shadow(2, 11))
    clock[0] = 4.0
    contenders.bring_if_due(contests)
    assert not contest.active
    assert "damaged" in contest.report().refused


def test_one_list_of_all_that_is_served(client: redis.Redis) -> None:
    registry = ModelRegistry(client)
    assert {one["model"]: one["state"] for one in listing(client)} == dict.fromkeys(LEARNED_FROM, "nothing learned yet")
    publish_online(client, 3)
    registry.add(state(), {"title": "tree", "data": {"examples": 5}, "metrics": {"auc": 0.7}}, "numpy 2", 9)
    registry.change(lambda one: one.with_shadow(1, 10))
    online, *_, batch = listing(client)
    assert (online["version"], online["state"], online["examples"]) == (3, "serves", 3)
    assert (batch["version"], batch["state"], batch["library"], batch["metrics"]) == (
        1,
        "shadow",
        "numpy 2",
        {"auc": 0.7},
    )
    assert len(batch["checksum"]) == 32


def test_the_doctor_tells_what_was_promoted(client: redis.Redis) -> None:
    registry = ModelRegistry(client)
    registry.add(state(), {}, "", 9)
    assert not list(_models(client, 0))
    registry.change(lambda one: one.with_shadow(1, 10).promoted(None, 11, force=True))
    (good,) = _models(client, 0)
    assert "batch version 1 was promoted" in str(good)
    spoil(client, 1, payload=b"x")
    (found,) = _models(client, 0)
    assert "cannot be read" in str(found)
    assert "kairos models rollback" in str(found)


def test_each_goal_has_places_and_versions_of_its_own(client: redis.Redis, definitions: Definitions) -> None:
    """What is promoted of a goal serves it, not churn, nor the goal once it asks something else."""
    goal = definitions.goals[0]
    task, other = Task.of_goal(goal.id, goal.code), Task.of_goal(goal.id, goal.code + 1)
    linear = {"kind": "linear", "w": [1.0], "b": -3.0}
    trained = state_of([0], [0.0], ([0.0], [1.0]), np.zeros(20), 77, linear, task)
    served = ServedModels(client)
    brain = served.take(Brain(definitions))
    with pytest.raises(IncompatibleSnapshotError, match="other features"):
        ModelRegistry(client, task).add(state(), {}, "", 9)
    for one in (task, other):
        registry = ModelRegistry(client, one)
        assert registry.add(trained, {}, "", 9).version == 1
        registry.change(lambda standing: standing.with_shadow(1, 10))
        assert served.take(brain) is brain, "a shadow serves nobody"
        registry.change(lambda standing: standing.promoted(None, 11, force=True))
        brain = served.take(brain)
    assert set(brain.goals.scores.batch) == {goal.code}
    assert brain.versions.items() >= {"churn": 0, "goals": 0, task.batch: 1}.items()
    assert other.batch not in brain.versions
    assert served.take(brain) is brain
    assert Brains(client)(_published(client, definitions), brain.versions).versions == brain.versions
    told = {one["model"]: one["state"] for one in listing(client, (CHURN, task)) if one["kind"] == "batch"}
    assert told == {task.batch: "serves"}
    assert "batch version 1 was promoted" in str(*_models(client, 0, (CHURN, task)))
    learner = {task: Contest(), Task.of_goal("new", 5): Contest()}
    Contenders(client, lambda: 0.0).bring(learner)
    assert [contest.champion for contest in learner.values()] == [1, 0]
    ModelRegistry(client, task).change(lambda standing: standing.rolled_back(12))
    brain = served.take(brain)
    assert not brain.goals.scores.batch
    assert task.batch not in brain.versions
    assert Brains(client)(_published(client, definitions), brain.versions).versions == brain.versions


def _published(client: redis.Redis, definitions: Definitions) -> str:
    keep_policy(client, definitions)
    return definitions.version()
