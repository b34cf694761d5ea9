"""Alerts from Kafka to real receivers, with what receivers do."""

import asyncio
import dataclasses
import random
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis
from kafka import KafkaProducer
from pydantic import SecretStr

from config.settings import KafkaSettings, RedisSettings, Settings
from models.alerts import KINDS
from models.alerts.churn import KIND
from models.decisions import DeadLetter
from models.wire import lane_of
from services.channels.courier import RetryPolicy
from services.state.alerts import AlertStore
from streams.alerts import AlertWatch
from support.alerts import churn_alert, packed
from support.any_redis import AnyRedis
from support.delivery import wall_ms
from support.kafka import KafkaServer
from support.receiver import SECRET, Answer, Receiver

LANES = 2
OTHER = "whsec_" + "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJC"
QUICK = RetryPolicy(first_s=0.05, factor=2.0, cap_s=0.2, attempts=4)


class Bench:
    """What a test has in hand."""

    def __init__(self, kafka: KafkaServer, topic: str, url: str, folder: Path, client: redis.Redis) -> None:
        self.folder, self.topic, self.letters = folder, topic, list[DeadLetter]()
        self.store = AlertStore(client, LANES)
        (folder / "webhooks").mkdir()
        self.settings = Settings(
            kafka=KafkaSettings(bootstrap=kafka.bootstrap, session_timeout_ms=6_000),
            redis=RedisSettings(url=SecretStr(url)),
            lanes=LANES,
            config_dir=folder,
            webhook_secrets=SecretStr(f"crm={SECRET} crm={OTHER} slow={SECRET}"),
        )
        self._producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)

    def declare(self, name: str, url: str) -> None:
        (self.folder / "webhooks" / f"{name}.yaml").write_text(f"id: {name}\nurl: {url}\n")

    def publish(self, *users: str) -> list[str]:
        alerts = [churn_alert(user) for user in users]
        for alert in alerts:
            self._producer.send(self.topic, packed(alert), alert.user.encode(), partition=lane_of(alert.user, LANES))
        self._producer.flush()
        return [alert.id for alert in alerts]

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AlertWatch]:
        async def refuse(letter: DeadLetter) -> None:
            self.letters.append(letter)

        made = AlertWatch(self.settings, refuse, wall_ms, random.Random(1), QUICK)
        task = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, alert: str, webhook: str, state: str) -> int:
        """Wait for what becomes of a webhook; answers the attempts."""
        async with asyncio.timeout(30):
            while True:
                found = await asyncio.to_thread(self.store.find, alert)
                if found is not None and webhook in found.webhooks and found.webhooks[webhook].state == state:
                    return found.webhooks[webhook].attempts
                await asyncio.sleep(0.02)

    async def known(self, alert: str) -> None:
        """Wait until it is taken."""
        async with asyncio.timeout(30):
            while await asyncio.to_thread(self.store.find, alert) is None:  # noqa: ASYNC110  it lies in Redis
                await asyncio.sleep(0.02)

    def close(self) -> None:
        self._producer.close()


@pytest.fixture
def bench(
    kafka_server: KafkaServer,
    redis_server: AnyRedis,
    client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Bench]:
    topic = f"alerts-{uuid.uuid4().hex[:8]}"
    kafka_server.create_topic(topic, LANES)
    monkeypatch.setitem(KINDS, KIND.name, dataclasses.replace(KIND, topic=topic))
    made = Bench(kafka_server, topic, redis_server.url, tmp_path, client)
    yield made
    made.close()


async def test_it_is_posted_until_it_is_taken_and_signed_with_every_secret(bench: Bench) -> None:
    refusals = Answer(503), Answer(None), Answer(429, {"Retry-After": "1"})
    with Receiver(*refusals) as receiver:
        bench.declare("crm", receiver.url)
        (alert,) = bench.publish("signed")
        async with bench.watch():
            assert await bench.until(alert, "crm", "delivered") == 4
    mine = [call for call in receiver.calls if call.id == alert]
    assert len(mine) == 4
    assert {call.body for call in mine} == {mine[0].body}  # byte for byte
    assert mine[3].at_s - mine[2].at_s >= 1.0  # as it wished; its own pauses are shorter
    for secret in (SECRET, OTHER):
        told = mine[0].verified(secret)
    assert (told["type"], told["timestamp"]) == ("churn.alert", "2010-02-24T08:26:40.000Z")
    assert (told["data"]["id"], told["data"]["user"], told["data"]["score"]) == (alert, "signed", 0.8)
    assert mine[0].headers["content-type"] == "application/json"
    assert not bench.letters


