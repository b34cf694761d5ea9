"""Decide's protocol, step by step, against everything that may go wrong between two steps.

A small world: the inputs' log, a Redis that may go back in time, refuse, or lose the answer to a transaction that it
carried out, a Kafka in which a batch may arrive without the producer learning of it, and workers that are generators:
hypothesis decides after every single step who moves next, who dies, and who is taken for dead and wakes up later. The
core, the steps of a transaction and the outbox entries are Kairos's own; the protocol around them is that of
``streams/lane.py`` and ``streams/outbox.py``. At the end an independent recount says what must have come out.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from chaos.shop import TOPICS, Shop, value_of
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from models.brain import Brain
from models.chunk import Batch, merge, read_chunk
from models.delivery import Dedupe
from models.errors import FenceError, TransientError
from models.lane import decode_fence, decode_state
from models.wire import Record
from services.state.step import OutboxEntry, Position, begin, decode_entry, open_lane, work
from services.state.store import Change, Loaded, MemoryLaneStore
from support.lane import FUTURE_LIMIT_MS, shipped
from support.recounted import BROKER_MS, differences, recounted

Steps = Generator[None, None, None]
BRAIN = Brain(shipped())
INPUTS = len(TOPICS)
CHUNK = 12
OUTBOX_LIMIT = 3


@dataclass
class World:
    """Everything outside of the workers."""

    store: MemoryLaneStore = field(default_factory=MemoryLaneStore)
    run: int = 1
    writes: int = 0
    past: list[MemoryLaneStore] = field(default_factory=list)
    logs: dict[str, list[Record]] = field(default_factory=lambda: {topic: [] for topic in TOPICS})
    kafka: dict[str, list[tuple[tuple[int, int, int], bytes]]] = field(default_factory=dict)
    entries: list[OutboxEntry] = field(default_factory=list)
    clock: int = 0
    # What becomes of the next transactions, and of the next batches for Kafka: "lost" answers.
    answers: list[str] = field(default_factory=list)

    def remember(self) -> None:
        self.writes += 1
        self.past.append(copy.deepcopy(self.store))


class Connection:
    """A worker's connection to Redis: WATCH at `load`, EXEC at `commit`. It breaks when Redis goes away."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._run = world.run
        self._watched: list[bytes | None] = []

    def _alive(self) -> None:
        if self._run != self._world.run:
            raise TransientError("the connection broke")

    def load(self, due_until: int | None, limit: int, users: Callable[[list[str]], list[str]]) -> Loaded:
        """Read."""
        self._alive()
        self._watched = [self._world.store.fence]
        return self._world.store.load(due_until, limit, users)

    def commit(self, change: Change) -> int | None:
        """Write, if it may."""
        self._alive()
        world, watched, self._watched = self._world, self._watched, []
        if watched != [world.store.fence]:
            raise FenceError("another owner moved the fence")
        answer = world.answers.pop() if world.answers else "ok"
        if answer == "refused":
            raise TransientError("-OOM")
        world.store.load(None, 0, lambda due: due)
        due = world.store.commit(change)
        world.remember()
        if answer == "lost":
            raise TransientError("the answer was cut off")
        return due

    def pending(self) -> list[tuple[int, bytes]]:
        """Entries of the outbox."""
        self._alive()
        return self._world.store.pending()


