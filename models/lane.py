"""State of a lane: its position (the fence) and what it has counted. Written in every transaction of the lane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from models.errors import ConfigurationError, IncompatibleSnapshotError

if TYPE_CHECKING:
    from models.chunk import Batch


class Fence(msgspec.Struct, array_like=True, frozen=True):
    """Position of a lane: transactions so far, and the next offset of every input (-1: nothing applied yet)."""

    seq: int
    offsets: tuple[int, ...]

    def step(self, ends: Mapping[int, int]) -> Fence:
        """The fence after one more transaction, which moved input `i` on to offset `ends[i]`."""
        offsets = list(self.offsets)
        for source, end in ends.items():
            offsets[source] = end
        return Fence(self.seq + 1, tuple(offsets))


class LaneState(msgspec.Struct, array_like=True):
    """What a lane has counted (the proof ledger) and where its time stands.

    received = applied + duplicate + rejected + forwarded always holds; what lies in the log behind the fence is in
    flight. Ticks are records too: they are received and applied, and also counted apart.

    Parameters
    ----------
    epoch : grows whenever a worker opens the lane; orders what two owners published.
    watermarks : event time of each input, ms; the lane's watermark is the least of them.
    origins : "topic lane" -> (epoch, seq, n) of the last forwarded record that was taken from that lane.
    given : limited offer -> how often it was given and what that may cost (:mod:`models.offers.limits`).
    lanes : number of lanes among which users are dealt out; 0: not noted yet. Negative: the lane is being divided for
        that many, and nobody may open it.
    """

    epoch: int = 0
    watermarks: list[int] = []
    received: int = 0
    applied: int = 0
    duplicate: int = 0
    rejected: int = 0
    forwarded: int = 0
    ticks: int = 0
    dedupe_overflow: int = 0
    origins: dict[str, tuple[int, int, int]] = {}
    lanes: int = 0
    given: dict[str, tuple[int, int]] = {}

    @property
    def watermark(self) -> int:
        """Event time up to which every input has been read, ms."""
        return min(self.watermarks) if self.watermarks else 0

    def marks_after(self, batch: Batch) -> list[int]:
        """Watermarks of the inputs once `batch` is applied."""
        marks = list(self.watermarks)
        for part in batch.parts:
            marks[part.source_index] = max(marks[part.source_index], part.watermark)
        return marks

    def balances(self) -> bool:
        """True if every received record has exactly one fate."""
        return self.received == self.applied + self.duplicate + self.rejected + self.forwarded


_encoder = msgspec.msgpack.Encoder()
_fence = msgspec.msgpack.Decoder(Fence)
_state = msgspec.msgpack.Decoder(LaneState)
encode = _encoder.encode


def decode_fence(packed: bytes | None, inputs: int) -> Fence:
    """Fence from Redis; a lane that never committed anything has none."""
    if packed is None:
        return Fence(0, (-1,) * inputs)
    try:
        return _fence.decode(packed)
    except msgspec.DecodeError as error:
        raise IncompatibleSnapshotError(f"a stored fence cannot be read: {error}") from error


def decode_state(packed: bytes | None, inputs: int) -> LaneState:
    """Lane state from Redis."""
    if packed is None:
        return LaneState(watermarks=[0] * inputs)
    try:
        return _state.decode(packed)
    except msgspec.DecodeError as error:
        raise IncompatibleSnapshotError(f"a stored lane state cannot be read: {error}") from error


def refuse_other_layout(state: LaneState, lane: int, lanes: int) -> None:
    """Raise ConfigurationError where users of the lane are dealt out among another number of lanes than `lanes`."""
    if state.lanes < 0:
        raise ConfigurationError(
            f"lane {lane} is being divided for {-state.lanes} lanes",
            remedy=f"Finish it with `kairos repartition --to {-state.lanes}`; until then no worker can run.",
        )
    if lane >= lanes or state.lanes not in {0, lanes}:
        there = state.lanes or f"more than {lanes}"
        raise ConfigurationError(
            f"the users of lane {lane} are dealt out among {there} lanes, this worker expects {lanes}",
            remedy="Start workers with KAIROS_LANES as the topics have partitions; `kairos repartition` doubles them.",
        )
