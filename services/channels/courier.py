"""Carry a message to its provider: render, wait for a line, say *handing*, call once, write down the end.

The order of these steps is the whole point (invariant I3); everything else here is manners towards the
provider: bounded concurrency, a time limit, retries with jitter while the message is young enough, a
circuit breaker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

import structlog

from models.decisions import MessageCommand
from models.delivery import DeliverFence, Entry, State
from models.errors import FenceError, PermanentError, TransientError
from services.channels.base import Channel, Delivered, Failed, Outcome, Rendered, Transient, Unknown
from services.channels.breaker import Breaker, BreakerPolicy
from services.channels.templates import Templates
from services.state import ledger as ledgers
from services.state.ledger import Ledger

_log = structlog.get_logger(__name__)
REDIS_PAUSE_S = 0.2
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How a refusal that may pass is tried again.

    Parameters
    ----------
    first_s, factor, cap_s : pauses first_s, first_s * factor, ... up to cap_s, each times 0.5 to 1 (jitter).
    attempts : after so many refusals of **this message** it has failed. Waiting for a provider that is down
        counts for nothing and lasts until the message expires.
    """

    first_s: float = 1.0
    factor: float = 2.0
    cap_s: float = 300.0
    attempts: int = 12

    def pause_s(self, attempt: int, rng: Random, wish_s: float | None = None) -> float:
        """Pause after the n-th refusal (from 1); never shorter than what the provider wished."""
        pause = min(self.cap_s, self.first_s * self.factor ** min(attempt - 1, 40)) * (0.5 + rng.random() / 2)
        return max(pause, wish_s or 0.0)


class LostClaimError(FenceError):
    """Somebody else owns the message now: this run of the lane is over."""


class ClosingError(TransientError):
    """The lane is being closed; nothing new is handed over."""


@dataclass(slots=True)
class Run:
    """One run of one lane: who claims, and what must not be interrupted.

    Parameters
    ----------
    owner : token of this run; never used again by another. partition : of `messages`, whose lane it is.
    busy : tasks from *handing* until they end. They are let finish; all others may be cancelled.
    """

    owner: str
    partition: int = 0
    closing: bool = False
    busy: set[asyncio.Task[object]] = field(default_factory=set)
    calls: int = 0

    def token(self) -> str:
        """Fresh name for one call."""
        self.calls += 1
        return f"{self.owner}.{self.calls}"


class Provider:
    """A channel with its lines and its circuit breaker, shared by all lanes of the process."""

    def __init__(self, channel: Channel, policy: BreakerPolicy | None = None) -> None:
        self.channel = channel
        self.lines = asyncio.Semaphore(channel.concurrency)
        self.breaker = Breaker(policy)

    async def call(self, command: MessageCommand, rendered: Rendered) -> Outcome:
        """Call once, within the time limit."""
        try:
            async with asyncio.timeout(self.channel.time_limit_s):
                outcome = await self.channel.deliver(command, rendered)
        except TimeoutError:
            outcome = Unknown(f"no end within {self.channel.time_limit_s:g} s")
        except Exception as error:  # noqa: BLE001  a fault of the channel must not stop the others' messages
            _log.exception("channel_fault", channel=self.channel.name, message=command.id)
            outcome = Unknown(f"fault of the channel: {type(error).__name__}")
        if isinstance(outcome, Unknown) or (isinstance(outcome, Transient) and outcome.provider_down):
            self.breaker.failed(time.monotonic())
        else:
            self.breaker.succeeded()
        return outcome


