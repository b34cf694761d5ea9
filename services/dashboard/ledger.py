"""The proof ledger of the lanes, and the funnel of each campaign's messages. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from config.definitions import Campaign
from config.topics import INPUT_NAMES
from models.lane import LaneState
from services.dashboard import words
from services.dashboard.context import LaneProof, Proof
from services.dashboard.outcomes import Funnel, Step, Suppression

STEPS = ("decided", "sent", "opened", "clicked", "ordered")
_SUPPRESSED = "suppressed:"


def build_proof(lanes: Mapping[int, LaneState], lag: Mapping[str, int]) -> Proof:
    """Hold the lanes' counters against each other.

    A lane's transaction counts what it took in and what became of it; what lies behind that in the log is in
    flight. It is added to both sides, so that `received` is what publishers handed over.

    Parameters
    ----------
    lanes : counters of each lane, from its own transactions.
    lag : waiting records per "topic-partition".
    """
    rows = tuple(
        _lane(number, lane, sum(lag.get(f"{topic}-{number}", 0) for topic in INPUT_NAMES))
        for number, lane in sorted(lanes.items())
    )
    if not any(row.received or row.ticks for row in rows):
        return Proof(rows, None, balances=False)
    total = LaneProof(
        lane=-1,
        received=sum(row.received for row in rows),
        applied=sum(row.applied for row in rows),
        duplicate=sum(row.duplicate for row in rows),
        rejected=sum(row.rejected for row in rows),
        forwarded=sum(row.forwarded for row in rows),
        in_flight=sum(row.in_flight for row in rows),
        ticks=sum(row.ticks for row in rows),
        difference=sum(row.difference for row in rows),
        watermark="",
    )
    # Lane by lane: one lane's surplus must not hide another's loss.
    return Proof(rows, total, balances=all(row.difference == 0 for row in rows))


def _lane(number: int, lane: LaneState, in_flight: int) -> LaneProof:
    accounted = lane.applied + lane.duplicate + lane.rejected + lane.forwarded
    return LaneProof(
        lane=number,
        received=lane.received + in_flight,
        applied=lane.applied,
        duplicate=lane.duplicate,
        rejected=lane.rejected,
        forwarded=lane.forwarded,
        in_flight=in_flight,
        ticks=lane.ticks,
        difference=lane.received - accounted,
        watermark=words.day_and_time(lane.watermark),
    )


def build_funnels(counters: Mapping[str, Mapping[str, int]], campaigns: Iterable[Campaign]) -> tuple[Funnel, ...]:
    """One funnel per campaign, those with most decisions first."""
    funnels = [_funnel(campaign, counters.get(campaign.id, {})) for campaign in campaigns]
    return tuple(sorted(funnels, key=lambda funnel: (-funnel.steps[0].count, funnel.campaign)))


def _funnel(campaign: Campaign, counts: Mapping[str, int]) -> Funnel:
    suppressions = sorted(
        (
            Suppression(reason, words.suppressed(reason), number)
            for reason, number in (
                (name.removeprefix(_SUPPRESSED), number)
                for name, number in counts.items()
                if name.startswith(_SUPPRESSED)
            )
            if number
        ),
        key=lambda one: (-one.count, one.reason),
    )
    suppressed = sum(one.count for one in suppressions)
    decided, sent = counts.get("decided", 0), counts.get("sent", 0)
    failed, unknown, expired = counts.get("failed", 0), counts.get("unknown", 0), counts.get("expired", 0)
    return Funnel(
        campaign=campaign.id,
        description=campaign.description,
        channel=str(campaign.channel),
        steps=_steps(counts),
        suppressions=tuple(suppressions),
        suppressed=suppressed,
        failed=failed,
        unknown=unknown,
        expired=expired,
        underway=max(0, decided - suppressed - sent - failed - unknown - expired),
        ordered_simulated=counts.get("ordered_simulated", 0),
    )


def _steps(counts: Mapping[str, int]) -> tuple[Step, ...]:
    decided, sent = counts.get("decided", 0), counts.get("sent", 0)
    steps = []
    for name in STEPS:
        number = counts.get(name, 0)
        # Orders follow a message; they need no click. So everything after sending is a share of those sent.
        base, of = (decided, "decided") if name == "sent" else (sent, "sent")
        rate = "" if name == "decided" or not base else f"{words.percent(number / base, 0)} of {of}"
        steps.append(Step(name, number, min(1.0, number / decided) if decided else 0.0, rate))
    return tuple(steps)
