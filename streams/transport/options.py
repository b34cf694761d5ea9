"""Settings and hooks of the transport, values that belong to one app."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from faust.types import TP

#: Where to read on: an offset, ``EARLIEST`` or ``COMMITTED``. A partition left out means ``EARLIEST``.
PositionSource = Callable[[frozenset[TP]], Awaitable[Mapping[TP, int]]]
PartitionHook = Callable[[frozenset[TP]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """Limits of the micro-batch transport.

    Parameters
    ----------
    chunk_max : records in a chunk.
    max_inflight : chunks of one partition handed over and not yet acknowledged; a partition at this limit is
        not polled, the others are.
    fetch_max_wait_ms : the broker holds a fetch this long to gather records, and a partition that is not part
        of the fetch under way waits as long. (Faust has 1,500 ms, fixed.)
    fetch_min_bytes : it answers sooner when it has this much. One byte makes every few records a fetch, a chunk and a
        transaction of their own, which cost the same however many there are.
    max_partition_fetch_bytes : what one fetch brings of one partition. A larger single record still comes.
    fetch_max_bytes : what one fetch brings in all.
    poll_timeout_ms : a poll without records returns after this long to look at what is going on.

    Notes
    -----
    Memory: partitions x (max_inflight chunks + one fetch of max_partition_fetch_bytes).
    """

    chunk_max: int = 1000
    max_inflight: int = 4
    fetch_max_wait_ms: int = 20
    fetch_min_bytes: int = 64 * 1024
    max_partition_fetch_bytes: int = 1024 * 1024
    fetch_max_bytes: int = 50 * 1024 * 1024
    poll_timeout_ms: int = 1000

    def __post_init__(self) -> None:
        for name in ("chunk_max", "max_inflight", "fetch_max_wait_ms", "fetch_min_bytes", "poll_timeout_ms"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


@dataclass(slots=True)
class Hooks:
    """What the lanes ask of the transport.

    Parameters
    ----------
    positions : where to read on, asked after every assignment and rewind. None: the committed offsets.
    on_assigned : awaited before anything of a new assignment is read.
    on_revoked : awaited before partitions are given away and when the worker stops: lanes finish or abandon
        what they have in hand. Called with the whole assignment at every rebalance.
    """

    positions: PositionSource | None = None
    on_assigned: PartitionHook | None = None
    on_revoked: PartitionHook | None = None


class PositionLostError(RuntimeError):
    """The records to go on from are not in the log (any more): a human has to decide, nothing is skipped."""

    def __init__(self, tp: TP, offset: int, first: int | None) -> None:
        self.tp = tp
        self.offset = offset
        self.first = first
        if first is not None and offset < first:
            why = f"the log starts at {first}: {first - offset} records were deleted before they were applied"
        else:
            why = "the log ends before it: it is not the log this position was taken from"
        super().__init__(f"cannot read {tp.topic}-{tp.partition} from offset {offset}: {why}")


class ContractError(RuntimeError):
    """The installed Faust is not the one whose private parts this transport leans on."""
