"""A real Apache Kafka for tests: one broker in KRaft mode, run from its jars in a folder of its own."""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import KafkaError

from support.ports import LOOPBACK, accepts, free_port
from support.process import ChildProcess
from support.services import KAFKA_JARS, MissingServiceError

_HOW = f"run `make kafka` (needs Maven and Java 17), or let {KAFKA_JARS} name a folder with the jars of kafka_2.13"


def kafka_jars() -> Path:
    """Return the folder with the server's jars: the one that is named, else the one `make kafka` filled last.

    Raises
    ------
    MissingServiceError
        When there are no jars, or no Java to run them.
    """
    named = os.environ.get(KAFKA_JARS)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "kairos")
    fetched = sorted(cache.glob("kafka-*"), key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in [Path(named)] if named else fetched:
        if any(folder.glob("kafka_2.13-*.jar")):
            break
    else:
        raise MissingServiceError(f"no jars of Apache Kafka{f' in {named}' if named else ''}: {_HOW}")
    if shutil.which("java") is None:
        raise MissingServiceError("no java to run Apache Kafka with: apt-get install default-jre-headless")
    return folder


class KafkaServer:
    """One broker, its own controller, on free ports of the loopback address.

    No topic is created by itself: call `create_topic`. A stopped or killed server keeps its ports and its log
    until `close`. Ready about three seconds after `start`.

    Parameters
    ----------
    jars
        Folder with the server's jars; by default `kafka_jars()`.
    heap_mb
        Largest heap of the Java process.
    properties
        Broker settings beside, or instead of, those that are set here.
    """

    def __init__(
        self, jars: Path | None = None, heap_mb: int = 512, properties: Mapping[str, str] | None = None
    ) -> None:
        self.jars = jars or kafka_jars()
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="kairos-kafka-"))
        self._controller_port = free_port()
        self._heap_mb = heap_mb
        self._properties = dict(properties or {})
        self._process = ChildProcess("Apache Kafka", self.directory / "kafka.log")

    @property
    def bootstrap(self) -> str:
        """The address for `bootstrap_servers`."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.running

    def start(self, timeout_s: float = 60.0) -> Self:
        """Format the storage the first time, start the broker and wait until it answers clients."""
        config = self.directory / "server.properties"
        if not config.exists():
            config.write_text("".join(f"{name}={value}\n" for name, value in self._settings().items()))
            self._format(config)
        # Short start before peak speed: one thread collects garbage, the first compiler only.
        java = self._java(f"-Xmx{self._heap_mb}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        self._process.start([*java, "kafka.Kafka", str(config)], self._answers, timeout_s)
        return self

    def create_topic(self, name: str, partitions: int = 4, **config: str) -> None:
        """Create a topic; settings are Kafka's with `_` for `.`: `message_timestamp_type="LogAppendTime"`."""
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            settings = {key.replace("_", "."): value for key, value in config.items()}
            admin.create_topics([NewTopic(name, partitions, 1, topic_configs=settings)])
        finally:
            admin.close()

    def stop(self) -> None:
        """Shut down in order; log and ports stay for the next `start`."""
        self._process.stop()

    def kill(self) -> None:
        """`kill -9`; log and ports stay for the next `start`."""
        self._process.kill()

    def pause(self) -> None:
        """Freeze the broker: clients wait and time out."""
        self._process.pause()

    def resume(self) -> None:
        self._process.resume()

    def close(self) -> None:
        """Stop the broker and remove its folder."""
        self._process.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _settings(self) -> dict[str, str]:
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{LOOPBACK}:{self._controller_port}",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{LOOPBACK}:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self.directory / "data"),
            # Production creates every topic on purpose; a typing error must not make one here either.
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.num.partitions": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            # After `kill`, the broker may join again when its former session is over (by default 9 s).
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # Groups of one or two members: do not wait three seconds for more.
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            **self._properties,
        }

    def _java(self, *options: str) -> list[str]:
        logging = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return ["java", *options, logging, "-cp", f"{self.jars}/*"]

    def _format(self, config: Path) -> None:
        # In hexadecimal: base64 begins with "-" once in 64 times, which Kafka's command line takes for an option.
        cluster = uuid.uuid4().hex[:22]
        command = [
            *self._java("-Xmx128m"),
            "kafka.tools.StorageTool",
            "format",
            "-t",
            cluster,
            "-c",
            str(config),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"Apache Kafka's storage could not be formatted:\n{done.stdout}{done.stderr}")

    def _answers(self) -> bool:
        if not accepts(self.port):
            return False
        try:
            admin = KafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=3_000)
        except KafkaError:
            return False
        try:
            return bool(admin.describe_cluster()["brokers"])
        except KafkaError:
            return False
        finally:
            admin.close()
