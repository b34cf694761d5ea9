"""What the measurements stand on: one broker, one Redis, and the processes that are measured."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import redis
from benchmarks.shop import PARTITIONS
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from config.topics import TOPICS
from services.bus.admin import create_topics
from services.embedded.stack import EmbeddedStack
from services.state.redis_lane import connect
from support.kafka import KafkaServer
from support.ports import wait_until
from support.redis import RedisServer
from support.services import MissingServiceError

ROOT = Path(__file__).resolve().parents[2]
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Ground:
    """The servers.

    Parameters
    ----------
    bootstrap, redis_url : addresses.
    broker : its name, for the report. apache : whether its latency counts.
    broker_pid, redis_pid : their processes, None where unknown.
    folder : for logs.
    """

    bootstrap: str
    redis_url: str
    broker: str
    apache: bool
    broker_pid: int | None
    redis_pid: int | None
    folder: Path

    def redis(self) -> redis.Redis:
        """A client."""
        return connect(self.redis_url)

    def clear(self) -> None:
        """Forget all state: the next worker begins at the first record."""
        client = self.redis()
        client.flushall()
        client.close()

    def renew_topics(self) -> None:
        """Empty all topics of Kairos: delete them, make them again."""
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        names = {topic.name for topic in TOPICS}
        try:
            admin.delete_topics(sorted(names))
            wait_until(lambda: not names & set(admin.list_topics()), "deletion of the topics", 20.0, 0.1)
        finally:
            admin.close()
        create_topics(self.bootstrap, PARTITIONS)

    def env(self, **more: str) -> dict[str, str]:
        """Environment of a worker of Kairos."""
        return {
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
            "KAIROS_KAFKA__BOOTSTRAP": self.bootstrap,
            "KAIROS_REDIS__URL": self.redis_url,
            "KAIROS_LANES": str(PARTITIONS),
            "KAIROS_LOG_LEVEL": "WARNING",
            **more,
        }

    @staticmethod
    def peer_env() -> dict[str, str]:
        """Environment of another engine: nothing of Kairos's own settings, the core is told what it needs."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("KAIROS_")}
        return {**kept, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}

    @contextlib.contextmanager
    def process(
        self, name: str, argv: Sequence[str], env: dict[str, str], python: Path | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """Run Python (of another environment, if `python` is given); errors go into a log that is shown if it fails."""
        log = self.folder / f"{name}-{time.monotonic_ns()}.log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                [python or sys.executable, *argv], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=errors, text=True
            )
            try:
                yield process
            except BaseException as error:
                error.add_note("\n".join(log.read_text().splitlines()[-20:]))
                raise
            finally:
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def cpu_s(pid: int | None) -> float:
    """Processor time of a process so far, all threads, user and system; 0 of an unknown one."""
    if pid is None:
        return 0.0
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / _TICKS_PER_S


@contextlib.contextmanager
def start() -> Iterator[Ground]:
    """Start Apache Kafka (where there are no jars: the embedded broker) and Redis with its append-only file."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kairos-bench-")))
        try:
            kafka = stack.enter_context(KafkaServer(heap_mb=768))
        except MissingServiceError:
            embedded = stack.enter_context(EmbeddedStack(folder, create_topics, roles=(), lanes=PARTITIONS))
            url = embedded.env()["KAIROS_REDIS__URL"]
            yield Ground(embedded.bootstrap, url, "embedded broker (Tansu)", False, None, None, folder)
            return
        server = stack.enter_context(RedisServer())
        create_topics(kafka.bootstrap, PARTITIONS)
        jar = next(kafka.jars.glob("kafka_2.13-*.jar")).stem.rpartition("-")[2]
        yield Ground(kafka.bootstrap, server.url, f"Apache Kafka {jar}", True, kafka.pid, server.pid, folder)


def create_topic(ground: Ground, name: str) -> None:
    """One more topic with the settings of an input."""
    admin = KafkaAdminClient(bootstrap_servers=ground.bootstrap)
    try:
        admin.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})])
    finally:
        admin.close()
