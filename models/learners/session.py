"""One model learning from its partition of `training`: examples in, checkpoints and snapshots out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final, Protocol

import msgspec
import numpy as np

from models.errors import FenceError, IncompatibleSnapshotError
from models.learners.contest import Comparison, Contest
from models.learners.envelope import Envelope, pack_state, unpack_state
from models.learners.health import ScoreHealth
from models.learners.model import Model, model_class
from models.learners.task import Task

SCHEMA: Final = 1

Position = tuple[int, int, int]


class TrainingRecord(Protocol):
    """A record of `training` as it lies in the log."""

    @property
    def offset(self) -> int: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


@dataclass(slots=True)
class Applied:
    """What became of the records of one chunk: learned + duplicates + skipped + refused is their number.

    `skipped`: examples that other models learn.
    """

    learned: int = 0
    duplicates: int = 0
    skipped: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)


class _Typed(msgspec.Struct):
    type: str = ""
    at: int = 0
    known_at: int = 0


_type_of = msgspec.json.Decoder(_Typed).decode


class LearnSession:
    """A model, the offset up to which it has learned, and what it has seen of each lane.

    Parameters
    ----------
    model : its name, one of :data:`config.topics.LEARNED_FROM`.

    Notes
    -----
    Everything that decides whether an example is learned (offset, newest position per lane) is in the
    checkpoint with the model itself. One conditional write of :meth:`checkpoint` therefore moves all of it
    or nothing.

    Raises
    ------
    ConfigurationError
        No such model.

    Examples
    --------
    >>> session = LearnSession("recs")
    >>> session.offset, session.snapshot(0) is None
    (0, True)
    """

    def __init__(self, model: str) -> None:
        self.name = model
        self.model: Model = model_class(model)()
        self.offset = 0
        self.version = 0
        self.changed = False
        self.newest_ms = 0
        self.learned_total = 0
        self.duplicates_total = 0
        self.refused_total = 0
        self._positions: dict[str, Position] = {}

    def apply(self, records: Sequence[TrainingRecord], start: int, end: int) -> Applied:
        """Learn the records of one chunk that were not learned before.

        Parameters
        ----------
        records : consecutive records; `start`, `end` : position before the fetch, last offset + 1.

        Raises
        ------
        FenceError
            The chunk begins behind a gap: something fetched was never applied. Read on from :attr:`offset`.
        """
        if start > self.offset:
            raise FenceError(f"{self.name}: a chunk from {start}, learned up to {self.offset}")
        applied = Applied()
        fresh: list[TrainingRecord] = []
        for record in records:
            if record.offset < self.offset:
                continue
            position = position_of(record.headers)
            if position is not None:
                if self._positions.get(position[0], (-1, -1, -1)) >= position[1]:
                    applied.duplicates += 1
                    continue
                self._positions[position[0]] = position[1]
            fresh.append(record)
        self._take(fresh, applied)
        self.offset = max(self.offset, end)
        self.changed = self.changed or (applied.learned > 0 and self.model.worth_publishing())
        self.learned_total += applied.learned
        self.duplicates_total += applied.duplicates
        self.refused_total += len(applied.refused)
        return applied

    def _take(self, records: Sequence[TrainingRecord], applied: Applied) -> None:
        """Records that were not seen before: each to be learned, somebody else's, or refused."""
        mine: list[tuple[int, bytes, int]] = []
        for record in records:
            value = record.value or b""
            try:
                told = _type_of(value)
            except msgspec.DecodeError as error:
                applied.refused.append((record.offset, str(error)))
                continue
            if told.type == self.model.learns:
                mine.append((record.offset, value, told.known_at or told.at))
            else:
                applied.skipped += 1
        for (offset, _, at), refusal in zip(mine, self.model.learn_many([value for _, value, _ in mine]), strict=True):
            if refusal is None:
                applied.learned += 1
                self.newest_ms = max(self.newest_ms, at)
            else:
                applied.refused.append((offset, refusal))
        applied.refused.sort()

    @property
    def contests(self) -> Mapping[Task, Contest]:
        """Where scores of its model are compared with batch models."""
        return self.model.contests()

    def comparisons(self) -> dict[Task, Comparison]:
        """What was found there so far."""
        return {task: contest.report() for task, contest in self.contests.items()}

    def health(self) -> dict[str, ScoreHealth]:
        """What is known of each score of its model; its own newest example where the model tells none."""
        found = self.model.health()
        if "" in found and not found[""].examples:  # it does not count them itself
            told, learned = found[""], self.learned_total
            found[""] = msgspec.structs.replace(told, examples=learned, learned=learned > 0)
        newest = self.newest_ms or None
        return {
            name: one if one.newest_ms is not None else msgspec.structs.replace(one, newest_ms=newest)
            for name, one in found.items()
        }

    def snapshot(self, created_ms: int) -> Envelope | None:
        """Next version to publish, or None if nothing was learned since the last one.

        The version counts up at once: write the checkpoint that follows in the same transaction.
        """
        if not self.changed:
            return None
        self.version += 1
        self.changed = False
        return Envelope(
            name=self.name,
            schema=self.model.schema,
            library=f"numpy {np.__version__}, river {version('river')}",
            version=self.version,
            created_ms=created_ms,
            meta=self.model.meta(),
            payload=self.model.payload(),
        )

    def checkpoint(self) -> bytes:
        """Everything needed to go on, as bytes."""
        return pack_state(
            {
                "schema": SCHEMA,
                "model": self.name,
                "offset": self.offset,
                "version": self.version,
                "changed": self.changed,
                "newest_ms": self.newest_ms,
                "totals": [self.learned_total, self.duplicates_total, self.refused_total],
                "positions": {lane: list(position) for lane, position in self._positions.items()},
                "state": self.model.snapshot(),
            }
        )

    def restore(self, data: bytes) -> None:
        """Become the session that was checkpointed.

        Raises
        ------
        IncompatibleSnapshotError
            Of another model or schema.
        """
        state = unpack_state(data)
        if (state.get("schema"), state.get("model")) != (SCHEMA, self.name):
            raise IncompatibleSnapshotError(
                f"checkpoint of {state.get('model')} schema {state.get('schema')}, "
                f"this code reads {self.name} schema {SCHEMA}"
            )
        try:
            self.model.restore(state["state"])
            self.offset, self.version, self.changed = state["offset"], state["version"], state["changed"]
            self.newest_ms = state.get("newest_ms", 0)
            self.learned_total, self.duplicates_total, self.refused_total = state["totals"]
            self._positions = {lane: (p[0], p[1], p[2]) for lane, p in state["positions"].items()}
        except KeyError as error:
            raise IncompatibleSnapshotError(f"checkpoint of {self.name} without {error}") from error


def position_of(headers: Sequence[tuple[str, bytes]]) -> tuple[str, Position] | None:
    """Lane and (epoch, seq, n) of a published effect; None where the headers are missing or unreadable.

    Examples
    --------
    >>> position_of([("kairos-lane", b"3"), ("kairos-epoch", b"1"), ("kairos-seq", b"9"), ("kairos-n", b"0")])
    ('3', (1, 9, 0))
    """
    found = dict(headers)
    try:
        epoch, seq, n = (int(found[f"kairos-{part}"]) for part in ("epoch", "seq", "n"))
        return found["kairos-lane"].decode(), (epoch, seq, n)
    except (KeyError, ValueError):
        return None
