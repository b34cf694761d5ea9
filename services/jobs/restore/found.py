"""What lies between a restored Redis and the log, as data."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Gap:
    """A position in a partition, and what the log still holds.

    Parameters
    ----------
    topic, partition : which. position : where Redis goes on (-1: it has read nothing yet).
    first, end : first record that is still there, and the place after the last one.
    """

    topic: str
    partition: int
    position: int
    first: int
    end: int

    @property
    def lost(self) -> int:
        """Records behind the position that the log does not hold any more."""
        return max(0, self.first - max(self.position, 0))

    @property
    def beyond(self) -> int:
        """How far the position lies above the log's end: that log is another one, or lost its end."""
        return max(0, self.position - self.end)

    @property
    def inside(self) -> int:
        """The nearest position that the log can go on from."""
        return min(max(self.position, self.first), self.end)

    @property
    def waiting(self) -> int:
        """Records that will be applied."""
        return self.end - self.inside


@dataclass(slots=True)
class InputGap(Gap):
    """An input of a lane; `applied`: up to where batches that Redis has forgotten had come."""

    applied: int = 0

    @property
    def again(self) -> int:
        """Records that were applied before, and will be once more."""
        return max(0, min(self.applied, self.end) - self.inside)


@dataclass(slots=True)
class LaneGap:
    """A lane.

    Parameters
    ----------
    seq, epoch : where Redis stands. outbox : entries that it holds unpublished.
    journal_seq, journal_epoch : newest batch in the journal. forgotten : batches there that Redis does not know.
    since_ms, until_ms : broker time of the newest batch that Redis knows, and of the newest one, 0: not known.
    """

    lane: int
    seq: int
    epoch: int
    outbox: int = 0
    inputs: list[InputGap] = field(default_factory=list)
    journal_seq: int = 0
    journal_epoch: int = 0
    forgotten: int = 0
    since_ms: int = 0
    until_ms: int = 0

    def knows(self, epoch: int, seq: int) -> bool:
        """Whether Redis holds what that batch wrote. Epochs only grow, and numbers within an epoch."""
        return (epoch, seq) <= (self.epoch, self.seq)


@dataclass(slots=True)
class MessagesGap(Gap):
    """A partition of `messages`.

    Parameters
    ----------
    begun : below this offset deliver may have handed over. committed : whether Kafka says so.
    told : messages without an outcome in Redis of which `feedback` tells one, by outcome.
    doubtful : those of which none does.
    """

    begun: int = 0
    committed: bool = True
    told: dict[str, int] = field(default_factory=dict)
    doubtful: int = 0


@dataclass(slots=True)
class LearnGap(Gap):
    """What a model learns from; a model that never learned has none."""

    model: str = ""
    version: int = 0


@dataclass(slots=True)
class Found:
    """Everything."""

    lanes: list[LaneGap] = field(default_factory=list)
    messages: list[MessagesGap] = field(default_factory=list)
    models: list[LearnGap] = field(default_factory=list)

    def gaps(self) -> list[Gap]:
        """Every position."""
        return [*(one for lane in self.lanes for one in lane.inputs), *self.messages, *self.models]

    @property
    def went_back(self) -> bool:
        """Whether the journal tells of batches that Redis does not know."""
        return any(lane.forgotten for lane in self.lanes)

    @property
    def holes(self) -> list[Gap]:
        """Positions that the log cannot go on from."""
        return [one for one in self.gaps() if one.lost or one.beyond]
