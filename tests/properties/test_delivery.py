"""Deliver's protocol, step by step, against everything that may go wrong between two steps.

A small world: a log, Kafka's committed offset, a Redis that may go back in time, a provider that counts its calls, and
workers that are generators, so that hypothesis decides after every single step who moves next, who dies, who is taken
for dead and wakes up later, and when Redis forgets its last writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from models import delivery
from models.delivery import DeliverFence, Do, Entry, Position, State
from support.messages import message

CHUNK = 2
Steps = Generator[None, None, None]


@dataclass
class Redis:
    """Entries and the fence; every write is remembered, so that it can be forgotten."""

    run: int = 1
    entries: dict[str, Entry] = field(default_factory=dict)
    fence: DeliverFence | None = None
    past: list[tuple[dict[str, Entry], DeliverFence | None]] = field(default_factory=list)

    def remember(self) -> None:
        self.past.append((dict(self.entries), self.fence))

    def put(self, name: str, entry: Entry | None) -> None:
        if entry is not None and entry != self.entries.get(name):
            self.entries[name] = entry
            self.remember()


@dataclass
class World:
    """Everything outside of the workers."""

    idempotent: bool = False
    check_run: bool = True
    redis: Redis = field(default_factory=Redis)
    log: list[tuple[str, Position]] = field(default_factory=list)
    committed: int = 0
    generation: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    told: set[tuple[str, State]] = field(default_factory=set)
    suppressed: frozenset[str] = frozenset()


class FencedError(Exception):
    """The run is over."""


def worker(  # noqa: PLR0912  one story in one place
    world: World, generation: int, answers: list[str], depth: int
) -> Steps:
    """Run the protocol of ``streams/deliver_lane.py``; every `yield` is a place where anything may happen."""
    redis, owner, calls = world.redis, f"w{generation}", 0
    run = str(redis.run)
    yield
    raw = redis.fence
    yield
    committed = world.committed
    fence = delivery.resume(raw, committed, run)
    yield
    if str(redis.run) != run or redis.fence != raw:
        raise FencedError
    redis.fence = raw = fence
    redis.remember()
    seen = delivery.Dedupe(fence.highest)
    following = fence.offset or 0
    waiting: list[tuple[int, dict[int, Position], list[tuple[int, str, Entry | None]]]] = []
    while following < len(world.log) or waiting:
        while following < len(world.log) and len(waiting) < depth:
            end = min(following + CHUNK, len(world.log))
            found: list[tuple[int, str, Entry | None]] = []
            for offset in range(following, end):
                name, position = world.log[offset]
                open_now = {n for _, _, batch in waiting for _, n, _ in batch} | {n for _, n, _ in found}
                if not seen.is_new(0, position) or name in open_now:
                    continue
                before = redis.entries.get(name)
                if name not in world.suppressed:
                    redis.put(name, delivery.claim(before, owner))
                found.append((offset, name, before))
                yield
            if world.check_run and str(redis.run) != run:
                raise FencedError
            yield
            committed = max(committed, end)
            if generation != world.generation:
                raise FencedError  # Kafka refuses the offset of a member that was replaced
            world.committed = committed
            yield
            waiting.append((end, dict(seen.highest), found))
            following = end
        end, highest, found = waiting.pop(0)
        for offset, name, before in found:
            command = message(id=name, suppressed="cap" if name in world.suppressed else None)
            plan = delivery.plan(
                command, before, now_ms=0, idempotent=world.idempotent, doubtful=offset < fence.doubt_until
            )
            state = plan.state
            if plan.do is Do.RECORD:
                after = delivery.settle(redis.entries.get(name), plan.state, owner=owner, token=plan.token)
                if after is None:
                    raise FencedError
                redis.put(name, after)
                state = after.state
                yield
            while plan.do in {Do.SEND, Do.RETAKE}:
                calls += 1
                token = f"{owner}.{calls}"
                after = delivery.hand(redis.entries.get(name), owner, token, retake=plan.do is Do.RETAKE)
                if after is None:
                    raise FencedError
                redis.put(name, after)
                yield
                answer = answers[(offset + calls) % len(answers)]
                if answer == "refused":
                    yield
                    redis.put(name, delivery.release(redis.entries.get(name), token))
                    yield
                    plan = delivery.Plan(Do.SEND)
                    answers = ["taken"]
                    continue
                world.calls[name] += 1
                if answer != "lost":
                    world.taken[name] += 1
                yield
                told = State.UNKNOWN if answer == "lost" else State.DELIVERED
                after = delivery.settle(redis.entries.get(name), told, owner=owner, token=token)
                if after is None:
                    raise FencedError
                redis.put(name, after)
                state = after.state
                yield
                break
            world.told.add((name, state))
            yield
        advanced = delivery.advance(fence, end, highest)
        if str(redis.run) != run or redis.fence != raw:
            raise FencedError
        redis.fence = raw = fence = advanced
        redis.remember()
        yield


class Protocol(RuleBasedStateMachine):
    """Anything may happen between any two steps; no message reaches the provider twice."""

    idempotent = False

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.workers: list[Steps] = []
        self.position = 0

    @initialize(names=st.integers(1, 5), check=st.just(True))
    def begin(self, names: int, check: bool) -> None:
        self.world = World(idempotent=self.idempotent, check_run=check, suppressed=frozenset({"m3"}))
        self.world.redis.remember()
        for number in range(names):
            self._publish(f"m{number}")

    def _publish(self, name: str) -> None:
        self.position += 1
        self.world.log.append((name, (1, self.position, 0)))

    @rule(number=st.integers(0, 6))
    def publish(self, number: int) -> None:
        """Publish a command for the first time, or again after decide went back (another position, same id)."""
        if len(self.world.log) < 9:
            self._publish(f"m{number}")

    @rule()
    def publish_twice(self) -> None:
        """At-least-once: the outbox repeats its last record at the same position."""
        if self.world.log and len(self.world.log) < 9:
            self.world.log.append(self.world.log[-1])

    @precondition(lambda self: len(self.workers) < 3)
    @rule(
        answers=st.lists(st.sampled_from(["taken", "taken", "refused", "lost"]), min_size=1, max_size=4),
        depth=st.integers(1, 2),
    )
    def assign(self, answers: list[str], depth: int) -> None:
        """Give the partition to a new worker; older ones do not know yet."""
        self.world.generation += 1
        self.workers.append(worker(self.world, self.world.generation, answers, depth))

    @precondition(lambda self: self.workers)
    @rule(which=st.integers(0, 2), steps=st.integers(1, 9))
    def move(self, which: int, steps: int) -> None:
        """Let one worker do its next steps."""
        index = which % len(self.workers)
        for _ in range(steps):
            try:
                next(self.workers[index])
            except (StopIteration, FencedError):
                del self.workers[index]
                return

    @precondition(lambda self: self.workers)
    @rule(which=st.integers(0, 2))
    def kill(self, which: int) -> None:
        """`kill -9`, wherever it stands."""
        del self.workers[which % len(self.workers)]

    @rule(back=st.integers(0, 12))
    def redis_forgets(self, back: int) -> None:
        """Restart (0) or fail over to a replica that lacks the last writes."""
        redis = self.world.redis
        redis.past = redis.past[: max(1, len(redis.past) - back)]
        entries, redis.fence = redis.past[-1]
        redis.entries = dict(entries)
        redis.run += 1

    @invariant()
    def at_most_once(self) -> None:
        """The promise. A provider that recognises a repetition takes it once by itself."""
        if not self.world.idempotent:
            assert all(count <= 1 for count in self.world.calls.values()), self.world.calls

    @invariant()
    def suppressed_is_never_sent(self) -> None:
        assert not self.world.calls.keys() & self.world.suppressed

    def teardown(self) -> None:
        """When all is quiet again, every message has an end, and what was told is what the ledger knows."""
        world = self.world
        world.generation += 1
        for _ in worker(world, world.generation, ["taken"], 1):
            pass
        self.at_most_once()
        for name, _ in world.log:
            entry = world.redis.entries[name]
            assert entry.state in delivery.OUTCOMES
            assert (name, entry.state) in world.told
            if entry.state is State.DELIVERED:
                assert world.taken[name] >= 1


class IdempotentProtocol(Protocol):
    """With a provider that recognises a repetition nothing that was merely interrupted stays unknown."""

    idempotent = True


Protocol.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
IdempotentProtocol.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestProtocol = Protocol.TestCase
TestIdempotentProtocol = IdempotentProtocol.TestCase


def test_a_run_of_redis_that_changed_unnoticed_would_send_twice() -> None:
    """Why `require_run` is asked after claiming: without it this story sends `m0` twice."""
    for check in (True, False):
        world = World(check_run=check)
        world.redis.remember()
        world.log.append(("m0", (1, 1, 0)))
        world.generation = 1
        alive = worker(world, 1, ["taken"], 1)
        while world.redis.fence is None or world.redis.fence.offset is None:
            next(alive)
        # Redis fails over to its empty replica; decide, which went back too, publishes the same command again.
        redis = world.redis
        redis.entries, redis.fence, redis.run = {}, None, 2
        world.log.append(("m0", (2, 1, 0)))
        try:
            for _ in alive:
                pass
        except FencedError:
            pass
        world.generation = 2
        for _ in worker(world, 2, ["taken"], 1):
            pass
        assert world.calls["m0"] == (1 if check else 2)


def test_entries_and_fences_survive_their_codec() -> None:
    fence = DeliverFence(7, "a" * 40, 9, {0: (1, 2, 3), 5: (1, 0, 0)})
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(fence), type=DeliverFence) == fence