async def test_what_nobody_takes_becomes_a_dead_letter_and_can_be_sent_again(bench: Bench) -> None:
    with Receiver(otherwise=Answer(500)) as receiver:
        bench.declare("crm", receiver.url)
        (alert,) = bench.publish("dead")
        async with bench.watch():
            assert await bench.until(alert, "crm", "dead") == QUICK.attempts
            (letter,) = [one for one in bench.letters if one.key == "dead"]
            assert (letter.topic, letter.reason, letter.detail) == (
                "webhook:crm", "webhook_failed", "500 Internal Server Error; 4 attempts",
            )  # fmt: skip
            receiver.otherwise = Answer()
            found = bench.store.find(alert)
            assert found is not None
            bench.store.resend(found, ["crm"])
            assert await bench.until(alert, "crm", "delivered") == 1
    assert receiver.ids().count(alert) == QUICK.attempts + 1


async def test_gone_is_not_asked_again_and_a_redirection_is_not_followed(bench: Bench) -> None:
    with Receiver(Answer(410)) as receiver, Receiver() as elsewhere:
        bench.declare("crm", receiver.url)
        (gone,) = bench.publish("gone")
        async with bench.watch():
            assert await bench.until(gone, "crm", "dead") == 1
            receiver.otherwise = Answer(307, {"Location": elsewhere.url})
            (moved,) = bench.publish("moved")
            assert await bench.until(moved, "crm", "dead") == QUICK.attempts
    assert elsewhere.calls == []


async def test_a_slow_receiver_holds_up_nobody_else(bench: Bench) -> None:
    """It answers nothing at all, with more alerts than there are lines to it."""
    with Receiver(otherwise=Answer(after_s=3_600)) as slow, Receiver() as quick:
        bench.declare("slow", slow.url)
        bench.declare("crm", quick.url)
        alerts = bench.publish(*(f"slow{n}" for n in range(40)))
        async with bench.watch():
            for alert in alerts:
                await bench.until(alert, "crm", "delivered")
            assert 0 < len(slow.calls) <= 8 * 2
            slow.ended.set()  # it wakes up: they all come
            slow.otherwise = Answer()
            for alert in alerts:
                await bench.until(alert, "slow", "delivered")
    assert set(slow.ids()) >= set(alerts)
    assert sorted(quick.ids()) == sorted(alerts)  # each once


async def test_without_a_secret_nothing_is_posted_and_it_is_said(bench: Bench) -> None:
    with Receiver() as receiver:
        bench.declare("unsigned", receiver.url)
        (alert,) = bench.publish("unsigned")
        async with bench.watch():
            await bench.until(alert, "unsigned", "dead")
        found = bench.store.find(alert)
        assert found is not None
        assert "KAIROS_WEBHOOK_SECRETS=unsigned=whsec_" in found.webhooks["unsigned"].detail
    assert receiver.calls == []


async def test_a_changed_file_is_taken_and_a_bad_one_is_told(bench: Bench) -> None:
    (bench.folder / "webhooks" / "crm.yaml").write_text("id: crm\nurl: ftp://nowhere\n")
    with Receiver() as receiver:
        async with bench.watch() as watch:
            assert "is no http or https address" in watch.error
            (before,) = bench.publish("before")
            await bench.known(before)
            bench.declare("crm", receiver.url)
            watch.look(at_once=True)
            assert watch.error == ""
            (after,) = bench.publish("after")
            await bench.until(after, "crm", "delivered")
    assert receiver.ids() == [after]  # it is told of what comes from then on


async def test_the_log_is_read_again_where_redis_went_back(bench: Bench, client: redis.Redis) -> None:
    with Receiver() as receiver:
        bench.declare("crm", receiver.url)
        (first,) = bench.publish("back")
        async with bench.watch():
            await bench.until(first, "crm", "delivered")
            client.flushdb()
            (second,) = bench.publish("back2")
            await bench.until(first, "crm", "delivered")
            await bench.until(second, "crm", "delivered")
    assert receiver.ids().count(first) == 2  # at least once, under the same id
