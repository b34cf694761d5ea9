"""Hot path of the contract: bytes to an event, or to a reason; nothing else can come out."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as kafka_murmur2

from models.chunk import Batch, read_chunk
from models.errors import InvalidEventError
from models.events import ALIASES, MAX_RECORD_BYTES, REASONS
from models.wire import Headers, Input, Record, decode, epoch_ms, lane_of, murmur2

BROKER = 1_700_000_000_000
TRACK = {"type": "track", "event": "Product Viewed", "userId": "u1", "messageId": "m1", "timestamp": 1_262_304_000_000}
BINARY: Headers = [("ce_specversion", b"1.0"), ("ce_id", b"e1"), ("ce_type", b"Product Viewed")]
STRUCTURED: Headers = [("content-type", b"application/cloudevents+json; charset=UTF-8")]


def record(value: object, headers: Headers = (), key: bytes | None = b"k1", offset: int = 7) -> Record:
    return Record(offset, BROKER, key, value if isinstance(value, bytes) else json.dumps(value).encode(), headers)


def read(value: object, headers: Headers = (), key: bytes | None = b"k1") -> Input:
    found = decode(record(value, headers, key), "clickstream", 3)
    assert isinstance(found, Input)
    return found


def reason(value: object, headers: Headers = ()) -> str:
    with pytest.raises(InvalidEventError) as refused:
        decode(record(value, headers), "clickstream", 3)
    assert refused.value.reason in REASONS
    return refused.value.reason


# ------------------------------------------------------------------ what is refused, and why

REFUSED: list[tuple[str, object]] = [
    ("unreadable", b""),
    ("unreadable", b"not json"),
    ("unreadable", b'{"type":"track"'),
    ("unreadable", b"[]"),
    ("unreadable", b"null"),
    ("unreadable", b"\xff\xfe"),
    ("unreadable", b'{"type":"track","event":"X","userId":"\xff"}'),
    ("unreadable", b'{"type":"track","event":"X","userId":"u","unknown":"\xff"}'),
    ("unreadable", b'{"type":"track","event":"X","userId":"\\ud800"}'),
    ("unreadable", b'{"type":"track","event":"X","userId":"u","deep":' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
    ("wrong_type", TRACK | {"properties": {"price": "cheap"}}),
    ("wrong_type", TRACK | {"properties": {"price": "nan"}}),
    ("wrong_type", TRACK | {"properties": {"revenue": "inf"}}),
    ("wrong_type", TRACK | {"properties": {"revenue": 1e10}}),
    ("wrong_type", TRACK | {"properties": {"quantity": -1e10}}),
    ("wrong_type", TRACK | {"properties": {"products": [{"price": []}]}}),
    ("wrong_type", TRACK | {"properties": []}),
    ("wrong_type", TRACK | {"traits": "x"}),
    ("wrong_type", TRACK | {"userId": 1.5}),
    ("wrong_type", TRACK | {"userId": True}),
    ("wrong_type", TRACK | {"event": ""}),
    ("wrong_type", TRACK | {"event": None}),
    ("wrong_type", TRACK | {"messageId": 5}),
    ("wrong_type", TRACK | {"messageId": "m" * 201}),
    ("unknown_type", {"userId": "u1"}),
    ("unknown_type", TRACK | {"type": "Track"}),
    ("missing_user", TRACK | {"userId": None}),
    ("missing_user", TRACK | {"userId": "", "anonymousId": ""}),
    ("missing_user", TRACK | {"userId": "u" * 201}),
    ("bad_timestamp", TRACK | {"timestamp": "yesterday"}),
    ("bad_timestamp", TRACK | {"timestamp": "nan"}),
    ("bad_timestamp", TRACK | {"timestamp": "inf"}),
    ("bad_timestamp", TRACK | {"timestamp": []}),
    ("bad_timestamp", TRACK | {"timestamp": -1}),
    ("bad_timestamp", TRACK | {"timestamp": "1969-12-31T23:59:59Z"}),
    ("bad_timestamp", TRACK | {"timestamp": "2010-02-30"}),
    ("bad_timestamp", {"type": "tick", "timestamp": "nan"}),
    ("bad_timestamp", {"type": "tick", "timestamp": "inf"}),
    ("bad_timestamp", {"type": "tick", "timestamp": -1}),
    ("far_future", TRACK | {"timestamp": 1 << 43}),
    ("far_future", {"type": "tick", "timestamp": 1e300}),
    ("too_large", b'{"type":"track","x":"' + b"x" * MAX_RECORD_BYTES + b'"}'),
]


@pytest.mark.parametrize(("code", "value"), REFUSED)
def test_refused_with_its_reason(code: str, value: object) -> None:
    assert reason(value) == code


def test_every_reason_of_a_single_record_has_a_case() -> None:
    """Those of the core and of webhooks are not the decoder's; the broker's clock (`far_future`) is read_chunk's."""
    assert {code for code, _ in REFUSED} == set(REASONS) - {"failed", "timer_failed", "misrouted", "webhook_failed"}


