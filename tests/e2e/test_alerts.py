"""From silence to a webhook: alerts are raised, posted across a kill -9, listed, acknowledged, and over again."""

import json
import os
import signal
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from config.settings import Settings
from config.topics import INPUT_NAMES
from services.bus import Publisher, create_topics
from services.bus.reader import read_topic
from services.cli.main import app
from services.embedded.stack import EmbeddedStack
from services.jobs.audit import run_audit
from services.state.lanes import read_watermarks
from services.state.redis_lane import connect
from streams.alerts import LINES
from support.lane import DAY_MS, ms, order, tick
from support.ports import wait_until
from support.receiver import SECRET, Answer, Receiver

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    # kafka-python leaves sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
LANES, USERS = 2, 12
START = ms("2010-03-01 08:00")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """It takes alerts and says nothing, until a test says otherwise."""
    with Receiver(otherwise=Answer(None, after_s=3_600)) as made:
        yield made


@pytest.fixture
def stack(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedStack]:
    folder = tmp_path / "config"
    (folder / "webhooks").mkdir(parents=True)
    (folder / "webhooks" / "crm.yaml").write_text(f"id: crm\nurl: {receiver.url}\n")
    with EmbeddedStack(
        tmp_path / "data",
        create_topics,
        roles=("decide", "deliver", "dashboard"),
        lanes=LANES,
        config_dir=folder,
        ticker=False,
        settings={"KAIROS_STRICT_ORDER": "true", "KAIROS_WEBHOOK_SECRETS": f"crm={SECRET}"},
    ) as made:
        for name, value in made.env().items():
            monkeypatch.setenv(name, value)
        yield made


def kairos(*words: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, ["alerts", *words])
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()] if "--json" in words else []


def asked(url: str, body: bytes | None = None, kind: str = "application/json") -> tuple[int, Any]:
    request = urllib.request.Request(url, body, {"Content-Type": kind} if body is not None else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_an_alert_from_silence_to_somebody_who_cares(stack: EmbeddedStack, receiver: Receiver) -> None:
    with closing(connect(stack.env()["KAIROS_REDIS__URL"])) as client, Publisher(stack.bootstrap) as bus:

        def until(at: int) -> None:
            for topic in INPUT_NAMES:
                for lane in range(LANES):
                    bus.publish(topic, tick(at), None, lane)
            bus.flush()
            wait_until(lambda: min(read_watermarks(client, LANES).values()) >= at, "time has passed", 60, 0.1)

        for user in range(USERS):
            bus.publish("purchases", order(f"u{user}", START + user), f"u{user}")
        for day in range(10, 150, 10):
            until(START + day * DAY_MS)
        records = [msgspec.json.decode(one.value or b"") for one in read_topic(stack.bootstrap, "churn-alerts")]
        raised = {one["id"]: one for one in records}
        assert len(raised) == USERS

        # Killed while the receiver has alerts in its hands and has not answered.
        wait_until(lambda: len(receiver.calls) >= 3, "the receiver has some", 60, 0.1)
        os.kill(stack.supervisor.pids()["deliver"], signal.SIGKILL)
        held = set(receiver.ids())
        receiver.otherwise = Answer()

        def delivered() -> bool:
            return all(one["webhooks"].get("crm", {}).get("state") == "delivered" for one in kairos("list", "--json"))

        wait_until(lambda: set(receiver.ids()) == set(raised) and delivered(), "all are delivered", 120, 0.5)
        # Twice those that were in its hands (of which the kernel may hand some over after its death), all others once.
        twice = {one for one, calls in Counter(receiver.ids()).items() if calls == 2}
        assert held <= twice
        assert len(twice) <= LINES
        assert len(receiver.calls) == USERS + len(twice)
        for call in receiver.calls:
            assert call.verified()["data"] == raised[call.id]

        # Listed, and acknowledged by a person and by a service; whoever was first stands.
        found = kairos("list", "--open", "--json")
        assert {one["id"] for one in found} == set(raised)
        assert all(one["reasons"] and one["open"] for one in found)
        mine, theirs, later = found[0], found[1], found[2]
        kairos("acknowledge", mine["id"], "--by", "anna", "--note", "called")
        api = f"{stack.url}/v1/alerts"
        address = f"{api}/{theirs['id']}/acknowledge"
        status, told = asked(address, b'{"by": "crm", "note": "ticket 7"}')
        assert (status, told["open"], told["acknowledged"]["by"]) == (200, False, "crm")
        assert asked(address, b'{"by": "bo"}') == (200, told)
        assert asked(f"{api}/nothing/acknowledge", b'{"by": "bo"}') == (
            404,
            {"error": "unknown_alert", "alert": "nothing"},
        )
        for form in ("text/plain", "application/x-www-form-urlencoded"):  # what another site may have a browser post
            assert asked(f"{api}/{later['id']}/acknowledge", b'{"by": "eve"}', form)[0] == 422
        assert CliRunner().invoke(app, ["alerts", "acknowledge", "nothing"]).exit_code == 1

        # Over by itself when the customer comes back.
        bus.publish("purchases", order(later["user"], START + 151 * DAY_MS), later["user"])
        until(START + 152 * DAY_MS)
        assert asked(f"{api}/{later['id']}")[1]["over"]
        status, told = asked(f"{api}?open=true")
        assert {one["id"] for one in told["alerts"]} == set(raised) - {mine["id"], theirs["id"], later["id"]}
        assert {one["id"] for one in asked(f"{api}?user={mine['user']}")[1]["alerts"]} == {mine["id"]}
        wait_until(
            lambda: len(asked(f"{stack.url}/api/live")[1]["alerts"]) == min(8, USERS - 3), "the page says so", 30, 0.5
        )

    assert not list(read_topic(stack.bootstrap, "dead-letters"))
    report = run_audit(Settings())
    assert report.ok, report.sentences()
