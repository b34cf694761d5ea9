"""The publisher, the admin and the reader against Apache Kafka and the embedded broker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka.net.inet import KafkaNetSocket

from config.topics import INPUT_NAMES, TOPICS, Topic, partitions_of
from models.errors import ConfigurationError, TransientError
from models.events import Envelope
from models.wire import lane_of
from services.bus import (
    DeliveryError,
    Follower,
    Publisher,
    admin,
    create_topics,
    describe,
    end_offsets,
    read_topic,
)
from services.embedded.binaries import EmbeddedUnavailableError
from services.embedded.stack import EmbeddedStack
from support.kafka import KafkaServer
from support.services import MissingServiceError, skip_or_fail

LANES = 3


@pytest.fixture(autouse=True)
def _close_refused_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Close the socket of a refused connection: kafka-python 3.0 leaves that to the garbage collector."""
    connect = KafkaNetSocket.sock_connect

    async def closing(self: Any, net: Any, sock: Any, address: Any, timeout_at: float | None = None) -> Any:
        try:
            return await connect(self, net, sock, address, timeout_at=timeout_at)
        except BaseException:
            sock.close()
            raise

    monkeypatch.setattr(KafkaNetSocket, "sock_connect", closing)


@pytest.fixture(scope="module", params=["apache", "embedded"])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "apache":
        server = KafkaServer(request.getfixturevalue("jars"))
        try:
            yield server.start().bootstrap
        finally:
            server.close()
        return
    try:
        with EmbeddedStack(tmp_path_factory.mktemp("stack"), None, roles=()) as stack:
            yield stack.bootstrap
    except EmbeddedUnavailableError as error:
        skip_or_fail(MissingServiceError(str(error)))


@pytest.fixture
def topics(broker: str) -> str:
    create_topics(broker, LANES)
    return broker


def event(user: str, name: str = "Product Viewed", **more: object) -> dict[str, object]:
    return {"type": "track", "event": name, "userId": user, **more}


def test_topics_are_created_once_as_the_table_says(broker: str) -> None:
    create_topics(broker, LANES)
    assert create_topics(broker, LANES) == []
    found = describe(broker)
    assert {topic.name: found[topic.name].partitions for topic in TOPICS} == {
        topic.name: partitions_of(topic, LANES) for topic in TOPICS
    }


def test_another_number_of_lanes_is_refused_with_what_to_do(topics: str) -> None:
    with pytest.raises(ConfigurationError, match=r"clickstream has 3 partitions, needed 4") as caught:
        create_topics(topics, LANES + 1)
    assert "KAIROS_LANES" in caught.value.remedy