@dataclass
class Worker:
    """A worker of decide: its lane and its outbox, which move apart from each other."""

    world: World
    draw: random.Random
    epoch: int = 0
    waiting: list[OutboxEntry] | None = None
    published: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tasks: list[Steps] = [self.lane(), self.outbox()]

    def lane(self) -> Steps:
        """Open, then batch after batch; whatever goes wrong, open again (`Lane._run`)."""
        while True:
            self.waiting = None
            yield
            try:
                yield from self._work()
            except (FenceError, TransientError):
                yield

    def _work(self) -> Steps:
        store = Connection(self.world)
        self.world.clock += 1
        done = open_lane(store, 0, max(self.world.clock, self.epoch + 1), BRAIN)
        yield
        store.commit(done.change)
        self.epoch = done.state.epoch
        yield
        self.waiting = [decode_entry(packed) for _, packed in store.pending()]
        self.published = []
        yield
        position = Position(done.fence, done.state, next_due=0)
        reading = {topic: max(0, at) for topic, at in zip(TOPICS, position.fence.offsets, strict=True)}
        while True:
            if len(self.waiting) > OUTBOX_LIMIT:
                yield
                continue
            batch = self._next(position, reading)
            if batch is None:
                yield
                continue
            # As in `Lane._commit`.
            published = list(self.published)
            loaded, users = begin(store, position, batch)
            yield
            step = work(loaded, users, batch, BRAIN, published)
            if step.fence.seq != position.fence.seq + 1 or step.state.epoch != position.state.epoch:
                raise FenceError("the fence is not where this worker left it")
            yield
            due = store.commit(step.change)
            yield
            self.published = [seq for seq in self.published if seq not in published]
            assert step.change.outbox is not None
            self.waiting.append(decode_entry(step.change.outbox))
            position = Position(step.fence, step.state, due, max(position.broker_ms, batch.broker_ms))

    def _next(self, position: Position, reading: dict[str, int]) -> Batch | None:
        due = position.next_due
        if due is not None and 0 < due <= position.state.watermark:
            return Batch(0, 1, broker_ms=position.broker_ms)
        logs = self.world.logs
        heads = [topic for topic in TOPICS if reading[topic] < len(logs[topic])]
        if not heads:
            return None
        parts = []
        for topic in self.draw.sample(heads, self.draw.randrange(1, len(heads) + 1)):
            index = TOPICS.index(topic)
            start = reading[topic]
            if self.draw.random() < 0.03:  # fetched, and never handed over: a rebalance in mid-poll
                start = min(start + 2, len(logs[topic]))
            elif self.draw.random() < 0.1:  # read once more, from further back
                start = max(0, start - 3)
            end = min(len(logs[topic]), max(start, reading[topic]) + self.draw.randrange(1, CHUNK))
            fence = max(0, position.fence.offsets[index])
            if fence < start:
                raise FenceError("gap")
            reading[topic] = end
            if fence >= end:
                continue
            parts.append(
                read_chunk(
                    logs[topic][fence:end],
                    topic=topic,
                    topic_index=index,
                    lane=0,
                    lanes=1,
                    start=fence,
                    end=end,
                    future_limit_ms=FUTURE_LIMIT_MS,
                )
            )
        return merge(parts) if parts else None

    def outbox(self) -> Steps:
        """One entry at a time, again until it is confirmed (`LaneOutbox._run`)."""
        while True:
            queue = self.waiting
            if not queue:
                yield
                continue
            entry = queue[0]
            for n, output in enumerate(entry.outputs):
                log = self.world.kafka.setdefault(output.topic, [])
                log.append(((entry.epoch, entry.seq, n), output.value))
                if n % 3 == 0:
                    yield
                if self.waiting is not queue:
                    break  # stopped: the lane was opened again
            self.world.entries.append(entry)
            yield
            if self.waiting is not queue or self.draw.random() < 0.1:  # not confirmed: all of it again
                continue
            queue.pop(0)
            self.published.append(entry.seq)


