"""The services of docker-compose.yml by their very commands and environments, on Apache Kafka, Redis and SMTP."""

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from config.settings import Settings
from config.topics import TOPICS, partitions_of
from services.bus import Publisher, describe
from services.jobs.audit import run_audit
from services.state.live import WORKERS_KEY, worker_key
from services.state.redis_lane import Client, connect
from support.compose_local import ComposeLocal, free_addresses
from support.kafka import KafkaServer
from support.mail import Mail, MailSink
from support.metrics_doc import documented_fields
from support.ports import wait_until
from support.redis import RedisServer, redis_binary
from support.services import MissingServiceError, skip_or_fail

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ROLES = ("decide", "learn", "deliver", "dashboard")
LANES = 4  # the default of the compose file
STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Running:
    compose: ComposeLocal
    kafka: KafkaServer
    redis: RedisServer
    sink: MailSink
    folder: Path

    def other(self, **variables: str) -> ComposeLocal:
        """The same file with other values for its `${...}`."""
        return ComposeLocal(self.compose.addresses, self.folder, variables)


@pytest.fixture(scope="module")
def running(jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The servers, and the services ready to be started. The first test makes the topics, as the first service does."""
    try:
        binary = redis_binary()
    except MissingServiceError as error:
        skip_or_fail(error)
    folder = tmp_path_factory.mktemp("compose")
    with (
        KafkaServer(jars) as kafka,
        RedisServer(binary) as redis,
        MailSink() as sink,
        ComposeLocal(free_addresses(kafka.bootstrap, redis.url, sink.port), folder) as compose,
    ):
        yield Running(compose, kafka, redis, sink, folder)


def test_topics_are_made_once_and_never_with_another_number_of_partitions(running: Running) -> None:
    first = running.compose.run("topics")
    assert first.returncode == 0, first.stderr
    made = {name: info.partitions for name, info in describe(running.kafka.bootstrap).items()}
    assert made == {topic.name: partitions_of(topic, LANES) for topic in TOPICS}

    again = running.compose.run("topics")
    assert (again.returncode, again.stdout.strip()) == (0, "every topic is there already")

    wrong = running.other(KAIROS_LANES="3").run("topics")
    assert wrong.returncode == 1
    assert "clickstream has 4 partitions, needed 3" in wrong.stderr
    assert "KAIROS_LANES, now 3" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert {name: info.partitions for name, info in describe(running.kafka.bootstrap).items()} == made


def test_health_of_what_does_not_run_is_a_sentence(running: Running) -> None:
    silent = running.compose.execute("decide", ["kairos", "health", "decide"])
    assert silent.returncode == 1
    assert silent.stderr.startswith("no decide worker")
    assert not running.compose.healthy("dashboard")


@pytest.mark.timeout(600)  # each look at a service's health starts the command line anew
def test_an_order_becomes_a_mail_and_everything_ends_in_order(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From `docker compose up` to `docker compose stop`."""
    compose, sink = running.compose, running.sink
    shipped = files_in(compose.app)
    compose.start(*ROLES)
    for role in ROLES:
        wait_until(lambda role=role: compose.healthy(role), f"{role} is healthy", 90, interval_s=0.5)  # type: ignore[misc]
    page = f"http://127.0.0.1:{compose.addresses.http_port}"
    assert json.loads(get(f"{page}/healthz")) == {"status": "ok"}

    with Publisher(running.kafka.bootstrap) as bus:
        traits = {"email": "ada@example.test", "name": "Ada", "consent": {"email": True}}
        bus.publish_event({"type": "identify", "userId": "ada", "traits": traits})
        bus.publish_event(order("ada"))
        bus.publish_event(order("bob"))  # of whom no address is known
        bus.flush()

    wait_until(lambda: bool(sink.mails), "a mail for the order", 30)
    wait_until(lambda: json.loads(get(f"{page}/readyz"))["status"] == "ok", "the page has read Redis", 30)
    wait_until(lambda: outcome_came_back(page), "the outcome of the mail is counted", 30)

    client = connect(running.redis.url)
    assert fields_told(client) == {role: told for role, told in documented_fields().items() if role in ROLES}

    # While it runs, the ticks move the lanes each second; the audit reads between two of them.
    proof = compose.execute("decide", ["kairos", "audit"])
    assert proof.returncode == 0, proof.stdout + proof.stderr
    assert "Redis equals the log" in proof.stdout

    ended = compose.stop()
    assert {name: one.code for name, one in ended.items()} == dict.fromkeys(ROLES, 0), said(compose)
    slow = {name: one.seconds for name, one in ended.items() if one.seconds > STOP_S}
    assert not slow, said(compose)
    assert files_in(compose.app) == shipped, "the image is read-only"
    assert client.zrange(WORKERS_KEY, 0, -1) == [], "workers that ended in order are not shown as silent"
    client.close()

    only_mail(sink.mails)
    for name, value in compose.environment("decide").items():
        if name.startswith("KAIROS_"):
            monkeypatch.setenv(name, value)
    report = run_audit(Settings())
    assert report.ok, report.sentences()
    assert report.total("applied") >= 4  # identify, two orders, the outcome of the mail; and none twice
    assert (report.total("duplicate"), report.total("rejected"), report.waiting) == (0, 0, 0)


def only_mail(mails: list[Mail]) -> None:
    (mail,) = mails
    assert mail.recipient == "ada@example.test"
    assert "Lamp" in mail.raw.decode() or "order" in str(mail.message["Subject"]).lower()
    assert mail.message["X-Kairos-Message-Id"]


def fields_told(client: Client) -> dict[str, set[str]]:
    """What the workers write into their live keys, by role."""
    found = {}
    for name in cast(list[bytes], client.zrange(WORKERS_KEY, 0, -1)):
        role, _, worker = name.decode().partition(":")
        found[role] = set(json.loads(cast(bytes, client.get(worker_key(role, worker)))))
    return found


def order(user: str) -> dict[str, object]:
    product = {"product_id": "P7", "name": "Lamp", "price": 25.0, "quantity": 1}
    properties = {"order_id": f"A-{user}", "revenue": 25.0, "currency": "GBP", "products": [product]}
    return {"type": "track", "event": "Order Completed", "userId": user, "properties": properties}


def outcome_came_back(page: str) -> bool:
    """Whether decide has counted that the mail was delivered."""
    funnels = {funnel["campaign"]: funnel for funnel in json.loads(get(f"{page}/api/live"))["funnels"]}
    steps = {step["name"]: step["count"] for step in funnels.get("order-thanks", {}).get("steps", [])}
    return bool(steps.get("sent", 0) == 1)


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        body: bytes = answer.read()
    return body


def files_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def said(compose: ComposeLocal) -> str:
    """The end of every log."""
    tails = (f"--- {name}\n{compose.log_path(name).read_text(errors='replace')[-2000:]}" for name in ROLES)
    return "\n".join(tails)
