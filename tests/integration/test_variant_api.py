"""Other services ask for a variant by HTTP: the answer is what decide would do."""

import json
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis

from config.overrides import Override
from models.profile.moved import Moved, encode_moved
from models.wire import lane_of
from services.state import keys
from services.state.experiments import ExperimentStore
from services.state.redis_lane import connect
from support.experiment_shop import START, ExperimentShop, experiment
from support.lane import HOUR_MS, track
from support.page import PageServer
from support.ports import wait_until
from support.redis import RedisServer

LANES = 4
FILE = """
id: test
description: A test
variants: [{id: a, weight: 0.5}, {id: b, weight: 0.5}]
coverage: 0.8
expose_on: {event: Product Viewed}
testers: {anna: b}
metrics: [{id: ordered, event: Order Completed, within: 1d}]
"""
ORDERED = {"id": "ordered", "event": "Order Completed", "within": "1d"}


@pytest.fixture(scope="module")
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    found = connect(redis_server.url)
    found.flushdb()
    yield found
    found.flushdb()
    found.close()


@pytest.fixture(scope="module")
def page(
    redis_server: RedisServer, client: redis.Redis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PageServer]:
    folder: Path = tmp_path_factory.mktemp("config") / "experiments"
    folder.mkdir()
    (folder / "test.yaml").write_text(FILE)
    (folder / "other.yaml").write_text(FILE.replace("id: test", "id: other").replace("0.8", "1.0"))
    with PageServer(redis_server.url, KAIROS_CONFIG_DIR=str(folder.parent), KAIROS_LANES=str(LANES)) as server:
        yield server


def ask(page: PageServer, user: str, name: str = "test") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.get(f"/v1/experiments/{name}/variant?user={quote(user)}"))
    return found


def test_the_answer_is_what_decide_does(client: redis.Redis, page: PageServer) -> None:
    shop = ExperimentShop(experiment(metrics=[ORDERED], coverage=0.8))
    users = [f"u{number}" for number in range(60)] + ["Zoë & Ben"]
    for user in users:
        shop.rig.feed("clickstream", track("Product Viewed", user, START + HOUR_MS))
        client.set(keys.profile(lane_of(user, LANES), user), shop.store.profiles[user])
    whys = set()
    for user in users:
        found = ask(page, user)
        exposure = shop.rig.profile(user).exposures.get(shop.experiments[0].code)
        assert found["user"] == user
        assert found["variant"] == shop.rig.brain.assign(shop.experiments[0], user)
        assert found["exposed"] is (exposure is not None)
        assert found["exposed_at"] == (START + HOUR_MS if exposure is not None else None)
        whys.add(found["why"])
    assert whys == {"exposed", "outside"}
    assert ask(page, "anna") == {
        "experiment": "test", "version": 1, "user": "anna", "variant": "b", "why": "tester", "exposed": False,
        "exposed_at": None,
    }  # fmt: skip
    newcomer = ask(page, "nobody-yet", "other")
    assert (newcomer["why"], newcomer["exposed"]) == ("assigned", False)
    assert newcomer["variant"] in {"a", "b"}
    assert client.get(keys.profile(lane_of("nobody-yet", LANES), "nobody-yet")) is None


def test_a_decision_is_answered_within_seconds(client: redis.Redis, page: PageServer) -> None:
    store = ExperimentStore(client)
    assert ask(page, "ben", "other")["why"] == "assigned"
    store.decide(Override(experiment="other", status="rolled_out", winner="b"))
    wait_until(lambda: ask(page, "ben", "other")["why"] == "rolled_out", "the winner", 5, 0.1)
    assert {ask(page, f"v{number}", "other")["variant"] for number in range(20)} == {"b"}
    store.decide(Override(experiment="other", status="stopped"))
    wait_until(lambda: ask(page, "ben", "other")["why"] == "stopped", "the control", 5, 0.1)
    assert {ask(page, f"v{number}", "other")["variant"] for number in range(20)} == {"a"}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/experiments/nothing/variant?user=u1", 404),
        ("/v1/experiments/test/variant", 422),
        ("/v1/experiments/test/variant?user=", 422),
        (f"/v1/experiments/test/variant?user={'x' * 201}", 422),
    ],
)
def test_what_cannot_be_answered(page: PageServer, path: str, code: int) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        page.get(path)
    assert refused.value.code == code
    refused.value.close()


def test_a_user_who_was_merged_into_another_one_gets_that_ones_variant(client: redis.Redis, page: PageServer) -> None:
    shop = ExperimentShop(experiment(metrics=[ORDERED], coverage=0.8))
    for number in range(20):
        cookie, user = f"cookie-{number}", f"known-{number}"
        shop.rig.feed("clickstream", track("Product Viewed", user, START + HOUR_MS))
        client.set(keys.profile(lane_of(user, LANES), user), shop.store.profiles[user])
        client.set(keys.profile(lane_of(cookie, LANES), cookie), encode_moved(Moved(to=user)))
        asked, told = ask(page, cookie), ask(page, user)
        assert (asked["variant"], asked["why"]) == (told["variant"], told["why"])
    # A circle that no event has met yet is nobody.
    for one, other in (("round", "about"), ("about", "round")):
        client.set(keys.profile(lane_of(one, LANES), one), encode_moved(Moved(to=other)))
    assert ask(page, "round")["why"] in {"assigned", "outside"}
