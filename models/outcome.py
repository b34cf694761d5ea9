"""What one batch decided, collected while it is applied: effects, counters, and the indexes that changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from models.chunk import Batch, dead_letter
from models.decisions import TIMERS, Cause, DeadLetter, Effect, OfferDecision
from models.experiments.fields import limbs, prefix
from models.forward import Forward
from models.profile.moved import Moved
from models.profile.state import Profile, Timer
from models.wire import Input

Cell: TypeAlias = tuple[int, str, str, str]
"""Day of the exposure, segment, variant, metric ("": users)."""


@dataclass(slots=True)
class Outcome:
    """Result of the core for one batch.

    Parameters
    ----------
    profiles : users whose state changed and may change again. packed : those who are done, as they are stored.
    effects : in the order in which they were decided.
    counters : "kind:id" -> field -> increment (experiments and campaigns).
    sums : of experiments while the batch is applied; :meth:`close` makes counters of them.
    forwards : records of other lanes, and of users who are called otherwise now. dead : refused records.
    moved : users who were merged into others, with what is left of them.
    due : user -> new earliest due time for the timer index, ms; 0 takes the user out of it.
    offers : latest ranked offers of a user, readable at any time; None: there are none any more.
    """

    profiles: dict[str, Profile] = field(default_factory=dict)
    packed: dict[str, bytes] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)
    counters: dict[str, dict[str, int]] = field(default_factory=dict)
    sums: dict[tuple[str, Cell], tuple[Sequence[str], list[int]]] = field(default_factory=dict)
    forwards: list[Forward] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    due: dict[str, int] = field(default_factory=dict)
    offers: dict[str, OfferDecision | None] = field(default_factory=dict)
    moved: dict[str, Moved] = field(default_factory=dict)

    def count(self, key: str, name: str, by: int = 1) -> None:
        """Add to one running counter."""
        if by:
            fields = self.counters.setdefault(key, {})
            fields[name] = fields.get(name, 0) + by

    def add(self, key: str, cell: Cell, names: Sequence[str], by: Sequence[int]) -> None:
        """Add to the sums of one cohort, segment, variant and metric of an experiment."""
        found = self.sums.get((key, cell))
        if found is None:
            self.sums[key, cell] = (names, list(by))
            return
        held = found[1]
        for place, amount in enumerate(by):
            held[place] += amount

    def close(self) -> None:
        """Make counters of the sums: names are spelt out, and numbers cut into limbs, once a batch."""
        for (key, (day, segment, variant, metric)), (names, held) in self.sums.items():
            before = prefix(day, segment, variant) + (f"{metric}|" if metric else "")
            for name, by in zip(names, held, strict=True):
                if by:
                    for limb, part in limbs(before + name, by):
                        self.count(key, limb, part)
        self.sums.clear()

    def reject(self, batch: Batch, event: Input, reason: str, detail: str) -> None:
        """Refuse an event that could be read."""
        self.dead.append(dead_letter(event.source, batch.lane, event.record, reason, detail))


class ScoreRow(msgspec.Struct, gc=False):
    """A moment at which a user is scored: on an event or on a tick while silent."""

    user: str
    profile: Profile
    at: int
    x: list[int]
    cause: Cause | Input
    alert: bool


def timer_letter(batch: Batch, user: str, due: list[Timer], tick_s: int) -> DeadLetter:
    """Timers of a user that were put aside, as they are told to `dead-letters`."""
    first = min([timer.due for timer in due] + ([tick_s * 1000] if tick_s else []), default=0)
    held = {
        "user": user,
        "timers": [{name: getattr(timer, name) for name in Timer.__struct_fields__} for timer in due],
        "tick_due_ms": tick_s * 1000,
    }
    return DeadLetter(
        topic=TIMERS,
        partition=batch.lane,
        offset=first,
        reason="timer_failed",
        detail=batch.fault[:500],
        broker_ms=batch.broker_ms,
        key=user,
        value=msgspec.json.encode(held),
        truncated=False,
        headers=[],
    )


def cause_of(event: Input) -> Cause:
    """Cause of what an event brought about."""
    return Cause("event", event.message_id, event.name, event.at)


__all__ = ["Batch", "Outcome", "ScoreRow", "cause_of", "timer_letter"]
