"""What handing over events costs, without any work on them, in processor time per event.

    PYTHONPATH=.:tests python tests/benchmarks/bench_transport.py [--bootstrap HOST:PORT] [--events 400000]

Compares, in one run on one broker: the micro-batch transport, Faust's own transport (``async for``) and
aiokafka without Faust. Without ``--bootstrap`` it starts an Apache Kafka (see tests/support/kafka.py).
Ratios of processor time hold on other machines too; events per second only when nothing else runs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, NoReturn

import aiokafka
import faust
import uvloop
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from streams.app import build_app, run
from streams.transport import TransportOptions
from support.kafka import KafkaServer

PARTITIONS = 4
EVENT_BYTES = 230
#: Faust's own transport gets fewer events: it takes thirty times as long.
PLAIN_SHARE = 10


@dataclass(slots=True)
class Meter:
    """Counts events from the first hand-over to the last and reports once all are there."""

    expected: int
    seen: int = 0
    batches: int = 0
    _wall: float = 0.0
    _cpu: float = 0.0
    _skipped: int = 0

    def add(self, events: int) -> None:
        if not self.batches:
            self._wall, self._cpu, self._skipped = time.perf_counter(), time.process_time(), events
        self.batches += 1
        self.seen += events
        if self.seen >= self.expected:
            self._report()

    def _report(self) -> NoReturn:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        events = self.seen - self._skipped
        fields = {
            "events": events,
            "cpu_us": cpu / events * 1e6,
            "events_per_s": events / wall,
            "per_batch": self.seen / self.batches,
        }
        print(json.dumps(fields), flush=True)
        os._exit(0)  # nothing to shut down in order: the next measurement has a process of its own


async def _fill(bootstrap: str, topic: str, events: int) -> None:
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    value = b"x" * EVENT_BYTES
    try:
        for partition in range(PARTITIONS):
            left = events // PARTITIONS
            while left:
                batch = producer.create_batch()
                while left and batch.append(key=b"u%d" % (left % 5000), value=value, timestamp=None):
                    left -= 1
                await (await producer.send_batch(batch, topic, partition=partition))
    finally:
        await producer.stop()


def _microbatch(bootstrap: str, topic: str, events: int, chunk_max: int) -> NoReturn:
    kafka = SimpleNamespace(bootstrap=bootstrap, session_timeout_ms=10_000)
    options = TransportOptions(chunk_max=chunk_max)
    app = build_app(f"bench-{os.getpid()}", SimpleNamespace(kafka=kafka), options)
    meter = Meter(events)

    async def agent(stream: Any) -> None:
        async for event in stream.noack().events():
            meter.add(len(event.value))
            event.ack()

    app.agent(app.topic(topic), name="bench")(agent)
    run(app, log_level="ERROR")


def _plain_faust(bootstrap: str, topic: str, events: int) -> NoReturn:
    app = faust.App(
        f"bench-plain-{os.getpid()}",
        broker=f"aiokafka://{bootstrap}",
        datadir=tempfile.mkdtemp(),  # Faust makes it in the current folder otherwise
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        value_serializer="raw",
        stream_wait_empty=False,
    )
    meter = Meter(events)

    async def agent(stream: Any) -> None:
        async for _ in stream:
            meter.add(1)

    app.agent(app.topic(topic, value_type=bytes, value_serializer="raw"), name="bench")(agent)
    run(app, log_level="ERROR")


async def _raw_aiokafka(bootstrap: str, topic: str, events: int, chunk_max: int) -> None:
    consumer = aiokafka.AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=f"bench-raw-{os.getpid()}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=20,
    )
    await consumer.start()
    meter = Meter(events)
    while True:
        for records in (await consumer.getmany(timeout_ms=1000, max_records=chunk_max)).values():
            meter.add(len(records))


def _child(mode: str, bootstrap: str, topic: str, events: int, chunk_max: int) -> None:
    if mode == "microbatch":
        _microbatch(bootstrap, topic, events, chunk_max)
    elif mode == "faust":
        _plain_faust(bootstrap, topic, events)
    else:
        uvloop.run(_raw_aiokafka(bootstrap, topic, events, chunk_max))


def _measure(mode: str, bootstrap: str, topic: str, events: int, chunk_max: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", mode, "--bootstrap", bootstrap, "--topic", topic]
    command += ["--events", str(events), "--chunk", str(chunk_max)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _compare(bootstrap: str, events: int) -> None:
    topic = f"bench-{os.getpid()}"
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    admin.close()
    asyncio.run(_fill(bootstrap, topic, events))
    plans = [
        ("aiokafka getmany(1000)", "aiokafka", events, 1000),
        ("microbatch, 1000 per chunk", "microbatch", events, 1000),
        ("microbatch, 100 per chunk", "microbatch", events, 100),
        ("microbatch, 10 per chunk", "microbatch", events // 4, 10),
        ("Faust, async for", "faust", events // PLAIN_SHARE, 1),
    ]
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores, Python {platform.python_version()}, {EVENT_BYTES}-byte events")
    print(f"faust-streaming {version('faust-streaming')}, aiokafka {version('aiokafka')}")
    base: dict[str, float] | None = None
    for label, mode, wanted, chunk_max in plans:
        found = _measure(mode, bootstrap, topic, wanted, chunk_max)
        base = base or found
        print(
            f"{label:28} {found['cpu_us']:8.2f} us cpu/event {found['events_per_s']:10,.0f} events/s"
            f" {found['per_batch']:7.0f} per batch  x{found['cpu_us'] / base['cpu_us']:.2f} of aiokafka"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap")
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--child")
    parser.add_argument("--topic")
    parser.add_argument("--chunk", type=int, default=1000)
    given = parser.parse_args()
    if given.child:
        _child(given.child, given.bootstrap, given.topic, given.events, given.chunk)
        return
    with contextlib.ExitStack() as stack:
        bootstrap = given.bootstrap or stack.enter_context(KafkaServer()).bootstrap
        _compare(bootstrap, given.events)


if __name__ == "__main__":
    main()
