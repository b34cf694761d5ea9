"""The push channel against a real HTTP server that acts as a push service and decrypts what it gets."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import http_ece  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from models.errors import ConfigurationError
from services.channels.base import ChannelConfig, Delivered, Failed, Outcome, Rendered, Transient, Unknown
from services.channels.webpush import WebPushChannel, channel
from support.messages import message
from support.ports import LOOPBACK, free_port

NOW_MS = 1_700_000_000_000
RENDERED = Rendered("A title", "text", "<p>html</p>", "We picked a few things for you — £5 off")


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Browser:
    """A browser's subscription with its secrets."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    auth: bytes = b"0123456789abcdef"

    def subscription(self, endpoint: str) -> str:
        point = self.key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        return json.dumps({"endpoint": endpoint, "keys": {"p256dh": encoded(point), "auth": encoded(self.auth)}})

    def read(self, body: bytes) -> dict[str, str]:
        answer: dict[str, str] = json.loads(http_ece.decrypt(body, private_key=self.key, auth_secret=self.auth))
        return answer


class PushService:
    """Takes notifications at ``/<status>``; ``/vanish`` takes one and hangs up, ``/slow`` answers late."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                what = self.path.strip("/")
                if what == "vanish":
                    self.close_connection = True
                    return
                if what == "slow":
                    time.sleep(1.5)
                    self.close_connection = True
                    return  # whoever asked has gone
                self.send_response(int(what))
                self.send_header("Location", "/m/1")
                self.send_header("Retry-After", "7")
                self.send_header("Content-Length", "4")
                self.end_headers()
                self.wfile.write(b"why?")

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer((LOOPBACK, free_port()), Handler)
        self.url = f"http://{LOOPBACK}:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def service() -> Iterator[PushService]:
    made = PushService()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def vapid() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def push(vapid: ec.EllipticCurvePrivateKey, monkeypatch: pytest.MonkeyPatch) -> WebPushChannel:
    monkeypatch.setattr("services.channels.webpush.TIMEOUT_S", 0.7)
    key = encoded(vapid.private_numbers().private_value.to_bytes(32, "big"))
    return WebPushChannel(ChannelConfig(clock_ms=lambda: NOW_MS, vapid_private_key=key, push_allow_insecure=True))


async def send(push: WebPushChannel, to: str | None, **changes: object) -> Outcome:
    return await push.deliver(message(id=1, channel="push", to=to, expires_at=NOW_MS + 90_000, **changes), RENDERED)


async def test_the_browser_can_read_it_and_the_service_knows_how_to_treat_it(
    push: WebPushChannel, service: PushService
) -> None:
    browser = Browser()
    assert await send(push, browser.subscription(f"{service.url}/201")) == Delivered("/m/1")
    [(headers, body)] = service.got
    assert browser.read(body) == {
        "title": "A title", "body": RENDERED.push, "id": message(id=1).id, "url": "http://127.0.0.1:8080",
    }  # fmt: skip
    assert headers["ttl"] == "90"
    assert headers["urgency"] == "normal"
    assert headers["topic"] == message(id=1).id
    assert len(headers["topic"]) <= 32
    assert headers["content-encoding"] == "aes128gcm"


async def test_the_service_can_check_who_sends(
    push: WebPushChannel, service: PushService, vapid: ec.EllipticCurvePrivateKey
) -> None:
    await send(push, Browser().subscription(f"{service.url}/201"), purpose="transactional")
    headers = service.got[0][0]
    assert headers["urgency"] == "high"
    parts = dict(part.strip().split("=", 1) for part in headers["authorization"].removeprefix("vapid ").split(","))
    signed, _, signature = parts["t"].rpartition(".")
    claims = json.loads(decoded(signed.split(".")[1]))
    assert claims["aud"] == service.url
    assert claims["sub"] == "mailto:ops@kairos.test"
    assert 0 < claims["exp"] - time.time() <= 86_400
    raw = decoded(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    vapid.public_key().verify(der, signed.encode(), ec.ECDSA(SHA256()))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (404, Failed("subscription gone")),
        (410, Failed("subscription gone")),
        (413, Failed("too large for the push service")),
        (403, Failed("403 why?")),
        (429, Transient("429 why?", 7.0)),
        (503, Transient("503 why?", 7.0)),
        (502, Unknown("502 why?")),
    ],
)
async def test_what_a_refusal_means(push: WebPushChannel, service: PushService, status: int, expected: Outcome) -> None:
    assert await send(push, Browser().subscription(f"{service.url}/{status}")) == expected


async def test_an_answer_that_is_lost_or_late_is_unknown(push: WebPushChannel, service: PushService) -> None:
    assert isinstance(await send(push, Browser().subscription(f"{service.url}/vanish")), Unknown)
    assert isinstance(await send(push, Browser().subscription(f"{service.url}/slow")), Unknown)
    assert len(service.got) == 2


async def test_a_service_that_is_not_there_is_transient(push: WebPushChannel) -> None:
    outcome = await send(push, Browser().subscription(f"http://{LOOPBACK}:{free_port()}/x"))
    assert isinstance(outcome, Transient)


@pytest.mark.parametrize(
    "to",
    [
        None, "", "[]", "not json", '{"endpoint": "x"}', '{"keys": {}}',
        '{"endpoint": "https://push.example.com/x", "keys": {"p256dh": "AA", "auth": "AA"}}',
        '{"endpoint": "https://push.example.com/x", "keys": {"p256dh": "AA"}}',
    ],
)  # fmt: skip
async def test_what_is_no_subscription_fails(push: WebPushChannel, to: str | None) -> None:
    assert isinstance(await send(push, to), Failed)


@pytest.mark.parametrize(
    "endpoint", ["http://push.example.com/x", "https://10.0.0.1/x", "https://127.0.0.1/x", "https://localhost/x"]
)
async def test_endpoints_of_our_own_network_are_not_called(vapid: ec.EllipticCurvePrivateKey, endpoint: str) -> None:
    key = encoded(vapid.private_numbers().private_value.to_bytes(32, "big"))
    careful = WebPushChannel(ChannelConfig(clock_ms=lambda: NOW_MS, vapid_private_key=key))
    assert await send(careful, Browser().subscription(endpoint)) == Failed(
        "the subscription's endpoint is no public https address"
    )


@pytest.mark.parametrize(("key", "subject"), [("x", "mailto:a@b.c"), ("", "mailto:a@b.c"), (None, "nobody")])
def test_wrong_settings_are_told_at_the_start(vapid: ec.EllipticCurvePrivateKey, key: str | None, subject: str) -> None:
    key = encoded(vapid.private_numbers().private_value.to_bytes(32, "big")) if key is None else key
    with pytest.raises(ConfigurationError, match="KAIROS_PUSH__VAPID"):
        WebPushChannel(ChannelConfig(clock_ms=lambda: NOW_MS, vapid_private_key=key, vapid_subject=subject))


def test_without_a_key_there_is_no_channel() -> None:
    assert channel(ChannelConfig(clock_ms=lambda: NOW_MS)) is None
