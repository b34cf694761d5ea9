"""Refused records on real servers: browsed, shown, mended, sent again, and counted once however often they are sent."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from typer.testing import CliRunner, Result

from config.settings import Settings
from config.topics import INPUT_NAMES
from models.profile.codec import decode_profile
from models.profile.state import Profile
from models.wire import lane_of
from services.bus import create_topics, end_offsets
from services.bus.reader import read_topic
from services.cli.main import app
from services.embedded.stack import ROOT, EmbeddedStack
from services.jobs.audit import run_audit
from services.state import keys
from services.state.lanes import read_lanes
from services.state.redis_lane import connect
from support.any_redis import any_redis
from support.faulty_decide import MARKED
from support.kafka import KafkaServer
from support.lane import order, track
from support.ports import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
LANES = 3
MARCH = 1_267_444_800_000


@dataclass(slots=True)
class Shop:
    """A running decide, and the command line beside it."""

    stack: EmbeddedStack
    producer: Any

    def write(self, topic: str, value: bytes, partition: int, headers: Any = ()) -> str:
        """Write a record anywhere; returns its letter's name, should it be refused."""
        sent = self.producer.send(topic, value, b"anna", partition=partition, headers=list(headers)).get(30)
        return f"{topic}-{partition}-{sent.offset}"

    def settle(self) -> None:
        """Wait until everything in the log has its fate."""

        def done() -> bool:
            ends = sum(sum(end_offsets(self.stack.bootstrap, name).values()) for name in INPUT_NAMES)
            with closing(connect(self.stack.env()["KAIROS_REDIS__URL"])) as client:
                return sum(lane.received for lane in read_lanes(client, LANES).values()) == ends

        wait_until(done, "every record is taken", 60, 0.2)
        letters = sum(lane.rejected for lane in self.lanes().values())
        wait_until(lambda: len(self.letters()) == letters, f"{letters} letters", 30, 0.2)

    def lanes(self) -> Any:
        with closing(connect(self.stack.env()["KAIROS_REDIS__URL"])) as client:
            return read_lanes(client, LANES)

    def letters(self) -> dict[str, dict[str, Any]]:
        """What the command lists, by name."""
        lines = (json.loads(line) for line in kairos("dead-letters", "--json").stdout.splitlines())
        return {line["id"]: line for line in lines}

    def profile(self, user: str) -> Profile:
        with closing(connect(self.stack.env()["KAIROS_REDIS__URL"])) as client:
            packed: Any = client.get(keys.profile(lane_of(user, LANES), user))
        return decode_profile(packed)

    def count(self, name: str) -> int:
        return sum(getattr(lane, name) for lane in self.lanes().values())


def kairos(*words: str) -> Result:
    return CliRunner().invoke(app, words, env={"COLUMNS": "200"})


