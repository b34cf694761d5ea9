"""The support code's servers are real: durable over `kill -9`, and both Kafka clients talk to the broker."""

from collections.abc import Iterator

import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from support.kafka import KafkaServer
from support.redis import RedisServer

LOG_APPEND_TIME = 1


@pytest.fixture
def client(single_redis: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(single_redis.url) as connection:
        yield connection


def test_redis_is_configured_as_in_production(client: redis.Redis) -> None:
    wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}
    assert {name: client.config_get(name)[name] for name in wanted} == wanted


def test_redis_keeps_over_a_kill_what_it_acknowledged() -> None:
    with RedisServer() as server:
        with redis.Redis.from_url(server.url) as before:
            before.set("fence", 7)
        server.kill()
        assert not server.running
        server.start()
        with redis.Redis.from_url(server.url) as after:
            assert after.get("fence") == b"7"


def test_a_paused_redis_answers_late_not_never() -> None:
    with RedisServer() as server, redis.Redis.from_url(server.url, socket_timeout=0.2, retry=None) as client:
        client.ping()
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.get("fence")
        server.resume()
        client.ping()


async def test_kafka_serves_both_clients(kafka_server: KafkaServer) -> None:
    kafka_server.create_topic("support-both", 2, message_timestamp_type="LogAppendTime")
    publisher = KafkaProducer(bootstrap_servers=kafka_server.bootstrap, acks="all")
    for number in range(100):
        publisher.send("support-both", key=b"%d" % number, value=b"%d" % number, timestamp_ms=1_262_304_000_000)
    publisher.flush()
    publisher.close()
    producer = AIOKafkaProducer(bootstrap_servers=kafka_server.bootstrap, enable_idempotence=True)
    await producer.start()
    await producer.send_and_wait("support-both", b"last")
    await producer.stop()

    consumer = AIOKafkaConsumer(
        "support-both",
        bootstrap_servers=kafka_server.bootstrap,
        group_id="support-both",
        auto_offset_reset="earliest",
    )
    await consumer.start()
    records = [await consumer.getone() for _ in range(101)]
    await consumer.stop()
    assert {record.value for record in records} == {b"last", *(b"%d" % number for number in range(100))}
    assert {record.timestamp_type for record in records} == {LOG_APPEND_TIME}
    assert {record.partition for record in records} == {0, 1}


@pytest.mark.slow
def test_kafka_keeps_over_a_kill_what_it_acknowledged(kafka_server: KafkaServer) -> None:
    with KafkaServer(kafka_server.jars) as server:
        server.create_topic("support-kill", 1)
        producer = KafkaProducer(bootstrap_servers=server.bootstrap, acks="all")
        producer.send("support-kill", b"kept").get(timeout=10)
        producer.close()
        server.kill()
        server.start()
        consumer = KafkaConsumer(bootstrap_servers=server.bootstrap)
        partition = TopicPartition("support-kill", 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        [record] = consumer.poll(timeout_ms=10_000)[partition]
        consumer.close()
    assert record.value == b"kept"
