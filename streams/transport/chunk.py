"""What the transport hands over, and the schema that lets it through Faust untouched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import faust
from faust.types import TP, ConsumerMessage

#: A position source may answer with one of these in place of an offset.
EARLIEST = -2
COMMITTED = -1


class Record(Protocol):
    """The part of aiokafka's ``ConsumerRecord`` that Kairos reads."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive records of one partition, read in one go.

    Parameters
    ----------
    topic, partition : where the records lie.
    start : where reading stood before: the end of the chunk read before it, or the offset that was sought.
        Holes that compaction left lie inside ``[start, end)``. A chunk that was read and got lost on its way
        leaves the next one with ``start`` above the fence, which is how a lane sees it.
    end : offset of the last record + 1, the fence once this chunk is applied.
    records : the raw records in offset order, never empty.
    highwater : end of the log as the broker told it with these records, at least `end`.
    fetched_at : ``time.monotonic()`` when the records left the client's buffer.
    generation : number of the seek this chunk was read after; see ``ChunkConsumer.is_current``.
    sought : offset that this seek went to, which is what a **missing** fence stands for. A lane without a fence
        that took any `start` for its beginning would not see that the first chunks got lost.
    """

    topic: str
    partition: int
    start: int
    end: int
    records: Sequence[Record] = field(repr=False)
    highwater: int
    fetched_at: float
    generation: int
    sought: int = 0

    @property
    def tp(self) -> TP:
        """Topic and partition as Faust names them."""
        return TP(self.topic, self.partition)

    def __len__(self) -> int:
        return len(self.records)


class ChunkMessage(ConsumerMessage):
    """The Faust message that carries a chunk; its offset is that of the chunk's last record."""

    __slots__ = ()

    @classmethod
    def of(cls, chunk: Chunk, generation_id: int) -> ChunkMessage:
        """Wrap `chunk` for the consumer group generation `generation_id`."""
        last = chunk.records[-1]
        return cls(
            topic=chunk.topic,
            partition=chunk.partition,
            offset=chunk.end - 1,
            timestamp=last.timestamp / 1000.0,
            timestamp_type=1,
            headers=None,
            key=None,
            value=cast(Any, chunk),
            checksum=None,
            serialized_key_size=0,
            serialized_value_size=0,
            tp=chunk.tp,
            generation_id=generation_id,
        )


class ChunkSchema(faust.Schema[Any, Any]):
    """Passes the chunk through: records are decoded by the lane, together, not by Faust one at a time."""

    def loads_key(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:  # noqa: ARG002
        return message.key

    def loads_value(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:  # noqa: ARG002
        return message.value
