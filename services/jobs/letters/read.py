"""Read `dead-letters`: each refused record once, with what became of it since."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from config.settings import Settings
from config.topics import DEAD_LETTERS
from models.decisions import DeadLetter
from services.bus.reader import read_topic
from services.state.redis_lane import Client
from services.state.redrives import Redrive, read_redrives

_decode = msgspec.json.Decoder(DeadLetter).decode


@dataclass(frozen=True, slots=True)
class Letter:
    """A refused record.

    Parameters
    ----------
    letter : what was written about it. refused_ms : when that reached the log (broker's clock).
    redrive : when it was sent again, if it was.
    """

    letter: DeadLetter
    refused_ms: int
    redrive: Redrive | None = None

    @property
    def id(self) -> str:
        """``topic-partition-offset`` of the record; names the letter on the command line."""
        return self.letter.id


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters are meant; what is None or empty excludes nothing.

    Parameters
    ----------
    ids, reason, topic, key : of the letter. since_ms, until_ms : when it was refused (until: before that).
    waiting : only those that nobody sent again.
    """

    ids: frozenset[str] = frozenset()
    reason: str | None = None
    topic: str | None = None
    key: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    waiting: bool = False

    def holds(self, found: Letter) -> bool:
        """Whether `found` is one of them."""
        letter = found.letter
        return (
            (not self.ids or found.id in self.ids)
            and self.reason in {None, letter.reason}
            and self.topic in {None, letter.topic}
            and self.key in {None, letter.key}
            and (self.since_ms is None or found.refused_ms >= self.since_ms)
            and (self.until_ms is None or found.refused_ms < self.until_ms)
            and not (self.waiting and found.redrive is not None)
        )


def read_letters(settings: Settings, client: Client, choice: Choice) -> list[Letter]:
    """Letters of `choice`, oldest refusal first.

    Raises
    ------
    TransientError
        Kafka or Redis is away.
    """
    # A letter is published again after a crash: its id is what counts.
    found: dict[str, Letter] = {}
    for record in read_topic(settings.kafka.bootstrap, DEAD_LETTERS.name):
        letter = _decode(record.value or b"{}")
        found.setdefault(letter.id, Letter(letter, record.timestamp_ms))
    sent = read_redrives(client, list(found))
    known = (Letter(one.letter, one.refused_ms, sent.get(name)) for name, one in found.items())
    return sorted((one for one in known if choice.holds(one)), key=lambda one: (one.refused_ms, one.id))


def by_reason(letters: Iterable[Letter]) -> dict[str, int]:
    """How many of each reason, most first."""
    counts: dict[str, int] = {}
    for one in letters:
        counts[one.letter.reason] = counts.get(one.letter.reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
