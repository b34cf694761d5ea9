"""The real stack with a shop's own files: what is published to it, what it decided, and when it has caught up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from typer.testing import CliRunner

from config.topics import INPUT_NAMES
from services.bus import Publisher, create_topics
from services.bus.reader import read_topic
from services.cli.main import app
from services.embedded.stack import EmbeddedStack
from services.state.lanes import read_watermarks
from services.state.live import worker_figures
from services.state.redis_lane import connect
from services.state.snapshots import SnapshotReader
from support.kafka import KafkaServer
from support.lane import tick
from support.ports import wait_until
from support.redis import RedisServer, redis_binary

LANES = 2


def kairos(*words: str) -> Any:
    """What a command prints: decoded where JSON was asked for. It has to succeed."""
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) if "--json" in words else done.stdout


class ShopStack:
    """A running stack as a test uses it.

    Parameters
    ----------
    stack : it runs. client : of its Redis. bus : publishes to it.
    """

    def __init__(self, stack: EmbeddedStack, client: redis.Redis, bus: Publisher) -> None:
        self.stack, self.client, self.bus = stack, client, bus
        self._reader = SnapshotReader(client)

    def until(self, at: int) -> None:
        """Let time come to `at` in every lane, and wait for it."""
        for topic in INPUT_NAMES:
            for lane in range(LANES):
                self.bus.publish(topic, tick(at), None, lane)
        self.bus.flush()
        wait_until(
            lambda: min(read_watermarks(self.client, LANES).values(), default=0) >= at, "time has come", 120, 0.1
        )

    def values(self, topic: str) -> list[dict[str, Any]]:
        """All that lies in a topic, what was published twice as well."""
        return [msgspec.json.decode(record.value or b"{}") for record in read_topic(self.stack.bootstrap, topic)]

    def once(self, topic: str) -> list[dict[str, Any]]:
        """All that lies in a topic, each id once."""
        return list({one["id"]: one for one in self.values(topic)}.values())

    def meta(self, model: str) -> dict[str, Any]:
        """What the newest snapshot tells; nothing before there is one."""
        version = self._reader.latest([model]).get(model)
        return {} if version is None else self._reader.load(model, version).meta

    def decides_with(self, models: Sequence[str]) -> bool:
        """Whether decide uses the newest snapshot of each, and there is one."""
        newest = self._reader.latest(list(models))
        used: dict[str, int] = next(
            (one["snapshots"] for one in worker_figures(self.client) if one["role"] == "decide"), {}
        )
        return len(newest) == len(models) and all(used.get(name) == version for name, version in newest.items())


@contextmanager
def shop_stack(
    jars: Path,
    folder: Path,
    files: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    roles: Sequence[str] = ("decide", "learn"),
) -> Iterator[ShopStack]:
    """Roles on Apache Kafka and the system's Redis, in strict order, with these files for their configuration."""
    config = folder / "config"
    for name, text in files.items():
        (config / name).parent.mkdir(parents=True, exist_ok=True)
        (config / name).write_text(text)
    with (
        KafkaServer(jars) as kafka,
        RedisServer(redis_binary()) as server,
        EmbeddedStack(
            folder / "data",
            create_topics,
            roles=tuple(roles),
            lanes=LANES,
            kafka=kafka.bootstrap,
            redis_url=server.url,
            config_dir=config,
            ticker=False,
            settings={"KAIROS_STRICT_ORDER": "true"},
        ) as stack,
    ):
        for name, value in stack.env().items():
            monkeypatch.setenv(name, value)
        with closing(connect(server.url)) as client, Publisher(stack.bootstrap) as bus:
            shop = ShopStack(stack, client, bus)
            running = lambda: {one["role"] for one in worker_figures(client)} == set(roles)  # noqa: E731
            wait_until(running, "all roles run", 120, 0.2)
            yield shop