def test_a_topic_of_an_older_version_gets_its_new_partitions(
    broker: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Its partitions are no lanes: nobody changes partition."""
    older = Topic("older", "one partition for each model", partitions=2)
    monkeypatch.setattr(admin, "TOPICS", (older,))
    assert create_topics(broker, LANES) == ["older"]
    with Publisher(broker) as bus:
        bus.publish("older", b"kept", "u", 1)
    monkeypatch.setattr(admin, "TOPICS", (replace(older, partitions=3),))
    if request.node.callspec.params["broker"] == "embedded":  # it cannot add any, and says what to do
        with pytest.raises(ConfigurationError, match="cannot add any: older") as refused:
            create_topics(broker, LANES)
        assert "empty data folder" in refused.value.remedy
        return
    assert create_topics(broker, LANES) == []
    assert end_offsets(broker, "older") == {0: 0, 1: 1, 2: 0}
    with Publisher(broker) as bus:
        bus.publish("older", b"new", "u", 2)
    assert [(record.partition, record.value) for record in read_topic(broker, "older")] == [(1, b"kept"), (2, b"new")]
    monkeypatch.setattr(admin, "TOPICS", (older,))
    with pytest.raises(ConfigurationError, match="older has 3 partitions, needed 2"):
        create_topics(broker, LANES)


def test_inputs_carry_the_time_of_the_broker(topics: str) -> None:
    with Publisher(topics) as bus:
        bus.publish_event(event("time", timestamp="2010-01-05T10:00:00.000Z"))
    (found,) = [record for record in read_topic(topics, "clickstream") if record.key == b"time"]
    assert found.timestamp_ms > 1_700_000_000_000


def test_events_go_to_their_topic_and_the_lane_of_their_user(topics: str) -> None:
    users = [f"kunde-{number}-ß" for number in range(60)]
    with Publisher(topics) as bus:
        for user in users:
            bus.publish_event(event(user, "Order Completed"))
    found = [record for record in read_topic(topics, "purchases") if record.key and b"kunde-" in record.key]
    assert sorted(record.key.decode() for record in found if record.key) == sorted(users)
    assert all(record.partition == lane_of(record.key.decode(), LANES) for record in found if record.key)


def test_what_the_caller_left_out_is_set_so_that_a_repeat_is_recognised(topics: str) -> None:
    moment = datetime(2010, 3, 14, 12, tzinfo=UTC)
    profile = {"type": "identify", "userId": "fill", "messageId": "mine", "traits": {"a": 1}}
    with Publisher(topics, now=lambda: moment, new_id=lambda: "id-1") as bus:
        bus.publish_event(event("fill"))
        bus.publish(None, Envelope.model_validate(profile))
        bus.publish(None, {"type": "track", "event": "Signed Up", "anonymousId": "fill-anon"})
    (record,) = [one for one in read_topic(topics, "clickstream") if one.key == b"fill"]
    document = msgspec.json.decode(record.value or b"")
    assert (document["messageId"], document["timestamp"]) == ("id-1", "2010-03-14T12:00:00.000+00:00")
    (record,) = [one for one in read_topic(topics, "profiles") if one.key == b"fill"]
    assert msgspec.json.decode(record.value or b"")["messageId"] == "mine"
    assert any(one.key == b"fill-anon" for one in read_topic(topics, "clickstream"))


def test_bytes_go_as_they_are_also_into_one_partition_and_with_headers(topics: str) -> None:
    with Publisher(topics) as bus:
        for lane in range(LANES):
            bus.publish("feedback", b'{"type":"tick"}', partition=lane, headers=[("a", b"1")])
        with pytest.raises(ValueError, match="topic"):
            bus.publish(None, b"{}", "u")
        with pytest.raises(ValueError, match="userId"):
            bus.publish_event({"type": "track", "event": "Product Viewed"})
    ticks = [record for record in read_topic(topics, "feedback") if record.headers == (("a", b"1"),)]
    assert [(one.partition, one.key, one.value) for one in ticks] == [
        (lane, None, b'{"type":"tick"}') for lane in range(LANES)
    ]


def test_every_record_of_many_is_read_back_once_in_order(topics: str) -> None:
    many = 20_000
    with Publisher(topics, max_pending=5_000) as bus:
        for number in range(many):
            bus.publish("exposures", b"%d" % number, f"user-{number % 97}")
        assert bus.published == many
    ends = end_offsets(topics, "exposures")
    assert sum(ends.values()) == many
    found = list(read_topic(topics, "exposures"))
    assert sorted(int(record.value or b"") for record in found) == list(range(many))
    for lane in range(LANES):
        mine = [record for record in found if record.partition == lane]
        assert [record.offset for record in mine] == list(range(ends[lane]))
        assert [int(record.value or b"") for record in mine] == sorted(int(r.value or b"") for r in mine)
    part = list(read_topic(topics, "exposures", partition=1, start=10, end=25))
    assert [record.offset for record in part] == list(range(10, 25))
    part = list(read_topic(topics, "exposures", start={0: ends[0] - 1}, end={1: 3, 2: 0}))
    assert [(record.partition, record.offset) for record in part if record.partition == 0] == [(0, ends[0] - 1)]
    assert [record.offset for record in part if record.partition == 1] == [0, 1, 2]
    assert not [record for record in part if record.partition == 2]


def test_an_empty_topic_has_an_end_and_a_missing_one_is_an_error(topics: str) -> None:
    assert list(read_topic(topics, "journal")) == []
    assert end_offsets(topics, "training") == {0: 0, 1: 0, 2: 0}
    with pytest.raises(TransientError, match="no topic nowhere"):
        list(read_topic(topics, "nowhere"))
    with pytest.raises(TransientError, match="no partition 9"):
        list(read_topic(topics, "journal", partition=9))


def test_a_follower_sees_what_comes_and_nothing_twice(topics: str) -> None:
    follower = Follower(topics, ("offers", "messages"))
    seen: list[bytes] = []

    def wait_for(number: int) -> None:
        for _ in range(100):
            seen.extend(record.value or b"" for record in follower.poll(0.2))
            if len(seen) >= number:
                return

    try:
        assert follower.poll(0.2) == []
        with Publisher(topics) as bus:
            for number in range(10):
                bus.publish("offers", b"o%d" % number, "u")
            bus.flush()
            wait_for(10)
            bus.publish("messages", b"m", "u")
        wait_for(11)
        assert sorted(seen) == [b"m", *(b"o%d" % number for number in range(10))]
        assert follower.poll(0.3) == []
    finally:
        follower.close()


def test_gzip_is_read_back(topics: str) -> None:
    with Publisher(topics, compression="gzip") as bus:
        bus.publish("churn-alerts", b"x" * 1000, "zipped")
    assert [r.value for r in read_topic(topics, "churn-alerts") if r.key == b"zipped"] == [b"x" * 1000]


def test_a_broker_that_stops_midway_is_a_delivery_error_that_names_what_is_missing(jars: Path) -> None:
    server = KafkaServer(jars)
    try:
        server.start()
        create_topics(server.bootstrap, 1)
        bus = Publisher(server.bootstrap, delivery_timeout_ms=3_000, request_timeout_ms=1_000)
        for number in range(100):
            bus.publish(INPUT_NAMES[0], b"%d" % number, "before")
        bus.flush()
        server.kill()
        for number in range(50):
            bus.publish(INPUT_NAMES[0], b"after %d" % number, "after")
        with pytest.raises(DeliveryError) as caught:
            bus.flush(8.0)
        lost = caught.value.undelivered
        assert sorted(one.value for one in lost) == sorted(b"after %d" % number for number in range(50))
        assert {(one.topic, one.user_id) for one in lost} == {("clickstream", "after")}
        assert all(one.reason for one in lost)
        bus.close(0.1)  # what failed was named once; nothing else is owed
        server.start()
        kept = [r.value for r in read_topic(server.bootstrap, INPUT_NAMES[0])]
        assert kept == [b"%d" % number for number in range(100)]
        # What was named can be published again.
        with Publisher(server.bootstrap) as again:
            for one in lost:
                again.publish(one.topic, one.value, one.user_id)
        kept = [r.value for r in read_topic(server.bootstrap, INPUT_NAMES[0])]
        assert len(kept) == 150
    finally:
        server.close()


def test_a_slow_broker_is_named_as_unconfirmed_and_still_delivers_later(jars: Path) -> None:
    server = KafkaServer(jars)
    try:
        server.start()
        create_topics(server.bootstrap, 1)
        bus = Publisher(server.bootstrap, delivery_timeout_ms=30_000, request_timeout_ms=10_000)
        bus.publish(INPUT_NAMES[0], b"first", "u")
        bus.flush()
        server.pause()
        bus.publish(INPUT_NAMES[0], b"second", "u")
        with pytest.raises(DeliveryError, match="no confirmation yet"):
            bus.flush(1.0)
        server.resume()
        bus.close()
        assert [r.value for r in read_topic(server.bootstrap, INPUT_NAMES[0])] == [b"first", b"second"]
    finally:
        server.close()


def test_an_unreachable_broker_and_an_unknown_topic_are_delivery_errors(kafka_server: KafkaServer) -> None:
    nobody = Publisher("127.0.0.1:1", delivery_timeout_ms=1_500, request_timeout_ms=1_000)
    with pytest.raises(DeliveryError, match="Unable to bootstrap"):
        nobody.publish("clickstream", b"{}", "u")
    bus = Publisher(kafka_server.bootstrap, delivery_timeout_ms=1_500, request_timeout_ms=1_000)
    with pytest.raises(DeliveryError, match="no-such-topic"):
        bus.publish("no-such-topic", b"{}", "u")
    bus.close()
    with pytest.raises(TransientError):
        describe("127.0.0.1:1", timeout_ms=1_500)
    # Nothing of them goes on trying in the background.
    assert not [thread.name for thread in threading.enumerate() if thread.name == "kafka-io-kairos-admin"]


def test_an_error_inside_the_block_is_the_one_that_is_seen(jars: Path) -> None:
    server = KafkaServer(jars)
    try:
        server.start()
        create_topics(server.bootstrap, 1)
        with (  # noqa: PT012 - the error leaves the publisher's own block
            pytest.raises(RuntimeError, match="mine") as caught,
            Publisher(server.bootstrap, delivery_timeout_ms=2_000, request_timeout_ms=1_000) as bus,
        ):
            bus.publish("clickstream", b"1", "u")
            bus.flush()
            server.kill()
            bus.publish("clickstream", b"2", "u")
            raise RuntimeError("mine")
        assert "not confirmed" in caught.value.__notes__[0]
    finally:
        server.close()
