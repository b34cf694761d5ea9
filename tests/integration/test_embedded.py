"""The embedded stack with real processes: servers that answer, survive what they must, and end with us."""

import os
import signal
import smtplib
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
import redis
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from config.topics import TOPICS, partitions_of
from services.bus.admin import create_topics, describe
from services.embedded.broker import broker_answers, cluster_members
from services.embedded.mailbox import count_by_message_id, read_mails
from services.embedded.process import ProcessFailedError
from services.embedded.runfile import find_running
from services.embedded.stack import AlreadyRunningError, EmbeddedStack
from support.kafka import KafkaServer
from support.ports import wait_until

pytestmark = pytest.mark.e2e
LANES = 3


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    with EmbeddedStack(tmp_path_factory.mktemp("stack"), create_topics, roles=(), lanes=LANES) as running:
        yield running


def client(stack: EmbeddedStack) -> "redis.Redis":
    return redis.Redis.from_url(stack.env()["KAIROS_REDIS__URL"])


def consumer(stack: EmbeddedStack, partition: TopicPartition) -> KafkaConsumer:
    made = KafkaConsumer(
        bootstrap_servers=stack.bootstrap,
        auto_offset_reset="earliest",
        consumer_timeout_ms=3_000,
        fetch_max_wait_ms=20,
    )
    made.assign([partition])
    return made


def send_mail(stack: EmbeddedStack, kairos_id: str) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "shop@x.test", "anna@x.test", "Grüße"
    message["X-Kairos-Message-Id"] = kairos_id
    message.set_content("Hallo")
    with smtplib.SMTP("127.0.0.1", int(stack.env()["KAIROS_SMTP__PORT"]), timeout=10) as smtp:
        smtp.send_message(message)


# ------------------------------------------------------------------ the broker


def test_all_topics_exist_with_their_partitions(stack: EmbeddedStack) -> None:
    found = {name: info.partitions for name, info in describe(stack.bootstrap).items()}
    assert found.items() >= {topic.name: partitions_of(topic, LANES) for topic in TOPICS}.items()


def test_readiness_reads_the_address_that_clients_are_told(stack: EmbeddedStack) -> None:
    host, _, port = stack.bootstrap.partition(":")
    assert cluster_members(host, int(port)) == [(host, int(port))]


def test_readiness_understands_apache_kafka(kafka_server: KafkaServer) -> None:
    assert cluster_members("127.0.0.1", kafka_server.port) == [("127.0.0.1", kafka_server.port)]


def test_what_is_not_kafka_is_not_ready(stack: EmbeddedStack) -> None:
    assert not broker_answers("127.0.0.1", int(stack.env()["KAIROS_SMTP__PORT"]), timeout_s=0.5)


def test_a_record_comes_back_whole(stack: EmbeddedStack) -> None:
    """Key, headers, a megabyte of value, and the high-water mark of the fetch."""
    partition = TopicPartition("profiles", 1)
    producer = KafkaProducer(bootstrap_servers=stack.bootstrap, acks="all", max_request_size=2_000_000)
    value = os.urandom(1_000_000)
    metadata = producer.send(*partition[:1], value, b"anna", [("kairos-seq", b"7")], partition=1).get(10)
    producer.close()
    reader = consumer(stack, partition)
    record = next(reader)
    assert (record.offset, record.key, record.value, record.headers) == (
        metadata.offset,
        b"anna",
        value,
        [("kairos-seq", b"7")],
    )
    assert reader.highwater(partition) == metadata.offset + 1
    reader.close()


def test_writers_of_one_partition_lose_nothing(stack: EmbeddedStack) -> None:
    """Three writers of tiny batches while a reader follows: with more threads the broker loses 1 in 1,000."""
    partition, count = TopicPartition("exposures", 0), 1_000

    def write() -> None:
        producer = KafkaProducer(bootstrap_servers=stack.bootstrap, acks="all", linger_ms=0)
        for _ in range(count):
            producer.send(partition.topic, b"x", partition=0).get(10)
        producer.close()

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    reader = consumer(stack, partition)
    offsets = []
    for record in reader:
        offsets.append(record.offset)
        if record.offset == 3 * count - 1:
            break
    reader.close()
    for writer in writers:
        writer.join()
    assert offsets == list(range(3 * count))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_broker_has_one_working_thread(stack: EmbeddedStack) -> None:
    """The setting that the test above rests on; that one would notice its loss only most of the time."""
    pid = stack.supervisor.pids()["broker"]
    assert b"TOKIO_WORKER_THREADS=1\0" in Path(f"/proc/{pid}/environ").read_bytes()


# ------------------------------------------------------------------ Redis


def test_redis_is_as_durable_as_in_production(stack: EmbeddedStack) -> None:
    settings = client(stack).config_get("append*") | client(stack).config_get("maxmemory-policy")
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "always"
    assert settings["maxmemory-policy"] == "noeviction"
    assert client(stack).config_get("unixsocket") == {"unixsocket": ""}
    assert client(stack).config_get("bind") == {"bind": "127.0.0.1"}


