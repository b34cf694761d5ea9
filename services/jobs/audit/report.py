"""What the audit found, as data."""

from __future__ import annotations

from dataclasses import dataclass, field

from models.lane import LaneState

SHOWN = 20


@dataclass(slots=True)
class LaneAudit:
    """One lane: the counts of the replay, and every place where Redis says something else.

    Parameters
    ----------
    state : lane state as recomputed. batches, profiles : how many were recomputed.
    in_flight : records in the log behind the fence. differences : sentences, empty when all is equal.
    """

    lane: int
    state: LaneState
    batches: int = 0
    profiles: int = 0
    in_flight: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def balances(self) -> bool:
        """Received = applied + duplicate + rejected + forwarded."""
        return self.state.balances()


@dataclass(slots=True)
class AuditReport:
    """Proof for all lanes.

    Parameters
    ----------
    lanes : one each. commands : messages decided, by the replay. ledger : how many of them the send ledger holds;
        waiting : those that deliver has not come to yet. differences : those that belong to no lane.
    """

    lanes: list[LaneAudit]
    commands: int = 0
    ledger: int = 0
    waiting: int = 0
    elsewhere: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def total(self, name: str) -> int:
        """Sum of a count over the lanes."""
        return sum(int(getattr(lane.state, name)) for lane in self.lanes)

    @property
    def differences(self) -> list[str]:
        """Every difference, lanes first."""
        return [text for lane in self.lanes for text in lane.differences] + self.elsewhere

    @property
    def ok(self) -> bool:
        """True if nothing differs and every lane balances."""
        return not self.differences and all(lane.balances for lane in self.lanes)

    def sentences(self) -> list[str]:
        """Verdict in words."""
        received = self.total("received")
        parts = " + ".join(f"{self.total(name):,} {name}" for name in ("applied", "duplicate", "rejected", "forwarded"))
        profiles, batches = sum(lane.profiles for lane in self.lanes), sum(lane.batches for lane in self.lanes)
        flight = sum(lane.in_flight for lane in self.lanes)
        found = [
            f"{received:,} received = {parts}; {flight:,} in flight",
            f"{profiles:,} profiles recomputed from the log, {batches:,} batches; {len(self.differences):,} different",
            f"{self.commands:,} messages decided, {self.ledger:,} in the send ledger, {self.waiting:,} not handled yet",
        ]
        found += self.notes
        found += self.differences[:SHOWN]
        if len(self.differences) > SHOWN:
            found.append(f"... and {len(self.differences) - SHOWN:,} more differences")
        return found
