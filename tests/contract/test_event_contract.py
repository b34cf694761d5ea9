"""The pydantic contract against the hot path: what the first accepts, the second accepts with the same values."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.errors import InvalidEventError
from models.events import ALIASES, ECOMMERCE_EVENTS, FEEDBACK_EVENTS, MAX_AMOUNT, REASONS, Envelope, Product
from models.events import Properties as PublicProperties
from models.wire import Event, Input, Properties, Record, decode
from models.wire import Product as HotProduct

BROKER = 1_700_000_000_000

IDS = st.text(min_size=1, max_size=30) | st.integers(min_value=-(2**63), max_value=2**63 - 1)
AMOUNTS = st.floats(-MAX_AMOUNT, MAX_AMOUNT, allow_nan=False) | st.integers(-(10**9), 10**9)
ZONES: st.SearchStrategy[Any] = st.none() | st.integers(-14 * 60, 14 * 60).map(
    lambda minutes: timezone(timedelta(minutes=minutes))
)
MOMENTS = st.datetimes(datetime(1970, 1, 3), datetime(2240, 1, 1), timezones=ZONES)  # noqa: DTZ001 - naive ones, too


def iso(moment: datetime, form: int) -> str:
    text = moment.isoformat(timespec=("auto", "milliseconds", "seconds", "minutes")[form % 4])
    return text.replace("+00:00", "Z") if form & 4 else text


TIMES = (
    st.integers(0, (1 << 43) - 1)
    | st.builds(iso, MOMENTS, st.integers(0, 7))
    | MOMENTS.map(lambda m: m.date().isoformat())
)


def optional(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={name: st.none() | one for name, one in fields.items()})


TEXT = st.text(max_size=20)
PRODUCT = {
    "product_id": IDS,
    "sku": IDS,
    "name": TEXT,
    "category": TEXT,
    "brand": TEXT,
    "price": AMOUNTS,
    "quantity": AMOUNTS,
    "position": st.integers(-9, 9),
}
PROPERTIES = PRODUCT | {
    "order_id": IDS,
    "revenue": AMOUNTS,
    "total": AMOUNTS,
    "tax": AMOUNTS,
    "currency": TEXT,
    "products": st.lists(optional(PRODUCT), max_size=3),
    "message_id": TEXT,
    "campaign_id": TEXT,
    "experiment_id": TEXT,
    "something else": TEXT,
}
NAMES = st.sampled_from(sorted({*ECOMMERCE_EVENTS, *FEEDBACK_EVENTS, *ALIASES})) | st.text(min_size=1, max_size=20)
ENVELOPES = st.builds(
    lambda base, more: {**base, **{key: value for key, value in more.items() if value is not None}},
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["track", "page", "screen", "identify", "group", "alias"]),
            "event": NAMES,
            "userId": IDS,
        }
    ),
    optional(
        {
            "anonymousId": TEXT,
            "messageId": TEXT,
            "timestamp": TIMES,
            "sentAt": TIMES,
            "properties": optional(PROPERTIES),
            "traits": st.dictionaries(TEXT, TEXT | st.integers(-9, 9) | st.booleans(), max_size=3),
            "context": st.dictionaries(TEXT, TEXT, max_size=2),
            "name": TEXT,
        }
    ),
)


def hot(value: bytes) -> Input:
    found = decode(Record(0, BROKER, b"k", value), "clickstream", 0)
    assert isinstance(found, Input)
    return found


def moment_ms(moment: datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


@given(ENVELOPES)
def test_what_the_contract_accepts_the_hot_path_reads_alike(document: dict[str, Any]) -> None:
    value = json.dumps(document).encode()
    public, event = Envelope.model_validate_json(value), hot(value)
    assert event.user == str(public.userId if public.userId not in (None, "") else public.anonymousId)
    assert event.type == public.type
    assert event.name == (ALIASES.get(str(public.event), public.event) if public.type == "track" else public.type)
    assert event.message_id == (public.messageId or "clickstream-0-0")
    assert event.traits == public.traits
    if public.timestamp is None:
        assert event.at == BROKER
    elif isinstance(public.timestamp, int):
        assert event.at == public.timestamp
    else:
        assert event.at == moment_ms(public.timestamp)
    theirs = public.properties or PublicProperties.model_validate({})
    for name in Properties.__struct_fields__:
        if name != "products":
            assert getattr(event.properties, name) == getattr(theirs, name), name
    assert len(event.properties.products or ()) == len(theirs.products or ())
    for mine, other in zip(event.properties.products or (), theirs.products or (), strict=True):
        assert {name: getattr(mine, name) for name in HotProduct.__struct_fields__} == {
            name: getattr(other, name) for name in HotProduct.__struct_fields__
        }


WILD = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.lists(TEXT, max_size=2)
)


@given(ENVELOPES, st.dictionaries(st.sampled_from(sorted(Event.__struct_fields__)), WILD, max_size=3))
def test_one_of_both_or_a_reason(document: dict[str, Any], damage: dict[str, Any]) -> None:
    """The hot path may be kinder (a price in quotes), never stricter, and what it refuses gets a reason."""
    value = json.dumps(document | damage).encode()
    try:
        public = Envelope.model_validate_json(value)
    except ValidationError:
        public = None
    reason = refusal(value)
    if reason is None:
        return
    assert reason in REASONS
    if public is not None:
        # A date is text in the schema: the two ends of the calendar are for the hot path to refuse.
        assert isinstance(public.timestamp, datetime)
        assert reason in {"bad_timestamp", "far_future"}


def refusal(value: bytes) -> str | None:
    try:
        decode(Record(0, BROKER, b"k", value), "clickstream", 0)
    except InvalidEventError as refused:
        return refused.reason
    return None


def test_both_know_the_same_fields() -> None:
    """What the core reads is in the public contract, under the same name."""
    assert set(Event.__struct_fields__) <= set(Envelope.model_fields)
    assert set(Properties.__struct_fields__) <= set(PublicProperties.model_fields)
    assert set(HotProduct.__struct_fields__) <= set(Product.model_fields)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "purchase"},
        {"userId": None},
        {"userId": True},
        {"userId": "u" * 201},
        {"event": None},
        {"messageId": "m" * 201},
        {"timestamp": "yesterday"},
        {"timestamp": 1262304000.5},
        {"timestamp": -1},
        {"properties": {"price": float("1e300")}},
        {"properties": {"price": "2.50"}},
        {"properties": {"price": True}},
    ],
)
def test_what_the_contract_refuses(change: dict[str, Any]) -> None:
    document = {"type": "track", "event": "Product Viewed", "userId": "u1", "timestamp": 0} | change
    with pytest.raises(ValidationError):
        Envelope.model_validate_json(json.dumps(document))


def test_a_tick_needs_no_user() -> None:
    assert Envelope.model_validate_json('{"type":"tick","timestamp":5}').timestamp == 5