def test_what_redis_answered_survives_its_death(stack: EmbeddedStack) -> None:
    for number in range(100):
        client(stack).rpush("survivor", number)
    restarts = stack.supervisor.restarts()["redis"]
    os.kill(stack.supervisor.pids()["redis"], signal.SIGKILL)
    wait_until(lambda: stack.supervisor.restarts()["redis"] == restarts + 1, "the restart", 10)

    def back() -> bool:
        try:
            return bool(client(stack).ping())
        except (redis.ConnectionError, redis.BusyLoadingError):
            return False

    wait_until(back, "Redis", 10)
    assert client(stack).lrange("survivor", 0, -1) == [b"%d" % number for number in range(100)]
    stack.check()


# ------------------------------------------------------------------ mail


def test_mails_survive_the_death_of_the_sink(stack: EmbeddedStack) -> None:
    before = count_by_message_id(stack.mail_dir)
    send_mail(stack, "a")
    send_mail(stack, "a")
    restarts = stack.supervisor.restarts()["mailsink"]
    os.kill(stack.supervisor.pids()["mailsink"], signal.SIGKILL)
    wait_until(lambda: stack.supervisor.restarts()["mailsink"] == restarts + 1, "the restart", 10)

    def sent() -> bool:
        try:
            send_mail(stack, "b")
        except OSError:
            return False
        return True

    wait_until(sent, "the mail sink", 10)
    assert count_by_message_id(stack.mail_dir) - before == {"a": 2, "b": 1}
    *_, last = read_mails(stack.mail_dir)
    assert (last.kairos_id, last.subject, last.recipients) == ("b", "Grüße", ["anna@x.test"])


# ------------------------------------------------------------------ the stack


def test_others_find_the_running_stack(stack: EmbeddedStack) -> None:
    found = find_running(stack.data_dir)
    assert found is not None
    assert (found.pid, found.env, found.url) == (os.getpid(), stack.env(), stack.url)
    assert found.mail_dir == str(stack.mail_dir)


def test_a_second_stack_in_the_same_folder_is_refused(stack: EmbeddedStack) -> None:
    with pytest.raises(AlreadyRunningError, match=str(os.getpid())):
        EmbeddedStack(stack.data_dir, roles=()).start()
    stack.check()


def test_the_next_run_starts_clean_and_keeps_the_last(tmp_path: Path) -> None:
    """The log is gone with the broker: positions in it must not be taken for positions in the new one."""
    with EmbeddedStack(tmp_path, roles=()) as first:
        client(first).set("{p0}:fence", "5000")
        send_mail(first, "a")
    assert find_running(tmp_path) is None
    with EmbeddedStack(tmp_path, roles=()) as second:
        assert client(second).get("{p0}:fence") is None
        assert not count_by_message_id(second.mail_dir)
    assert (tmp_path / "previous" / "redis" / "appendonly.aof").exists()
    assert count_by_message_id(tmp_path / "previous" / "mails") == {"a": 1}


def test_state_stays_when_the_log_does(tmp_path: Path) -> None:
    for _ in range(2):
        with EmbeddedStack(tmp_path, roles=(), kafka="127.0.0.1:9") as stack:
            count = client(stack).incr("runs")
    assert count == 2


def test_the_broker_s_death_is_the_end(tmp_path: Path) -> None:
    with EmbeddedStack(tmp_path, roles=()) as stack:
        os.kill(stack.supervisor.pids()["broker"], signal.SIGKILL)
        with pytest.raises(ProcessFailedError, match="broker was ended by signal 9"):
            stack.wait(10)


def test_topics_that_cannot_be_created_end_the_stack(tmp_path: Path) -> None:
    pids: dict[str, int] = {}

    def fail(bootstrap: str, lanes: int) -> None:
        pids.update(broken.supervisor.pids())
        raise ZeroDivisionError

    broken = EmbeddedStack(tmp_path, fail, roles=())
    with pytest.raises(ZeroDivisionError):
        broken.start()
    assert set(pids) == {"broker", "redis", "mailsink"}
    assert broken.supervisor.pids() == {}
    assert find_running(tmp_path) is None


@pytest.mark.chaos
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills children with their parent")
def test_a_killed_stack_leaves_no_process_and_no_lock(tmp_path: Path) -> None:
    code = f"""
        import time
        from pathlib import Path
        from services.embedded.stack import EmbeddedStack
        with EmbeddedStack(Path({str(tmp_path)!r}), roles=()) as stack:
            print(*stack.supervisor.pids().values(), flush=True)
            time.sleep(60)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()
        parent.wait(5)
    assert len(pids) == 3

    def ended(pid: int) -> bool:
        stat = Path(f"/proc/{pid}/stat")
        try:
            return stat.read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    wait_until(lambda: all(ended(pid) for pid in pids), "the children to die with their parent", 5)
    assert find_running(tmp_path) is None
