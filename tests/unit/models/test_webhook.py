"""Webhooks are signed as the reference implementation of the specification checks it, and come again in good time."""

import base64
import json
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from config.settings import Settings
from config.webhook import read_secrets
from models.webhook import LONGEST_WISH_S, body_of, headers_of, wished_pause_s
from streams.alerts import RETRY

KEYS = st.lists(st.binary(min_size=24, max_size=64), min_size=1, max_size=2, unique=True)


def secret(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


@given(
    KEYS, st.uuids(), st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False) | st.integers(-(2**53), 2**53))
)
def test_the_reference_takes_every_signature(keys: list[bytes], name: object, data: dict[str, object]) -> None:
    body = body_of("churn.alert", 1_267_000_000_123, json.dumps(data).encode())
    headers = dict(headers_of(str(name), int(time.time()), body, keys))
    for key in keys:
        told = Webhook(secret(key)).verify(body, headers)
        assert told == {"type": "churn.alert", "timestamp": "2010-02-24T08:26:40.123Z", "data": data}
    for broken in (body + b" ", body.replace(b"churn", b"burnt")):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret(keys[0])).verify(broken, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret(b"another key, as long as it must be")).verify(body, headers)


def test_secrets_are_read_by_the_webhook_that_they_are_of() -> None:
    one, two, three = (bytes([n]) * 24 for n in range(3))
    text = f"crm={secret(one)}  call-centre={secret(two)}\ncrm={secret(three)}"
    assert read_secrets(text) == {"crm": [one, three], "call-centre": [two]}
    assert read_secrets("") == {}


@pytest.mark.parametrize(
    "text",
    ["whsec_" + "QUJD" * 8, "crm=hush-hush", "crm=whsec_QUJD", "crm=whsec_" + "QUJD" * 22, "crm=whsec_" + "?" * 32],
)
def test_a_bad_secret_is_told_and_not_shown(text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(webhook_secrets=SecretStr("ops=" + secret(b"k" * 32) + " " + text))
    assert "word 2 is not like crm=whsec_" in str(caught.value)
    assert text.rpartition("_")[2] not in str(caught.value)


@given(st.integers(1, 60), st.none() | st.floats(0, 10**6), st.integers())
def test_pauses_grow_are_bounded_and_never_shorter_than_wished(attempt: int, wish: float | None, seed: int) -> None:
    pause = RETRY.pause_s(attempt, random.Random(seed), wish)
    most = min(RETRY.cap_s, RETRY.first_s * RETRY.factor ** min(attempt - 1, 40))
    assert pause >= max(most / 2, wish or 0.0)
    assert pause <= max(most, wish or 0.0)
    if wish is None and most < RETRY.cap_s / RETRY.factor:
        assert RETRY.pause_s(attempt + 1, random.Random(seed)) > pause


def test_ten_attempts_take_less_than_a_day() -> None:
    whole = sum(min(RETRY.cap_s, RETRY.first_s * RETRY.factor**n) for n in range(RETRY.attempts - 1))
    assert 12 * 3600 < whole < 24 * 3600


@given(st.text() | st.integers().map(str), st.floats(0, 2**32))
def test_no_header_breaks_it(text: str, now_s: float) -> None:
    found = wished_pause_s(text, now_s)
    assert found is None or 0.0 <= found <= LONGEST_WISH_S
