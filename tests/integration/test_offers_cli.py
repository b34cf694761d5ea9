"""`kairos offers`: a user's list with what was chosen from, and how the offers do among which a bandit chooses."""

import json
from collections.abc import Iterator

import msgspec
import pytest
import redis
from typer.testing import CliRunner

from models.brain import Brain
from models.decisions import OfferExample
from models.learners.session import LearnSession
from models.offers.recs import Recs
from services.cli.main import app
from services.state import keys
from services.state.redis_lane import connect
from services.state.served import ServedModels
from support.lane import LaneRig, definitions, ms, order
from support.redis import RedisServer

NOON = ms("2010-03-01 12:00")
WEEK_MS = 604_800_000


@pytest.fixture
def client(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    monkeypatch.setenv("KAIROS_REDIS__URL", redis_server.url)
    monkeypatch.setenv("KAIROS_KAFKA__BOOTSTRAP", "127.0.0.1:9")
    monkeypatch.setenv("KAIROS_LANES", "1")
    monkeypatch.setenv("COLUMNS", "200")
    found = connect(redis_server.url)
    found.flushdb()
    yield found
    found.flushdb()
    found.close()


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["offers", *words])
    return done.exit_code, done.output


def learned() -> LearnSession:
    """A session that learned 40 offers, one answered twice as often as the other."""
    session = LearnSession("bandit")
    for number in range(40):
        made = OfferExample(
            id=f"e{number}",
            user="u",
            at=NOON,
            known_at=NOON + WEEK_MS,
            offer=("plain", "travel")[number % 2],
            among=["plain", "travel"],
            propensity=0.5,
            x=[1, 0, 2_000, -1, 1],
            reward_by="order",
            within_ms=WEEK_MS,
            reward=int(number % 4 == 0 or number % 8 == 1),
        )
        session.model.learn(msgspec.json.encode(made))
    session.changed = True
    return session


def test_nothing_is_learned_yet(client: redis.Redis) -> None:
    code, told = run()
    assert code == 1
    assert "choose: bandit" in told
    assert run("u")[0] == 1


def test_arms_and_choices(client: redis.Redis) -> None:
    envelope = learned().snapshot(5)
    assert envelope is not None
    client.set(keys.snapshot("bandit", 1), envelope.to_bytes())
    client.set(keys.snapshot_latest("bandit"), 1)
    client.hset(keys.counters(0, "offer:plain"), mapping={"first": 21, "clicked": 3})
    code, told = run()
    assert code == 0
    assert "order within 7 days" in told
    plain = next(line for line in told.splitlines() if "plain" in line)
    assert [part.strip() for part in plain.split("│")[2:5]] == ["20", "10", "50.0%"]
    assert json.loads(run("--json")[1])["counted"]["plain"] == {"first": 21, "clicked": 3}

    offers = [
        {"id": "plain", "kind": "item", "text": "{item}"},
        {"id": "travel", "kind": "shipping", "text": "free delivery"},
    ]
    brain = Brain(definitions(offers=offers, policy={"offers": {"explore": 0.0, "choose": "bandit"}}))
    brain = brain.with_models(brain.churn, Recs.of({"p1": ("Lantern", 2_000)}, popular=[("p1", 1.0)]))
    served = ServedModels(client).take(brain)
    assert served.versions["bandit"] == 1
    served = served.with_models(brain.churn, brain.recs)
    rig = LaneRig(served)
    rig.feed("purchases", order("u", NOON))
    client.set(keys.offers(0, "u"), rig.memory.offers["u"])
    code, told = run("u")
    assert code == 0
    assert "comes first, drawn from:" in told
    choice = json.loads(run("u", "--json")[1])["choice"]
    assert choice["snapshot"] == 1
    assert choice["among"]["plain"] > 0.5
    assert sum(choice["among"].values()) == pytest.approx(1.0, abs=1e-12)
