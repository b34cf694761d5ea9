"""Send refused records to their topic again: each letter once, and never what would be refused again.

Two things keep a letter from counting twice. The redrive is claimed in Redis before anything is published, so the
second attempt is refused in words. And the record keeps its messageId (one without gets that of its first position, by
the header ``kairos-origin``), so decide drops a second one as a duplicate for a day at least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from config.settings import Settings
from config.topics import DEAD_LETTERS, INPUT_NAMES, MESSAGES
from models.alerts import WEBHOOK_FAILED
from models.chunk import read_chunk
from models.decisions import TIMERS, MessageCommand
from models.wire import ORIGIN, USER, VIA, Record, header, lane_of
from services.bus.publisher import DeliveryError, Publisher
from services.bus.reader import read_topic
from services.jobs.letters.read import Letter
from services.state.redis_lane import Client
from services.state.redrives import Redrive, claim_redrives, forget_redrives, mark_sent

REDRIVEN = "kairos-redriven"
_LOST = "�"


@dataclass(frozen=True, slots=True)
class Planned:
    """What would be published for a letter."""

    letter: Letter
    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
    edited: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """A letter that is not sent again, and why."""

    letter: Letter
    why: str


def plan(
    settings: Settings,
    letters: Sequence[Letter],
    now_ms: int,
    edit: Callable[[bytes], bytes] | None = None,
    *,
    again: bool = False,
    force: bool = False,
) -> tuple[list[Planned], list[Refused]]:
    """Work out what to publish; changes nothing.

    Parameters
    ----------
    letters : what to send again. now_ms : wall clock, in the place of the broker's.
    edit : makes the new value of the old one.
    again : also what was sent before. force : also what would be refused again.

    Raises
    ------
    TransientError
        A record that the letter does not hold whole could not be read from its topic.
    """
    planned: list[Planned] = []
    refused: list[Refused] = []
    for letter in letters:
        found = _plan_one(settings, letter, now_ms, edit, again=again, force=force)
        if isinstance(found, Refused):
            refused.append(found)
        else:
            planned.append(found)
    return planned, refused


def redrive(settings: Settings, client: Client, planned: Sequence[Planned], now_ms: int, *, again: bool) -> list[str]:
    """Publish; returns the ids of those that somebody else sent first.

    Raises
    ------
    DeliveryError
        Kafka did not confirm all of them; what it did not confirm is not marked as sent.
    """
    attempts = {
        one.letter.id: Redrive(now_ms, f"{one.topic}-{one.partition}", sent=False, edited=one.edited) for one in planned
    }
    # Twice as long as Kafka keeps letters by itself: it deletes whole segments, and somebody may have asked for more.
    forget_redrives(client, now_ms - 2 * DEAD_LETTERS.retention_ms)
    lost = claim_redrives(client, attempts, again=again)
    mine = [one for one in planned if one.letter.id not in lost]
    left: frozenset[str] = frozenset()
    error: DeliveryError | None = None
    bus = Publisher(settings.kafka.bootstrap, client_id="kairos-redrive", linger_ms=5)
    try:
        for one in mine:
            key = None if one.key is None else one.key.decode()
            bus.publish(one.topic, one.value, key, one.partition, one.headers)
        bus.close()
    except DeliveryError as undelivered:
        error = undelivered
        missing = {(one.topic, one.value) for one in undelivered.undelivered}
        left = frozenset(one.letter.id for one in mine if (one.topic, one.value) in missing)
    mark_sent(client, {one.letter.id: attempts[one.letter.id] for one in mine if one.letter.id not in left})
    if error is not None:
        raise error
    return sorted(lost)


def _plan_one(
    settings: Settings,
    found: Letter,
    now_ms: int,
    edit: Callable[[bytes], bytes] | None,
    *,
    again: bool,
    force: bool,
) -> Planned | Refused:
    if found.redrive is not None and not again:
        return Refused(found, _sent_before(found.redrive))
    letter = found.letter
    if letter.topic == TIMERS:
        return Refused(found, "a timer cannot be sent: its moment is over. Publish the event that should follow")
    if letter.reason == WEBHOOK_FAILED:
        alert = dict(letter.headers).get("alert", "ALERT")
        return Refused(found, f"it is no record but a webhook that gave up: kairos alerts resend {alert}")
    if letter.topic not in {*INPUT_NAMES, MESSAGES.name}:
        return Refused(found, f"it is no record of an input: nothing reads {letter.topic}")
    record = _original(settings, found)
    if record is None:
        return Refused(found, "the letter holds only a part of it, and the record is not in its topic any more")
    value = record.value or b""
    if edit is not None:
        value = edit(value)
    way = {USER, VIA}  # for whom it is now, if its own user was merged into another one
    kept = [one for one in record.headers if one[0] in way or not one[0].startswith("kairos-")]
    headers = [(name, content or b"") for name, content in kept]
    headers.append((ORIGIN, (header(record.headers, ORIGIN) or found.id).encode()))
    headers.append((REDRIVEN, found.id.encode()))
    made = Planned(
        found, letter.topic, letter.partition, record.key, value, headers, edited=value != (record.value or b"")
    )
    if letter.topic == MESSAGES.name:
        made = replace(made, headers=[(name, content) for name, content in headers if name != ORIGIN])
        return made if force else _checked_command(made)
    return _checked_event(made, settings, now_ms, force=force)


def _checked_event(made: Planned, settings: Settings, now_ms: int, *, force: bool) -> Planned | Refused:
    """The record in the partition of its user; refused if decide would refuse it again."""
    batch = read_chunk(
        [Record(0, now_ms, made.key, made.value, made.headers)],
        topic=made.topic,
        topic_index=INPUT_NAMES.index(made.topic),
        lane=made.partition,
        lanes=settings.lanes,
        start=0,
        end=1,
        future_limit_ms=settings.future_limit_ms,
    )
    if batch.rejected and not force:
        again = batch.rejected[0]
        return Refused(made.letter, f"it would be refused again: {again.reason}: {again.detail}. Edit it first")
    if batch.inputs:
        user = batch.inputs[0].user
        return replace(made, key=user.encode(), partition=lane_of(user, settings.lanes))
    return replace(made, key=_readable(made.key))


def _checked_command(made: Planned) -> Planned | Refused:
    try:
        command = msgspec.json.decode(made.value, type=MessageCommand)
    except (msgspec.DecodeError, ValueError) as error:
        return Refused(made.letter, f"it would be refused again: {error}. Edit it first")
    return replace(made, key=command.user.encode())


def _readable(key: bytes | None) -> bytes | None:
    try:
        return None if key is None else key.decode().encode()
    except UnicodeDecodeError:
        return None


def _original(settings: Settings, found: Letter) -> Record | None:
    """The record as it was; from its topic where the letter does not hold all of it."""
    letter = found.letter
    texts = [letter.key or "", *(content for _, content in letter.headers)]
    if not letter.truncated and not any(_LOST in text for text in texts):
        key = None if letter.key is None else letter.key.encode()
        headers = [(name, content.encode()) for name, content in letter.headers]
        return Record(letter.offset, letter.broker_ms, key, letter.value, headers)
    at = letter.offset
    for record in read_topic(settings.kafka.bootstrap, letter.topic, letter.partition, at, at + 1):
        if record.offset == at:
            return Record(at, record.timestamp_ms, record.key, record.value, list(record.headers))
    return None


def _sent_before(before: Redrive) -> str:
    if before.sent:
        return f"it was sent again on {before.when} to {before.to}; nothing is sent twice"
    return (
        f"an attempt on {before.when} did not say how it ended. --again repeats it: what arrived the first time is "
        "dropped as a duplicate for 24 hours at least"
    )
