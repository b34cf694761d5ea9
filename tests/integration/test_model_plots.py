"""The page with plots of models: what learn wrote with its checkpoint, and what a training run left in the registry."""

from pathlib import Path

import msgspec
import redis

from models.learners.session import LearnSession
from models.learners.task import CHURN
from services.jobs.train.examples import from_records
from services.jobs.train.report import libraries, meta_of
from services.jobs.train.run import Plan, train
from services.state import keys
from services.state.redis_lane import connect
from services.state.registry import ModelRegistry
from support.page import PageServer
from support.redis import RedisServer
from support.training_examples import examples

NOTHING = "No score was judged yet"


def test_live_scores_and_batch_versions_are_drawn(redis_server: RedisServer, tmp_path: Path) -> None:
    client: redis.Redis = connect(redis_server.url)
    client.flushdb()
    with PageServer(redis_server.url, KAIROS_LANES="1") as page:
        assert NOTHING in page.get("/models").decode()
        session = LearnSession("churn")
        values = examples("churn", 4_000)
        assert session.model.learn_many(values) == [None] * len(values)
        health = session.health()[""]
        client.hset(keys.model_health("churn"), "churn", msgspec.json.encode(health))
        trained = train(from_records(values), Plan(("logistic",), search="none"), lambda *_: None)
        ModelRegistry(client, CHURN).add(trained.state, meta_of(trained), libraries(), 0)
        html = page.get("/models").decode()
    assert NOTHING not in html
    assert "churn version 1" in html
    assert html.count("<svg") == 4
    assert html.count("<polyline") == 6  # live: one line a plot; the version and the online model: two
    # What is drawn is told to who sees no picture.
    assert 'aria-label="found against false alarms. churn: 0.00 0.00' in html
    client.flushdb()
    client.close()
