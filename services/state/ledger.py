"""The send ledger in Redis: ``ledger:{p7}:<message>`` hashes and deliver's position ``deliver:{p7}:fence``.

`p7` is the partition of `messages`. It is the hash tag of the lane that decides them: of a Redis Cluster, one node has
the lane, what became of its messages, and deliver's position, so that they can only go back in time together.

The steps are those of :mod:`models.delivery`, each a small script on **one key**: atomic, conditional, and
possible on a Redis Cluster. They run in the order they were asked for, many in one round trip: while one
pipeline is on its way the next requests gather (group commit), so that ``appendfsync always`` is paid once
per round trip, not once per message.

The client is ``redis.asyncio``: a message needs its two round trips (``handing``, outcome) just before and
after its own provider call, next to hundreds of others, which threads would only make dearer. The client's
own retries are off, because it would repeat a step whose answer was lost; whoever asks repeats it, under
the same token.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from models.decisions import Cause, MessageCommand
from models.delivery import DeliverFence, Entry, State, is_same_run
from models.errors import FenceError, IncompatibleSnapshotError, TransientError
from services.state.ledger_scripts import SCRIPTS
from services.state.nodes import Nodes

DAY_MS = 86_400_000
PIPELINE_MAX = 500


def ledger_key(partition: int, message: str) -> str:
    """Key of one message's entry."""
    return f"ledger:{{p{partition}}}:{message}"


def fence_key(partition: int) -> str:
    """Key of deliver's position in one partition of `messages`."""
    return f"deliver:{{p{partition}}}:fence"


class Slim(msgspec.Struct, frozen=True):
    """The part of a command that the ledger keeps to answer *why*: no address, no content."""

    type: str
    user: str
    campaign: str
    step: str
    channel: str
    template: str
    variant: str | None
    experiment: str | None
    purpose: str
    decided_at: int
    expires_at: int
    reason: str
    cause: Cause
    suppressed: str | None = None


class Step(msgspec.Struct, frozen=True):
    """One line of an entry's history; `at` is wall time, ms."""

    state: str
    at: int
    detail: str


class Story(msgspec.Struct, frozen=True):
    """Everything the ledger knows about a message (``kairos why MESSAGE``)."""

    message: str
    state: State
    at: int
    reason: str
    ref: str
    attempts: int
    command: Slim
    history: list[Step]


class Outcome(msgspec.Struct, frozen=True):
    """An outcome to be written; `token` is the provider call it is about, `owner` whoever says it."""

    command: MessageCommand
    state: State
    owner: str = ""
    token: str = ""
    reason: str = ""
    ref: str = ""


_encode = msgspec.json.encode
_pack = msgspec.msgpack.Encoder().encode
_unpack_fence = msgspec.msgpack.Decoder(DeliverFence).decode


