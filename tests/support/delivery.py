"""A deliver lane on a log that is a list, with a real ledger and real channels; restarts itself as the role does.

Run as ``python -m support.delivery '<json of Plan>'`` it is a process that can end itself with SIGKILL just before or
after a chosen step.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from config.settings import PACKAGE_CONFIG_DIR
from models.decisions import DeadLetter, MessageCommand
from models.errors import TransientError
from services.channels.base import Channel, ChannelConfig
from services.channels.breaker import BreakerPolicy
from services.channels.courier import Courier, RetryPolicy
from services.channels.email import EmailChannel
from services.channels.templates import Templates
from services.channels.tokens import Tokens
from services.state.ledger import Ledger
from streams.deliver_lane import DeliverLane, Start, Stats

QUICK_RETRY = RetryPolicy(first_s=0.02, cap_s=0.1, attempts=5)
QUICK_BREAKER = BreakerPolicy(failures=3, open_s=0.1, open_max_s=0.3)


def wall_ms() -> int:
    """Wall clock."""
    return int(time.time() * 1000)


@dataclass(frozen=True, slots=True)
class ListRecord:
    """One record of the list."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass(frozen=True, slots=True)
class ListChunk:
    """A chunk of the list."""

    start: int
    end: int
    records: Sequence[ListRecord]
    topic: str = "messages"
    fetched_at: float = field(default_factory=time.monotonic)
    sought: int = 0


def record(offset: int, command: MessageCommand | bytes, place: tuple[int, int, int, int] | None = None) -> ListRecord:
    """Record of a command, with the outbox's headers (lane, epoch, seq, n) if there is a `place`."""
    names = ("kairos-lane", "kairos-epoch", "kairos-seq", "kairos-n")
    headers = [] if place is None else [(name, str(v).encode()) for name, v in zip(names, place, strict=True)]
    value = command if isinstance(command, bytes) else msgspec.json.encode(command)
    return ListRecord(offset, wall_ms(), b"u1", value, headers)


@dataclass
class ListOutlet:
    """What the lane tells, in lists; the committed offset is a number, in a file if the process may die."""

    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    refused: list[DeadLetter] = field(default_factory=list)
    committed: int = 0
    folder: Path | None = None

    async def tell(self, user: str, event: dict[str, Any]) -> None:
        self.told.append((user, event))
        self._write("told", json.dumps(event) + "\n", "a")

    async def refuse(self, letter: DeadLetter) -> None:
        self.refused.append(letter)

    async def commit(self, partition: int, offset: int) -> None:
        self.committed = offset
        self._write("committed", str(offset), "w")

    def _write(self, name: str, text: str, mode: str) -> None:
        if self.folder is not None:
            with (self.folder / name).open(mode) as out:
                out.write(text)

    def events(self) -> dict[str, set[str]]:
        """Names of the events told, by message."""
        found: dict[str, set[str]] = {}
        for _, event in self.told:
            found.setdefault(event["properties"]["message_id"], set()).add(event["event"])
        return found


def mail_channel(port: int, *, connections: int = 4, timeout_s: float = 2.0) -> EmailChannel:
    """E-mail to a sink."""
    return EmailChannel(
        ChannelConfig(clock_ms=wall_ms, smtp_port=port, smtp_connections=connections, smtp_timeout_s=timeout_s)
    )


def courier(ledger: Ledger, *channels: Channel, clock_ms: Callable[[], int] = wall_ms) -> Courier:
    """A courier that retries quickly, with the templates of the project."""
    templates = Templates(PACKAGE_CONFIG_DIR / "templates", Tokens("test"), "https://shop.example.com")
    return Courier(
        {channel.name: channel for channel in channels},
        templates,
        ledger,
        clock_ms,
        retry=QUICK_RETRY,
        breaker=QUICK_BREAKER,
        rng=Random(1),
    )


class ListLane:
    """Runs of one lane over a list of records, one after another until all is settled."""

    def __init__(
        self, records: Sequence[ListRecord], carrier: Courier, outlet: ListOutlet, *, chunk: int = 5, window: int = 20
    ) -> None:
        self.records, self.carrier, self.outlet = list(records), carrier, outlet
        self.chunk, self.window = chunk, window
        self.stats, self.errors = Stats(), list[BaseException]()
        self.lane: DeliverLane | None = None
        self.acked = 0

    async def open(self) -> DeliverLane:
        """Start a run where the fence says."""
        start = await Start.read(self.carrier.ledger, 0, self._committed)
        self.lane = DeliverLane(
            0, start, owner=uuid.uuid4().hex, courier=self.carrier, outlet=self.outlet, stats=self.stats,
            window=self.window, on_broken=lambda _, error: self.errors.append(error),
        )  # fmt: skip
        rest = [one for one in self.records if one.offset >= (start.fence.offset or 0)]
        following = start.fence.offset or 0
        for at in range(0, len(rest), self.chunk):
            part = rest[at : at + self.chunk]
            self.lane.put(ListChunk(following, part[-1].offset + 1, part), self._ack)
            following = part[-1].offset + 1
        return self.lane

    async def _committed(self) -> int | None:
        return self.outlet.committed or None

    def _ack(self) -> None:
        self.acked += 1

    async def finish(self, timeout_s: float = 20.0) -> None:
        """Run, and run again after what may pass, until everything is settled."""
        end = self.records[-1].offset + 1
        async with asyncio.timeout(timeout_s):
            while True:
                broken = len(self.errors)
                try:
                    lane = await self.open()
                except TransientError:
                    await asyncio.sleep(0.1)
                    continue
                while len(self.errors) == broken:
                    if lane.fence.offset == end:
                        await lane.close(5.0)
                        return
                    await asyncio.sleep(0.005)
                await lane.close(5.0)
                if not isinstance(self.errors[-1], TransientError):
                    raise self.errors[-1]


# ---------------------------------------------------------------- as a process

STEPS = ("claim", "run", "commit", "handing", "deliver", "outcome", "tell", "advance")


@dataclass(frozen=True, slots=True)
class Plan:
    """What the process does: deliver `commands` (a JSON file); end itself ``before`` or ``after`` the nth `step`."""

    redis: str
    smtp_port: int
    folder: str
    step: str = ""
    when: str = "after"
    nth: int = 1

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def trip(plan: Plan, step: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Wrap a step so that the process dies at it."""
    if plan.step != step:
        return call
    passed = 0

    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal passed
        passed += 1
        mine = passed == plan.nth
        if mine and plan.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = await call(*args, **kwargs)
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    return wrapped


async def main(plan: Plan) -> None:
    """Deliver the list."""
    folder = Path(plan.folder)
    commands = msgspec.json.decode((folder / "commands").read_bytes(), type=list[MessageCommand])
    committed = folder / "committed"
    outlet = ListOutlet(folder=folder, committed=int(committed.read_text()) if committed.exists() else 0)
    ledger, mail = Ledger(plan.redis), mail_channel(plan.smtp_port)
    for step, thing, name in (
        ("claim", ledger, "claim_many"), ("run", ledger, "require_run"), ("handing", ledger, "handing"),
        ("outcome", ledger, "outcome"), ("advance", ledger, "advance"), ("deliver", mail, "deliver"),
        ("commit", outlet, "commit"), ("tell", outlet, "tell"),
    ):  # fmt: skip
        setattr(thing, name, trip(plan, step, getattr(thing, name)))
    records = [record(offset, one, (0, 1, offset, 0)) for offset, one in enumerate(commands)]
    await ListLane(records, courier(ledger, mail), outlet).finish()


if __name__ == "__main__":
    asyncio.run(main(Plan(**json.loads(sys.argv[1]))))
