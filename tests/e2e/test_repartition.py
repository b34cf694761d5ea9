"""From four lanes to eight in the middle of a stream, killed on the way: nothing lost, nothing twice, all proved."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from config.loader import load_definitions
from config.settings import PACKAGE_CONFIG_DIR, Settings
from config.topics import INPUT_NAMES
from models.experiments.fields import counter_key
from models.experiments.tally import tally
from models.lane import decode_state
from models.profile.codec import decode_profile
from models.wire import lane_of
from services.bus import end_offsets
from services.embedded.mailbox import count_by_message_id
from services.embedded.stack import ROOT
from services.jobs.audit import run_audit
from services.state import keys
from services.state.counters import read_counters
from services.state.ledger_index import ledger_states
from services.state.redis_lane import Client, connect
from support import recount
from support.any_redis import any_redis
from support.chaos import Chaos
from support.kafka import KafkaServer
from support.ports import wait_until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
OLD, NEW = 4, 8
MAIN = "from services.cli.main import main; main()"


def command(kairos: Chaos, *arguments: str) -> "subprocess.Popen[str]":
    """`kairos repartition`, as an operator starts it."""
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, "repartition", "--to", str(NEW), *arguments],
        cwd=ROOT,
        env={**os.environ, **kairos.stack.env()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait(process: "subprocess.Popen[str]") -> tuple[int, str]:
    out, errors = process.communicate(timeout=60)
    return process.returncode, out + errors


def test_from_four_lanes_to_eight(jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with KafkaServer(jars) as kafka, any_redis() as redis:
        before = Chaos(tmp_path / "before", kafka, redis, lanes=OLD)
        with before.running():
            with before.traffic():
                before.moves()
                time.sleep(3.0)
            before.settle()
            code, said = wait(command(before))
            assert code == 1
            assert "workers run" in said
            settled = sum(sum(end_offsets(kafka.bootstrap, name).values()) for name in INPUT_NAMES)
        code, said = wait_for_groups(before)
        assert code == 0, said
        assert "4 lanes would become 8" in said

        # Killed in the middle, then run again.
        client = connect(redis.url)
        process = command(before)
        wait_until(lambda: any(state_of(client, lane) == -NEW for lane in range(OLD)), "a lane is frozen", 30.0, 0.001)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert {state_of(client, lane) for lane in range(OLD)} != {NEW}, "it was too quick for this test"
        code, said = wait(command(before))
        assert code == 0, said
        assert "goes on" in said
        assert [state_of(client, lane) for lane in range(NEW)] == [NEW] * NEW

        after = Chaos(tmp_path / "after", kafka, redis, lanes=NEW)
        after.shop, after.published = before.shop, before.published
        for name, value in {**before.stack.env(), "KAIROS_LANES": str(NEW)}.items():
            monkeypatch.setenv(name, value)
        report = run_audit(Settings())  # before any worker of the new number has begun
        assert report.ok, report.sentences()
        assert report.total("received") == settled
        client.close()

        with after.running():
            old_partitions = after.shop.take(500)
            before.publish(*old_partitions)  # by a publisher that knows of four partitions only
            before.publish(*before.published[-500:])  # and one that sends again what it sent
            with after.traffic():
                after.moves()
                time.sleep(3.0)
            after.settle()
            check(after, before, Settings())


def state_of(client: Client, lane: int) -> int:
    packed: Any = client.get(keys.state(lane))
    return decode_state(packed, len(INPUT_NAMES)).lanes


def wait_for_groups(kairos: Chaos) -> tuple[int, str]:
    """A dry run, once the brokers have forgotten the workers."""
    for _ in range(20):
        code, said = wait(command(kairos, "--dry-run"))
        if code == 0:
            break
        time.sleep(1.0)
    return code, said


def check(after: Chaos, before: Chaos, settings: Settings) -> None:
    """Audit over both stretches, and a recount of the whole log."""
    report = run_audit(settings)
    assert report.ok, report.sentences()
    assert (len(report.lanes), report.waiting, sum(lane.in_flight for lane in report.lanes)) == (NEW, 0, 0)
    assert report.total("forwarded") > 100, "the publisher of four partitions was not noticed"
    log = recount.events(after.bootstrap)
    assert not recount.refused(after.bootstrap)
    assert report.total("applied") - report.total("ticks") == len(log)
    orders, money = recount.orders_and_money(log)
    users = sorted({event["user"] for event in log})
    assert sum(lane.profiles for lane in report.lanes) == len(users)
    for user in users:
        packed = after.redis.get(keys.profile(lane_of(user, NEW), user))
        assert isinstance(packed, bytes)
        profile = decode_profile(packed)
        assert (profile.orders, profile.money_minor) == (orders[user], money[user]), user
    definitions = load_definitions(PACKAGE_CONFIG_DIR)
    counters, exposed = read_counters(after.redis, NEW), recount.exposures(after.bootstrap)
    for experiment in definitions.experiments:
        arms = tally(counters.get(counter_key(experiment.key), {}), experiment).arms
        for variant in experiment.variants:
            arm = [user for user, seen in exposed[experiment.id].items() if seen[0] == variant.id]
            assert arms[variant.id].exposed == len(arm)
    sent, suppressed, to_send = recount.decided(after.bootstrap)
    for campaign in definitions.campaigns:
        fields = counters.get(f"camp:{campaign.id}", {})
        refused = sum(number for name, number in suppressed.items() if name.startswith(f"{campaign.id}:"))
        assert 0 <= fields.get("decided", 0) - sent[campaign.id] - refused <= fields.get("held", 0)
    states = ledger_states(after.redis)
    mails = count_by_message_id(before.stack.mail_dir) + count_by_message_id(after.stack.mail_dir)
    assert max(mails.values()) == 1, "a provider saw a message twice"
    assert mails.keys() <= to_send <= states.keys()
    assert {states[message] for message in to_send} <= {"delivered", "unknown"}