def test_a_wrong_timestamp_does_not_hide_a_wrong_type() -> None:
    assert reason(TRACK | {"timestamp": "2010-01-05", "traits": 5}) == "wrong_type"


# ------------------------------------------------------------------ times


@pytest.mark.parametrize(
    ("given_time", "expected"),
    [
        (1_262_304_000_123, "2010-01-01T00:00:00.123"),
        (1_262_304_000_123.9, "2010-01-01T00:00:00.123"),
        ("1262304000123", "2010-01-01T00:00:00.123"),
        ("2010-01-01T00:00:00.123Z", "2010-01-01T00:00:00.123"),
        ("2010-01-01T00:00:00.123", "2010-01-01T00:00:00.123"),
        ("2010-01-01T01:00:00.123+01:00", "2010-01-01T00:00:00.123"),
        ("2010-01-01T01:00:00.123+0100", "2010-01-01T00:00:00.123"),
        ("2010-01-01 00:00:00.123456Z", "2010-01-01T00:00:00.123"),
        ("2010-01-01T00:00Z", "2010-01-01T00:00:00"),
        ("2010-01-01", "2010-01-01T00:00:00"),
        ("20100101T000000Z", "2010-01-01T00:00:00"),
    ],
)
def test_times(given_time: object, expected: str) -> None:
    at = int(datetime.fromisoformat(expected).replace(tzinfo=UTC).timestamp() * 1000)
    assert read(TRACK | {"timestamp": given_time}).at == at
    assert decode(record({"type": "tick", "timestamp": given_time}), "p", 0) == at


def test_without_a_time_it_is_the_broker_s() -> None:
    assert read({key: value for key, value in TRACK.items() if key != "timestamp"}).at == BROKER
    assert decode(record({"type": "tick"}), "p", 0) == BROKER