class Ledger:
    """Conditional steps on the ledger.

    Parameters
    ----------
    url : redis:// address.
    timeout_ms : time limit of one round trip.
    ttl_ms : how long an outcome is remembered. It is never forgotten before the command has expired, so a
        command that is delivered again later than that is simply too old.

    Notes
    -----
    Every method raises :class:`models.errors.TransientError` when Redis cannot answer. All steps may be
    repeated with the same arguments.
    """

    def __init__(self, url: str, *, timeout_ms: int = 10_000, ttl_ms: int = 30 * DAY_MS) -> None:
        self._nodes = Nodes(url, timeout_ms / 1000)
        self._ttl_ms = ttl_ms
        self._shas = {name: hashlib.sha1(text.encode()).hexdigest() for name, text in SCRIPTS.items()}
        self._waiting: list[tuple[str, str, tuple[Any, ...], asyncio.Future[Any]]] = []
        self._pump: asyncio.Task[None] | None = None

    # -- messages

    async def claim_many(
        self, partition: int, commands: Sequence[MessageCommand], owner: str, at_ms: int
    ) -> list[Entry | None]:
        """Claim what is free or merely claimed; answers each entry as it was **before** (None: none)."""
        replies = await asyncio.gather(
            *(self._ask("claim", ledger_key(partition, c.id), owner, at_ms, _slim(c)) for c in commands)
        )
        return [_entry(reply) for reply in replies]

    async def handing(
        self, partition: int, message: str, owner: str, token: str, at_ms: int, *, retake: bool = False
    ) -> bool:
        """Say that the provider is about to be called. False: do not call it."""
        key = ledger_key(partition, message)
        return bool(await self._ask("hand", key, owner, token, at_ms, "1" if retake else "0"))

    async def release(self, partition: int, message: str, token: str, at_ms: int, reason: str) -> bool:
        """Back to claimed: the provider certainly did not take it."""
        return bool(await self._ask("release", ledger_key(partition, message), token, at_ms, reason))

    async def outcome(self, partition: int, outcome: Outcome, at_ms: int) -> State | None:
        """Write an outcome; answers the state that stands now (a weightier one may), None if refused."""
        command = outcome.command
        expire_at = max(at_ms + self._ttl_ms, command.expires_at + DAY_MS)
        reply: bytes = await self._ask(
            "settle", ledger_key(partition, command.id), outcome.state.value, outcome.owner, outcome.token,
            outcome.reason, outcome.ref, at_ms, expire_at, _slim(command),
        )  # fmt: skip
        return State(reply.decode()) if reply else None

    async def outcome_many(self, partition: int, outcomes: Sequence[Outcome], at_ms: int) -> list[State | None]:
        """:meth:`outcome` for many, in as few round trips as possible."""
        return list(await asyncio.gather(*(self.outcome(partition, one, at_ms) for one in outcomes)))

    async def read(self, partition: int, message: str) -> Entry | None:
        """Read the entry as it stands."""
        fields = ("state", "owner", "token", "reason", "ref", "attempts")
        key = ledger_key(partition, message)
        redis = await self._nodes.at(key)
        return _entry(await self._nodes.call(redis.hmget(key, fields)))

    async def story(self, message: str, lanes: int) -> Story | None:
        """Everything that is known about a message, in whichever partition; None if the ledger never heard of it."""
        for partition in range(lanes):
            key = ledger_key(partition, message)
            redis = await self._nodes.at(key)
            raw: dict[bytes, bytes] = await self._nodes.call(redis.hgetall(key))
            if raw:
                break
        else:
            return None
        text = {name.decode(): value.decode() for name, value in raw.items()}
        lines = (line.split(" ", 2) for line in text.get("history", "").splitlines())
        return Story(
            message,
            State(text["state"]),
            int(text.get("at", "0")),
            text.get("reason", ""),
            text.get("ref", ""),
            int(text.get("attempts", "0")),
            msgspec.json.decode(raw[b"command"], type=Slim),
            [Step(line[0], int(line[1]), line[2] if len(line) > 2 else "") for line in lines],
        )

    # -- deliver's position

    async def run_id(self) -> str:
        """Name of the Redis run that answers (see :func:`models.delivery.is_same_run`)."""
        return await self._nodes.run_id()

    async def require_run(self, run_id: str) -> None:
        """Make sure that Redis is still the run that `run_id` names.

        Raises
        ------
        FenceError
            It restarted or failed over: what was claimed may have had an outcome that is forgotten now.
        """
        now = await self.run_id()
        if not is_same_run(run_id, now):
            raise FenceError("Redis restarted or failed over")

    async def fence(self, partition: int) -> tuple[bytes, DeliverFence | None]:
        """Deliver's position as bytes (for :meth:`advance`) and decoded; (b"", None) if there is none."""
        redis = await self._nodes.at(fence_key(partition))
        raw: bytes | None = await self._nodes.call(redis.get(fence_key(partition)))
        if raw is None:
            return b"", None
        try:
            return raw, _unpack_fence(raw)
        except msgspec.DecodeError as error:
            raise IncompatibleSnapshotError(f"{fence_key(partition)}: {error}") from error

    async def advance(self, partition: int, before: bytes, fence: DeliverFence) -> bytes:
        """Move the position; answers its bytes.

        Raises
        ------
        FenceError
            The position is not `before` any more, or Redis restarted since `fence` was begun.
        """
        after = _pack(fence)
        reply: bytes = await self._ask("advance", fence_key(partition), before, after, fence.run_id)
        if reply != b"ok":
            why = "Redis restarted or failed over" if reply == b"run" else "another worker moved it"
            raise FenceError(f"deliver's position in partition {partition} does not hold: {why}")
        return after

    async def close(self) -> None:
        """Close the connections."""
        await self._nodes.close()

    # -- how it is asked

    async def _ask(self, script: str, key: str, *args: Any) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((script, key, args, future))
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:PIPELINE_MAX], self._waiting[PIPELINE_MAX:]
            try:
                await self._round(batch)
            except (RedisError, TransientError, OSError) as error:
                self._nodes.forget()
                for *_, future in batch:
                    if not future.done():
                        future.set_exception(TransientError(f"Redis: {error}"))

    async def _round(self, batch: list[tuple[str, str, tuple[Any, ...], asyncio.Future[Any]]]) -> None:
        replies = await self._send(batch)
        # SCRIPT FLUSH or a new server: what answered NOSCRIPT was not run, so exactly that is asked again.
        again = [one for one, reply in zip(batch, replies, strict=True) if isinstance(reply, NoScriptError)]
        if again:
            await self._load()
            second = iter(await self._send(again))
            replies = [next(second) if isinstance(r, NoScriptError) else r for r in replies]
        for (*_, future), reply in zip(batch, replies, strict=True):
            if future.done():
                continue
            if isinstance(reply, Exception):
                self._nodes.forget()
                future.set_exception(TransientError(f"Redis: {reply}"))
            else:
                future.set_result(reply)

    async def _send(self, batch: list[tuple[str, str, tuple[Any, ...], asyncio.Future[Any]]]) -> list[Any]:
        if self._nodes.single is not None:
            return await self._send_to(self._nodes.single, batch)
        places: dict[Redis, list[int]] = {}
        for index, (_, key, *_) in enumerate(batch):
            places.setdefault(await self._nodes.at(key), []).append(index)
        parts = (self._send_to(node, [batch[n] for n in indexes]) for node, indexes in places.items())
        replies: list[Any] = [None] * len(batch)
        for found, indexes in zip(await asyncio.gather(*parts, return_exceptions=True), places.values(), strict=True):
            if isinstance(found, BaseException) and not isinstance(found, (RedisError, OSError)):
                raise found
            for n, index in enumerate(indexes):
                replies[index] = found if isinstance(found, BaseException) else found[n]
        return replies

    async def _send_to(
        self, node: Redis, batch: list[tuple[str, str, tuple[Any, ...], asyncio.Future[Any]]]
    ) -> list[Any]:
        pipe = node.pipeline(transaction=False)
        for script, key, args, _ in batch:
            pipe.evalsha(self._shas[script], 1, key, *args)
        return await pipe.execute(raise_on_error=False)

    async def _load(self) -> None:
        for node in self._nodes.all():
            for text in SCRIPTS.values():
                await node.script_load(text)


def _slim(command: MessageCommand) -> bytes:
    return _encode({name: getattr(command, name) for name in Slim.__struct_fields__})


def _entry(fields: list[bytes | None]) -> Entry | None:
    if fields[0] is None:
        return None
    state, owner, token, reason, ref, attempts = ((field or b"").decode() for field in fields)
    return Entry(State(state), owner, token, reason, ref, int(attempts or 0))