class LaneProtocol(RuleBasedStateMachine):
    """Anything may happen between any two steps; every event counts once, every effect comes out once."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.workers: list[Worker] = []
        self.lines: list[Any] = []

    @initialize(seed=st.integers(0, 1_000_000))
    def begin(self, seed: int) -> None:
        self.lines = [line for line in Shop(seed, 240, 1).lines() if line[4] != "poison:failed"]
        self.lines.reverse()
        self.world.remember()
        self.arrive(20)

    @rule(count=st.integers(1, 60))
    def arrive(self, count: int) -> None:
        """Events come in; with a late tick, so that time passes."""
        for _ in range(min(count, len(self.lines))):
            line = self.lines.pop()
            log = self.world.logs[line[0]]
            log.append(Record(len(log), BROKER_MS + len(log), None, value_of(line)))

    @precondition(lambda self: len(self.workers) < 3)
    @rule(seed=st.integers(0, 1_000_000))
    def assign(self, seed: int) -> None:
        """A new owner; older ones do not know yet."""
        self.workers.append(Worker(self.world, random.Random(seed)))

    @precondition(lambda self: self.workers)
    @rule(which=st.integers(0, 2), task=st.sampled_from([0, 0, 0, 1]), steps=st.integers(1, 30))
    def move(self, which: int, task: int, steps: int) -> None:
        """One task of one worker does its next steps."""
        worker = self.workers[which % len(self.workers)]
        for _ in range(steps):
            next(worker.tasks[task])

    @precondition(lambda self: self.workers)
    @rule(seed=st.integers(0, 1_000_000), steps=st.integers(10, 150))
    def race(self, seed: int, steps: int) -> None:
        """All tasks of all workers, step by step in any order."""
        draw = random.Random(seed)
        tasks = [task for worker in self.workers for task in worker.tasks]
        for _ in range(steps):
            next(draw.choice(tasks))

    @precondition(lambda self: self.workers)
    @rule(which=st.integers(0, 2))
    def kill(self, which: int) -> None:
        """`kill -9`, wherever it stands."""
        del self.workers[which % len(self.workers)]

    @rule(answers=st.lists(st.sampled_from(["lost", "refused", "ok"]), max_size=3))
    def trouble(self, answers: list[str]) -> None:
        """The next transactions are refused, or their answers get lost."""
        self.world.answers = answers

    @rule(back=st.integers(0, 6))
    def redis_forgets(self, back: int) -> None:
        """Restart (0), or the loss of the last writes."""
        world = self.world
        world.past = world.past[: max(1, len(world.past) - back)]
        world.store = copy.deepcopy(world.past[-1])
        world.run += 1

    @invariant()
    def counts_balance(self) -> None:
        """Every record behind the fence has one fate."""
        store = self.world.store
        state, fence = decode_state(store.state, INPUTS), decode_fence(store.fence, INPUTS)
        assert state.balances()
        assert state.received == sum(max(0, offset) for offset in fence.offsets)

    def teardown(self) -> None:
        """When all is quiet again: the recount agrees, and a consumer has seen everything that counts."""
        if not self.lines and not self.world.writes:
            return
        self.arrive(len(self.lines))
        self.world.answers = []
        last = Worker(self.world, random.Random(0))
        quiet = steps = 0
        while quiet < 20:
            for task in last.tasks:
                next(task)
            quiet, steps = (quiet + 1 if last.waiting == [] and self._done() else 0), steps + 1
            assert steps < 100_000, "it never comes to an end"
        world = self.world
        fence = decode_fence(world.store.fence, INPUTS)
        latest: dict[int, int] = {}
        for entry in world.entries:
            latest[entry.seq] = max(latest.get(entry.seq, 0), entry.epoch)
        counts = {(entry.epoch, entry.seq): entry for entry in world.entries if latest[entry.seq] == entry.epoch}
        entries = [entry for (_, seq), entry in sorted(counts.items(), key=_by_seq) if seq <= fence.seq]
        for entry in world.entries:
            same = counts.get((entry.epoch, entry.seq), entry)
            assert same == entry, "one place says two things"
        assert differences(world.store, entries, recounted(world.store, world.logs, entries)) == []
        self._consumers_saw(entries)

    def _done(self) -> bool:
        store = self.world.store
        fence, state = decode_fence(store.fence, INPUTS), decode_state(store.state, INPUTS)
        read = all(max(0, at) == len(self.world.logs[topic]) for at, topic in zip(fence.offsets, TOPICS, strict=True))
        return read and min(store.timers.values(), default=1 << 60) > state.watermark

    def _consumers_saw(self, entries: list[OutboxEntry]) -> None:
        """Whoever drops what lies at or below the highest place that it saw drops nothing that counts."""
        for topic, log in self.world.kafka.items():
            seen = Dedupe({})
            taken = {place for place, _ in log if seen.is_new(0, place)}
            for entry in entries:
                for n, output in enumerate(entry.outputs):
                    if output.topic == topic:
                        assert (entry.epoch, entry.seq, n) in taken, f"{topic}: dropped for good"


def _by_seq(item: tuple[tuple[int, int], OutboxEntry]) -> int:
    return item[0][1]


LaneProtocol.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestLaneProtocol = LaneProtocol.TestCase