@given(st.integers(min_value=0, max_value=(1 << 43) - 1))
def test_milliseconds_survive_iso(at: int) -> None:
    text = datetime.fromtimestamp(at // 1000, UTC).replace(microsecond=at % 1000 * 1000).isoformat()
    assert read(TRACK | {"timestamp": text}).at == at == epoch_ms(at, 0)


def chunk(*values: dict[str, Any]) -> Batch:
    records = [record(value, offset=offset) for offset, value in enumerate(values)]
    end = len(records)
    return read_chunk(records, topic="t", topic_index=0, lane=0, lanes=1, start=0, end=end, future_limit_ms=300_000)


def test_a_fast_clock_is_believed_but_does_not_move_time() -> None:
    """Up to five minutes ahead of the broker: applied with its own time, while the watermark stays at the broker's."""
    batch = chunk(TRACK, TRACK | {"timestamp": BROKER + 300_000}, TRACK | {"timestamp": BROKER + 300_001})
    assert [event.at for event in batch.inputs] == [1_262_304_000_000, BROKER + 300_000]
    assert [letter.reason for letter in batch.rejected] == ["far_future"]
    assert batch.parts[0].watermark == BROKER
    assert batch.times == [1_262_304_000_000, BROKER, 0]


def test_the_watermark_is_the_newest_event_or_tick() -> None:
    assert chunk(TRACK | {"timestamp": 9}, TRACK | {"timestamp": 5}).parts[0].watermark == 9
    assert chunk(TRACK | {"timestamp": 9}, {"type": "tick", "timestamp": 12}).parts[0].watermark == 12
    assert chunk({"type": "track"}).parts[0].watermark == 0


# ------------------------------------------------------------------ names and ids


@pytest.mark.parametrize(("old", "new"), sorted(ALIASES.items()))
def test_names_of_the_first_specification(old: str, new: str) -> None:
    assert read(TRACK | {"event": old}).name == new


def test_any_other_name_is_legal() -> None:
    assert read(TRACK | {"event": "Llama Fed"}).name == "Llama Fed"
    for kind in ("page", "screen", "identify", "group", "alias"):
        assert read({"type": kind, "userId": "u1", "event": "ignored"}).name == kind


def test_the_user() -> None:
    assert read(TRACK | {"userId": 17850}).user == "17850"
    assert read(TRACK | {"userId": 0}).user == "0"
    assert read(TRACK | {"userId": None, "anonymousId": "a1"}).user == "a1"
    assert read(TRACK | {"userId": "", "anonymousId": "a1"}).user == "a1"


def test_without_a_message_id_it_is_the_first_position() -> None:
    plain = {key: value for key, value in TRACK.items() if key != "messageId"}
    assert read(plain).message_id == "clickstream-3-7"
    assert read(plain | {"messageId": ""}).message_id == "clickstream-3-7"
    assert read(plain, [("kairos-origin", b"clickstream-0-99")]).message_id == "clickstream-0-99"
    assert read(TRACK, [("kairos-origin", b"clickstream-0-99")]).message_id == "m1"


# ------------------------------------------------------------------ CloudEvents


def test_cloud_event_in_binary_mode() -> None:
    value = {"product_id": "p1", "price": 2.5, "colour": "red"}
    event = read(value, [*BINARY, ("ce_time", b"2010-01-01T00:00:00Z"), ("ce_subject", b"u9")])
    assert (event.user, event.name, event.message_id, event.at) == ("u9", "Product Viewed", "e1", 1_262_304_000_000)
    assert event.properties.price == 2.5
    assert event.document()["properties"] == value
    assert read(value, BINARY).user == "k1"  # without a subject, the key is the user
    assert read(value, BINARY).at == BROKER


def test_cloud_event_in_structured_mode() -> None:
    data = {"product_id": "p1", "price": 2.5, "colour": "red"}
    value = {"specversion": "1.0", "id": "e1", "type": "Viewed Product", "subject": "u9", "data": data}
    event = read(value | {"time": "2010-01-01T00:00Z"}, STRUCTURED)
    assert (event.user, event.name, event.message_id, event.at) == ("u9", "Product Viewed", "e1", 1_262_304_000_000)
    assert event.properties.price == 2.5
    assert event.document()["properties"] == data
    assert event.document()["event"] == "Product Viewed"
    assert read({"id": "e1", "type": "X"}, STRUCTURED).document()["properties"] == {}


@pytest.mark.parametrize(
    ("code", "value", "headers"),
    [
        ("unreadable", b"[1]", BINARY),
        ("unreadable", b"{", BINARY),
        ("unreadable", b"\xff", BINARY),
        ("unreadable", b'{"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}", BINARY),
        ("wrong_type", {"price": "cheap"}, BINARY),
        ("wrong_type", {}, [*BINARY[:2], ("ce_type", b"")]),
        ("bad_timestamp", {}, [*BINARY, ("ce_time", b"noon")]),
        ("bad_timestamp", {}, [*BINARY, ("ce_time", b"0001-01-01T00:00:00+14:00")]),
        ("unreadable", b"[1]", STRUCTURED),
        ("unreadable", {"id": "e1"}, STRUCTURED),
        ("unreadable", b'{"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}", STRUCTURED),
        ("wrong_type", {"id": "e1", "type": "X", "data": []}, STRUCTURED),
        ("bad_timestamp", {"id": "e1", "type": "X", "time": "noon"}, STRUCTURED),
    ],
)
def test_cloud_events_that_are_refused(code: str, value: object, headers: Headers) -> None:
    assert reason(value, headers) == code


def test_half_a_cloud_event_is_none() -> None:
    event = read(TRACK | {"properties": {"price": 1}}, [("ce_specversion", b"1.0")])
    assert (event.user, event.document()["properties"]) == ("u1", {"price": 1})


# ------------------------------------------------------------------ the document for conditions


@pytest.mark.parametrize("value", [TRACK | {"properties": None}, TRACK])
def test_the_document_always_has_properties(value: dict[str, Any]) -> None:
    assert read(value).document()["properties"] == {}


# ------------------------------------------------------------------ nothing else can come out

HEADER_NAMES = ["ce_specversion", "ce_id", "ce_type", "ce_time", "ce_subject", "content-type", "kairos-origin"]
HEADER_VALUES = st.sampled_from([None, b"", b"\xff", b"1.0", b"application/cloudevents+json"]) | st.binary(max_size=30)
HEADERS = st.lists(st.tuples(st.sampled_from([*HEADER_NAMES, "kairos-lane", "kairos-seq"]), HEADER_VALUES), max_size=6)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["nan", "inf", "2010-01-05", "1e999", "-0", "track", "tick"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["type", "event", "userId", "anonymousId", "messageId", "timestamp", "properties", "traits", "name", "other"]
EVENTS = st.builds(lambda drawn: TRACK | drawn, st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
VALUES = st.one_of(st.none(), st.binary(max_size=60), EVENTS.map(lambda value: json.dumps(value).encode()))


@given(VALUES, HEADERS)
@example(b'{"type":"tick","timestamp":"nan"}', [])
@example(json.dumps(TRACK).encode(), [("content-type", None), ("kairos-origin", None)])
def test_a_record_is_an_event_a_tick_or_a_dead_letter(value: bytes | None, headers: Headers) -> None:
    """Whatever lies in the log, the lane goes on: a raised exception here would stop it for good."""
    lying = Record(5, BROKER, b"\xff", value, headers)
    batch = read_chunk(
        [lying], topic="clickstream", topic_index=0, lane=3, lanes=4, start=5, end=6, future_limit_ms=300_000
    )
    assert len(batch.inputs) + len(batch.rejected) + batch.ticks == batch.received == 1
    assert all(letter.reason in REASONS for letter in batch.rejected)
    for event in batch.inputs:
        assert isinstance(event.document()["properties"], dict)


# ------------------------------------------------------------------ partitions


@given(st.binary(max_size=40))
def test_murmur2_is_kafka_s(data: bytes) -> None:
    assert murmur2(data) == kafka_murmur2(data) & 0x7FFFFFFF


@given(st.text(max_size=40), st.integers(min_value=1, max_value=64))
def test_the_lane_is_the_partition_that_a_publisher_takes(user: str, lanes: int) -> None:
    assert lane_of(user, lanes) == (kafka_murmur2(user.encode()) & 0x7FFFFFFF) % lanes
