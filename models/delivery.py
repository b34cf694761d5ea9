"""What becomes of a message command: the send ledger's states and every step between them, as pure functions.

``services/state/ledger.py`` carries the same steps out in Redis (a test drives both with the same calls), and
``streams/deliver_lane.py`` asks :func:`plan` what to do. The rule that all of it serves: **a message reaches
a provider at most once, and what is uncertain is visible, never silently repeated** (invariant I3).

::

    (none) --claim--> claimed --hand--> handing --settle--> delivered | failed | unknown
                       |  ^                |
                       |  +----release-----+   the provider certainly did not take it
                       +--settle--> expired | failed (cannot be rendered)

A crash leaves ``claimed`` (the provider was not called: anyone may take over) or ``handing`` (it may have
been: ``unknown``, unless the provider recognises a repetition).
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec
import xxhash

from models.decisions import MessageCommand

Position = tuple[int, int, int]
"""(epoch, seq, n) of a published effect within its lane."""


class State(enum.StrEnum):
    """States of a message in the send ledger."""

    CLAIMED = "claimed"
    HANDING = "handing"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    DELIVERED = "delivered"


# Which outcome outweighs which: a later fact may replace a guess, never the other way round.
_WEIGHT = {
    State.CLAIMED: 0,
    State.HANDING: 0,
    State.UNKNOWN: 1,
    State.EXPIRED: 2,
    State.FAILED: 2,
    State.SUPPRESSED: 2,
    State.DELIVERED: 3,
}
OUTCOMES = frozenset(state for state, weight in _WEIGHT.items() if weight)


class Entry(msgspec.Struct, frozen=True):
    """One message in the ledger.

    Parameters
    ----------
    state : where it stands.
    owner : who claimed it (one token per run of a lane; a crashed run's token is never used again).
    token : one call of a provider; written with ``handing``.
    reason, ref : why it ended so, and the provider's own words or id.
    attempts : calls of the provider so far.
    """

    state: State
    owner: str = ""
    token: str = ""
    reason: str = ""
    ref: str = ""
    attempts: int = 0


def claim(entry: Entry | None, owner: str) -> Entry:
    """Claim a message, or take over the claim of someone who has not called the provider. Others stay."""
    if entry is None:
        return Entry(State.CLAIMED, owner=owner)
    if entry.state is State.CLAIMED:
        return msgspec.structs.replace(entry, owner=owner)
    return entry


def hand(entry: Entry | None, owner: str, token: str, *, retake: bool = False) -> Entry | None:
    """Step just before the provider is called. None: not allowed, do not call.

    Parameters
    ----------
    owner : must hold the claim.
    token : fresh for each call. Asking again with the same token is allowed, because the answer may have been
        lost on the way, and whoever asks has not called the provider under this token yet.
    retake : the provider recognises a repetition, so a call of unknown end may be repeated.
    """
    if entry is None:
        return None
    if entry.state is State.HANDING and entry.token == token:
        return entry
    mine = entry.state is State.CLAIMED and entry.owner == owner
    if mine or (retake and entry.state is State.HANDING):
        return msgspec.structs.replace(
            entry, state=State.HANDING, owner=owner, token=token, attempts=entry.attempts + 1
        )
    return None


def release(entry: Entry | None, token: str) -> Entry | None:
    """Back to ``claimed``: the provider did not take the message, or was not reached. None: not ours."""
    if entry is None or entry.token != token or entry.state not in {State.HANDING, State.CLAIMED}:
        return None
    return msgspec.structs.replace(entry, state=State.CLAIMED)


def settle(
    entry: Entry | None, state: State, *, owner: str = "", token: str = "", reason: str = "", ref: str = ""
) -> Entry | None:
    """Write an outcome; an entry that has one of the same or more weight stays. None: refused, look again.

    Parameters
    ----------
    state : the outcome.
    owner : whoever says ``expired`` must hold the claim.
    token : the provider call that an ``unknown`` is about; "" = about a time of which nothing is known.

    Notes
    -----
    ``delivered`` and ``failed`` are facts told by the provider. They are taken from whoever knows them, a
    zombie too: it *was* sent.
    """
    if entry is not None and _WEIGHT[entry.state] >= _WEIGHT[state]:
        return entry
    if entry is not None and entry.state is State.HANDING:
        if state in {State.EXPIRED, State.SUPPRESSED} or (state is State.UNKNOWN and entry.token != token):
            return None
    elif entry is not None and entry.state is State.CLAIMED and state is State.EXPIRED and entry.owner != owner:
        return None
    before = entry or Entry(State.CLAIMED)
    return msgspec.structs.replace(before, state=state, reason=reason, ref=ref)


class Do(enum.StrEnum):
    """What to do with a command."""

    SEND = "send"  # claimed: render and hand over
    RETAKE = "retake"  # handed over before with an unknown end, but the provider recognises a repetition
    RECORD = "record"  # no provider is called: write this outcome
    REPEAT = "repeat"  # it has an outcome: publish that again


class Plan(msgspec.Struct, frozen=True):
    """Answer of :func:`plan`; `state`, `reason` go with RECORD and REPEAT, `token` with a handing entry."""

    do: Do
    state: State = State.CLAIMED
    reason: str = ""
    token: str = ""


def plan(
    command: MessageCommand,
    entry: Entry | None,
    *,
    now_ms: int,
    idempotent: bool = False,
    doubtful: bool = False,
) -> Plan:
    """Decide what to do with a command.

    Parameters
    ----------
    entry : what the ledger held before this run claimed the message.
    now_ms : wall clock, comparable with the broker's (``expires_at`` is broker time).
    idempotent : the channel's provider recognises a repeated call by the message id.
    doubtful : the command lies where the ledger may have forgotten something (see :func:`resume`).

    Examples
    --------
    >>> from models.decisions import Cause
    >>> command = MessageCommand(
    ...     "SendEmail", "m1", "u1", "win-back", "1", "email", "win-back", None, "a@b.c", "marketing", 0,
    ...     1_000, None, None, {}, "", Cause("event", "e1", "Order Completed", 0))
    >>> plan(command, None, now_ms=10).do
    <Do.SEND: 'send'>
    >>> plan(command, Entry(State.HANDING, token="t"), now_ms=10).state
    <State.UNKNOWN: 'unknown'>
    """
    if entry is not None and entry.state in OUTCOMES:
        return Plan(Do.REPEAT, entry.state, entry.reason)
    if command.suppressed is not None:
        return Plan(Do.RECORD, State.SUPPRESSED, command.suppressed)
    if entry is not None and entry.state is State.HANDING:
        if idempotent:
            return Plan(Do.RETAKE)
        return Plan(Do.RECORD, State.UNKNOWN, "the worker ended while the provider had it", entry.token)
    if doubtful and not idempotent:
        return Plan(Do.RECORD, State.UNKNOWN, "the ledger went back in time; it may have been sent before")
    if now_ms >= command.expires_at:
        return Plan(Do.RECORD, State.EXPIRED, "its time was over before it could be handed over")
    return Plan(Do.SEND)


class DeliverFence(msgspec.Struct, frozen=True, array_like=True):
    """Where deliver stands in one partition of `messages`: all below `offset` is settled and published.

    Parameters
    ----------
    offset : next offset; None = from the start of the log.
    run_id : the Redis run (``INFO run_id``) in which this was written.
    doubt_until : below this offset, a message without an outcome may have been sent: the ledger forgot.
    highest : per lane, the highest (epoch, seq, n) settled.
    schema : version of this layout.
    """

    offset: int | None = None
    run_id: str = ""
    doubt_until: int = 0
    highest: dict[int, Position] = {}
    schema: int = 1


def is_same_run(before: str, now: str) -> bool:
    """Whether nothing that Redis answered in run `before` can be forgotten in run `now`.

    The run of a cluster is that of all its primaries, joined by ``+``. One that came to them forgot nothing.

    Examples
    --------
    >>> is_same_run("a", "a"), is_same_run("a", "b"), is_same_run("a+b", "a+b+c"), is_same_run("a+b", "a+c")
    (True, False, True, False)
    """
    return set(before.split("+")) <= set(now.split("+"))


def resume(fence: DeliverFence | None, committed: int | None, run_id: str) -> DeliverFence:
    """Work out where to go on after an assignment or a failure.

    Parameters
    ----------
    fence : as read from Redis.
    committed : Kafka's committed offset, which runs ahead: it is committed *before* a chunk is handed over.
    run_id : the Redis run that answered.

    Notes
    -----
    Another run means that Redis restarted or failed over, and that its last writes may be lost, among them
    ``handing``. Whatever Kafka says was begun and this Redis does not say was finished is in doubt. The doubt
    is part of the fence, so that it outlives the next crash in the new run.

    Examples
    --------
    >>> resume(DeliverFence(10, "a"), 25, "b").doubt_until
    25
    >>> resume(DeliverFence(10, "a"), 25, "a").doubt_until
    0
    """
    known = fence or DeliverFence()
    doubt = known.doubt_until
    if not is_same_run(known.run_id, run_id):
        doubt = max(doubt, committed or 0)
    return DeliverFence(known.offset, run_id, doubt, known.highest)


def advance(fence: DeliverFence, end: int, highest: dict[int, Position]) -> DeliverFence:
    """Everything below `end` is settled; doubt that lies behind is forgotten."""
    doubt = fence.doubt_until if fence.doubt_until > end else 0
    return DeliverFence(end, fence.run_id, doubt, highest)


class Dedupe:
    """Keep the highest position per lane and drop what is not above it (at-least-once publishing repeats).

    Examples
    --------
    >>> seen = Dedupe({})
    >>> seen.is_new(3, (1, 7, 0)), seen.is_new(3, (1, 7, 0)), seen.is_new(3, (2, 1, 0))
    (True, False, True)
    """

    def __init__(self, highest: dict[int, Position]) -> None:
        self.highest = dict(highest)

    def is_new(self, lane: int, position: Position) -> bool:
        """Whether the record was not seen yet; remembers it."""
        known = self.highest.get(lane)
        if known is not None and position <= tuple(known):
            return False
        self.highest[lane] = position
        return True


_DELIVERED = {"email": "Email Delivered"}
_EVENTS = {State.FAILED: "Message Failed", State.UNKNOWN: "Message Unknown", State.EXPIRED: "Message Expired"}
# The other way round: what an event on `feedback` says became of its message.
FEEDBACK_STATES = {name: state for state, name in _EVENTS.items()} | dict.fromkeys(
    ("Message Delivered", *_DELIVERED.values()), State.DELIVERED
)


def feedback(command: MessageCommand, state: State, reason: str = "") -> dict[str, Any] | None:
    """Event for `feedback` that tells an outcome, in Segment's form. None: nothing is told (suppressed).

    Notes ----- `messageId` is a hash of (message, outcome): published twice, it counts once. `timestamp` is
    the event time of the decision, so that a replay of an old year stays in that year.

    Examples
    --------
    >>> from models.decisions import Cause
    >>> command = MessageCommand(
    ...     "SendEmail", "m1", "u1", "win-back", "1", "email", "win-back", None, "a@b.c", "marketing", 5,
    ...     1_000, None, None, {}, "", Cause("event", "e1", "Order Completed", 0))
    >>> event = feedback(command, State.DELIVERED)
    >>> event["event"], event["timestamp"], len(event["messageId"])
    ('Email Delivered', 5, 32)
    """
    if state is State.SUPPRESSED:
        return None
    name = _DELIVERED.get(command.channel, "Message Delivered") if state is State.DELIVERED else _EVENTS[state]
    properties: dict[str, Any] = {
        "message_id": command.id,
        "campaign_id": command.campaign,
        "step": command.step,
        "variant": command.variant,
        "channel": command.channel,
        "template": command.template,
        "experiment_id": command.experiment,
    }
    if reason:
        properties["reason"] = reason
    return {
        "type": "track",
        "event": name,
        "userId": command.user,
        "messageId": xxhash.xxh3_128_hexdigest(f"outcome\x1f{command.id}\x1f{state.value}".encode()),
        "timestamp": command.decided_at,
        "properties": properties,
    }