class Courier:
    """Carry messages.

    Parameters
    ----------
    channels : by name.
    templates, ledger : writers of the message and of what became of it.
    clock_ms : wall clock.
    retry, breaker : manners.
    rng : jitter.
    """

    def __init__(
        self,
        channels: Mapping[str, Channel],
        templates: Templates,
        ledger: Ledger,
        clock_ms: Callable[[], int],
        *,
        retry: RetryPolicy | None = None,
        breaker: BreakerPolicy | None = None,
        rng: Random,
    ) -> None:
        self.providers = {name: Provider(channel, breaker) for name, channel in channels.items()}
        self.ledger = ledger
        self.calls = 0  # of providers
        self.pausing = 0  # messages that wait on purpose: for a provider that is down, or after a refusal
        self.clock_ms = clock_ms
        self.templates = templates
        self._retry = retry or RetryPolicy()
        self._rng = rng

    async def close(self) -> None:
        """Let go of all connections."""
        for provider in self.providers.values():
            await provider.channel.close()
        await self.ledger.close()

    def is_idempotent(self, channel: str) -> bool:
        """Whether the channel's provider recognises a repeated message id."""
        provider = self.providers.get(channel)
        return provider is not None and provider.channel.idempotent

    async def claim_many(self, commands: Sequence[MessageCommand], run: Run) -> list[Entry | None]:
        """Claim messages for a run; answers what the ledger held before."""
        return await self._patiently(
            lambda: self.ledger.claim_many(run.partition, commands, run.owner, self.clock_ms())
        )

    async def require_run(self, run_id: str) -> None:
        """Raise FenceError unless Redis is still that run."""
        await self._patiently(lambda: self.ledger.require_run(run_id))

    async def advance(self, partition: int, before: bytes, fence: DeliverFence) -> bytes:
        """Move deliver's position (see :meth:`services.state.ledger.Ledger.advance`)."""
        return await self._patiently(lambda: self.ledger.advance(partition, before, fence))

    async def carry(self, command: MessageCommand, run: Run, *, retake: bool = False) -> tuple[State, str]:
        """Bring a claimed message to its end; answers the outcome and its reason.

        Raises
        ------
        LostClaimError
            Another run took the message over.
        ClosingError
            The lane closes before the message was handed over; it stays claimed.
        """
        provider = self.providers.get(command.channel)
        if provider is None:
            return await self.record(command, State.FAILED, f"channel {command.channel} is not set up", run)
        try:
            rendered = self.templates.render(command)
        except PermanentError as error:
            return await self.record(command, State.FAILED, str(error), run)
        refusals = 0
        while True:
            left_s = (command.expires_at - self.clock_ms()) / 1000
            if left_s <= 0:
                return await self.record(command, State.EXPIRED, "its time was over before it was handed over", run)
            async with provider.lines:
                if run.closing:
                    raise ClosingError(command.id)
                pause_s = provider.breaker.wait_s(time.monotonic())
                if pause_s <= 0:
                    end = await self._attempt(provider, command, rendered, run, retake=retake)
                    if not isinstance(end, Transient):
                        return end
                    retake = False
                    refusals += 0 if end.provider_down else 1
                    if refusals >= self._retry.attempts:
                        reason = f"refused {refusals} times: {end.reason}"
                        return await self.record(command, State.FAILED, reason, run)
                    pause_s = self._retry.pause_s(max(refusals, 1), self._rng, end.retry_after_s)
            self.pausing += 1
            try:
                await asyncio.sleep(min(pause_s, left_s))
            finally:
                self.pausing -= 1

    async def record(
        self, command: MessageCommand, state: State, reason: str, run: Run, token: str = ""
    ) -> tuple[State, str]:
        """Write an outcome without calling a provider; answers what stands.

        Raises
        ------
        LostClaimError
            The message moved on meanwhile: plan again.
        """
        outcome = ledgers.Outcome(command, state, run.owner, token, reason)
        stands = await self._patiently(lambda: self.ledger.outcome(run.partition, outcome, self.clock_ms()))
        if stands is None:
            raise LostClaimError(f"message {command.id} is in other hands")
        return stands, reason if stands is state else ""

    async def _attempt(
        self, provider: Provider, command: MessageCommand, rendered: Rendered, run: Run, *, retake: bool
    ) -> tuple[State, str] | Transient:
        """One call: handing, provider, outcome. From here to the end of the task nothing may interrupt."""
        token = run.token()
        task = asyncio.current_task()
        if task is not None:
            run.busy.add(task)
        granted = await self._patiently(
            lambda: self.ledger.handing(run.partition, command.id, run.owner, token, self.clock_ms(), retake=retake)
        )
        if not granted:
            raise LostClaimError(f"message {command.id} is in other hands")
        self.calls += 1
        outcome = await provider.call(command, rendered)
        if isinstance(outcome, Transient):
            reason = outcome.reason
            await self._patiently(
                lambda: self.ledger.release(run.partition, command.id, token, self.clock_ms(), reason)
            )
            if task is not None:
                run.busy.discard(task)
            return outcome
        match outcome:
            case Delivered(ref):
                end = ledgers.Outcome(command, State.DELIVERED, run.owner, token, "", ref[:200])
            case Failed(why):
                end = ledgers.Outcome(command, State.FAILED, run.owner, token, why[:500])
            case Unknown(why):
                end = ledgers.Outcome(command, State.UNKNOWN, run.owner, token, why[:500])
        stands = await self._patiently(lambda: self.ledger.outcome(run.partition, end, self.clock_ms()))
        if stands is None:
            raise LostClaimError(f"message {command.id} is in other hands")
        return stands, end.reason if stands is end.state else ""

    async def _patiently(self, step: Callable[[], Awaitable[T]]) -> T:
        """Ask Redis until it answers: what is in hand is not let go because Redis restarts.

        Every step may be repeated with the same token. A Redis that comes back with an older past refuses it.
        """
        while True:
            try:
                return await step()
            except FenceError:
                raise
            except TransientError as error:
                _log.warning("ledger_away", error=str(error))
                await asyncio.sleep(REDIS_PAUSE_S)