@pytest.fixture
def shop(jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Decide over Apache Kafka and the system's Redis."""
    with (
        KafkaServer(jars) as kafka,
        any_redis() as redis,
        EmbeddedStack(
            tmp_path,
            create_topics,
            roles=("decide",),
            lanes=LANES,
            ticker=False,
            kafka=kafka.bootstrap,
            redis_url=redis.url,
        ) as stack,
    ):
        for name, value in stack.env().items():
            monkeypatch.setenv(name, value)
        producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all", max_request_size=3_000_000)
        try:
            yield Shop(stack, producer)
        finally:
            producer.close(timeout=1.0)


def test_a_refused_record_is_mended_and_counts_once(shop: Shop) -> None:
    home = lane_of("anna", LANES)
    nameless = order("anna", MARCH, 20.0).replace(b'"messageId":', b'"unused":')
    text = shop.write("purchases", nameless.replace(b'"revenue":20.0', b'"revenue":"a lot"'), home)
    broken = shop.write("clickstream", b"\x1b[31mnot json", home)
    large = json.dumps({**json.loads(track("Product Viewed", "anna", MARCH)), "context": {"x": "y" * 400_000}}).encode()
    cut = shop.write("clickstream", large, home)
    claimed = [(f"kairos-{part}", b"1") for part in ("origin", "lane", "epoch", "seq", "n")]
    stray = shop.write("purchases", order("anna", MARCH, 5.0, mid="o5"), (home + 1) % LANES, claimed)
    shop.settle()
    assert {name: one["reason"] for name, one in shop.letters().items()} == {
        text: "wrong_type",
        broken: "unreadable",
        cut: "too_large",
        stray: "misrouted",
    }

    # Browse: by reason, by topic, by time; a terminal is not at the mercy of who sends garbage.
    listed = kairos("dead-letters", "--reason", "unreadable").stdout
    assert broken in listed
    assert text not in listed
    assert kairos("dead-letters", "--since", "1h", "--topic", "purchases").stdout.count("purchases-") == 2
    assert "0 refused records" in kairos("dead-letters", "--until", "1h").stdout
    assert kairos("dead-letters", "--since", "yesterday").exit_code == 2
    shown = kairos("dead-letters", "show", broken)
    assert "would do now" in shown.stdout
    assert "refused again: unreadable" in re.sub(r"\s+", " ", shown.stdout)
    assert "\x1b[31m" not in shown.stdout
    assert kairos("dead-letters", "show", "purchases-0-999").exit_code == 1

    # Unchanged it would be refused again; nothing is published by that, nor by a dry run.
    before = end_offsets(shop.stack.bootstrap, "purchases")
    refused = kairos("dead-letters", "redrive", text, "--yes")
    assert (refused.exit_code, "Edit it first" in refused.stderr) == (1, True)
    mend = ("dead-letters", "edit", text, "--set", "properties.revenue=20.0")
    assert "would go to purchases" in kairos(*mend, "--dry-run").stdout
    assert end_offsets(shop.stack.bootstrap, "purchases") == before

    # Mended it counts, once: a second redrive is refused in words, and one that insists is dropped as a duplicate.
    assert kairos(*mend, "--yes").exit_code == 0
    shop.settle()
    assert (shop.profile("anna").orders, shop.profile("anna").money_minor) == (1, 2000)
    again = kairos(*mend, "--yes")
    assert (again.exit_code, "nothing is sent twice" in again.stderr) == (1, True)
    assert kairos(*mend, "--yes", "--again").exit_code == 0
    shop.settle()
    assert (shop.profile("anna").orders, shop.count("duplicate")) == (1, 1)
    redriven = [r for r in read_topic(shop.stack.bootstrap, "purchases") if dict(r.headers).get("kairos-redriven")]
    assert {dict(record.headers)["kairos-redriven"].decode() for record in redriven} == {text}
    assert shop.letters()[text]["redriven"]["sent"]

    # All of a reason at once: what was misrouted goes to its own lane.
    assert kairos("dead-letters", "redrive", "--reason", "misrouted", "--yes").exit_code == 0
    small = json.dumps({"type": "track", "event": "Product Viewed", "userId": "anna", "timestamp": MARCH})
    value = shop.stack.data_dir / "mended.json"
    value.write_text(small)
    assert kairos("dead-letters", "edit", cut, "--value", str(value), "--yes").exit_code == 0
    assert kairos("dead-letters", "edit", broken, "--set", "a=1", "--yes").exit_code == 1
    shop.settle()
    assert (shop.profile("anna").orders, shop.profile("anna").money_minor) == (2, 2500)
    assert shop.profile("anna").events == 3
    assert kairos("dead-letters", "--waiting").stdout.count(broken) == 1
    assert "1 refused records" in kairos("dead-letters", "--waiting").stdout
    assert kairos("dead-letters", "redrive", "--yes").exit_code == 2  # never all of them by accident

    report = run_audit(Settings())
    assert report.ok, report.sentences()


def test_a_bad_deploy_stops_instead_of_draining_its_topics(shop: Shop, tmp_path: Path) -> None:
    """Its records stay where they are; the deploy before it goes on with them."""
    shop.stack.supervisor.stop()
    home = [user for user in (f"u{number}" for number in range(200)) if lane_of(user, LANES) == 0]
    for user in home:
        shop.write("purchases", order(user, MARCH, 5.0, order_id=MARKED), 0)
    bad = subprocess.run(
        [sys.executable, "-m", "support.faulty_decide"],
        cwd=ROOT,
        env={**os.environ, "KAIROS_DEAD_LETTER_USERS": "5", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert bad.returncode not in {0, 2}
    assert "this looks like a bad deploy" in bad.stderr
    assert "redrive --reason failed" in bad.stderr
    assert shop.count("rejected") == 4
    assert shop.count("applied") == 0

    good = subprocess.Popen([sys.executable, "-m", "streams", "decide"], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        shop.settle()
        assert (shop.count("rejected"), shop.count("applied")) == (4, len(home) - 4)
        assert kairos("dead-letters", "redrive", "--reason", "failed", "--yes").exit_code == 0
        shop.settle()
        assert {shop.profile(user).orders for user in home} == {1}
    finally:
        good.terminate()
        good.wait(30)
