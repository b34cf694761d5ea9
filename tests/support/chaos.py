"""A whole Kairos whose parts can be frozen, killed and set back, and a stream of events that goes on meanwhile."""

import dataclasses
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from config.topics import INPUT_NAMES
from models.delivery import DeliverFence
from models.wire import lane_of
from services.bus import Publisher, create_topics, topic_for
from services.embedded.stack import ROOT, EmbeddedStack
from services.embedded.supervisor import RestartPolicy, Supervisor
from services.state.lanes import read_fences
from services.state.ledger import fence_key
from services.state.redis_lane import connect
from support.any_redis import AnyRedis
from support.journal import last_seq
from support.kafka import KafkaServer
from support.ports import wait_until

LANES = 4
SESSION_TIMEOUT_MS = 3_000
START_MS = 1_704_067_200_000  # 1 January 2024
FAULTY = (sys.executable, "-m", "support.faulty_decide")


class Shop:
    """Events of a few hundred users, always the same for a seed; some late, as (topic, user, value)."""

    def __init__(self, seed: int, users: int = 300) -> None:
        self._random = random.Random(seed)
        self._users = [f"u{number}" for number in range(users)]
        self._number = 0
        self.clock_ms = START_MS

    def take(self, count: int) -> list[tuple[str, str, bytes]]:
        """The next `count` events."""
        return [self.event() for _ in range(count)]

    def event(self, name: str | None = None, **properties: object) -> tuple[str, str, bytes]:
        """The next event; `name` and `properties` instead of drawn ones."""
        draw = self._random
        self._number += 1
        self.clock_ms += draw.randrange(80_000)
        late_ms = draw.randrange(172_800_000) if draw.random() < 0.05 else 0
        user = self._users[(self._number - 1) % len(self._users)] if draw.random() < 0.3 else draw.choice(self._users)
        made: dict[str, object] = {
            "userId": user,
            "messageId": f"e{self._number}",
            "timestamp": self.clock_ms - late_ms,
        }
        if self._number <= len(self._users) or draw.random() < 0.02:
            traits = {"email": f"{user}@example.test", "consent": {"email": draw.random() < 0.9}}
            made |= {"type": "identify", "traits": traits}
        if name is not None or "type" not in made:
            names = ("Product Viewed", "Product Added", "Order Completed", "Order Refunded", "Signed Up")
            chosen = name or draw.choices(names, (58, 25, 14, 2, 1))[0]
            price = draw.randrange(100, 10_000) / 100
            item = {"product_id": f"p{draw.randrange(40)}", "name": "Lantern", "price": price, "quantity": 1}
            held = {"revenue": price, "products": [item]} if chosen.startswith("Order") else item
            made |= {"type": "track", "event": chosen, "properties": held | properties}
        return topic_for(made), user, msgspec.json.encode(made)

    def tick(self) -> bytes:
        """The time, for every input."""
        return b'{"type":"tick","timestamp":%d}' % self.clock_ms


