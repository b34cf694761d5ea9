"""One model and its partition of `training`: when to learn, when to write down what was learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from models.errors import FenceError, IncompatibleSnapshotError
from models.learners.session import Applied, LearnSession
from services.state.learn_store import LearnStore
from streams.shadow import Contenders
from streams.transport import Chunk

# Writing down may take this share of the time at most, whatever the size of the model.
COMMIT_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a lane writes.

    Parameters
    ----------
    checkpoint_s : at least this long between two checkpoints (what a crash makes the next owner learn again).
    snapshot_s : at least this long between two published versions.
    """

    checkpoint_s: float = 1.0
    snapshot_s: float = 2.0


class LearnLane:
    """Learns chunks of one model; synchronous, for one caller at a time.

    Parameters
    ----------
    model : its name.
    store : where checkpoints are. contenders : brings the models that are compared; None compares nothing.
    wall_ms : wall clock, ms, for the envelope. elapsed_s : monotonic clock, for the pace.

    Notes
    -----
    State, offset and positions of a session move in Redis by one conditional transaction. A crash before
    it leaves all of them where they were, so the examples since are read and learned again from there; a
    crash after it, all of them ahead. A learner that lost its partition without knowing finds the offset
    moved and writes nothing.
    """

    def __init__(
        self,
        model: str,
        store: LearnStore,
        wall_ms: Callable[[], int],
        elapsed_s: Callable[[], float],
        pace: Pace | None = None,
        contenders: Contenders | None = None,
    ) -> None:
        self.model = model
        self.session = LearnSession(model)
        self._store = store
        self._contenders = contenders
        self._wall_ms, self._elapsed_s = wall_ms, elapsed_s
        self._pace = pace or Pace()
        self._stored_offset: int | None = None
        self._loaded = False
        self._dirty = False
        self._next_checkpoint_s = 0.0
        self._next_snapshot_s = 0.0

    def load(self) -> int | None:
        """Forget everything and read the checkpoint; returns where to go on, None for the log's start.

        Raises
        ------
        TransientError
            Redis is away.
        IncompatibleSnapshotError
            The checkpoint is of another version of the code.
        """
        self._loaded = False
        stored = self._store.load(self.model)
        session = LearnSession(self.model)
        if stored.data is not None:
            session.restore(stored.data)
            if session.offset != stored.offset:
                raise IncompatibleSnapshotError(f"{self.model}: state at {session.offset}, offset {stored.offset}")
        if self._contenders is not None:
            self._contenders.bring(session.contests)
        # Versions go on counting even where the checkpoint is gone and the snapshots are not.
        session.version = max(session.version, stored.latest_version)
        self.session, self._stored_offset = session, stored.offset
        self._dirty, self._loaded = False, True
        return stored.offset

    def apply(self, chunk: Chunk) -> Applied:
        """Learn a chunk.

        Raises
        ------
        FenceError
            Nothing was loaded, or the chunk begins behind a gap: load and read on from there.
        """
        if not self._loaded:
            raise FenceError(f"{self.model}: not loaded")
        if self._stored_offset is None and not self._dirty:
            self.session.offset = chunk.sought  # the first one ever; retention may have taken what was before
        if self._contenders is not None:
            self._contenders.bring_if_due(self.session.contests)
        try:
            applied = self.session.apply(chunk.records, chunk.start, chunk.end)
        except FenceError:
            raise
        except BaseException:
            self._loaded = False  # half a chunk may be learned
            raise
        self._dirty = True
        return applied

    def commit_due(self) -> bool:
        """Whether there is something to write and it is time to."""
        return self._loaded and self._dirty and self._elapsed_s() >= self._next_checkpoint_s

    def commit(self, *, last: bool = False) -> bool:
        """Write checkpoint and, when it is time or `last`, the next snapshot.

        Raises
        ------
        FenceError
            Another learner is ahead: what this one knows is void until it loads.
        TransientError
            Redis is away; whether it was written is not known, so here too: load.
        """
        if not (self._loaded and self._dirty):
            return False
        started_s = self._elapsed_s()
        envelope = None
        if last or started_s >= self._next_snapshot_s:
            envelope = self.session.snapshot(self._wall_ms())
        # Until the answer is known, nothing of this session may be trusted: the version has counted up
        # already.
        self._loaded = False
        offset = self.session.offset
        found = self.session.comparisons()
        comparisons = {task.part: msgspec.json.encode(one) for task, one in found.items()}
        health = {name or self.model: msgspec.json.encode(one) for name, one in self.session.health().items()}
        checkpoint = self.session.checkpoint()
        if not self._store.commit(self.model, self._stored_offset, offset, checkpoint, envelope, comparisons, health):
            raise FenceError(f"{self.model}: another learner has moved the checkpoint")
        self._stored_offset = offset
        # A changed model whose snapshot was not yet due stays dirty, so that it is published without a new
        # example.
        self._loaded, self._dirty = True, self.session.changed
        now_s = self._elapsed_s()
        rest_s = (now_s - started_s) / COMMIT_SHARE
        self._next_checkpoint_s = now_s + max(self._pace.checkpoint_s, rest_s)
        if envelope is not None:
            self._next_snapshot_s = now_s + max(self._pace.snapshot_s, rest_s)
        return True
