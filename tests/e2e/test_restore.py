"""Redis from an older copy, everything else as it was: `kairos restore`, and the log fills the gap."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, TopicPartition

from config.settings import Settings
from models.errors import KairosError
from services.embedded.mailbox import count_by_message_id
from services.embedded.stack import ROOT
from services.jobs.audit import run_audit
from services.jobs.restore import restore
from services.state.lanes import read_fences
from services.state.ledger_index import ledger_states
from services.state.redis_lane import Client, connect
from support import recount
from support.chaos import Chaos
from support.counted import count_again
from support.kafka import KafkaServer
from support.ports import wait_until
from support.redis import RedisServer, redis_binary

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
MAIN = "from services.cli.main import main; main()"


def command(kairos: Chaos, *arguments: str) -> tuple[int, str]:
    """`kairos restore --from-offsets`, as an operator starts it."""
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "restore", "--from-offsets", *arguments],
        cwd=ROOT,
        env={**os.environ, **kairos.stack.env(), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def once_forgotten(kairos: Chaos, *arguments: str) -> tuple[int, str]:
    """The command, once brokers and Redis have forgotten the workers."""
    for _ in range(20):
        code, said = command(kairos, *arguments)
        if "workers run" not in said:
            break
        time.sleep(1.0)
    return code, said


def back_up(redis: RedisServer, client: Client, to: Path) -> None:
    """BGSAVE, and the file, while everything goes on."""
    client.bgsave()
    wait_until(lambda: not client.info("persistence")["rdb_bgsave_in_progress"], "the dump is written", 30.0, 0.05)
    shutil.copy(redis.directory / "dump.rdb", to)


def bring_back(redis: RedisServer, dump: Path) -> None:
    """The copy, and the append-only file switched on again."""
    redis.restore(dump)
    with closing(connect(redis.url)) as client:
        client.config_set("appendonly", "yes")
        wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], "an AOF", 30.0, 0.05)


def delivered(client: Client) -> int:
    """Messages that went out."""
    return Counter(ledger_states(client).values())["delivered"]


def kill_everything(kairos: Chaos, redis: RedisServer) -> None:
    """A power cut. Redis first: whatever the supervisor starts again finds nothing."""
    redis.kill()
    for name in kairos.workers():
        kairos.stop_decide(name, kill=True)
    for role in ("learn", "deliver"):
        os.kill(kairos.stack.supervisor.pids()[role], signal.SIGKILL)


@pytest.mark.timeout(900)  # many starts of the command line
def test_a_backup_and_the_log(jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dump = tmp_path / "backup.rdb"
    with KafkaServer(jars) as kafka, RedisServer(redis_binary()) as redis:
        before = Chaos(tmp_path / "before", kafka, redis)
        with before.running():
            with before.traffic():
                before.moves()
                time.sleep(2.0)
                code, said = command(before, "--yes")
                assert (code, "workers run" in said) == (1, True)
                back_up(redis, before.redis, dump)
                sent = delivered(before.redis)
                wait_until(lambda: delivered(before.redis) > sent + 40, "mails go out", 60.0, 0.2)
                before.moves()
            kill_everything(before, redis)
        bring_back(redis, dump)
        mails = count_by_message_id(before.stack.mail_dir)
        begun = recount.decided(kafka.bootstrap)[2]
        told = {event["properties"]["message_id"] for event in outcomes(kafka.bootstrap)}

        # It looks and changes nothing; then it does it, interrupted and run again.
        with closing(connect(redis.url)) as client:
            backed_up = ledger_states(client)
            code, said = once_forgotten(before, "--dry-run")
            assert code == 0, said
            assert "applied before and will be once more" in said
            assert ledger_states(client) == backed_up
            code, said = command(before, "--yes")
            assert code == 0, said
            after = ledger_states(client)
            # A busy deliver has claimed what it has not handed over yet: the ledger of the copy may know it by then.
            filled = {message for message, state in after.items() if backed_up.get(message) != state}
            assert len(filled & mails.keys()) > 20, "the gap held no mails: the test tests nothing"
            assert all(after[message] == "delivered" for message in filled & mails.keys())
            assert told <= after.keys()
            code, said = command(before, "--yes")
            assert (code, ledger_states(client)) == (0, after)

        later = Chaos(tmp_path / "later", kafka, redis)
        later.shop, later.published = before.shop, before.published
        with later.running():
            with later.traffic():
                later.moves()
            later.settle()
            for name, value in later.stack.env().items():
                monkeypatch.setenv(name, value)
            report = run_audit(Settings())
            assert report.ok, report.sentences()
            assert (report.waiting, sum(lane.in_flight for lane in report.lanes)) == (0, 0)
            assert recount.forgotten(kafka.bootstrap) > 10
            both = mails + count_by_message_id(later.stack.mail_dir)
            count_again(later, report, Counter(both))
            states = ledger_states(later.redis)
            assert {states[message] for message in told & mails.keys()} == {"delivered"}
            unknown = {message for message, state in states.items() if state == "unknown"}
            assert unknown <= begun - told, "doubt about more than what was begun and not told"
            kill_everything(later, redis)
        bring_back(redis, dump)
        a_log_that_does_not_reach_back(later, Settings())


def outcomes(bootstrap: str) -> list[dict[str, dict[str, str]]]:
    return [event for event in recount.events(bootstrap) if event.get("event") == "Email Delivered"]


def a_log_that_does_not_reach_back(kairos: Chaos, settings: Settings) -> None:
    """Records behind the fence are gone: it says so, does nothing, and goes on only when it is told to."""
    with closing(connect(settings.redis.url.get_secret_value())) as client:
        fence = read_fences(client, [1])[1]
        gone = fence.offsets[0] + 3
        admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap)
        admin.delete_records({TopicPartition("clickstream", 1): gone})
        admin.close()
        code, said = once_forgotten(kairos, "--yes")
        assert code == 1, said
        assert f"LOST: clickstream-1: Redis stands at {fence.offsets[0]:,}" in said
        assert "3 records are gone" in said
        assert read_fences(client, [1])[1] == fence
        code, said = command(kairos, "--yes", "--accept-loss")
        assert code == 0, said
        moved = read_fences(client, [1])[1]
        assert (moved.seq, moved.offsets) == (fence.seq + 1, (gone, *fence.offsets[1:]))
        assert not restore(settings, 1, lambda _: False).holes

        # Another number of lanes than the topics have now.
        with pytest.raises(KairosError, match="dealt out among 4 lanes"):
            restore(settings.model_copy(update={"lanes": 8}), 1)
