"""A deliver lane with a real Redis and a real mail server: what is sent and told, and what survives which death."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from models.delivery import State
from models.errors import FenceError
from services.channels.base import Delivered, Outcome, Rendered
from services.channels.log import LogChannel
from services.state.ledger import Ledger, fence_key, ledger_key
from services.state.redis_lane import connect
from support.any_redis import AnyRedis
from support.delivery import STEPS, ListChunk, ListLane, ListOutlet, Plan, courier, mail_channel, record, wall_ms
from support.mail import MailSink
from support.messages import message
from support.redis import RedisServer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sink() -> Iterator[MailSink]:
    with MailSink() as server:
        yield server


@pytest.fixture
async def ledger(redis_server: AnyRedis) -> AsyncIterator[Ledger]:
    client = connect(redis_server.url)
    client.flushall()
    client.close()
    made = Ledger(redis_server.url)
    yield made
    await made.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not holds():  # noqa: ASYNC110  the sink lives in another thread
            await asyncio.sleep(0.002)


async def state_of(ledger: Ledger, number: int) -> State:
    entry = await ledger.read(0, message(id=number).id)
    assert entry is not None
    return entry.state


async def test_every_command_has_its_end(ledger: Ledger, sink: MailSink) -> None:
    outlet = ListOutlet()
    commands = [
        message(id=0),
        message(id=1, to="refuse@example.com"),
        message(id=2, to="vanish-after@example.com"),
        message(id=3, expires_at=wall_ms() - 1),
        message(id=4, type="MessageSuppressed", suppressed="no_consent"),
        message(id=5, template="no-such-template"),
        message(id=6, channel="carrier-pigeon"),
        message(id=7, to="later@example.com"),
        message(id=8, to=None),
        message(id=9, data={"items": [{"id": "1", "name": "no price"}]}),
    ]
    records = [record(n, one, (0, 1, n, 0)) for n, one in enumerate(commands)]
    lane = ListLane(records, courier(ledger, mail_channel(sink.port)), outlet)
    await lane.finish()

    ends = [await state_of(ledger, number) for number in range(len(commands))]
    assert ends == [
        State.DELIVERED, State.FAILED, State.UNKNOWN, State.EXPIRED, State.SUPPRESSED,
        State.FAILED, State.FAILED, State.DELIVERED, State.FAILED, State.FAILED,
    ]  # fmt: skip
    names = {State.DELIVERED: "Email Delivered", State.FAILED: "Message Failed", State.UNKNOWN: "Message Unknown",
             State.EXPIRED: "Message Expired"}  # fmt: skip
    told = outlet.events()
    for number, end in enumerate(ends):
        assert told.get(message(id=number).id, set()) == ({names[end]} if end in names else set())
    assert sink.ids() == {message(id=n).id: 1 for n in (0, 2, 7)}
    assert outlet.committed == len(commands)
    reasons = {event["properties"]["message_id"]: event["properties"].get("reason") for _, event in outlet.told}
    assert "550" in reasons[message(id=1).id]
    assert "no-such-template" in reasons[message(id=5).id]
    assert "price" in reasons[message(id=9).id]
    retried = await ledger.read(0, message(id=7).id)
    assert retried is not None
    assert retried.attempts == 2


async def test_feedback_is_an_event_like_any_other(ledger: Ledger, sink: MailSink) -> None:
    outlet = ListOutlet()
    command = message(id=1, variant="names-product", experiment="cart-subject")
    await ListLane([record(0, command)], courier(ledger, mail_channel(sink.port)), outlet).finish()
    [(user, event)] = outlet.told
    assert user == "u1"
    assert event["type"] == "track"
    assert event["userId"] == "u1"
    assert event["timestamp"] == command.decided_at
    assert event["properties"] == {
        "message_id": command.id, "campaign_id": "win-back", "step": "1", "variant": "names-product",
        "channel": "email", "template": "win-back", "experiment_id": "cart-subject",
    }  # fmt: skip


async def test_duplicates_are_dropped_by_position_and_by_id(ledger: Ledger, sink: MailSink) -> None:
    outlet = ListOutlet()
    first, second = message(id=1), message(id=2)
    records = [
        record(0, first, (0, 1, 1, 0)),
        record(1, first, (0, 1, 1, 0)),  # the outbox published twice
        record(2, second, (0, 1, 1, 1)),
        record(3, first, (0, 2, 1, 0)),  # decide went back and decided it again
        record(4, second),  # somebody copied it without its headers
    ]
    lane = ListLane(records, courier(ledger, mail_channel(sink.port)), outlet, chunk=2)
    await lane.finish()
    assert sink.ids() == {first.id: 1, second.id: 1}
    assert {event["messageId"] for _, event in outlet.told} == {event["messageId"] for _, event in outlet.told[:2]}


async def test_a_redelivered_command_tells_its_outcome_again_under_the_same_id(
    ledger: Ledger, sink: MailSink, redis_server: AnyRedis
) -> None:
    outlet = ListOutlet()
    records = [record(n, message(id=n), (0, 1, n, 0)) for n in range(3)]
    await ListLane(records, courier(ledger, mail_channel(sink.port)), outlet).finish()
    connect(redis_server.url).delete(fence_key(0))
    again = ListOutlet()  # Kafka has not committed anything: the log is read from its start
    await ListLane(records, courier(ledger, mail_channel(sink.port)), again).finish()
    assert sorted(e["messageId"] for _, e in again.told) == sorted(e["messageId"] for _, e in outlet.told)
    assert set(sink.ids().values()) == {1}


async def test_an_unreadable_record_goes_to_dead_letters_and_stops_nothing(ledger: Ledger, sink: MailSink) -> None:
    outlet = ListOutlet()
    records = [
        record(7, b"\xff{"), record(8, b'{"type": "SendEmail"}'), record(9, message(id=1)),
    ]  # fmt: skip
    await ListLane(records, courier(ledger, mail_channel(sink.port)), outlet).finish()
    assert [(letter.offset, letter.reason, letter.topic) for letter in outlet.refused] == [
        (7, "unreadable", "messages"),
        (8, "wrong_type", "messages"),
    ]
    assert await state_of(ledger, 1) is State.DELIVERED


async def test_a_gap_breaks_the_run(ledger: Ledger, sink: MailSink) -> None:
    outlet = ListOutlet()
    lane = ListLane([record(n, message(id=n)) for n in range(3)], courier(ledger, mail_channel(sink.port)), outlet)
    await lane.finish()
    lane.records = [record(4, message(id=4))]
    run = await lane.open()
    lane.records = []
    assert lane.lane is run
    run.put(ListChunk(9, 10, [record(9, message(id=9))]), lambda: None)
    await until(lambda: bool(lane.errors))
    await run.close(1.0)
    assert isinstance(lane.errors[0], FenceError)
    assert "gap" in str(lane.errors[0])
    assert await ledger.read(0, message(id=9).id) is None


async def test_a_dead_mail_server_holds_up_mails_only(ledger: Ledger, tmp_path: Path) -> None:
    """I9: one dead provider; what another channel carries goes through, and mails go out when it is back."""
    sink = MailSink()  # not started
    outlet = ListOutlet()
    mails = [record(n, message(id=n)) for n in range(6)]
    logs = [record(6 + n, message(id=6 + n, channel="log", type="SendLog")) for n in range(6)]
    carrier = courier(ledger, mail_channel(sink.port), LogChannel(tmp_path / "log.jsonl"))
    lane = ListLane([*mails, *logs], carrier, outlet, chunk=3)
    running = asyncio.create_task(lane.finish())
    await until(lambda: len(outlet.told) >= 6)
    assert {event["properties"]["channel"] for _, event in outlet.told} == {"log"}
    assert carrier.providers["email"].breaker.is_open
    assert lane.lane is not None
    assert lane.lane.fence.offset is None  # the mails are not settled: the position stands before them
    with sink:
        await running
        assert set(sink.ids().values()) == {1}
        assert len(sink.mails) == 6
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 6
    assert lines[0]["subject"] == "Emma, we picked a few things for you"


async def test_what_waits_too_long_expires(ledger: Ledger) -> None:
    outlet = ListOutlet()
    command = message(id=1, expires_at=wall_ms() + 700)
    await ListLane([record(0, command)], courier(ledger, mail_channel(MailSink().port)), outlet).finish()
    assert await state_of(ledger, 1) is State.EXPIRED
    assert outlet.events() == {command.id: {"Message Expired"}}


async def test_what_is_refused_again_and_again_fails(ledger: Ledger) -> None:
    with MailSink(later_times=10**6) as sink:
        outlet = ListOutlet()
        lane = ListLane(
            [record(0, message(id=1, to="later@example.com"))], courier(ledger, mail_channel(sink.port)), outlet
        )
        await lane.finish()
        entry = await ledger.read(0, message(id=1).id)
        assert entry is not None
        assert (entry.state, entry.attempts) == (State.FAILED, 5)
        assert "451" in entry.reason


class CountingChannel:
    """Counts how many calls run at the same time."""

    name, concurrency, idempotent, time_limit_s = "email", 3, False, 5.0

    def __init__(self) -> None:
        self.now = self.most = 0

    async def deliver(self, command: object, rendered: Rendered) -> Outcome:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.01)
        self.now -= 1
        return Delivered("ok")

    async def close(self) -> None: ...


async def test_calls_at_the_same_time_and_open_messages_are_bounded(ledger: Ledger) -> None:
    channel, outlet = CountingChannel(), ListOutlet()
    lane = ListLane([record(n, message(id=n)) for n in range(60)], courier(ledger, channel), outlet, chunk=5, window=10)
    running = asyncio.create_task(lane.finish())
    most_open = 0
    while not running.done():
        if lane.lane is not None:
            most_open = max(most_open, len(lane.lane._open))
        await asyncio.sleep(0.002)
    await running
    assert channel.most == 3
    assert 5 <= most_open <= 10


async def test_a_hanging_channel_ends_as_unknown_at_its_time_limit(ledger: Ledger) -> None:
    class Hanging(CountingChannel):
        time_limit_s = 0.2

        async def deliver(self, command: object, rendered: Rendered) -> Outcome:
            await asyncio.sleep(60)
            return Delivered()

    outlet = ListOutlet()
    await ListLane([record(0, message(id=1))], courier(ledger, Hanging()), outlet).finish()
    assert await state_of(ledger, 1) is State.UNKNOWN


async def test_an_idempotent_provider_is_asked_again_after_a_crash(ledger: Ledger) -> None:
    class Idempotent(CountingChannel):
        idempotent = True

    command = message(id=1)
    await ledger.claim_many(0, [command], "a worker that died", 1)
    assert await ledger.handing(0, command.id, "a worker that died", "its call", 2)
    outlet = ListOutlet()
    await ListLane([record(0, command)], courier(ledger, Idempotent()), outlet).finish()
    assert await state_of(ledger, 1) is State.DELIVERED


async def test_closing_lets_calls_end_and_leaves_the_rest_to_the_next_owner(ledger: Ledger) -> None:
    with MailSink() as sink:
        outlet = ListOutlet()
        records = [record(n, message(id=n, to="busy@example.com"), (0, 1, n, 0)) for n in range(40)]
        carrier = courier(ledger, mail_channel(sink.port))
        lane = ListLane(records, carrier, outlet, window=100)
        run = await lane.open()
        await until(lambda: len(sink.mails) >= 8)
        await run.close(5.0)
        assert lane.errors == []
        assert 8 <= len(sink.mails) < 40
        assert len(outlet.told) == len(sink.mails)  # nothing was cut off in the middle: no unknown
        await ListLane(records, carrier, outlet).finish()
        assert len(sink.mails) == 40
        assert set(sink.ids().values()) == {1}
        assert {name for names in outlet.events().values() for name in names} == {"Email Delivered"}


async def test_a_restarted_redis_leaves_doubt_and_no_second_mail() -> None:
    """Kill -9 of Redis in the middle. Its run is another one: what was begun and has no end is unknown."""
    with MailSink() as sink, RedisServer() as server:
        ledger, outlet = Ledger(server.url, timeout_ms=1_000), ListOutlet()
        records = [record(n, message(id=n, to="busy@example.com"), (0, 1, n, 0)) for n in range(120)]
        lane = ListLane(records, courier(ledger, mail_channel(sink.port)), outlet)
        running = asyncio.create_task(lane.finish(60))
        await until(lambda: len(sink.mails) >= 30)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.start)
        await running
        assert len(lane.errors) >= 1
        assert set(sink.ids().values()) == {1}
        told = outlet.events()
        assert len(told) == 120
        unknown = [number for number in range(120) if await state_of(ledger, number) is State.UNKNOWN]
        delivered = [number for number in range(120) if await state_of(ledger, number) is State.DELIVERED]
        assert len(unknown) + len(delivered) == 120
        assert 0 < len(unknown) <= lane.window + lane.chunk
        assert {message(id=number).id for number in delivered} <= set(sink.ids())
        await ledger.close()


async def test_a_redis_that_lost_its_last_writes_sends_nothing_twice() -> None:
    """Failover to an empty replica: everything Kafka says was begun is unknown, nothing goes out again."""
    with MailSink() as sink, RedisServer() as first, RedisServer() as second:
        outlet = ListOutlet()
        records = [record(n, message(id=n), (0, 1, n, 0)) for n in range(20)]
        before = Ledger(first.url)
        await ListLane(records[:15], courier(before, mail_channel(sink.port)), outlet).finish()
        # decide went back too, and publishes what it decided again under a new epoch.
        records += [record(20 + n, message(id=n), (0, 2, n, 0)) for n in range(15)]
        after = Ledger(second.url)
        await ListLane(records, courier(after, mail_channel(sink.port)), outlet).finish()
        assert set(sink.ids().values()) == {1}
        assert len(sink.mails) == 20
        assert [await state_of(after, n) for n in range(20)] == [State.UNKNOWN] * 15 + [State.DELIVERED] * 5
        await before.close()
        await after.close()


@pytest.mark.chaos
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_kill_9_between_any_two_steps(
    step: str, when: str, redis_server: AnyRedis, sink: MailSink, tmp_path: Path
) -> None:
    """The process dies at a step; the next one finishes. At the sink no message is there twice."""
    connect(redis_server.url).flushall()
    commands = [message(id=number) for number in range(23)]
    (tmp_path / "commands").write_bytes(msgspec.json.encode(commands))

    def run(plan: Plan) -> int:
        command = [sys.executable, "-m", "support.delivery", plan.to_json()]
        paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, env=paths, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode in {0, -signal.SIGKILL}, done.stderr
        return done.returncode

    plan = Plan(redis_server.url, sink.port, str(tmp_path))
    assert run(Plan(plan.redis, plan.smtp_port, plan.folder, step, when, nth=2)) == -signal.SIGKILL
    assert run(plan) == 0

    ids = sink.ids()
    assert set(ids.values()) == {1}
    client = connect(redis_server.url)
    states = [client.hget(ledger_key(0, command.id), "state") for command in commands]
    assert set(states) <= {b"delivered", b"unknown"}
    # In doubt is at most what four connections had in hand, and it is visible.
    unknown = [command.id for command, state in zip(commands, states, strict=True) if state == b"unknown"]
    assert len(unknown) <= 4
    assert all(command.id in ids for command in commands if command.id not in unknown)
    told = {json.loads(line)["properties"]["message_id"] for line in (tmp_path / "told").read_text().splitlines()}
    assert told == {command.id for command in commands}