class Chaos:
    """Kafka and Redis of its own, learn, deliver, a mail sink, and workers of decide that come and go."""

    def __init__(
        self, folder: Path, kafka: KafkaServer | None, redis: AnyRedis | None, seed: int = 7, lanes: int = LANES
    ) -> None:
        self.kafka, self.lanes = kafka, lanes
        self._policy = RestartPolicy(backoff_s=0.1, quick_deaths_max=50)
        settings = {"KAIROS_WATCHDOG_S": "20"}
        if kafka is not None:
            settings["KAIROS_KAFKA__SESSION_TIMEOUT_MS"] = str(SESSION_TIMEOUT_MS)
        self.stack = EmbeddedStack(
            folder,
            create_topics,
            roles=("learn", "deliver"),
            lanes=lanes,
            kafka=kafka.bootstrap if kafka else None,
            redis_url=redis.url if redis else None,
            ticker=False,
            policy=self._policy,
            settings=settings,
        )
        self.shop = Shop(seed)
        self.published: list[tuple[str, str, bytes]] = []
        self._workers: dict[str, Supervisor] = {}
        self._started = 0

    @property
    def bootstrap(self) -> str:
        return self.stack.bootstrap

    @contextmanager
    def running(self) -> Iterator["Chaos"]:
        """Everything, with one worker of decide."""
        try:
            with self.stack:
                self.redis = connect(self.stack.env()["KAIROS_REDIS__URL"])
                self.start_decide()
                yield self
        finally:
            for name in list(self._workers):
                self.stop_decide(name)

    # -- workers of decide

    def start_decide(self, argv: Sequence[str] = ()) -> str:
        """One more worker, started again when it dies; returns when it has lanes."""
        self._started += 1
        name = f"decide-{self._started}"
        process = self.stack.role("decide")
        process = dataclasses.replace(process, name=name, log_path=self.stack.log_dir / f"{name}.log")
        if argv:
            path = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
            process = dataclasses.replace(process, argv=tuple(argv), env={**process.env, **path})
        supervisor = self._workers[name] = Supervisor(self._policy)
        supervisor.start(process)
        wait_until(lambda: b'"event": "lanes"' in process.log_path.read_bytes(), f"{name} has lanes", 60.0, 0.1)
        return name

    def signal_decide(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a worker."""
        wait_until(lambda: name in self._workers[name].pids(), f"{name} runs", 10.0)
        os.kill(self._workers[name].pids()[name], number)

    def stop_decide(self, name: str, *, kill: bool = False) -> None:
        """Take a worker away: SIGTERM, or kill -9."""
        supervisor = self._workers.pop(name)
        pid = supervisor.pids().get(name)
        if kill and pid is not None:
            os.kill(pid, signal.SIGKILL)
        supervisor.stop()

    def workers(self) -> list[str]:
        """Names of the workers of decide."""
        return list(self._workers)

    def owners(self) -> dict[int, int]:
        """Committed transactions of each lane."""
        return {lane: fence.seq for lane, fence in read_fences(self.redis, range(self.lanes)).items()}

    # -- events

    @contextmanager
    def traffic(self, rate: int = 400) -> Iterator[None]:
        """Publish all the time; everything is confirmed at the end."""
        ending = threading.Event()
        errors: list[BaseException] = []

        def publish() -> None:
            try:
                with Publisher(self.bootstrap) as bus:
                    began, sent = time.monotonic(), 0
                    while not ending.is_set():
                        batch = self.shop.take(50)
                        for topic, user, value in batch:
                            bus.publish(topic, value, user)
                        self.published += batch
                        for name in INPUT_NAMES:
                            for lane in range(self.lanes):
                                bus.publish(name, self.shop.tick(), partition=lane)
                        sent += len(batch)
                        ending.wait(max(0.0, began + sent / rate - time.monotonic()))
            except BaseException as error:  # noqa: BLE001 - raised again below
                errors.append(error)

        thread = threading.Thread(target=publish, name="traffic")
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()
        if errors:
            raise errors[0]

    def publish(self, *events: tuple[str, str, bytes], misrouted: bool = False) -> None:
        """Publish these; `misrouted`: into the partition after the right one."""
        producer = KafkaProducer(bootstrap_servers=self.bootstrap, acks="all")
        try:
            for topic, user, value in events:
                lane = (lane_of(user, self.lanes) + misrouted) % self.lanes
                producer.send(topic, value, user.encode(), partition=lane)
            producer.flush()
        finally:
            producer.close()

    def moves(self, timeout_s: float = 30.0) -> None:
        """Return when every lane has committed something since now."""
        before = self.owners()
        wait_until(
            lambda: all(seq > before[lane] for lane, seq in self.owners().items()), "all lanes move", timeout_s, 0.05
        )

    def settle(self, timeout_s: float = 90.0) -> None:
        """Return when everything published is applied, delivered and told."""
        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap)
        try:
            deadline, quiet, last = time.monotonic() + timeout_s, 0, Counter[str]()
            while quiet < 4:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not settled: {last} behind; {self.owners()}")
                last = self._behind(consumer)
                quiet = 0 if last.total() else quiet + 1
                time.sleep(0.25)
        finally:
            consumer.close(autocommit=False)

    def _behind(self, consumer: KafkaConsumer) -> Counter[str]:
        behind = Counter[str]()
        places = [TopicPartition(name, lane) for name in (*INPUT_NAMES, "messages") for lane in range(self.lanes)]
        ends = consumer.end_offsets(places)
        fences = read_fences(self.redis, range(self.lanes))
        for (name, lane), end in ends.items():
            if name == "messages":
                raw = self.redis.get(fence_key(lane))
                fence = msgspec.msgpack.decode(raw, type=DeliverFence) if isinstance(raw, bytes) else None
                at = (fence.offset or 0) if fence else 0
            else:
                at = max(0, fences[lane].offsets[INPUT_NAMES.index(name)])
            behind[f"{name}-{lane}"] = end - at
        for lane, at_now in fences.items():
            # Applied is not published yet: who reads the outputs before has not seen everything.
            behind[f"outbox-{lane}"] = at_now.seq - last_seq(consumer, lane)
        return +behind
