"""One click in a mail: the page's process, and the wish in a real Kafka."""

import urllib.parse
import urllib.request
from collections.abc import Iterator
from urllib.error import HTTPError

import msgspec
import pytest

from services.bus.reader import read_topic
from services.channels.tokens import Link, Tokens
from support.any_redis import AnyRedis
from support.kafka import KafkaServer
from support.page import PageServer

TOKENS = Tokens("the test's key")


@pytest.fixture(scope="module")
def page(kafka_server: KafkaServer, redis_server: AnyRedis) -> Iterator[PageServer]:
    kafka_server.create_topic("feedback", 4)
    settings = {"KAIROS_KAFKA__BOOTSTRAP": kafka_server.bootstrap, "KAIROS_SECRET_KEY": "the test's key"}
    with PageServer(redis_server.url, **settings) as running:
        yield running


def post(page: PageServer, token: str) -> tuple[int, str]:
    """What a mail client sends (RFC 8058): no cookie, no redirect followed."""
    body = urllib.parse.urlencode({"List-Unsubscribe": "One-Click"}).encode()
    try:
        with urllib.request.urlopen(f"{page.url}/u/{token}", body, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def wishes(kafka: KafkaServer, user: str) -> list[dict[str, object]]:
    """Events of a user in `feedback`."""
    events = [msgspec.json.decode(record.value or b"{}") for record in read_topic(kafka.bootstrap, "feedback")]
    return [event for event in events if event.get("userId") == user]


def test_looking_changes_nothing_and_posting_unsubscribes(page: PageServer, kafka_server: KafkaServer) -> None:
    token = TOKENS.sign("unsubscribe", Link("u-asks", "m1", "win-back"))
    assert b"Stop these e-mails?" in page.get(f"/u/{token}")
    assert wishes(kafka_server, "u-asks") == []
    status, text = post(page, token)
    assert status == 200
    assert "You are unsubscribed" in text
    (wish,) = wishes(kafka_server, "u-asks")
    assert (wish["type"], wish["event"]) == ("track", "Unsubscribed")
    assert wish["properties"] == {"message_id": "m1", "campaign_id": "win-back"}


def test_pressing_twice_makes_the_same_event(page: PageServer, kafka_server: KafkaServer) -> None:
    token = TOKENS.sign("unsubscribe", Link("u-twice", "m2", "win-back"))
    assert [post(page, token)[0], post(page, token)[0]] == [200, 200]
    assert len({wish["messageId"] for wish in wishes(kafka_server, "u-twice")}) == 1


def test_a_click_link_and_a_forged_one_unsubscribe_nobody(page: PageServer, kafka_server: KafkaServer) -> None:
    click = TOKENS.sign("click", Link("u-click", "m3", "win-back", "https://shop.test"))
    forged = Tokens("another key").sign("unsubscribe", Link("u-click", "m3", "win-back"))
    assert [post(page, token)[0] for token in (click, forged, "x")] == [404, 404, 404]
    assert wishes(kafka_server, "u-click") == []


def test_a_log_that_is_away_says_later(redis_server: AnyRedis) -> None:
    token = TOKENS.sign("unsubscribe", Link("u-away", "m4", "win-back"))
    settings = {"KAIROS_KAFKA__BOOTSTRAP": "127.0.0.1:1", "KAIROS_SECRET_KEY": "the test's key"}
    with PageServer(redis_server.url, **settings) as page:
        status, text = post(page, token)
    assert status == 503
    assert "try again" in text
