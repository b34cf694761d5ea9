"""`kairos experiments list | show | results | report | stop` against a Redis that a judge has written."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from services.cli.main import app
from services.judge import Judge
from services.state.redis_lane import connect
from support.experiment_shop import ExperimentShop, experiment
from support.redis import RedisServer

# kafka-python leaves sockets open to a broker that does not answer.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def client(redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "test.yaml").write_text(json.dumps(experiment(hypothesis="More orders.", dimensions=["new_returning"])))
    (folder / "quiet.yaml").write_text(json.dumps(experiment(id="quiet")))
    monkeypatch.setenv("KAIROS_REDIS__URL", redis_server.url)
    monkeypatch.setenv("KAIROS_KAFKA__BOOTSTRAP", "127.0.0.1:9")
    monkeypatch.setenv("KAIROS_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("KAIROS_LANES", "1")
    monkeypatch.setenv("COLUMNS", "200")
    found = connect(redis_server.url)
    found.flushdb()
    yield found
    found.flushdb()
    found.close()


@pytest.fixture
def judged(client: redis.Redis) -> redis.Redis:
    """Four days of users, judged; of one experiment nobody was exposed."""
    shop = ExperimentShop(
        experiment(dimensions=["new_returning"]), experiment(id="quiet", expose_on={"event": "Never"})
    )
    for _ in range(4):
        shop.day(300, Order_Completed={"a": 0.2, "b": 0.5}, Complained={"a": 0.1, "b": 0.1})
    shop.pass_time(3)
    shop.put(client)
    Judge(client, 1, lambda _: None, list).turn(shop.experiments)
    return client


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["experiments", *words])
    return done.exit_code, done.output


def test_before_the_judge_looked(client: redis.Redis) -> None:
    code, said = run("list")
    assert code == 0
    assert said.count("the judge has not looked yet") == 2
    assert run("results", "test")[0] == 2
    assert "not_judged" in run("results", "test")[1]
    assert "The judge has not looked at it yet" in run("show", "test")[1]


def test_list_says_the_verdict_and_how_far_it_is(judged: redis.Redis) -> None:
    code, said = run("list")
    assert code == 0
    assert "b is better on ordered: +" in said
    assert "1,200 matured users of 4,000 planned" in said
    assert "nobody is exposed yet" in said
    rows = {row["experiment"]: row for row in csv.DictReader(io.StringIO(run("list", "--format", "csv")[1]))}
    assert (rows["test"]["verdict"], rows["test"]["variant"], rows["test"]["matured"]) == ("better", "b", "1200")
    assert rows["quiet"]["verdict"] == "not_enough_data"


def test_show_and_results_say_everything(judged: redis.Redis) -> None:
    code, said = run("show", "test")
    assert code == 0
    for part in ("More orders.", "guardrail metric", "spam: proportion of Complained", "4,000 users", "frozen plan"):
        assert part in said
    document = json.loads(run("results", "test", "--format", "json")[1])
    assert document["verdict"] == "better"
    assert document["comparisons"][0]["always_valid"]["mixture"]["rho"] > 0
    rows = list(csv.DictReader(io.StringIO(run("results", "test", "--format", "csv")[1])))
    assert [(row["segment"], row["metric"]) for row in rows] == [
        ("", "ordered"),
        ("", "spam"),
        ("new_returning=new", "ordered"),
        ("new_returning=new", "spam"),
    ]
    assert rows[0]["fixed_p"] == rows[2]["p"]  # here everybody is new
    assert "exploratory: they decide nothing" in run("results", "test")[1]
    assert float(rows[0]["p"]) < 0.05
    assert "b is better on ordered" in run("results", "test")[1]


def test_a_report_is_written(judged: redis.Redis, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    code, _ = run("report", "test", "--out", str(out))
    assert code == 0
    assert "b is better on ordered" in out.read_text()


@pytest.mark.parametrize("words", [("show", "nothing"), ("results", "nothing"), ("stop", "nothing", "--reason", "x")])
def test_an_unknown_name_names_the_known_ones(client: redis.Redis, words: tuple[str, ...]) -> None:
    code, said = run(*words)
    assert code == 2
    assert "unknown_experiment: there is no experiment (and no file) 'nothing'" in said
    assert "quiet, test" in said


def test_stop_is_for_good(judged: redis.Redis) -> None:
    assert run("stop", "test", "--reason", "x", "--winner", "c")[0] == 2
    code, said = run("stop", "test", "--reason", "it wins", "--winner", "b")
    assert code == 0
    assert "everybody gets b" in said
    assert "rolled out" in run("list")[1]
    # A roll-out may still be stopped; a stop is the end.
    assert run("stop", "test", "--reason", "it broke")[0] == 0
    code, said = run("stop", "test", "--reason", "again")
    assert code == 2
    assert "already_decided: test is stopped (it broke)" in said
    assert "version" in said
