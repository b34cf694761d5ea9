"""Results of an experiment by HTTP: the same as the command line tells, and the report as a page."""

import json
import urllib.error
from collections.abc import Iterator

import pytest
import redis

from services.judge import Judge
from services.state.redis_lane import connect
from support.experiment_shop import ExperimentShop, experiment
from support.page import PageServer
from support.redis import RedisServer

ORDERED = {"id": "ordered", "event": "Order Completed", "within": "1d"}
MADE = experiment(metrics=[ORDERED], dimensions=["new_returning"])


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
    folder = tmp_path_factory.mktemp("config") / "experiments"
    folder.mkdir()
    for name in ("test", "unseen"):  # JSON is YAML
        (folder / f"{name}.yaml").write_text(json.dumps(MADE | {"id": name}))
    shop = ExperimentShop(MADE)
    for _ in range(4):
        shop.day(300, Order_Completed={"a": 0.2, "b": 0.6})
    shop.pass_time(3)
    shop.put(client)
    Judge(client, 1, lambda _: None, lambda: ()).turn(shop.experiments)
    with PageServer(redis_server.url, KAIROS_CONFIG_DIR=str(folder.parent), KAIROS_LANES="1") as server:
        yield server


def test_results_with_parts_of_the_users(page: PageServer) -> None:
    found = json.loads(page.get("/v1/experiments/test"))
    assert (found["experiment"], found["verdict"], found["matured"]) == ("test", "better", 1200)
    parts = {(row["segment"], row["metric"]): row for row in found["segments"]}
    assert set(parts) == {("new_returning=new", "ordered")}
    row = parts["new_returning=new", "ordered"]
    assert row["n_control"] + row["n"] == 1200
    assert row["value"] == pytest.approx(0.6, abs=0.02)


def test_the_report_is_a_page(page: PageServer) -> None:
    html = page.get("/experiments/test").decode()
    assert "<svg" in html
    assert "new_returning=new" in html
    assert "b is better" in html


@pytest.mark.parametrize("path", ["/v1/experiments/{}", "/experiments/{}"])
@pytest.mark.parametrize(
    ("name", "status", "code"), [("none", 404, "unknown_experiment"), ("unseen", 409, "not_judged")]
)
def test_what_cannot_be_told(page: PageServer, path: str, name: str, status: int, code: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        page.get(path.format(name))
    with refused.value as answer:
        assert answer.code == status
        assert code in answer.read().decode()
