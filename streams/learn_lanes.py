"""The models that learn from one partition of `training`, each with a checkpoint of its own."""

from __future__ import annotations

from collections.abc import Sequence

from models.learners.session import Applied
from streams.learn_lane import LearnLane
from streams.transport import Chunk


class LearnLanes:
    """Several lanes that are given the same chunks; synchronous, for one caller at a time.

    Parameters
    ----------
    lanes : the first one is the partition's own model, the others read along.

    Notes
    -----
    Each lane skips what it has learned already, so reading goes on from the oldest checkpoint. Whatever goes wrong in
    one of them, all are loaded again.
    """

    def __init__(self, lanes: Sequence[LearnLane]) -> None:
        self._lanes = tuple(lanes)
        self.model = self._lanes[0].model

    def load(self) -> int | None:
        """Read all checkpoints; returns where to go on, None for the log's start."""
        offsets = [lane.load() for lane in self._lanes]
        known = [offset for offset in offsets if offset is not None]
        return min(known) if len(known) == len(offsets) else None

    def apply(self, chunk: Chunk) -> Applied:
        """Learn a chunk; what became of it in the partition's own model, and whatever any model refused."""
        own, *others = [lane.apply(chunk) for lane in self._lanes]
        told = {offset for offset, _ in own.refused}
        for one in others:
            own.refused += [refusal for refusal in one.refused if refusal[0] not in told]
        return own

    def commit_due(self) -> bool:
        """Whether one of them has something to write and it is time to."""
        return any(lane.commit_due() for lane in self._lanes)

    def commit(self, *, last: bool = False) -> None:
        """Write those that are due, all of them if `last`."""
        for lane in self._lanes:
            if last or lane.commit_due():
                lane.commit(last=last)

    @property
    def offset(self) -> int:
        """Offset up to which all have learned."""
        return min(lane.session.offset for lane in self._lanes)

    @property
    def versions(self) -> dict[str, int]:
        """Newest snapshot by model."""
        return {lane.model: lane.session.version for lane in self._lanes}

    @property
    def refused_total(self) -> int:
        """Examples that were refused, by the model that refused most."""
        return max(lane.session.refused_total for lane in self._lanes)
