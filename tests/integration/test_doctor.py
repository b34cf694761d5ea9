"""`kairos doctor` on real servers: all is well, and each thing that can be wrong, with its remedy."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from services.bus import create_topics
from services.cli.main import app
from services.embedded.stack import EmbeddedStack
from services.state.live import worker_figures
from services.state.redis_lane import Client, connect
from support.kafka import KafkaServer
from support.ports import wait_until
from support.redis import RedisServer, redis_binary

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    # kafka-python leaves sockets open to a broker that does not answer.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
LANES = 2


@pytest.fixture(scope="module")
def servers(jars: Path) -> Iterator[tuple[KafkaServer, RedisServer]]:
    with KafkaServer(jars) as kafka, RedisServer(redis_binary()) as redis:
        yield kafka, redis


def look() -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code, and findings by name."""
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert "Traceback" not in done.output
    told = json.loads(done.stdout)
    return done.exit_code, {one["what"]: one for one in told["findings"]}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, servers: tuple[KafkaServer, RedisServer]) -> pytest.MonkeyPatch:
    kafka, redis = servers
    monkeypatch.setenv("KAIROS_KAFKA__BOOTSTRAP", kafka.bootstrap)
    monkeypatch.setenv("KAIROS_REDIS__URL", redis.url)
    monkeypatch.setenv("KAIROS_LANES", str(LANES))
    monkeypatch.setenv("KAIROS_SECRET_KEY", "a long one")
    return monkeypatch


def test_with_nothing_running_every_remedy_is_told(settings: pytest.MonkeyPatch) -> None:
    code, found = look()
    assert code == 2
    assert found["topics"]["remedy"] == "kairos topics create"
    assert "kairos worker --role decide" in found["decide"]["remedy"]
    assert found["redis"]["level"] == "ok"
    assert found["mail server"]["level"] == "bad"


def test_servers_that_are_away_are_findings_not_tracebacks(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("KAIROS_KAFKA__BOOTSTRAP", "127.0.0.1:1")
    settings.setenv("KAIROS_REDIS__URL", "redis://127.0.0.1:1/0")
    code, found = look()
    assert code == 2
    assert {found[name]["level"] for name in ("broker", "redis", "workers", "mail server")} == {"bad"}
    assert "KAIROS_REDIS__URL" in found["redis"]["remedy"]


def test_a_running_shop_is_well_until_something_is_wrong(
    servers: tuple[KafkaServer, RedisServer], settings: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kafka, redis = servers
    roles = ("decide", "learn", "deliver", "judge")
    with EmbeddedStack(
        tmp_path, create_topics, roles=roles, lanes=LANES, kafka=kafka.bootstrap, redis_url=redis.url
    ) as stack:
        for name, value in stack.env().items():
            settings.setenv(name, value)
        with closing(connect(redis.url)) as client:
            wait_until(lambda: len(worker_figures(client)) == len(roles), "all roles tell", 60, 0.2)
            wait_until(lambda: look()[1]["broker clock"]["level"] == "ok", "ticks come", 30, 0.5)
            code, found = look()
            assert code == 1, found
            assert [name for name, one in found.items() if one["level"] != "ok"] == ["replicas"]
            assert CliRunner().invoke(app, ["doctor"]).exit_code == 1
            wrong(client)
        settings.setenv("KAIROS_LANES", "3")
        settings.setenv("KAIROS_SECRET_KEY", "change-me")
        code, found = look()
        assert code == 2
        assert "needed 3" in found["partitions"]["found"]
        assert found["secret key"]["level"] == "warning"


def wrong(client: Client) -> None:
    """What a Redis of somebody else's may be set to."""
    for setting, value, what, level in (
        ("appendfsync", "everysec", "persistence", "warning"),
        ("appendonly", "no", "persistence", "bad"),
        ("maxmemory-policy", "allkeys-lru", "eviction", "bad"),
    ):
        before: Any = client.config_get(setting)[setting]
        client.config_set(setting, value)
        try:
            code, found = look()
            assert found[what]["level"] == level, found[what]
            assert "CONFIG SET" in found[what]["remedy"]
            assert code == (2 if level == "bad" else 1)
        finally:
            client.config_set(setting, before)
